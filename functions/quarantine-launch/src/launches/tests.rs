use super::*;
use crate::ask::Ask;
use crate::evaluate::evaluate;
use crate::facts::Facts;
use crate::fixtures::{ADMIN, at, facts, group, instance, member, now, policy, record};
use crate::record::Loop;
use serde_json::json;

fn found(facts: &Facts) -> Vec<(String, usize)> {
    evaluate(facts, &policy(), now())
        .loops
        .into_iter()
        .map(|one| {
            let looping = one.looping;
            (looping.source.to_string(), looping.launches.len())
        })
        .collect()
}

fn remembering(launches: &[(&str, &str)]) -> Loop {
    let mut known = Loop::default();
    for (id, time) in launches {
        known.add(id, at(time));
    }
    known
}

#[test]
fn launches_are_counted_by_their_source() {
    let fleet = |id: &str| instance(id).tagged("aws:ec2:fleet-id", "fleet-1");
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
        // Karpenter makes a Fleet for each node.
        (
            [("i-1", "fleet-1"), ("i-2", "fleet-2")]
                .map(|(id, fleet)| {
                    instance(id)
                        .tagged("aws:ec2:fleet-id", fleet)
                        .tagged("karpenter.sh/nodepool", "default")
                })
                .into(),
            "Karpenter node pool default",
        ),
        (
            ["i-1", "i-2"]
                .map(|id| instance(id).tagged("aws:cloudformation:stack-name", "shop"))
                .into(),
            "CloudFormation stack shop",
        ),
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
    let record_of = |identity| json!({"eventName": "RunInstances", "userIdentity": identity});
    let by = |who: &str| {
        let launcher = Launcher::of(&record_of(json!({"arn": who}))).unwrap();
        facts([instance("i-2")])
            .asked(Ask::Launched(launcher))
            .recorded("i-1", record("11:59").launched_by(ADMIN))
    };
    // Seen still, or vanished: what is recorded counts.
    let seen = by(ADMIN).beside([instance("i-1")]);
    assert_eq!(found(&seen), [(ADMIN.to_owned(), 2)]);
    assert_eq!(found(&by(ADMIN)), [(ADMIN.to_owned(), 2)]);
    assert_eq!(found(&by("arn:aws:iam::1:user/other")), []);
}

/// A planted label makes nobody the launcher of anything.
#[test]
fn a_label_names_no_launcher() {
    let labelled =
        |id: &str| instance(id).tagged(guardrails::tags::label::QUARANTINE_LAUNCHER, ADMIN);
    assert_eq!(found(&facts(["i-1", "i-2"].map(labelled))), []);
}

#[test]
fn only_unapproved_launches_within_the_window_count() {
    let two = |other: Instance| facts([other, member("i-2", "web")]);
    let good = member("i-1", "web").from("ami-good");
    let old = member("i-1", "web").launched("10:59");
    assert_eq!(found(&two(good)), []);
    assert_eq!(found(&two(old)), []);
    let released = two(member("i-1", "web")).released("i-1", "ami-bad");
    assert_eq!(found(&released), []);
    // A terminated one counts: it is what the loop leaves behind.
    assert_eq!(found(&two(member("i-1", "web").terminated())).len(), 1);
}

#[test]
fn what_is_remembered_of_the_group_counts_too_once_it_is_gone_from_ec2() {
    let known = || remembering(&[("i-9", "11:30"), ("i-8", "09:00")]);
    let of = |instances: Vec<Instance>| facts(instances).group(group("web")).looped("web", known());
    let facts = of(vec![member("i-1", "web")]);
    assert_eq!(found(&facts), [("Auto Scaling group web".to_owned(), 2)]);
    // Not if it was released since.
    let released = of(vec![member("i-1", "web")]).released("i-9", "ami-bad");
    assert_eq!(found(&released), []);
}

#[test]
fn launches_before_the_processes_were_resumed_dont_count_again() {
    let launches = || facts(["i-1", "i-2"].map(|id| member(id, "web").launched("11:59")));
    let restored = Loop {
        restored: Some(at("11:59:30")),
        ..Loop::default()
    };
    assert_eq!(
        found(&launches().group(group("web")).looped("web", restored)),
        []
    );
    // Resumed by hand: the loop is broken again only by new launches.
    let broken = || crate::fixtures::broken("11:59:30");
    let by_hand = launches().group(group("web")).looped("web", broken());
    assert_eq!(found(&by_hand), []);
    let still = launches()
        .group(group("web").suspended())
        .looped("web", broken());
    assert_eq!(found(&still).len(), 1);
}
