use super::*;
use crate::decide::copies::tests::{THERE, copy, two_regions, unreadable};
use crate::decide::decide;
use crate::decide::tests::{at, snapshot, volume};
use crate::evaluate::drills::{AGAIN_AFTER, LIMIT};
use crate::evaluate::evaluate;
use crate::facts::drills::{Ended, Made, Proof, Record, Remembered, Restore, UnderWay, key};
use crate::facts::{Facts, Snapshot, State};
use crate::policy::Policy;
use crate::policy::tests::parse_with;
use guardrails::guardrail::Step as Outcomes;
use guardrails::state::Expect;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// A Saturday; the drills' slot was on Sunday before.
const NOW: &str = "2026-11-21T10:00:00Z";
const SLOT: &str = "2026-11-15T04:00:00Z";
const HOME: &str = "eu-central-1";

pub(crate) fn drills(keys: &str) -> Policy {
    parse_with(&format!(
        "drills: [{{name: weekly, schedule: \"0 4 * * SUN\"{keys}}}]"
    ))
    .unwrap()
}

fn completed(volume: &str) -> Snapshot {
    let id = volume.replace("vol", "snap");
    snapshot(&id, volume, "2026-11-21T03:00:00Z", State::Completed)
}

/// Volumes with a completed snapshot each.
pub(crate) fn backed_up(volumes: &[&str]) -> Facts {
    two_regions(
        volumes,
        volumes.iter().map(|id| completed(id)).collect(),
        vec![],
    )
}

pub(crate) fn remember(facts: &mut Facts, region: &str, volume: &str, record: Record) {
    let name = key("weekly", region, volume);
    let remembered = Remembered {
        name: name.clone(),
        value: record,
        expect: Expect::Any,
    };
    facts.drills.records.insert(name, remembered);
}

pub(crate) fn proven(days_ago: i64) -> Record {
    let when = at(NOW) - SignedDuration::from_hours(24 * days_ago);
    Record {
        taken: Some(when),
        proof: Some(Proof {
            way: Way::Blocks,
            at: when,
            snapshot: "snap-0".to_owned(),
            found: "ext".to_owned(),
            took: None,
        }),
        ..Record::default()
    }
}

pub(crate) fn restore() -> Restore {
    Restore {
        token: "drill-1".to_owned(),
        snapshot: "snap-1".to_owned(),
        zone: "eu-central-1b".to_owned(),
        begun: at("2026-11-21T09:00:00Z"),
        volume: Some("vol-9".to_owned()),
        created: Some(at("2026-11-21T09:00:10Z")),
        creating: None,
        ready: None,
        outcome: None,
        refused: None,
    }
}

pub(crate) fn made(state: &str) -> Made {
    Made {
        id: "vol-9".to_owned(),
        token: Some("drill-1".to_owned()),
        snapshot: "snap-1".to_owned(),
        created: at("2026-11-21T09:00:10Z"),
        state: state.to_owned(),
        attached: None,
    }
}

pub(crate) fn going(restore: Restore, made: Vec<Made>) -> Facts {
    let mut facts = backed_up(&["vol-1"]);
    let record = Record {
        taken: Some(at(SLOT)),
        under_way: Some(UnderWay::Volume(restore)),
        ..Record::default()
    };
    remember(&mut facts, HOME, "vol-1", record);
    facts.drills.made.insert(HOME.to_owned(), Ok(made));
    facts
}

fn steps(facts: &Facts, policy: &Policy) -> Vec<(String, Step)> {
    let decisions = decide(&evaluate(facts, policy, at(NOW)));
    let steps = decisions
        .into_iter()
        .filter_map(|decision| match decision.step {
            Outcomes::Act(Action::Drill(drilling)) => Some((drilling.key, drilling.step)),
            _ => None,
        });
    steps.collect()
}

fn turns(facts: &Facts, keys: &str) -> Vec<String> {
    let steps = steps(facts, &drills(keys)).into_iter();
    steps
        .map(|(key, _)| key.rsplit('/').next().unwrap_or_default().to_owned())
        .collect()
}

