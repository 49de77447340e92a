use super::*;
use crate::decide::decide;
use crate::decide::tests::{at, attached, daily, facts, plans, snapshot, volume};
use crate::evaluate::evaluate;
use crate::facts::{Disowned, Facts, Snapshot, State, Volume};
use guardrails::guardrail::Step;
use jiff::SignedDuration;

const NOW: &str = "2026-11-21T10:00:00Z";
const TODAY: &str = "2026-11-21T03:00:00Z";

fn assessed(facts: &Facts, now: &str) -> Assessment {
    report(&evaluate(facts, &daily("{last: 3}"), at(now)), &[])
}

/// What stands.
fn firing(assessment: &Assessment) -> Vec<&Condition> {
    let all = assessment.conditions.iter();
    all.filter(|c| c.status == Status::Firing).collect()
}

fn kinds(assessment: &Assessment) -> Vec<(&str, &str)> {
    of_status(assessment, Status::Firing)
}

fn of_status(assessment: &Assessment, status: Status) -> Vec<(&str, &str)> {
    let all = assessment.conditions.iter().filter(|c| c.status == status);
    all.map(|c| (c.resource.name(), c.kind.name)).collect()
}

fn metric(assessment: &Assessment, name: &str) -> u64 {
    assessment
        .metrics
        .iter()
        .find(|m| m.name == name)
        .unwrap()
        .value
}

/// Runs `decide`, lets every creation come out as `outcome`, and reports.
fn after(facts: &Facts, now: &str, outcome: Outcome, note: Option<&str>) -> Assessment {
    let policy = daily("{last: 3}");
    let evaluation = evaluate(facts, &policy, at(now));
    let decisions = decide(&evaluation);
    let actions: Vec<(Action, Option<Effect>)> = decisions
        .into_iter()
        .filter_map(|d| match d.step {
            Step::Act(action) => {
                let effect = (outcome == Outcome::Done).then(|| brought_about(&action));
                Some((action, effect))
            }
            _ => None,
        })
        .collect();
    let settled: Vec<_> = actions
        .iter()
        .map(|(action, effect)| Settled {
            action,
            outcome,
            note,
            effect: effect.as_ref(),
        })
        .collect();
    report(&evaluation, &settled)
}

fn brought_about(action: &Action) -> Effect {
    match action {
        Action::Copy(_) => Effect::Copied,
        Action::Drill(_) => Effect::Drilled(Box::default()),
        Action::Delete(_) => Effect::Deleted,
        Action::Create(create) => {
            Effect::Started(create.members.iter().map(|m| m.volume.clone()).collect())
        }
    }
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
        assert_eq!(!kinds(&assessment).is_empty(), stale, "{now}");
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
        firing(&failed)[0]
            .why
            .contains("ec2:CreateSnapshot failed with X")
    );
    let left = after(&world, NOW, Outcome::Left, None);
    assert!(
        firing(&left)[0].why.contains("no time left"),
        "{:?}",
        left.conditions
    );
    let mut young = world;
    young.volumes.get_mut("vol-1").unwrap().created = at(NOW) - SignedDuration::from_hours(1);
    assert_eq!(kinds(&after(&young, NOW, Outcome::Failed, None)), []);
}

/// While it isn't known how a snapshot ends, what people were notified of stands: no notice says
/// that a volume is fresh again before it is.
#[test]
fn an_overdue_volume_is_unknown_while_a_snapshot_is_under_way() {
    let mut world = facts(vec![volume("vol-1")], vec![]);
    let unknown = [("vol-1", "stale")];
    let made = after(&world, NOW, Outcome::Done, None);
    assert_eq!(kinds(&made), []);
    assert_eq!(of_status(&made, Status::Unknown), unknown);
    assert_eq!(metric(&made, "VolumesStale"), 0);

    let mut pending = snapshot("snap-1", "vol-1", TODAY, State::Pending);
    pending.started = at(NOW);
    world.snapshots.push(pending);
    assert_eq!(of_status(&assessed(&world, NOW), Status::Unknown), unknown);

    world.snapshots[0].state = State::Completed;
    assert_eq!(assessed(&world, NOW).conditions, []);
}

#[test]
fn a_mode_that_makes_no_snapshot_is_said() {
    let world = facts(vec![volume("vol-1")], vec![]);
    let kept = after(&world, NOW, Outcome::WouldDo, None);
    assert_eq!(kinds(&kept), [("vol-1", "stale")]);
    assert!(firing(&kept)[0].why.contains("`mode`"), "{kept:?}");
}

