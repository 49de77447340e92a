//! A run's hold on an instance's record.
//!
//! Every write is conditional on the one before: whoever writes in between (another run, a person's
//! release) has the instance from then on, and this run stops at its next write. Each group of
//! changes begins with one, so that nothing is changed by a run that was overtaken.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::policy::Age;
use guardrails::state::{Expect, State, Version, Written};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::refusals::{contended, is_instance_gone};
use crate::decide::{Occasion, Quarantine};
use crate::facts::{Instance, Interface, Isolation};
use crate::launcher::Launcher;
use crate::record::{QUARANTINE, Record, Stage};

/// Longest that a function runs: no run that took an instance up before this is at work still.
const RUN_MAX: Age = Age::from_mins(15);
/// How often a release takes the record anew that others write meanwhile.
const TRIES: usize = 5;

/// Why a run stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// Another run has taken it up, or has finished it.
    Overtaken,
    /// A person released it meanwhile.
    Released,
    /// The instance is gone, or going.
    Gone(&'static str),
    /// Something went wrong.
    Failed(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        if is_instance_gone(&error) {
            Self::Gone("gone meanwhile")
        } else {
            Self::Failed(error)
        }
    }
}

/// A run's hold on a record.
pub(super) struct Claim<'a> {
    state: &'a State,
    instance: &'a str,
    now: Timestamp,
    held: Mutex<(Record, Version)>,
}

impl<'a> Claim<'a> {
    /// Takes a quarantine up: writes down what stands, before anything is changed. Of two runs at
    /// the same moment one does.
    pub(super) async fn take(
        state: &'a State,
        order: &'a Quarantine,
        isolation: &BTreeMap<String, Isolation>,
        run: &str,
    ) -> Result<Self, Stop> {
        let instance = order.instance.id.as_str();
        let mut expect = Expect::Absent;
        let mut record = begun(order, run);
        if let Some(looked_at) = &order.record {
            let stored = state.get(&QUARANTINE, instance, order.at).await?;
            // Only on what was judged.
            let stored = stored.ok_or(Stop::Released)?;
            if stored.value != *looked_at && !is_ours(&stored.value, run) {
                return Err(Stop::Overtaken);
            }
            expect = Expect::Version(stored.version);
            record = taken_up(stored.value, order.occasion, order.at, run);
        }
        write_down(&mut record, &order.instance, isolation);
        let mut written = put(state, order, &record, &expect).await?;
        if written == Written::Conflict {
            // Written by this run: it was throttled after that, and has begun anew.
            let stored = state.get(&QUARANTINE, instance, order.at).await?;
            let stored = stored.filter(|stored| is_ours(&stored.value, run));
            let stored = stored.ok_or(Stop::Overtaken)?;
            record = stored.value;
            write_down(&mut record, &order.instance, isolation);
            written = put(state, order, &record, &Expect::Version(stored.version)).await?;
        }
        match written {
            Written::Done(version) => Ok(Self {
                state,
                instance,
                now: order.at,
                held: Mutex::new((record, version)),
            }),
            Written::Conflict => Err(Stop::Overtaken),
        }
    }

    /// Takes an instance up for its release, which wins over every run begun before it, and tells
    /// whether a release was begun already. None where nothing is recorded (any more).
    pub(super) async fn release(
        state: &'a State,
        instance: &'a str,
        now: Timestamp,
        run: &str,
    ) -> Result<Option<(Self, bool)>, Stop> {
        for _ in 0..TRIES {
            let Some(stored) = state.get(&QUARANTINE, instance, now).await? else {
                return Ok(None);
            };
            let mut record = stored.value;
            let begun_before = record.stage == Stage::Releasing;
            record.settles = settles(&record);
            record.stage = Stage::Releasing;
            run.clone_into(&mut record.run);
            record.at = now;
            let expect = Expect::Version(stored.version);
            let written = state.put(&QUARANTINE, instance, &record, None, &expect, now);
            if let Written::Done(version) = written.await? {
                let claim = Self {
                    state,
                    instance,
                    now,
                    held: Mutex::new((record, version)),
                };
                return Ok(Some((claim, begun_before)));
            }
        }
        Err(contended(instance).into())
    }

    /// What stands.
    pub(super) async fn record(&self) -> Record {
        self.held.lock().await.0.clone()
    }

    /// Writes a change down, if this run holds the record still.
    pub(super) async fn write(&self, change: impl FnOnce(&mut Record)) -> Result<(), Stop> {
        let mut held = self.held.lock().await;
        let mut record = held.0.clone();
        change(&mut record);
        let expect = Expect::Version(held.1.clone());
        let written = self
            .state
            .put(&QUARANTINE, self.instance, &record, None, &expect, self.now)
            .await?;
        match written {
            Written::Done(version) => {
                *held = (record, version);
                Ok(())
            }
            Written::Conflict => Err(self.overtaken().await),
        }
    }

    /// Writes down what of `now` isn't yet, such as an interface that was attached meanwhile.
    pub(super) async fn write_down(
        &self,
        now: &Instance,
        isolation: &BTreeMap<String, Isolation>,
    ) -> Result<(), Stop> {
        self.write(|record| write_down(record, now, isolation))
            .await
    }

