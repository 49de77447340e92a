use super::*;
use crate::decide::tests::{at, attached, daily, facts, snapshot, volume};
use guardrails::finding::News;
use jiff::SignedDuration;

const NOW: &str = "2026-11-21T10:00:00Z";
const TODAY: &str = "2026-11-21T03:00:00Z";

fn assessed(facts: &Facts, now: &str) -> Assessment {
    assess(facts, &daily("{last: 3}"), at(now), &[])
}

fn kinds(assessment: &Assessment) -> Vec<(&str, &str)> {
    let all = assessment.findings.iter();
    all.map(|f| (f.resource.as_str(), f.kind.name)).collect()
}

fn metric(assessment: &Assessment, name: &str) -> u64 {
    assessment
        .metrics
        .iter()
        .find(|m| m.name == name)
        .unwrap()
        .value
}

/// Runs `decide`, lets every creation come out as `outcome`, and assesses.
fn after(facts: &Facts, now: &str, outcome: Outcome, note: Option<&str>) -> Assessment {
    let policy = daily("{last: 3}");
    let decisions = decide::decide(facts, &policy, at(now));
    let actions: Vec<Action> = decisions.into_iter().filter_map(|d| d.step).collect();
    let settled: Vec<_> = actions
        .iter()
        .map(|action| Settled {
            action,
            outcome,
            note,
        })
        .collect();
    assess(facts, &policy, at(now), &settled)
}

#[test]
fn fresh_until_the_next_slot_and_its_grace_are_over() {
    let world = facts(
        vec![volume("vol-1")],
        vec![snapshot(
            "snap-1",
            "vol-1",
            "2026-11-20T03:00:00Z",
            State::Completed,
        )],
    );
    // The next slot was on the 21st at 03:00; six hours of grace.
    for (now, stale) in [
        ("2026-11-21T02:59:00Z", false),
        ("2026-11-21T09:00:00Z", false),
        ("2026-11-21T09:00:01Z", true),
    ] {
        let assessment = assessed(&world, now);
        assert_eq!(!assessment.findings.is_empty(), stale, "{now}");
        assert_eq!(
            metric(&assessment, "VolumesStale"),
            u64::from(stale),
            "{now}"
        );
    }
}

#[test]
fn a_snapshot_under_way_is_waited_for_but_not_for_ever() {
    let mut pending = snapshot("snap-1", "vol-1", TODAY, State::Pending);
    pending.started = at(TODAY);
    let world = facts(vec![volume("vol-1")], vec![pending]);
    assert_eq!(kinds(&assessed(&world, "2026-11-21T09:00:00Z")), []);
    assert_eq!(
        kinds(&assessed(&world, "2026-11-21T09:00:01Z")),
        [("vol-1", "stale")]
    );
}

#[test]
fn on_the_first_day_nobody_is_alarmed_about_what_is_being_made() {
    let world = facts(vec![volume("vol-1")], vec![]);
    assert_eq!(kinds(&after(&world, NOW, Outcome::Done, None)), []);
    let failed = after(
        &world,
        NOW,
        Outcome::Failed,
        Some("ec2:CreateSnapshot failed with X"),
    );
    assert_eq!(kinds(&failed), [("vol-1", "stale")]);
    assert!(
        failed.findings[0]
            .text
            .contains("ec2:CreateSnapshot failed with X")
    );
    let left = after(&world, NOW, Outcome::Left, None);
    assert!(
        left.findings[0].text.contains("no time left"),
        "{:?}",
        left.findings
    );
    let mut young = world;
    young.volumes.get_mut("vol-1").unwrap().created = at(NOW) - SignedDuration::from_hours(1);
    assert_eq!(kinds(&after(&young, NOW, Outcome::Failed, None)), []);
}

