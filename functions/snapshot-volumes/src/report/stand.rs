//! How things stand with one volume.

use guardrails::condition::{Condition, Kind};
use guardrails::resource::Resource;

use crate::evaluate::{Judged, Standing};
use crate::facts::{Facts, Volume};
use crate::policy::Selected;
use crate::slots;

/// How things stand with a volume, however many of its plans say something.
#[derive(Default)]
pub(super) struct Stand {
    /// Fingerprint and text of each plan against which it stands.
    pub(super) firing: Vec<(String, String)>,
    /// Why it can't be told of a plan.
    pub(super) unknown: Vec<String>,
}

impl Stand {
    /// As a condition of a volume, which may be gone. `resolves`: what isn't found doesn't stand.
    pub(super) fn condition(
        self,
        facts: &Facts,
        volume: &str,
        kind: &'static Kind,
        resolves: bool,
    ) -> Option<Condition> {
        let resource = Resource::volume(volume);
        let condition = if !self.firing.is_empty() {
            let (fingerprints, texts): (Vec<_>, Vec<_>) = self.firing.into_iter().unzip();
            Condition::firing(resource, kind, fingerprints.join("; "), texts.join("; "))
        } else if !self.unknown.is_empty() {
            Condition::unknown(resource, kind, self.unknown.join("; "))
        } else if resolves {
            Condition::resolved(resource, kind)
        } else {
            return None;
        };
        let known = facts.volumes.get(volume);
        Some(condition.called(known.map_or_else(|| volume.to_owned(), Volume::label)))
    }

    /// Whether `what` is for the volume hangs on an instance that wasn't found.
    pub(super) fn unsure(&mut self, what: &str) {
        self.unknown.push(format!(
            "{what}: whether it is for this volume can't be told, because its instance wasn't found"
        ));
    }

    /// With why it can't be told of some plans.
    pub(super) fn of(judged: &Judged<'_>) -> Self {
        let mut stand = Self::default();
        for standing in &judged.standings {
            let plan = &standing.plan.name;
            let volume = judged.volume;
            if standing.selected == Selected::No {
                continue;
            }
            if !volume.is_usable() {
                let state = &volume.state;
                let newest = newest(standing);
                stand.unknown.push(format!(
                    "plan {plan}: the volume is in state `{state}`; {newest}"
                ));
            } else if standing.selected == Selected::Unknown {
                stand.unsure(&format!("plan {plan}"));
            }
        }
        stand
    }
}

/// What protects the volume.
pub(super) fn newest(standing: &Standing<'_>) -> String {
    let zone = &standing.plan.timezone;
    match standing.newest {
        Some(newest) => format!(
            "the newest completed snapshot is {} of slot {}",
            newest.id,
            slots::label(&zone.at(newest.slot), zone)
        ),
        None => "there is no completed snapshot at all".to_owned(),
    }
}