// ---- whose turn it is ------------------------------------------------------------------------------

#[test]
fn a_slot_tries_so_many_and_each_once() {
    let mut facts = backed_up(&["vol-1", "vol-2", "vol-3"]);
    assert_eq!(turns(&facts, ", volumes: 2"), ["vol-1", "vol-2"]);
    // One has had its turn in the slot.
    remember(&mut facts, HOME, "vol-1", proven(0));
    assert_eq!(turns(&facts, ", volumes: 2"), ["vol-2"]);
    remember(&mut facts, HOME, "vol-2", proven(1));
    assert!(turns(&facts, ", volumes: 2").is_empty());
    // Also one that is gone since.
    facts.volumes.remove("vol-1");
    assert!(turns(&facts, ", volumes: 2").is_empty());
}

#[test]
fn whose_turn_was_longest_ago_comes_first_and_who_never_had_one_first_of_all() {
    let mut facts = backed_up(&["vol-1", "vol-2", "vol-3", "vol-4"]);
    remember(&mut facts, HOME, "vol-1", proven(10));
    remember(&mut facts, HOME, "vol-2", proven(30));
    // What fails again and again doesn't take others their turn.
    let failing = Record {
        taken: Some(at(NOW) - SignedDuration::from_hours(24 * 20)),
        ..Record::default()
    };
    remember(&mut facts, HOME, "vol-3", failing);
    let all = turns(&facts, ", volumes: 4");
    assert_eq!(all, ["vol-4", "vol-2", "vol-3", "vol-1"]);
}

#[test]
fn what_could_not_be_tried_is_tried_again_in_the_same_slot_when_its_pause_is_over() {
    for (again, expected) in [("2026-11-21T09:59:00Z", 1), ("2026-11-21T10:01:00Z", 0)] {
        let mut facts = backed_up(&["vol-1", "vol-2"]);
        let ended = Ended::Untried("denied".to_owned(), SignedDuration::ZERO);
        let record = Record {
            taken: Some(at(SLOT)),
            ..Record::default()
        };
        let record = record.settled(Way::Blocks, "snap-1", ended, at(again));
        remember(&mut facts, HOME, "vol-1", record);
        assert_eq!(turns(&facts, "").len(), expected, "{again}");
    }
}

#[test]
fn only_volumes_of_its_plans_with_a_completed_snapshot_and_no_larger_than_it_says() {
    let mut facts = backed_up(&["vol-1", "vol-2", "vol-3"]);
    facts.volumes.get_mut("vol-2").unwrap().gib = 101;
    facts.volumes.get_mut("vol-3").unwrap().tags.clear();
    facts.volumes.insert("vol-4".to_owned(), volume("vol-4"));
    let pending = snapshot("snap-4", "vol-4", "2026-11-21T03:00:00Z", State::Pending);
    facts.snapshots.push(pending);
    assert_eq!(turns(&facts, ", volumes: 9, max-size: 100"), ["vol-1"]);
    let said = decide(&evaluate(&facts, &drills(", max-size: 100"), at(NOW)));
    assert!(
        said.iter()
            .any(|d| d.reason.contains("larger than `max-size` (100 GiB)")
                && d.reason.contains("vol-2")),
        "{said:?}"
    );
    assert!(turns(&facts, ", plans: [hourly]").is_empty());
    facts.complete = false;
    assert!(
        turns(&facts, "").is_empty(),
        "a look at one volume tries nothing"
    );
}