#[test]
fn what_was_told_stands_until_a_snapshot_is_completed() {
    let mut world = facts(vec![volume("vol-1")], vec![]);
    let tag = (STALE.tag(), "daily never".to_owned());
    world.volumes.get_mut("vol-1").unwrap().tags.push(tag);
    let made = after(&world, NOW, Outcome::Done, None);
    assert_eq!(kinds(&made), [("vol-1", "stale")]);
    assert_eq!(made.told.len(), 1);
    assert_eq!(
        made.findings[0].state, made.told[0].state,
        "told before: nothing new"
    );
    let completed = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    world.snapshots.push(completed);
    let cured = assessed(&world, NOW);
    assert_eq!((cured.findings.len(), cured.told.len()), (0, 1));
}

#[test]
fn a_failed_snapshot_is_a_finding_until_a_later_one_is_completed() {
    let reason =
        "Given key ID is not accessible. You must have DescribeKey permissions on the default CMK.";
    let failed = snapshot("snap-1", "vol-1", TODAY, State::Error(reason.to_owned()));
    let mut named = volume("vol-1");
    named
        .tags
        .push(("Name".to_owned(), "data of web-1".to_owned()));
    let mut world = facts(vec![named], vec![failed.clone()]);
    let assessment = assessed(&world, "2026-11-21T03:20:00Z");
    assert_eq!(kinds(&assessment).last(), Some(&("vol-1", "failed")));
    insta::assert_snapshot!(assessment.findings.last().unwrap().text);
    assert_eq!(metric(&assessment, "VolumesFailing"), 1);

    let mut retry = snapshot("snap-2", "vol-1", TODAY, State::Pending);
    retry.attempt = 2;
    world.snapshots.push(retry);
    assert!(
        kinds(&assessed(&world, NOW)).contains(&("vol-1", "failed")),
        "the retry may fail too"
    );
    world.snapshots[1].state = State::Completed;
    assert_eq!(kinds(&assessed(&world, NOW)), []);
}

#[test]
fn one_finding_for_a_volume_however_many_plans_have_it() {
    let policy = guardrails::policy::parse::<Policy>(
        r#"
snapshot-volumes:
  plans:
    - {name: a, select: {all: true}, schedule: "0 3 * * *", keep: {last: 1}}
    - {name: b, select: {all: true}, schedule: "0 4 * * *", keep: {last: 1}}
"#,
        crate::NAME,
    )
    .unwrap();
    let world = facts(vec![volume("vol-1")], vec![]);
    let assessment = assess(&world, &policy, at(NOW), &[]);
    assert_eq!(kinds(&assessment), [("vol-1", "stale")]);
    assert_eq!(assessment.findings[0].state, "a never; b never");
}

#[test]
fn the_numbers_of_a_small_account() {
    let mut untagged = volume("vol-2");
    untagged.tags.clear();
    let mut snapshots = vec![
        snapshot("snap-1", "vol-1", TODAY, State::Completed),
        snapshot("snap-2", "vol-3", "2026-11-20T03:00:00Z", State::Completed),
        snapshot("snap-3", "vol-gone", TODAY, State::Completed),
    ];
    snapshots[1].started = at("2026-11-20T10:00:00Z");
    let world = facts(
        vec![
            volume("vol-1"),
            untagged,
            attached("vol-3", "i-1", "/dev/xvda"),
        ],
        snapshots,
    );
    let assessment = assessed(&world, NOW);
    assert_eq!(assessment.considered, 3);
    for (name, value) in [
        ("VolumesSelected", 2),
        ("VolumesUnselected", 1),
        ("VolumesStale", 1),
        ("VolumesFailing", 0),
        ("OldestSnapshotAgeSeconds", 86_400),
        ("SnapshotsOwned", 3),
        ("SnapshotsOrphaned", 1),
    ] {
        assert_eq!(metric(&assessment, name), value, "{name}");
    }
}

