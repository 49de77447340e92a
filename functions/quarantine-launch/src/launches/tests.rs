use std::collections::BTreeMap;

use super::*;
use crate::decide::tests::{facts, group, instance, member, now, policy, with_tags};
use crate::launcher::Launcher;
use guardrails::ec2::State;
use jiff::SignedDuration;
use serde_json::json;

fn found(facts: &Facts) -> Vec<(String, usize)> {
    loops(facts, &policy(), now())
        .into_iter()
        .map(|looping| (looping.source.to_string(), looping.launches.len()))
        .collect()
}

fn of_group(group: Group, instances: Vec<Instance>) -> Facts {
    let mut facts = facts(instances);
    facts.groups = BTreeMap::from([(group.name.clone(), group)]);
    facts
}

#[test]
fn launches_are_counted_by_their_source() {
    let fleet = |id: &str| with_tags(instance(id), &[("aws:ec2:fleet-id", "fleet-1")]);
    let spot = |id: &str| Instance {
        spot_request: Some("sir-1".to_owned()),
        ..instance(id)
    };
    for (instances, expected) in [
        (
            vec![member("i-1", "web"), member("i-2", "web")],
            "Auto Scaling group web",
        ),
        (vec![fleet("i-1"), fleet("i-2")], "Fleet fleet-1"),
        (vec![spot("i-1"), spot("i-2")], "Spot request sir-1"),
    ] {
        assert_eq!(found(&facts(instances)), [(expected.to_owned(), 2)]);
    }
    for instances in [
        vec![member("i-1", "web"), member("i-2", "api")],
        vec![instance("i-1"), instance("i-2")],
        vec![member("i-1", "web")],
    ] {
        assert_eq!(found(&facts(instances)), []);
    }
}

#[test]
fn a_persons_launches_are_counted_with_the_events_launcher() {
    let record = |identity| json!({"eventName": "RunInstances", "userIdentity": identity});
    let admin = "arn:aws:iam::1:user/admin-02";
    let before = with_tags(instance("i-1"), &[(tags::QUARANTINE_LAUNCHER, admin)]);
    let mut facts = facts([instance("i-2")]);
    facts.siblings.insert("i-1".to_owned(), before);
    facts.launcher = Launcher::of(&record(json!({"arn": admin})));
    assert_eq!(found(&facts), [(admin.to_owned(), 2)]);
    facts.launcher = Launcher::of(&record(json!({"arn": "arn:aws:iam::1:user/other"})));
    assert_eq!(found(&facts), []);
}

#[test]
fn only_unapproved_launches_within_the_window_count() {
    let mut good = member("i-1", "web");
    good.image = Some("ami-good".to_owned());
    let released = with_tags(member("i-1", "web"), &[(tags::RELEASED_IMAGE, "ami-bad")]);
    let old = Instance {
        launched: now() - SignedDuration::from_mins(61),
        ..member("i-1", "web")
    };
    for other in [good, released, old] {
        assert_eq!(found(&facts([other, member("i-2", "web")])), []);
    }
    // A terminated one counts: it is what the loop leaves behind.
    let terminated = Instance {
        state: State::Terminal,
        ..member("i-1", "web")
    };
    assert_eq!(found(&facts([terminated, member("i-2", "web")])).len(), 1);
}

#[test]
fn what_the_group_remembers_counts_too_once_it_is_gone_from_ec2() {
    let mut web = group("web");
    web.tags.insert(
        tags::LOOP_LAUNCHES.to_owned(),
        "i-9=2026-11-21T11:30:00Z i-8=2026-11-21T09:00:00Z".to_owned(),
    );
    let facts = of_group(web.clone(), vec![member("i-1", "web")]);
    assert_eq!(found(&facts), [("Auto Scaling group web".to_owned(), 2)]);
    // Not if it was released since, which EC2 tells.
    let released = with_tags(member("i-9", "web"), &[(tags::RELEASED_IMAGE, "ami-bad")]);
    assert_eq!(
        found(&of_group(web, vec![member("i-1", "web"), released])),
        []
    );
}

#[test]
fn launches_before_the_processes_were_resumed_dont_count_again() {
    let launches = || vec![member("i-1", "web"), member("i-2", "web")];
    let mut restored = group("web");
    restored.tags.insert(
        tags::LOOP_RESTORED.to_owned(),
        "2026-11-21T11:59:30Z".to_owned(),
    );
    assert_eq!(found(&of_group(restored, launches())), []);
    // Resumed by hand: the loop is broken again only by new launches.
    let mut by_hand = group("web");
    by_hand.tags.insert(
        tags::LOOP_BROKEN.to_owned(),
        "2026-11-21T11:59:30Z run-1".to_owned(),
    );
    assert_eq!(found(&of_group(by_hand.clone(), launches())), []);
    by_hand.suspended = PROCESSES.map(str::to_owned).into();
    assert_eq!(found(&of_group(by_hand, launches())).len(), 1);
}

#[test]
fn the_latest_launches_that_fit_are_remembered() {
    let mut web = group("web");
    for n in 0..20 {
        let at = now() + SignedDuration::from_secs(n);
        let value = remembering(&web, &format!("i-{n:017x}"), at);
        assert!(value.len() <= tags::VALUE_MAX);
        web.tags.insert(tags::LOOP_LAUNCHES.to_owned(), value);
    }
    let remembered = remembered(&web);
    assert!(remembered.len() >= 5, "{remembered:?}");
    assert!(remembered.contains_key(&format!("i-{:017x}", 19)));
    assert!(!remembered.contains_key(&format!("i-{:017x}", 0)));
}