    /// Makes sure that this run holds the record still, before it changes anything.
    pub(super) async fn check(&self) -> Result<(), Stop> {
        self.write(|_| ()).await
    }

    /// Drops the record.
    pub(super) async fn forget(&self) -> Result<(), Stop> {
        let held = self.held.lock().await;
        let expect = Expect::Version(held.1.clone());
        let deleted = self.state.delete(&QUARANTINE, self.instance, &expect);
        match deleted.await? {
            Written::Done(_) => Ok(()),
            Written::Conflict => Err(self.overtaken().await),
        }
    }

    /// Who wrote instead.
    async fn overtaken(&self) -> Stop {
        match self.state.get(&QUARANTINE, self.instance, self.now).await {
            Ok(None) => Stop::Released,
            Ok(Some(stored)) if stored.value.stage == Stage::Releasing => Stop::Released,
            _ => Stop::Overtaken,
        }
    }
}

async fn put(
    state: &State,
    order: &Quarantine,
    record: &Record,
    expect: &Expect,
) -> Result<Written, ApiError> {
    let id = &order.instance.id;
    state
        .put(&QUARANTINE, id, record, None, expect, order.at)
        .await
}

fn is_ours(record: &Record, run: &str) -> bool {
    record.stage == Stage::Started && record.run == run
}

fn begun(order: &Quarantine, run: &str) -> Record {
    let launcher = order.launcher.as_ref();
    Record {
        stage: Stage::Started,
        ended: false,
        since: order.at,
        run: run.to_owned(),
        at: order.at,
        reason: order.reason.clone(),
        by_hand: order.occasion == Occasion::ByHand,
        image: order.image.clone(),
        launched: order.instance.launched,
        launcher: launcher
            .filter(|launcher| !launcher.is_service())
            .map(Launcher::who),
        group: order.instance.group().map(str::to_owned),
        interfaces: BTreeMap::new(),
        disks: BTreeMap::new(),
        protected: None,
        shutdown_terminates: None,
        profile: None,
        service: None,
        pooled: false,
        stopped: None,
        refused: BTreeSet::new(),
        drift: None,
        settles: None,
    }
}

/// When nothing more can arrive of what earlier runs sent. One that was overtaken notices at its
/// next write only, and a run that took over from it may end before.
fn settles(stands: &Record) -> Option<Timestamp> {
    let at_work = stands.stage == Stage::Started && !stands.ended;
    stands
        .settles
        .max(at_work.then(|| RUN_MAX.after(stands.at)))
}

fn taken_up(stands: Record, occasion: Occasion, at: Timestamp, run: &str) -> Record {
    let drifts = occasion == Occasion::Drift;
    Record {
        settles: settles(&stands),
        ended: false,
        stage: Stage::Started,
        run: run.to_owned(),
        at,
        drift: if drifts { Some(at) } else { stands.drift },
        ..stands
    }
}

/// Adds what isn't recorded yet. An interface that is in an isolation group has no other groups to
/// write down.
fn write_down(record: &mut Record, instance: &Instance, isolation: &BTreeMap<String, Isolation>) {
    let isolates = |interface: &Interface| {
        let mut groups = interface.groups.iter();
        groups.any(|group| isolation.values().any(|isolation| isolation.id == *group))
    };
    for interface in &instance.interfaces {
        if interface.operator.is_none() && !isolates(interface) {
            record
                .interfaces
                .entry(interface.id.clone())
                .or_insert_with(|| interface.groups.clone());
        }
    }
    for disk in &instance.disks {
        record
            .disks
            .entry(disk.device.clone())
            .or_insert(disk.delete_on_termination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{instance, isolation, record};

    #[test]
    fn the_isolation_is_never_written_down_as_what_was_before() {
        let one = instance("i-1").behind(&["sg-isolation"]);
        let mut record = record("12:00");
        record.interfaces.clear();
        write_down(&mut record, &one, &isolation());
        assert!(record.interfaces.is_empty());
    }

    /// A run that was overtaken may still be at work; one that has ended is not.
    #[test]
    fn what_a_run_may_still_send_outlives_the_run_that_overtook_it() {
        let ends = Some(RUN_MAX.after(record("12:00").at));
        let mut slow = record("12:00").only(Stage::Started);
        assert_eq!(settles(&slow), None, "it has ended");
        slow.ended = false;
        assert_eq!(settles(&slow), ends);
        let taken = taken_up(slow, Occasion::Unfinished, record("12:03").at, "run-2");
        assert!(!taken.ended);
        assert_eq!(taken.settles, ends);
        // The second run ends first.
        let finished = Record {
            ended: true,
            ..taken
        }
        .only(Stage::Complete);
        assert_eq!(settles(&finished), ends);
    }

    #[test]
    fn what_stands_is_not_overwritten() {
        let mut one = instance("i-1").behind(&["sg-other"]);
        one.disks[0].delete_on_termination = false;
        let before = record("12:00");
        let mut after = before.clone();
        write_down(&mut after, &one, &isolation());
        assert_eq!(after, before);
    }
}