#[test]
fn the_brake_is_told_once_and_remembered_on_the_oldest_snapshot() {
    let mut snapshots: Vec<Snapshot> = (0..40)
        .map(|day| {
            let slot = at(TODAY) - SignedDuration::from_hours(24 * day);
            snapshot(
                &format!("snap-{day:02}"),
                "vol-1",
                &slot.to_string(),
                State::Completed,
            )
        })
        .collect();
    let world = facts(vec![volume("vol-1")], snapshots.clone());
    let assessment = assessed(&world, NOW);
    assert_eq!(kinds(&assessment), [("snap-39", "brake")]);
    insta::assert_snapshot!(assessment.findings[0].text);
    snapshots[39].told_brake = Some("holds".to_owned());
    let world = facts(vec![volume("vol-1")], snapshots);
    let again = assessed(&world, NOW);
    assert!(guardrails::finding::news(&again.findings, &again.told).is_empty());
}

#[test]
fn explain_tells_plans_slots_and_snapshots() {
    let mut world = facts(
        vec![attached("vol-1", "i-1", "/dev/xvda")],
        vec![snapshot("snap-1", "vol-1", TODAY, State::Completed)],
    );
    world.complete = false;
    insta::assert_json_snapshot!(assessed(&world, NOW).detail);
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let named = |id: &str, name: &str| {
        let mut one = volume(id);
        one.tags.push(("Name".to_owned(), name.to_owned()));
        one
    };
    let reason =
        "Client error occurred: the KMS key is disabled (Client.InvalidKMSKey.InvalidState)";
    let db = "vol-0d1f2e3c4b5a69788";
    let failed = snapshot(
        "snap-0f1e2d3c4b5a69788",
        db,
        TODAY,
        State::Error(reason.to_owned()),
    );
    let failed = assessed(
        &facts(vec![named(db, "db data")], vec![failed]),
        "2026-11-21T03:20:00Z",
    );
    let refused = "ec2:CreateSnapshot failed with SnapshotLimitExceeded: too many snapshots";
    let one = facts(vec![named(db, "db data")], vec![]);
    let one = after(&one, NOW, Outcome::Failed, Some(refused));
    let mut fifty: Vec<Volume> = (0..49)
        .map(|n| volume(&format!("vol-0a{n:015x}")))
        .collect();
    fifty.push(named(db, "db data"));
    let old = snapshot(
        "snap-0f1e2d3c4b5a69788",
        db,
        "2026-11-18T03:00:00Z",
        State::Completed,
    );
    let fifty = after(
        &facts(fifty, vec![old]),
        NOW,
        Outcome::Failed,
        Some(refused),
    );
    let snapshots: Vec<Snapshot> = (0..40)
        .map(|day| {
            let slot = at(TODAY) - SignedDuration::from_hours(24 * day);
            let id = format!("snap-0c{day:015x}");
            snapshot(&id, db, &slot.to_string(), State::Completed)
        })
        .collect();
    let brake = assessed(&facts(vec![named(db, "db data")], snapshots), NOW);
    let told = |kind: &'static Kind, resource: &str| Told {
        resource: resource.to_owned(),
        kind,
        state: "holds".to_owned(),
        gone: false,
    };
    let told = [
        told(&STALE, db),
        told(&STALE, "vol-0a000000000000001"),
        told(&FAILED, db),
        told(&BRAKE, "snap-0c000000000000027"),
    ];
    let of = |kind: &Kind, assessment: &Assessment| -> Vec<Finding> {
        let found = assessment.findings.iter().filter(|f| f.kind == kind);
        found.cloned().collect()
    };
    let findings = [
        of(&FAILED, &failed),
        of(&STALE, &one),
        of(&STALE, &fifty),
        of(&BRAKE, &brake),
    ];
    let mut each: Vec<Vec<News<'_>>> = findings
        .iter()
        .map(|some| some.iter().map(News::Stands).collect())
        .collect();
    each.push(told.iter().map(News::Cured).collect());
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, at(NOW), &each));
}
