use super::*;
use crate::decide::copies::tests::{THERE, unreadable};
use crate::decide::drills::tests::{
    backed_up, drills, going, made, proven as proven_days_ago, remember, restore,
};
use crate::decide::tests::{at, attached};
use crate::evaluate::evaluate;
use crate::facts::Facts;
use crate::facts::drills::{Ended, key};
use crate::policy::Way;
use crate::policy::tests::parse;
use crate::report::report;
use guardrails::condition::{Coverage, Status};
use guardrails::guardrail::Assessment;
use jiff::SignedDuration;

const NOW: &str = "2026-11-21T10:00:00Z";
const HOME: &str = "eu-central-1";

fn assessed(facts: &Facts) -> Assessment {
    report(
        &evaluate(
            facts,
            &drills(", proven-within: 30d, max-size: 100"),
            at(NOW),
        ),
        &[],
    )
}

fn firing(facts: &Facts) -> Vec<String> {
    let all = conditions_of(facts).into_iter();
    let firing = all.filter(|c| c.status == Status::Firing);
    firing
        .map(|c| format!("{}: {}", c.kind.name, c.text()))
        .collect()
}

fn conditions_of(facts: &Facts) -> Vec<Condition> {
    let kinds = [&PROOF_FAILED, &PROOF_STALE, &DRILL_LEFT_BEHIND];
    let all = assessed(facts).conditions.into_iter();
    all.filter(|c| kinds.contains(&c.kind)).collect()
}

fn known_since(mut facts: Facts, days: i64) -> Facts {
    let since = at(NOW) - SignedDuration::from_hours(24 * days);
    facts.drills.since.insert("weekly".to_owned(), since);
    for snapshot in &mut facts.snapshots {
        snapshot.started = since;
    }
    facts
}

#[test]
fn a_proof_that_is_too_old_or_was_never_made_is_told() {
    let mut facts = known_since(backed_up(&["vol-1", "vol-2"]), 29);
    assert!(firing(&facts).is_empty(), "it has time");
    facts = known_since(facts, 31);
    assert_eq!(firing(&facts).len(), 2);
    remember(&mut facts, HOME, "vol-1", proven_days_ago(29));
    remember(&mut facts, HOME, "vol-2", proven_days_ago(31));
    let told = firing(&facts);
    assert!(
        told.len() == 1 && told[0].starts_with("proof-stale: vol-2"),
        "{told:?}"
    );
    let metrics = assessed(&facts).metrics;
    let unproven = metrics
        .iter()
        .find(|metric| metric.name == "VolumesUnproven");
    assert_eq!(unproven.unwrap().value, 1);
    // What is left out on purpose isn't told; the run says it.
    facts.volumes.get_mut("vol-2").unwrap().gib = 101;
    assert!(firing(&facts).is_empty());
    // Nobody without drills pays for the number.
    let none = report(
        &evaluate(
            &facts,
            &crate::policy::tests::parse_with("").unwrap(),
            at(NOW),
        ),
        &[],
    );
    assert!(
        none.metrics
            .iter()
            .all(|metric| metric.name != "VolumesUnproven")
    );
}

#[test]
fn pruning_changes_neither_when_a_missing_proof_is_told_nor_as_what() {
    let days_ago = |days: i64| at(NOW) - SignedDuration::from_hours(24 * days);
    for (oldest, known) in [(40, None), (35, None), (7, Some(40)), (7, None)] {
        let mut facts = known_since(backed_up(&["vol-1"]), 40);
        facts.snapshots[0].started = days_ago(oldest);
        let since = known.map(|days| (key("weekly", HOME, "vol-1"), days_ago(days)));
        facts.drills.since.extend(since);
        let all = conditions_of(&facts).into_iter();
        let firing = all.filter(|c| c.status == Status::Firing);
        let told: Vec<String> = firing.map(|c| c.fingerprint).collect();
        let is_told = known.is_some() || oldest > 30;
        let expected = is_told.then(|| "drill weekly, eu-central-1 never".to_owned());
        assert_eq!(told, Vec::from_iter(expected), "{oldest} {known:?}");
    }
}

/// Else what a drill found wrong would be told as resolved.
#[test]
fn whether_a_drill_is_for_a_volume_whose_instance_is_not_found_is_unknown() {
    let plan = "{name: daily, select: {tag: Backup}, exclude: {boot: true}, schedule: \"0 3 * * *\", keep: {last: 3}}";
    let drill = "{name: weekly, schedule: \"0 4 * * SUN\"}";
    let policy = parse(&format!("{plan}\n  drills: [{drill}]")).unwrap();
    let mut facts = backed_up(&["vol-1"]);
    let volume = attached("vol-1", "i-1", "/dev/sdf");
    facts.volumes.insert(volume.id.clone(), volume);
    ended(&mut facts, Ended::Failed("it is broken".to_owned()), 1);
    let evaluation = evaluate(&facts, &policy, at(NOW));
    assert!(evaluation.rounds[0].turn.is_empty(), "it is never tried");
    let told = report(&evaluation, &[]).conditions;
    for kind in [&PROOF_FAILED, &PROOF_STALE] {
        let mut of_kind = told.iter().filter(|c| c.kind == kind);
        assert!(
            of_kind.any(|c| c.status == Status::Unknown && c.why.contains("instance")),
            "{told:?}"
        );
    }
    facts.complete = false;
    facts.drills.asked = Some(String::new());
    let detail = report(&evaluate(&facts, &policy, at(NOW)), &[]).detail;
    let stale = detail["proofs"][0]["stale"].as_str();
    assert!(stale.unwrap().contains("can't be told"), "{detail}");
}