#[test]
fn copies_are_tried_in_their_region_also_of_volumes_that_are_gone() {
    let of = [completed("vol-1"), completed("vol-2")];
    let copies = of
        .iter()
        .map(|of| copy(&of.id.replace("snap", "copy"), of, State::Completed));
    let mut facts = two_regions(&["vol-1"], vec![], copies.collect());
    let policy = drills(", volumes: 9, kind: volume, region: us-east-1");
    let steps = steps(&facts, &policy);
    let [(one, first), (_, second)] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    assert_eq!(one, "weekly/us-east-1/vol-1");
    assert!(matches!(first, Step::Make { snapshot, .. } if snapshot == "copy-1"));
    assert!(matches!(second, Step::Make { snapshot, not_in: None, .. } if snapshot == "copy-2"));
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    assert!(super::tests::steps(&facts, &policy).is_empty());
}

#[test]
fn without_the_parameter_nothing_is_tried_and_the_run_says_why() {
    let mut facts = backed_up(&["vol-1"]);
    facts.drills.forbidden = Some(unreadable());
    let decisions = decide(&evaluate(&facts, &drills(""), at(NOW)));
    let failed = |d: &&Decision<Action>| matches!(d.step, Outcomes::CannotJudge(_));
    assert_eq!(decisions.iter().filter(failed).count(), 1);
    assert!(turns(&facts, "").is_empty());
}

// ---- what is under way -----------------------------------------------------------------------------

fn next_step(facts: &Facts) -> Option<Step> {
    steps(facts, &drills(", kind: volume"))
        .pop()
        .map(|(_, step)| step)
}

#[test]
fn a_restore_goes_on_by_what_aws_shows() {
    let of = || going(restore(), vec![made("creating")]);
    assert!(matches!(next_step(&of()), Some(Step::Note(_))));
    let ready = going(restore(), vec![made("available")]);
    assert!(matches!(next_step(&ready), Some(Step::Check(_))));
    let wrong = going(restore(), vec![made("error")]);
    assert!(matches!(
        next_step(&wrong),
        Some(Step::Close(_, Outcome::Failed(_)))
    ));
    assert_eq!(next_step(&going(restore(), vec![made("deleting")])), None);
    // It has ended well, and isn't deleted yet; or it is.
    let proven = Restore {
        outcome: Some(Outcome::Proven),
        ready: Some(at("2026-11-21T09:15:10Z")),
        ..restore()
    };
    let left = going(proven.clone(), vec![made("available")]);
    assert!(matches!(
        next_step(&left),
        Some(Step::Close(_, Outcome::Proven))
    ));
    let gone = going(proven, vec![]);
    assert!(
        matches!(
            next_step(&gone),
            Some(Step::Settle(Ended::Proven(_, Some((0, 900)))))
        ),
        "{:?}",
        next_step(&gone)
    );
    // Without an outcome nobody knows what it was.
    let vanished = going(restore(), vec![]);
    let Some(Step::Settle(Ended::Untried(why, AGAIN_AFTER))) = next_step(&vanished) else {
        panic!("{:?}", next_step(&vanished));
    };
    assert!(why.contains("CopyKeyArns"), "{why}");
}

#[test]
fn a_restore_that_takes_too_long_is_ended() {
    let long_ago = Restore {
        begun: at(NOW) - LIMIT - SignedDuration::from_secs(1),
        ..restore()
    };
    let creating = going(long_ago.clone(), vec![made("creating")]);
    assert!(matches!(
        next_step(&creating),
        Some(Step::Close(_, Outcome::Failed(_)))
    ));
    // Its status is AWS's to tell: not told is not failed.
    let ready = going(long_ago, vec![made("available")]);
    assert!(matches!(
        next_step(&ready),
        Some(Step::Close(_, Outcome::Untried(_)))
    ));
}

