use std::collections::BTreeSet;

use super::*;
use crate::action::Delete;
use crate::decide::decide;
use crate::decide::tests::{at, attached, facts, snapshot, volume};
use crate::evaluate::{Freshness, evaluate};
use crate::facts::{Copied, Elsewhere, State, Try, try_name};
use crate::policy::Policy;
use crate::policy::tests::parse;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::guardrail::Step;
use jiff::SignedDuration;
use proptest::prelude::*;

pub(crate) const THERE: &str = "us-east-1";
const NOW: &str = "2026-11-21T10:00:00Z";
const TODAY: &str = "2026-11-21T03:00:00Z";
const YESTERDAY: &str = "2026-11-20T03:00:00Z";

/// Daily at 03:00 UTC, three of each; copies to [`THERE`].
pub(crate) fn copied(copying: &str) -> Policy {
    parse(&format!(
        "{{name: daily, select: {{tag: Backup}}, schedule: \"0 3 * * *\", keep: {{last: 3}}, copies: [{{region: {THERE}, {copying}}}]}}"
    ))
    .unwrap()
}

pub(crate) fn slot(days_ago: i64) -> String {
    (at(TODAY) - SignedDuration::from_hours(24 * days_ago)).to_string()
}

/// A copy of `source`.
pub(crate) fn copy(id: &str, of: &Snapshot, state: State) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        state,
        started: of.started + SignedDuration::from_mins(30),
        copy: Some(Box::new(Copied {
            source: of.id.clone(),
            key: "key-1".to_owned(),
            gib: 100,
        })),
        ..of.clone()
    }
}

/// What is carried out.
pub(crate) fn asked() -> CopyTo {
    CopyTo {
        region: THERE.to_owned(),
        plan: "daily".to_owned(),
        slot: at(TODAY),
        attempt: 1,
        volume: "vol-1".to_owned(),
        source: "snap-1".to_owned(),
        key: Some("alias/backup".to_owned()),
        tags: vec![("a".to_owned(), "b".to_owned())],
        description: "d".to_owned(),
    }
}

/// What lies here, and there.
pub(crate) fn two_regions(volumes: &[&str], here: Vec<Snapshot>, copies: Vec<Snapshot>) -> Facts {
    let mut facts = facts(volumes.iter().map(|id| volume(id)).collect(), here);
    facts.region = "eu-central-1".to_owned();
    let there = Elsewhere {
        copies,
        ..Elsewhere::default()
    };
    facts.elsewhere.insert(THERE.to_owned(), Ok(there));
    facts
}

fn completed(id: &str, volume: &str, days_ago: i64) -> Snapshot {
    snapshot(id, volume, &slot(days_ago), State::Completed)
}

fn error() -> State {
    State::Error("Given key ID is not accessible".to_owned())
}

fn there(facts: &mut Facts) -> &mut Elsewhere {
    facts.elsewhere.get_mut(THERE).unwrap().as_mut().unwrap()
}

pub(crate) fn unreadable() -> ApiError {
    ApiError {
        operation: "ec2:DescribeSnapshots",
        code: "Timeout".to_owned(),
        message: "no answer".to_owned(),
        kind: ErrorKind::Unknown,
    }
}

fn decided(facts: &Facts, policy: &Policy) -> Vec<Decision<Action>> {
    decide(&evaluate(facts, policy, at(NOW)))
}

fn copies_of(decisions: &[Decision<Action>]) -> Vec<&CopyTo> {
    let copies = decisions.iter().filter_map(|d| match &d.step {
        Step::Act(Action::Copy(copy)) => Some(copy),
        _ => None,
    });
    copies.collect()
}

fn sources(facts: &Facts, copying: &str) -> Vec<String> {
    let decisions = decided(facts, &copied(copying));
    let copies = copies_of(&decisions);
    copies.iter().map(|copy| copy.source.clone()).collect()
}