#[test]
fn a_failed_snapshot_stands_until_a_later_one_is_completed() {
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
    insta::assert_snapshot!(firing(&assessment).last().unwrap().text());
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
fn one_condition_for_a_volume_however_many_plans_have_it() {
    let policy = plans([("a", "0 3 * * *"), ("b", "0 4 * * *")]);
    let world = facts(vec![volume("vol-1")], vec![]);
    let assessment = report(&evaluate(&world, &policy, at(NOW)), &[]);
    assert_eq!(kinds(&assessment), [("vol-1", "stale")]);
    assert_eq!(assessment.conditions[0].fingerprint, "a never; b never");
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

// ---- what can't or may not be snapshotted, or deleted ----------------------------------------------

/// Its state once made it neither stale nor fresh: an all-clear for a volume that is lost.
#[test]
fn a_volume_in_ruins_is_said_with_its_state_and_its_newest_snapshot() {
    let made = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    let in_state = |state: &str, snapshots: Vec<Snapshot>, now: &str| {
        let mut odd = volume("vol-1");
        odd.state = state.to_owned();
        let assessment = assessed(&facts(vec![odd], snapshots), now);
        let stale = metric(&assessment, "VolumesStale");
        let stands = assessment.conditions.into_iter();
        let stands: Vec<_> = stands.filter(|c| c.kind.name == "stale").collect();
        (stands[0].status, stands[0].why.clone(), stale)
    };
    // In `error` nothing more comes; it is said at once.
    let (status, why, stale) = in_state("error", vec![made.clone()], NOW);
    assert_eq!((status, stale), (Status::Firing, 1));
    for part in ["in state `error`", "snap-1 of slot 2026-11-21 03:00 UTC"] {
        assert!(why.contains(part), "{why}");
    }
    // On its way out what was told stands, and what is overdue is.
    let (status, why, _) = in_state("deleting", vec![made.clone()], NOW);
    assert_eq!(status, Status::Unknown);
    assert!(
        why.contains("`deleting`; the newest completed snapshot is snap-1"),
        "{why}"
    );
    let (status, why, stale) = in_state("deleting", vec![made], "2026-11-23T10:00:00Z");
    assert_eq!((status, stale), (Status::Firing, 1));
    assert!(why.contains("in state `deleting`"), "{why}");
    let (status, why, _) = in_state("deleting", vec![], NOW);
    assert_eq!(status, Status::Firing);
    assert!(why.contains("no completed snapshot at all"), "{why}");
    // One that is only being made is nobody's loss.
    let (status, why, _) = in_state("creating", vec![], NOW);
    assert_eq!(status, Status::Unknown);
    assert!(why.contains("`creating`"), "{why}");
}

#[test]
fn a_volume_outside_the_region_is_told_by_name() {
    let mut odd = volume("vol-1");
    odd.outside = Some("in the Local Zone us-west-2-lax-1a".to_owned());
    let assessment = assessed(&facts(vec![odd], vec![]), NOW);
    assert_eq!(kinds(&assessment), [("vol-1", "stale")]);
    assert!(firing(&assessment)[0].why.contains("us-west-2-lax-1a"));
}

#[test]
fn an_archived_snapshot_is_not_fresh() {
    let mut archived = snapshot("snap-2", "vol-1", TODAY, State::Completed);
    archived.archived = true;
    let old = snapshot("snap-1", "vol-1", "2026-11-20T03:00:00Z", State::Completed);
    let world = facts(vec![volume("vol-1")], vec![old, archived]);
    let assessment = assessed(&world, NOW);
    assert_eq!(kinds(&assessment), [("vol-1", "stale")]);
    let why = &firing(&assessment)[0].why;
    assert!(
        why.contains("is snap-1 of slot 2026-11-20") && why.contains("snap-2 is archived"),
        "{why}"
    );
}

#[test]
fn a_failed_second_snapshot_of_a_slot_is_no_failure() {
    let first = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    let mut second = snapshot("snap-2", "vol-1", TODAY, State::Error("x".to_owned()));
    second.started = first.started + SignedDuration::from_secs(60);
    let mut world = facts(vec![volume("vol-1")], vec![first, second]);
    assert_eq!(kinds(&assessed(&world, NOW)), []);
    // Nor while it isn't known how the first ends; a try after a failure doesn't undo that.
    world.snapshots[0].state = State::Pending;
    assert_eq!(kinds(&assessed(&world, "2026-11-21T03:10:00Z")), []);
    world.snapshots[0].attempt = 2;
    assert_eq!(
        kinds(&assessed(&world, "2026-11-21T03:10:00Z")),
        [("vol-1", "failed")]
    );
}

#[test]
fn what_may_not_be_deleted_stands_as_long_as_it_is_to_be() {
    let policy = daily("{last: 3}");
    let mut world = facts(vec![volume("vol-1")], forty_days("snap-", "vol-1"));
    world.snapshots.truncate(4);
    let told = |world: &Facts, settled: &[Settled<'_, Action, Effect>]| {
        let assessment = report(&evaluate(world, &policy, at(NOW)), settled);
        let firing = assessment
            .conditions
            .into_iter()
            .filter(|c| c.kind.name == "undeletable");
        firing
            .map(|c| (c.resource.name().to_owned(), c.why))
            .collect::<Vec<_>>()
    };
    let action = Action::Delete(crate::action::Delete {
        region: None,
        snapshot: "snap-03".to_owned(),
        keeper: None,
        known_refused: false,
    });
    let settled = |outcome, effect| Settled {
        action: &action,
        outcome,
        note: None,
        effect,
    };
    let denied = Effect::Refused("by an SCP".to_owned());
    let here = told(&world, &[settled(Outcome::Failed, Some(&denied))]);
    assert_eq!(here, [("snap-03".to_owned(), "by an SCP".to_owned())]);

    let refusal = |unmeant| crate::facts::Refusal {
        why: "by an SCP".to_owned(),
        unmeant,
        again: at(NOW) + SignedDuration::from_hours(1),
    };
    world.refused.insert("snap-03".to_owned(), refusal(true));
    assert_eq!(
        told(&world, &[]),
        here,
        "the same words, so it isn't told twice"
    );
    assert_eq!(
        told(&world, &[settled(Outcome::Done, Some(&Effect::Deleted))]),
        []
    );
    world.refused.insert("snap-03".to_owned(), refusal(false));
    assert_eq!(told(&world, &[]), [], "locked ones are somebody's will");
    world.refused.insert("snap-03".to_owned(), refusal(true));
    world.snapshots.pop();
    assert_eq!(told(&world, &[]), []);
}

#[test]
fn snapshots_of_plans_that_are_gone_are_shown_with_what_to_do() {
    let mut snapshots = forty_days("snap-", "vol-1");
    snapshots.truncate(3);
    for snapshot in &mut snapshots[1..] {
        snapshot.plan = "former".into();
    }
    let mut world = facts(vec![volume("vol-1")], snapshots);
    let assessment = assessed(&world, NOW);
    assert_eq!(kinds(&assessment), [("account", "planless")]);
    let condition = firing(&assessment)[0];
    assert_eq!(
        condition.why,
        "plan former: 2 snapshots of 1 volumes, the newest of slot 2026-11-20T03:00:00Z"
    );
    assert!(condition.kind.next.contains("`formerly`"));
    world.complete = false;
    let detail = assessed(&world, NOW).detail;
    let shown = &detail["volumes"]["vol-1"]["plans-that-are-gone"];
    assert_eq!(
        *shown,
        serde_json::json!({"former": ["snap-02", "snap-01"]})
    );
}

fn forty_days(prefix: &str, volume: &str) -> Vec<Snapshot> {
    (0..40)
        .map(|day| {
            let slot = at(TODAY) - SignedDuration::from_hours(24 * day);
            let id = format!("{prefix}{day:02}");
            snapshot(&id, volume, &slot.to_string(), State::Completed)
        })
        .collect()
}

#[test]
fn the_deletion_limit_is_the_accounts_and_worth_telling_once() {
    let mut snapshots = forty_days("snap-", "vol-1");
    let assessment = assessed(&facts(vec![volume("vol-1")], snapshots.clone()), NOW);
    assert_eq!(kinds(&assessment), [("account", "deletion-limit")]);
    insta::assert_snapshot!(assessment.conditions[0].text());
    snapshots.pop();
    let again = assessed(&facts(vec![volume("vol-1")], snapshots), NOW);
    assert_ne!(again.conditions[0].why, assessment.conditions[0].why);
    assert_eq!(
        again.conditions[0].fingerprint,
        assessment.conditions[0].fingerprint
    );
}

// ---- what isn't named ----------------------------------------------------------------------------

#[test]
fn a_sweep_covers_all_that_is_there() {
    let mut creating = volume("vol-creating");
    creating.state = "creating".to_owned();
    let mut world = facts(
        vec![volume("vol-1"), creating],
        vec![
            snapshot("snap-1", "vol-1", TODAY, State::Completed),
            snapshot("snap-2", "vol-gone", TODAY, State::Completed),
        ],
    );
    world.disowned.push(disowned("snap-3"));
    let Coverage::All { kinds, present } = assessed(&world, NOW).coverage else {
        panic!("a sweep looks at everything");
    };
    assert_eq!(kinds, KINDS);
    let mut present: Vec<&str> = present.iter().map(Resource::name).collect();
    present.sort_unstable();
    let expected = [
        "account",
        "snap-1",
        "snap-2",
        "snap-3",
        "vol-1",
        "vol-creating",
    ];
    assert_eq!(present, expected);
    world.complete = false;
    assert_eq!(assessed(&world, NOW).coverage, Coverage::Named);
}

#[test]
fn what_a_run_has_deleted_is_gone() {
    let mut snapshots = forty_days("snap-", "vol-1");
    snapshots.truncate(5);
    let world = facts(vec![volume("vol-1")], snapshots);
    for (outcome, left) in [
        (Outcome::Done, 3),
        (Outcome::WouldDo, 5),
        (Outcome::Failed, 5),
    ] {
        let Coverage::All { present, .. } = after(&world, NOW, outcome, None).coverage else {
            panic!("a sweep looks at everything");
        };
        let snapshots = present
            .iter()
            .filter(|one| matches!(one, Resource::Snapshot(_)));
        assert_eq!(snapshots.count(), left, "{outcome:?}");
    }
}

#[test]
fn a_look_at_one_volume_says_what_it_has_seen() {
    let completed = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    let mut world = facts(vec![volume("vol-1")], vec![completed]);
    world.complete = false;
    let both = [("vol-1", "stale"), ("vol-1", "failed")];
    assert_eq!(of_status(&assessed(&world, NOW), Status::Resolved), both);
    world.snapshots.clear();
    let stale = assessed(&world, NOW);
    assert_eq!(kinds(&stale), [("vol-1", "stale")]);
    assert_eq!(of_status(&stale, Status::Resolved), [("vol-1", "failed")]);
}

#[test]
fn a_volume_in_no_state_for_snapshots_is_unknown_where_a_plan_wants_it() {
    let mut world = facts(vec![volume("vol-1")], vec![]);
    let both = [("vol-1", "stale"), ("vol-1", "failed")];
    let one = world.volumes.get_mut("vol-1").unwrap();
    one.state = "creating".to_owned();
    assert_eq!(of_status(&assessed(&world, NOW), Status::Unknown), both);
    world.volumes.get_mut("vol-1").unwrap().tags.clear();
    assert_eq!(assessed(&world, NOW).conditions, []);
}

#[test]
fn a_volume_that_may_be_a_root_volume_is_unknown() {
    let policy = crate::policy::tests::parse(
        "{name: daily, select: {tag: Backup}, exclude: {boot: true}, schedule: \"0 3 * * *\", keep: {last: 1}}",
    )
    .unwrap();
    let mut world = facts(vec![attached("vol-1", "i-1", "/dev/sdf")], vec![]);
    let told = |world: &Facts, status| {
        let assessment = report(&evaluate(world, &policy, at(NOW)), &[]);
        of_status(&assessment, status).len()
    };
    assert_eq!(told(&world, Status::Firing), 1);
    world.instances.clear();
    assert_eq!(
        (told(&world, Status::Firing), told(&world, Status::Unknown)),
        (0, 2)
    );
    world.volumes.get_mut("vol-1").unwrap().tags.clear();
    assert_eq!(
        (told(&world, Status::Firing), told(&world, Status::Unknown)),
        (0, 0)
    );
}

fn disowned(id: &str) -> Disowned {
    Disowned {
        id: id.to_owned(),
        volume: "vol-1".to_owned(),
        why: "its tag ec2-guardrails:plan (\"daily\") is gone".to_owned(),
    }
}

#[test]
fn a_disowned_snapshot_is_told_of_every_look() {
    let mut world = facts(vec![volume("vol-1")], vec![]);
    world.disowned.push(disowned("snap-3"));
    for complete in [true, false] {
        world.complete = complete;
        let told = after(&world, NOW, Outcome::Done, None);
        assert_eq!(kinds(&told), [("snap-3", "disowned")]);
    }
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
    let snapshots = forty_days("snap-0c0000000000000", db);
    let limit = assessed(&facts(vec![named(db, "db data")], snapshots), NOW);
    let mut tagged = facts(vec![named(db, "db data")], vec![]);
    tagged.disowned.push(disowned("snap-0c0000000000000a1"));
    tagged.disowned.push(disowned("snap-0c0000000000000a2"));
    let tagged = assessed(&tagged, NOW);
    let of = |kind: &'static Kind, assessment: &Assessment| -> Vec<Condition> {
        let found = firing(assessment).into_iter().filter(|c| c.kind == kind);
        found.cloned().collect()
    };
    let resolved = [
        (Resource::volume(db), &STALE),
        (Resource::volume("vol-0a000000000000001"), &STALE),
        (Resource::volume(db), &FAILED),
        (Resource::Account, &DELETION_LIMIT),
        (
            Resource::Snapshot("snap-0c0000000000000a1".to_owned()),
            &DISOWNED,
        ),
    ];
    let each = [
        of(&FAILED, &failed),
        of(&STALE, &one),
        of(&STALE, &fifty),
        of(&DELETION_LIMIT, &limit),
        of(&DISOWNED, &tagged),
        resolved
            .map(|(of, kind)| Condition::resolved(of, kind))
            .to_vec(),
    ];
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, at(NOW), &each));
}