#[test]
fn a_volume_whose_id_is_not_known_is_found_or_asked_for_again_by_its_token() {
    let nameless = Restore {
        volume: None,
        begun: at("2026-11-21T09:30:00Z"),
        ..restore()
    };
    let mut its = made("available");
    its.created = at("2026-11-21T09:30:00Z");
    assert!(matches!(
        next_step(&going(nameless.clone(), vec![its])),
        Some(Step::Note(_))
    ));
    assert!(matches!(
        next_step(&going(nameless.clone(), vec![])),
        Some(Step::Ask { .. })
    ));
    // The token alone makes none a drill's: this one was there before.
    let planted = going(nameless.clone(), vec![made("available")]);
    assert!(matches!(next_step(&planted), Some(Step::Ask { .. })));
    let old = Restore {
        begun: at("2026-11-21T08:59:00Z"),
        ..nameless
    };
    assert!(matches!(
        next_step(&going(old, vec![])),
        Some(Step::Settle(Ended::Untried(..)))
    ));
}

#[test]
fn what_is_not_the_drills_volume_in_all_that_aws_says_is_left_alone() {
    for change in 0..6 {
        let mut other = made("available");
        match change {
            0 => other.token = None,
            1 => other.token = Some("drill-2".to_owned()),
            2 => other.snapshot = "snap-2".to_owned(),
            3 => other.created = at("2026-11-21T08:00:00Z"),
            4 => other.attached = Some("i-1".to_owned()),
            _ => other.state = "in-use".to_owned(),
        }
        for outcome in [None, Some(Outcome::Proven)] {
            let restore = Restore {
                outcome,
                ..restore()
            };
            assert!(restore.may_delete(&other).is_err(), "{other:?}");
            if change < 5 {
                let facts = going(restore, vec![other.clone()]);
                assert_eq!(next_step(&facts), None, "{other:?}");
            }
        }
    }
    assert!(restore().may_delete(&made("available")).is_ok());
}

#[test]
fn reading_that_was_ended_begins_again_and_is_given_up_in_the_end() {
    for (begun, tries, expected) in [
        ("2026-11-21T09:50:00Z", 1, None),
        ("2026-11-21T09:40:00Z", 1, Some(true)),
        ("2026-11-21T09:40:00Z", 3, Some(false)),
    ] {
        let mut facts = backed_up(&["vol-1"]);
        let record = Record {
            taken: Some(at(SLOT)),
            under_way: Some(UnderWay::Blocks {
                snapshot: "snap-1".to_owned(),
                begun: at(begun),
                tries,
            }),
            ..Record::default()
        };
        remember(&mut facts, HOME, "vol-1", record);
        let step = next_step(&facts);
        assert_eq!(
            step.as_ref().map(|step| matches!(step, Step::Read { .. })),
            expected
        );
    }
}

// ---- whatever is killed ----------------------------------------------------------------------------

/// What a sweep of the property meets.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Runs,
    /// Ended right after that many writes or calls.
    Killed(usize),
    /// The answer of `CreateVolume` is lost, and the run goes on.
    Lost,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Runs),
        3 => (0..4_usize).prop_map(Fate::Killed),
        1 => Just(Fate::Lost),
    ]
}

/// AWS and the table, as far as a restore needs them.
#[derive(Default)]
struct World {
    record: Record,
    volumes: Vec<Made>,
    made: usize,
    deleted: Vec<String>,
}

impl World {
    /// As `CreateVolume` with a client token.
    fn create(&mut self, restore: &Restore, now: Timestamp) -> Made {
        if let Some(had) = self
            .volumes
            .iter()
            .find(|one| one.token.as_ref() == Some(&restore.token))
        {
            return had.clone();
        }
        self.made += 1;
        let made = Made {
            id: format!("vol-9{}", self.made),
            token: Some(restore.token.clone()),
            snapshot: restore.snapshot.clone(),
            created: now,
            state: "available".to_owned(),
            attached: None,
        };
        self.volumes.push(made.clone());
        made
    }