fn deleted(decisions: &[Decision<Action>], there: bool) -> Vec<&Delete> {
    let deletions = decisions.iter().filter_map(|d| match &d.step {
        Step::Act(Action::Delete(delete)) => Some(delete),
        _ => None,
    });
    let deletions = deletions.filter(|delete| delete.region.is_some() == there);
    deletions.collect()
}

fn deleted_here(decisions: &[Decision<Action>]) -> Vec<&Delete> {
    deleted(decisions, false)
}

fn deleted_there(decisions: &[Decision<Action>]) -> Vec<&Delete> {
    deleted(decisions, true)
}

// ---- what is copied --------------------------------------------------------------------------------

#[test]
fn each_completed_snapshot_that_would_be_kept_there_is_copied_once() {
    let here: Vec<_> = (0..3)
        .map(|day| completed(&format!("snap-{day}"), "vol-1", day))
        .collect();
    let facts = two_regions(&["vol-1"], here.clone(), vec![]);
    // The newest first, and none that would be deleted again at once.
    assert_eq!(sources(&facts, "keep: {last: 1}"), ["snap-0"]);
    assert_eq!(sources(&facts, "keep: {last: 2}"), ["snap-0", "snap-1"]);
    // What failed, is under way or archived can't be copied.
    for state in [State::Pending, error()] {
        let mut here = here.clone();
        here[0].state = state;
        let facts = two_regions(&["vol-1"], here, vec![]);
        assert_eq!(sources(&facts, "keep: {last: 1}"), ["snap-1"]);
    }
    let mut archived = here.clone();
    archived[0].archived = true;
    let facts = two_regions(&["vol-1"], archived, vec![]);
    assert_eq!(sources(&facts, "keep: {last: 1}"), ["snap-1"]);
    // What is there, or under way, isn't made again; what failed is.
    for (state, expected) in [
        (State::Completed, vec!["snap-1"]),
        (State::Pending, vec!["snap-1"]),
        (error(), vec!["snap-0", "snap-1"]),
    ] {
        let made = copy("snap-c", &here[0], state.clone());
        let facts = two_regions(&["vol-1"], here.clone(), vec![made]);
        assert_eq!(sources(&facts, "keep: {last: 2}"), expected, "{state:?}");
    }
}

#[test]
fn a_slot_that_passed_without_a_copy_is_made_up_while_its_source_is_there() {
    let here = vec![
        completed("snap-0", "vol-1", 0),
        completed("snap-1", "vol-1", 1),
    ];
    let made = copy("snap-c", &here[0], State::Completed);
    // Also of a volume that is gone.
    for volumes in [&["vol-1"][..], &[]] {
        let facts = two_regions(volumes, here.clone(), vec![made.clone()]);
        assert_eq!(sources(&facts, "keep: {daily: 7}"), ["snap-1"]);
    }
}

#[test]
fn only_slots_that_leave_are_copied() {
    let here = vec![
        completed("snap-sat", "vol-1", 0),
        completed("snap-fri", "vol-1", 1),
        completed("snap-sun", "vol-1", 6),
    ];
    let facts = two_regions(&["vol-1"], here, vec![]);
    let sundays = "keep: {last: 9}, slots: \"0 12 * * SUN\"";
    assert_eq!(sources(&facts, sundays), ["snap-sun"]);
}

#[test]
fn a_copy_says_all_that_has_to_be_known_of_it() {
    let source = completed("snap-1", "vol-1", 0);
    let mut facts = two_regions(&[], vec![source], vec![]);
    let mut volume = attached("vol-1", "i-1", "/dev/sdf");
    volume.tags.push(("Team".to_owned(), "shop".to_owned()));
    facts.volumes.insert("vol-1".to_owned(), volume);
    let decisions = decided(&facts, &copied("key: alias/backup, keep: {last: 1}"));
    insta::assert_debug_snapshot!(copies_of(&decisions));
}