/// Else an event would tell that a copy is proven again at which it hasn't looked.
#[test]
fn a_look_at_one_region_resolves_nothing_that_a_drill_found_in_another() {
    let mut facts = known_since(backed_up(&["vol-1"]), 1);
    facts.complete = false;
    facts.elsewhere.clear();
    let there = "}, {name: there, schedule: \"0 4 * * SUN\", region: us-east-1";
    for (more, named) in [("", 2), (there, 0)] {
        let told = report(&evaluate(&facts, &drills(more), at(NOW)), &[]).conditions;
        let kinds = [&PROOF_FAILED, &PROOF_STALE];
        let of_drills = told.iter().filter(|c| kinds.contains(&c.kind));
        assert_eq!(of_drills.count(), named, "{told:?}");
    }
}

/// Else one that is left behind would be told as gone.
#[test]
fn a_volume_where_nobody_can_look_is_unknown() {
    let mut facts = going(restore(), vec![]);
    let made = Err(unreadable());
    facts.drills.made.insert(HOME.to_owned(), made);
    let told = conditions_of(&facts);
    let mut left = told.iter().filter(|c| c.kind == &DRILL_LEFT_BEHIND);
    assert!(
        left.any(|c| c.status == Status::Unknown && c.resource.name() == "vol-9"),
        "{told:?}"
    );
}

fn ended(facts: &mut Facts, ended: Ended, hours_ago: i64) {
    let when = at(NOW) - SignedDuration::from_hours(hours_ago);
    let record = proven_days_ago(9).settled(Way::Blocks, "snap-1", ended, when);
    remember(facts, HOME, "vol-1", record);
}

#[test]
fn what_people_read_of_drills() {
    let mut texts = Vec::new();
    let mut facts = known_since(backed_up(&["vol-1"]), 40);
    texts.extend(firing(&facts));
    ended(
        &mut facts,
        Ended::Failed("the disk is empty: snap-1 holds no block at all".to_owned()),
        1,
    );
    texts.extend(firing(&facts));
    // Not known isn't failed; it is told when it lasts.
    let denied = || {
        Ended::Untried(
            "ebs:GetSnapshotBlock failed".to_owned(),
            SignedDuration::ZERO,
        )
    };
    ended(&mut facts, denied(), 23);
    assert!(firing(&facts).is_empty());
    ended(&mut facts, denied(), 25);
    texts.extend(firing(&facts));
    let mut attached = made("in-use");
    attached.attached = Some("i-1".to_owned());
    texts.extend(firing(&going(restore(), vec![attached])));
    let refused = crate::facts::drills::Restore {
        refused: Some("ec2:DeleteVolume failed with UnauthorizedOperation".to_owned()),
        ..restore()
    };
    texts.extend(firing(&going(refused, vec![made("available")])));
    let mut old = restore();
    old.begun = at("2026-11-20T09:00:00Z");
    texts.extend(firing(&going(old, vec![made("creating")])));
    assert!(firing(&going(restore(), vec![made("creating")])).is_empty());
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_this_run_wrote_down_is_what_counts() {
    let facts = going(restore(), vec![]);
    let policy = drills("");
    let evaluation = evaluate(&facts, &policy, at(NOW));
    let decisions = crate::decide::decide(&evaluation);
    let action = decisions.iter().find_map(|decision| match &decision.step {
        guardrails::guardrail::Step::Act(action @ Action::Drill(_)) => Some(action),
        _ => None,
    });
    let failed = Record::default().settled(
        Way::Volume,
        "snap-1",
        Ended::Failed("it is broken".to_owned()),
        at(NOW),
    );
    let effect = Effect::Drilled(Box::new(failed));
    let settled = [Settled {
        action: action.unwrap(),
        outcome: guardrails::report::Outcome::Done,
        note: None,
        effect: Some(&effect),
    }];
    let told = report(&evaluation, &settled).conditions;
    assert!(
        told.iter()
            .any(|c| c.kind == &PROOF_FAILED && c.why.contains("it is broken"))
    );
}

#[test]
fn a_region_that_can_not_be_read_resolves_nothing() {
    let mut facts = backed_up(&["vol-1"]);
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    let policy = drills(", region: us-east-1");
    let assessment = report(&evaluate(&facts, &policy, at(NOW)), &[]);
    let Coverage::All { kinds, .. } = assessment.coverage else {
        panic!("all");
    };
    assert!(!kinds.contains(&&PROOF_FAILED) && !kinds.contains(&&PROOF_STALE));
    let Coverage::All { kinds, .. } = assessed(&facts).coverage else {
        panic!("all");
    };
    assert!(kinds.contains(&&PROOF_FAILED) && kinds.contains(&&PROOF_STALE));
}

#[test]
fn an_auditor_gets_the_table_and_explain_shows_a_volumes_part() {
    let mut facts = known_since(backed_up(&["vol-1", "vol-2"]), 40);
    remember(&mut facts, HOME, "vol-1", proven_days_ago(3));
    remember(&mut facts, HOME, "vol-7", proven_days_ago(300));
    facts.complete = false;
    let explained = &assessed(&facts).detail["volumes"]["vol-1"]["drills"];
    assert_eq!(explained[0]["proven"]["snapshot"], "snap-0");
    facts.drills.asked = Some(String::new());
    insta::assert_json_snapshot!(assessed(&facts).detail);
    facts.drills.asked = Some("weekly/eu-central-1/vol-2".to_owned());
    let rest = assessed(&facts).detail;
    assert_eq!(rest["proofs"].as_array().map(Vec::len), Some(1), "{rest}");
}