    /// Carries out a step as `act` does, until it is killed.
    fn carry_out(&mut self, step: Step, fate: Fate, now: Timestamp) {
        let mut left = match fate {
            Fate::Killed(after) => after,
            _ => usize::MAX,
        };
        let mut go_on = || {
            let goes = left > 0;
            left = left.saturating_sub(1);
            goes
        };
        let note = |world: &mut Self, made: &Made| {
            if let Some(UnderWay::Volume(restore)) = &mut world.record.under_way {
                restore.volume = Some(made.id.clone());
                restore.created = Some(made.created);
            }
        };
        match step {
            Step::Make { snapshot, slot, .. } => {
                if !go_on() {
                    return;
                }
                let restore = Restore {
                    token: format!("drill-{}", now.as_second()),
                    snapshot,
                    begun: now,
                    volume: None,
                    created: None,
                    ..restore()
                };
                self.record.taken = Some(slot);
                self.record.under_way = Some(UnderWay::Volume(restore.clone()));
                if !go_on() {
                    return;
                }
                let made = self.create(&restore, now);
                if go_on() && !matches!(fate, Fate::Lost) {
                    note(self, &made);
                }
            }
            Step::Ask { .. } => {
                let restore = self.record.restore().unwrap().clone();
                if !go_on() {
                    return;
                }
                let made = self.create(&restore, now);
                if go_on() && !matches!(fate, Fate::Lost) {
                    note(self, &made);
                }
            }
            Step::Note(made) => {
                if go_on() {
                    note(self, &made);
                }
            }
            Step::Check(made) | Step::Close(made, _) => {
                let Some(UnderWay::Volume(restore)) = &mut self.record.under_way else {
                    return;
                };
                if !go_on() {
                    return;
                }
                restore.outcome.get_or_insert(Outcome::Proven);
                let its = self.volumes.iter().find(|one| one.id == made.id);
                if go_on() && its.is_some_and(|its| restore.may_delete(its).is_ok()) {
                    self.deleted.push(made.id.clone());
                    self.volumes.retain(|one| one.id != made.id);
                }
            }
            Step::Settle(ended) => {
                if go_on() {
                    let record = std::mem::take(&mut self.record);
                    self.record = record.settled(Way::Volume, "snap-1", ended, now);
                }
            }
            Step::Read { .. } => unreachable!("it makes volumes"),
        }
    }
}

proptest! {
    /// Whatever is killed or lost in between: at most one drill volume is there, everything that was
    /// made is gone in the end, the volume is proven once, and nobody else's volume is deleted.
    #[test]
    fn whatever_is_killed_nothing_is_left_and_nothing_else_is_deleted(fates in prop::collection::vec(fate(), 0..12)) {
        let policy = drills(", kind: volume");
        let mut world = World::default();
        // Of somebody else's, with everything that may be written by whoever may tag.
        let mut foreign = made("available");
        foreign.id = "vol-8".to_owned();
        foreign.created = at("2026-01-01T00:00:00Z");
        let mut now = at(NOW);
        let quiet = std::iter::repeat_n(Fate::Runs, 8);
        for fate in fates.into_iter().chain(quiet) {
            now += SignedDuration::from_mins(7);
            if let Some(restore) = world.record.restore() {
                foreign.token = Some(restore.token.clone());
            }
            let mut facts = backed_up(&["vol-1"]);
            let record = std::mem::take(&mut world.record);
            world.record = record.clone();
            if record != Record::default() {
                remember(&mut facts, HOME, "vol-1", record);
            }
            let seen = world.volumes.iter().chain([&foreign]).cloned().collect();
            facts.drills.made.insert(HOME.to_owned(), Ok(seen));
            let decisions = decide(&evaluate(&facts, &policy, now));
            for decision in decisions {
                if let Outcomes::Act(Action::Drill(drilling)) = decision.step {
                    world.carry_out(drilling.step, fate, now);
                }
            }
            prop_assert!(world.volumes.len() <= 1, "{:?}", world.volumes);
        }
        prop_assert!(world.volumes.is_empty(), "{:?}", world.volumes);
        prop_assert_eq!(world.record.under_way, None);
        prop_assert!(world.record.proof.is_some());
        prop_assert_eq!(world.deleted.len(), world.made);
        prop_assert!(!world.deleted.contains(&"vol-8".to_owned()));
    }
}