#[test]
fn a_failed_copy_is_made_again_in_growing_intervals() {
    let source = completed("snap-1", "vol-1", 0);
    for (attempt, minutes_ago, due) in
        [(1, 1, true), (2, 14, false), (2, 15, true), (9, 239, false)]
    {
        let mut failed = copy("snap-c", &source, error());
        failed.attempt = attempt;
        failed.started = at(NOW) - SignedDuration::from_mins(minutes_ago);
        let facts = two_regions(&["vol-1"], vec![source.clone()], vec![failed]);
        let decisions = decided(&facts, &copied("keep: {last: 1}"));
        let copies = copies_of(&decisions);
        assert_eq!(copies.len(), usize::from(due), "{attempt} {minutes_ago}");
        assert!(copies.iter().all(|copy| copy.attempt == attempt + 1));
    }
}

#[test]
fn what_was_asked_for_lately_is_not_asked_for_again() {
    let source = completed("snap-1", "vol-1", 0);
    for (refused, minutes, due) in [
        (None, 5, 0),
        (None, -1, 1),
        (Some("it is denied"), 30, 0),
        (Some("it is denied"), -1, 1),
    ] {
        let mut facts = two_regions(&["vol-1"], vec![source.clone()], vec![]);
        let begun = Try {
            refused: refused.map(str::to_owned),
            again: at(NOW) + SignedDuration::from_mins(minutes),
        };
        let name = try_name(THERE, "snap-1", 1);
        there(&mut facts).tries.insert(name, begun);
        let decisions = decided(&facts, &copied("keep: {last: 1}"));
        assert_eq!(copies_of(&decisions).len(), due, "{refused:?} {minutes}");
        if due == 0 {
            let told = &decisions.last().unwrap().reason;
            assert!(told.contains("snap-1 of vol-1 not before"), "{told}");
            assert!(told.contains(refused.unwrap_or_default()), "{told}");
        }
    }
}

#[test]
fn the_twenty_first_waits_and_starves_nobody() {
    // Thirty volumes with three snapshots each; the first ten have fresh copies of the newest.
    let ids: Vec<String> = (10..40).map(|n| format!("vol-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let of = |id: &str, day| completed(&format!("snap-{id}-{day}"), id, day);
    let here: Vec<_> = ids
        .iter()
        .flat_map(|id| (0..3).map(|day| of(id, day)))
        .collect();
    let made = ids[..10]
        .iter()
        .map(|id| copy(&format!("copy-{id}"), &of(id, 0), State::Completed));
    let pending = copy("copy-p", &of(ids[10], 0), State::Pending);
    let copies = made.chain([pending]).collect();
    let facts = two_regions(&ids, here, copies);
    let decisions = decided(&facts, &copied("keep: {last: 3}"));
    let copies = copies_of(&decisions);
    assert_eq!(copies.len(), 19, "one is under way");
    // Each volume without any copy comes first, with its newest snapshot.
    let newest = copies.iter().filter(|copy| copy.source.ends_with("-0"));
    assert_eq!(newest.count(), 19);
    let told = &decisions.last().unwrap().reason;
    // 30 * 3, less 10 there, one under way and 19 made now.
    assert!(told.contains("60 snapshots wait"), "{told}");
    assert!(told.contains("1 are under way"), "{told}");
}

#[test]
fn a_changed_key_is_told_before_with_the_size() {
    let here = vec![
        completed("snap-0", "vol-1", 0),
        completed("snap-1", "vol-1", 1),
    ];
    let made = copy("snap-c", &here[1], State::Completed);
    let facts = two_regions(&["vol-1"], here, vec![made]);
    let arn = "arn:aws:kms:us-east-1:123456789012:key/2";
    let decisions = decided(
        &facts,
        &copied(&format!("key: \"{arn}\", keep: {{last: 1}}")),
    );
    let told = &decisions.last().unwrap().reason;
    assert!(told.contains("whole volume, up to 100 GiB"), "{told}");
}

// ---- what isn't known --------------------------------------------------------------------------------

#[test]
fn an_unreadable_region_is_unknown_and_keeps_nothing_here_from_being_done() {
    let here = vec![completed("snap-1", "vol-1", 1)];
    let mut facts = two_regions(&["vol-1"], here, vec![]);
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    let decisions = decided(&facts, &copied("keep: {last: 1}"));
    let created = |d: &Decision<Action>| matches!(d.step, Step::Act(Action::Create(_)));
    assert!(decisions.iter().any(created));
    assert!(copies_of(&decisions).is_empty());
    let told = |d: &&Decision<Action>| matches!(d.step, Step::CannotJudge(_));
    let told: Vec<_> = decisions.iter().filter(told).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].reason.contains(THERE));
}

#[test]
fn what_the_stack_forbids_is_told_and_not_done() {
    let here = (0..5).map(|day| completed(&format!("snap-{day}"), "vol-1", day));
    let mut facts = two_regions(&["vol-1"], here.collect(), vec![]);
    let forbidden = &mut there(&mut facts).forbidden;
    forbidden.insert("daily".to_owned(), unreadable());
    let decisions = decided(&facts, &copied("keep: {last: 9}"));
    assert!(copies_of(&decisions).is_empty());
    // They are copied once the stack lets the plan.
    assert!(deleted_here(&decisions).is_empty());
    assert!(matches!(decisions[0].step, Step::CannotJudge(_)));
}

// ---- what goes ----------------------------------------------------------------------------------------

#[test]
fn copies_go_by_their_own_keep_and_never_the_newest_completed() {
    let of = |id: &str, day| copy(id, &completed("snap-x", "vol-1", day), State::Completed);
    let mut copies: Vec<_> = (0..4).map(|day| of(&format!("copy-{day}"), day)).collect();
    // Whether or not anything is left here.
    for volumes in [&["vol-1"][..], &[]] {
        let mut facts = two_regions(volumes, vec![], copies.clone());
        facts
            .gone
            .extend((volumes.is_empty()).then(|| "vol-1".to_owned()));
        let decisions = decided(&facts, &copied("keep: {last: 2}"));
        let mut gone: Vec<_> = deleted_there(&decisions);
        gone.sort_by(|one, other| one.snapshot.cmp(&other.snapshot));
        let gone: Vec<_> = gone
            .iter()
            .map(|d| {
                (
                    d.snapshot.as_str(),
                    d.region.as_deref(),
                    d.keeper.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            gone,
            [
                ("copy-2", Some(THERE), Some("copy-0")),
                ("copy-3", Some(THERE), Some("copy-0"))
            ]
        );
    }
    // A newer one that isn't completed keeps none.
    copies[0].state = State::Pending;
    let facts = two_regions(&[], vec![], copies);
    let decisions = decided(&facts, &copied("keep: {last: 1}"));
    let gone: Vec<_> = deleted_there(&decisions);
    assert!(
        gone.iter().all(|d| d.keeper.as_deref() == Some("copy-1")),
        "{gone:?}"
    );
    assert_eq!(gone.len(), 2);
}

#[test]
fn orphans_after_is_no_matter_of_copies() {
    let old = copy(
        "copy-1",
        &completed("snap-x", "vol-1", 400),
        State::Completed,
    );
    let mut facts = two_regions(&[], vec![], vec![old]);
    facts.gone.insert("vol-1".to_owned());
    let mut policy = copied("keep: {last: 2}");
    policy.orphans_after = Some(guardrails::policy::Age::from_hours(24));
    assert!(deleted_there(&decided(&facts, &policy)).is_empty());
}

#[test]
fn the_deletion_limit_holds_in_each_region_by_itself() {
    let copies: Vec<_> = (0..40)
        .map(|day| {
            copy(
                &format!("copy-{day}"),
                &completed("snap-x", "vol-1", day),
                State::Completed,
            )
        })
        .collect();
    let facts = two_regions(&[], vec![], copies);
    let decisions = decided(&facts, &copied("keep: {last: 2}"));
    assert!(deleted_there(&decisions).is_empty());
    let told = &decisions.last().unwrap().reason;
    assert!(told.contains("38 of 40 copies in us-east-1"), "{told}");
}

#[test]
fn copies_of_plans_that_do_not_go_there_any_more_are_kept() {
    let mut other = copy("copy-1", &completed("snap-x", "vol-1", 9), State::Completed);
    other.plan = std::sync::Arc::from("gone");
    let facts = two_regions(&[], vec![], vec![other]);
    let policy = copied("keep: {last: 1}");
    assert!(deleted_there(&decided(&facts, &policy)).is_empty());
    let evaluation = evaluate(&facts, &policy, at(NOW));
    assert_eq!(evaluation.elsewhere[0].planless["gone"].len(), 1);
}

#[test]
fn a_snapshot_that_is_being_copied_stays_here() {
    let here: Vec<_> = (0..5)
        .map(|day| completed(&format!("snap-{day}"), "vol-1", day))
        .collect();
    let pending = copy("copy-4", &here[4], State::Pending);
    let gone = |facts: &Facts, keep: &str| {
        let decisions = decided(facts, &copied(keep));
        let gone = deleted_here(&decisions).into_iter();
        gone.map(|d| d.snapshot.clone()).collect::<Vec<_>>()
    };
    let mut facts = two_regions(&["vol-1"], here.clone(), vec![pending]);
    // Nor does one that is about to be, or was asked for just now.
    assert_eq!(gone(&facts, "keep: {last: 9}"), [""; 0]);
    // Over there nobody wants snap-3.
    assert_eq!(gone(&facts, "keep: {last: 1}"), ["snap-3"]);
    let mut begun = Try {
        refused: None,
        again: at(NOW) + SignedDuration::from_mins(9),
    };
    let name = try_name(THERE, "snap-3", 1);
    there(&mut facts).tries.insert(name.clone(), begun.clone());
    assert_eq!(gone(&facts, "keep: {last: 9}"), [""; 0]);
    // What AWS refuses to copy isn't waited for.
    begun.refused = Some("no".to_owned());
    there(&mut facts).tries.insert(name, begun);
    assert_eq!(gone(&facts, "keep: {last: 9}"), ["snap-3"]);
    // Whether any is being copied to where nobody can look isn't known.
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    assert_eq!(gone(&facts, "keep: {last: 9}"), [""; 0]);
    // All that is wanted is there.
    let copies = here
        .iter()
        .map(|s| copy(&format!("copy of {}", s.id), s, State::Completed));
    let facts = two_regions(&["vol-1"], here.clone(), copies.collect());
    assert_eq!(gone(&facts, "keep: {last: 9}"), ["snap-4", "snap-3"]);
}

#[test]
fn a_failed_copy_goes_once_it_is_made_up_or_can_not_be() {
    let source = completed("snap-1", "vol-1", 1);
    let failed = copy("copy-e", &source, error());
    let mut later = copy("copy-e2", &source, error());
    later.attempt = 2;
    let newer = copy("copy-n", &completed("snap-0", "vol-1", 0), State::Completed);
    let same = copy("copy-s", &source, State::Completed);
    let gone = |here: &[Snapshot], copies: Vec<Snapshot>| {
        let mut facts = two_regions(&[], here.to_vec(), copies);
        facts.gone.insert("vol-1".to_owned());
        let decisions = decided(&facts, &copied("keep: {last: 9}"));
        let all = deleted_there(&decisions).into_iter();
        all.map(|d| d.snapshot.clone()).collect::<Vec<_>>()
    };
    let here = [source];
    assert!(gone(&here, vec![failed.clone()]).is_empty());
    assert_eq!(gone(&here, vec![failed.clone(), later]), ["copy-e"]);
    assert_eq!(gone(&here, vec![failed.clone(), same]), ["copy-e"]);
    // Its slot is still to be made up, unless its source is gone.
    assert!(gone(&here, vec![failed.clone(), newer.clone()]).is_empty());
    assert_eq!(gone(&[], vec![failed, newer]), ["copy-e"]);
}

// ---- freshness -----------------------------------------------------------------------------------------

#[test]
fn a_copy_is_due_by_its_own_slots_and_grace() {
    let here = vec![
        completed("snap-0", "vol-1", 0),
        completed("snap-1", "vol-1", 1),
    ];
    let yesterdays = copy("copy-1", &here[1], State::Completed);
    let pending = copy("copy-0", &here[0], State::Pending);
    for (copying, now, copies, expected) in [
        (
            "grace: 24h",
            "2026-11-22T03:00:00Z",
            vec![&yesterdays],
            "fresh",
        ),
        (
            "grace: 24h",
            "2026-11-22T03:00:01Z",
            vec![&yesterdays],
            "overdue",
        ),
        (
            "grace: 24h",
            "2026-11-22T03:00:01Z",
            vec![&yesterdays, &pending],
            "under way",
        ),
        ("grace: 2h", NOW, vec![&yesterdays], "overdue"),
        ("grace: 2h", NOW, vec![], "overdue"),
        (
            "grace: 2h, slots: \"0 3 * * FRI\"",
            NOW,
            vec![&yesterdays],
            "fresh",
        ),
    ] {
        let copies = copies.into_iter().cloned().collect();
        let facts = two_regions(&["vol-1"], here.clone(), copies);
        let policy = copied(&format!("{copying}, keep: {{last: 2}}"));
        let evaluation = evaluate(&facts, &policy, at(now));
        let freshness = match evaluation.elsewhere[0].lines[0].freshness {
            None => "not wanted",
            Some(Freshness::Fresh) => "fresh",
            Some(Freshness::UnderWay(_)) => "under way",
            Some(Freshness::Overdue) => "overdue",
        };
        assert_eq!(freshness, expected, "{copying} {now}");
    }
}

#[test]
fn a_volume_that_is_gone_needs_no_fresh_copy() {
    let made = copy(
        "copy-1",
        &completed("snap-1", "vol-1", 30),
        State::Completed,
    );
    let facts = two_regions(&[], vec![], vec![made]);
    let policy = copied("keep: {last: 2}");
    let evaluation = evaluate(&facts, &policy, at(NOW));
    assert_eq!(evaluation.elsewhere[0].lines[0].freshness, None);
}

#[test]
fn another_key_than_before_is_a_full_copy() {
    let here = vec![
        completed("snap-0", "vol-1", 0),
        completed("snap-1", "vol-1", 1),
    ];
    let before = copy("copy-1", &here[1], State::Completed);
    let mut last = copy("copy-0", &here[0], State::Pending);
    for (key, is_full) in [("key-1", false), ("key-2", true), ("", false)] {
        last.copy.as_mut().unwrap().key = key.to_owned();
        let copies = vec![before.clone(), last.clone()];
        let facts = two_regions(&["vol-1"], here.clone(), copies);
        let policy = copied("keep: {last: 2}");
        let evaluation = evaluate(&facts, &policy, at(NOW));
        assert_eq!(
            evaluation.elsewhere[0].lines[0].rekeyed.is_some(),
            is_full,
            "{key}"
        );
    }
    assert!(at(YESTERDAY) < at(NOW));
}

// ---- properties: two Regions, swept again and again -------------------------------------------------------

#[derive(Debug, Clone, Copy)]
enum Day {
    Plain,
    /// Copies that are asked for come to nothing.
    Lost,
    /// They fail.
    Fails,
    /// The other Region can't be read.
    Unreadable,
    /// No snapshot is made here.
    NoSnapshot,
    /// All that is here is lost.
    Disaster,
}

fn any_day() -> impl Strategy<Value = Day> {
    prop_oneof![
        8 => Just(Day::Plain),
        1 => Just(Day::Lost),
        2 => Just(Day::Fails),
        1 => Just(Day::Unreadable),
        1 => Just(Day::NoSnapshot),
        1 => Just(Day::Disaster),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: of each volume that had a completed copy one stays, the newest; each slot
    /// has one copy at most; never more than twenty are under way.
    #[test]
    fn retention_over_two_regions(
        days in prop::collection::vec(any_day(), 1..30),
        last in 1u32..4,
        volumes in 1usize..30,
        outage in 1usize..4,
    ) {
        let ids: Vec<String> = (0..volumes).map(|n| format!("vol-{n:02}")).collect();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut world = two_regions(&names, vec![], vec![]);
        let policy = copied(&format!("keep: {{last: {last}}}"));
        let mut made = 0;
        let start = at("2026-01-01T03:00:00Z");
        let mut unread = 0;
        for (number, day) in days.iter().enumerate() {
            let slot = start + SignedDuration::from_hours(24 * i64::try_from(number).unwrap());
            match day {
                Day::Disaster => {
                    world.gone.extend(world.volumes.keys().cloned());
                    world.volumes.clear();
                    world.snapshots.clear();
                }
                Day::NoSnapshot => {}
                _ => for id in world.volumes.keys() {
                    made += 1;
                    world.snapshots.push(snapshot(&format!("snap-{made}"), id, &slot.to_string(), State::Completed));
                },
            }
            if matches!(day, Day::Unreadable) {
                unread = outage;
            }
            for sweep in 1i64..4 {
                let now = slot + SignedDuration::from_hours(sweep);
                let mut seen = world.clone();
                if unread > 0 {
                    seen.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
                }
                let decisions = decide(&evaluate(&seen, &policy, now));
                let before = there(&mut world).copies.clone();
                let pending = before.iter().filter(|copy| copy.state == State::Pending);
                let mut needed: BTreeSet<String> = pending.map(|copy| copy.copy.as_ref().unwrap().source.clone()).collect();
                needed.extend(copies_of(&decisions).iter().map(|copy| copy.source.clone()));
                for gone in deleted_here(&decisions) {
                    prop_assert!(unread == 0 && !needed.contains(&gone.snapshot), "{}", gone.snapshot);
                    world.snapshots.retain(|s| s.id != gone.snapshot);
                }
                for decision in decisions {
                    match decision.step {
                        Step::Act(Action::Copy(asked)) => {
                            prop_assert!(unread == 0);
                            prop_assert!(world.snapshots.iter().any(|s| s.id == asked.source && s.protects()));
                            let state = match day {
                                Day::Lost => continue,
                                Day::Fails => error(),
                                _ => State::Pending,
                            };
                            made += 1;
                            let source = completed(&asked.source, &asked.volume, 0);
                            let mut one = copy(&format!("copy-{made}"), &source, state);
                            one.slot = asked.slot;
                            one.attempt = asked.attempt;
                            one.started = now;
                            there(&mut world).copies.push(one);
                        }
                        Step::Act(Action::Delete(delete)) if delete.region.is_some() => {
                            there(&mut world).copies.retain(|s| s.id != delete.snapshot);
                        }
                        _ => {}
                    }
                }
                let copies = &mut there(&mut world).copies;
                prop_assert!(copies.iter().filter(|c| c.state == State::Pending).count() <= AT_ONCE);
                for id in &ids {
                    let newest = before.iter().filter(|c| c.volume == *id && c.is_completed());
                    if let Some(newest) = newest.max_by_key(|c| c.slot) {
                        prop_assert!(copies.iter().any(|c| c.id == newest.id), "{}", newest.id);
                    }
                    let mut slots: Vec<_> = copies.iter()
                        .filter(|c| c.volume == *id && !c.is_error()).map(|c| c.slot).collect();
                    let all = slots.len();
                    slots.sort_unstable();
                    slots.dedup();
                    prop_assert_eq!(slots.len(), all);
                }
                for pending in copies.iter_mut().filter(|c| c.state == State::Pending) {
                    pending.state = State::Completed;
                }
            }
            unread = unread.saturating_sub(1);
        }
    }
}
