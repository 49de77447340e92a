//! Which volumes are snapshotted together, by which call, and what their snapshots carry.

use std::collections::{BTreeMap, HashMap};

use guardrails::resource::Resource;
use guardrails::tags;
use jiff::Zoned;

use crate::action::{Create, Member, Target};
use crate::facts::{Facts, Tag, Volume};
use crate::ownership;
use crate::policy::Plan;

/// Most data volumes that `CreateSnapshots` can leave out (EBS-2).
const EXCLUDED_MAX: usize = 40;
/// After so many failed tries a set is given up and its volumes go one by one: one bad volume
/// fails them all (EBS-2), and the others shall not stay unprotected for its sake.
const SET_ATTEMPTS: u32 = 2;

/// A volume whose try is due.
#[derive(Clone, Copy)]
pub(super) struct Due<'a> {
    pub(super) volume: &'a Volume,
    pub(super) attempt: u32,
    pub(super) why: &'static str,
    /// Its last try at an earlier slot failed: it may fail a whole set again (EBS-2), so it goes
    /// alone until it has completed once.
    pub(super) suspect: bool,
}

/// Volumes that get a plan's slot together.
pub(super) struct Group<'g, 'a> {
    plan: &'g Plan,
    slot: &'g Zoned,
    /// Where they are several.
    instance: Option<&'a str>,
    pub(super) due: Vec<Due<'a>>,
}

/// The volumes of each instance.
pub(super) struct Attached<'a>(HashMap<&'a str, Vec<&'a Volume>>);

impl<'a> Attached<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        let mut attached: HashMap<&str, Vec<&Volume>> = HashMap::new();
        for volume in facts.volumes.values() {
            for attachment in &volume.attachments {
                attached
                    .entry(&attachment.instance)
                    .or_default()
                    .push(volume);
            }
        }
        Self(attached)
    }
}

/// Those of one instance whose tags fit a set are together. All others are alone: unattached ones,
/// those on their way in or out, Multi-Attach ones (once, not once per instance: EBS-3), those with
/// too many tags, and those that failed before, alone or with their set.
pub(super) fn grouped<'g, 'a>(
    plan: &'g Plan,
    slot: &'g Zoned,
    due: Vec<Due<'a>>,
    facts: &Facts,
) -> Vec<Group<'g, 'a>> {
    let mut sets: BTreeMap<&'a str, Vec<Due<'a>>> = BTreeMap::new();
    let mut alone = Vec::new();
    for one in due {
        match one.volume.attachments.as_slice() {
            [only]
                if only.settled
                    && !one.suspect
                    && one.attempt <= SET_ATTEMPTS
                    && facts
                        .instances
                        .get(&only.instance)
                        .is_some_and(|instance| instance.root_device.is_some()) =>
            {
                sets.entry(&only.instance).or_default().push(one);
            }
            _ => alone.push(one),
        }
    }
    let group = |instance, due| Group {
        plan,
        slot,
        instance,
        due,
    };
    let mut groups = Vec::new();
    for (instance, members) in sets {
        let own = own_tag_count(members.len());
        let (fit, unfit): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|d| fits_set(d.volume, own));
        alone.extend(unfit);
        if fit.len() > 1 {
            groups.push(group(Some(instance), fit));
        } else {
            alone.extend(fit);
        }
    }
    groups.extend(alone.into_iter().map(|one| group(None, vec![one])));
    groups
}

/// How many tags of ours a set of so many has at most.
fn own_tag_count(members: usize) -> usize {
    // Beside those: set, instance, image, image-name.
    4 + ownership::own_tag_count(members)
}

/// AWS copies the volume's tags beside ours (`CopyTagsFromSource`): they must fit together, and
/// none may be one of ours, as on a volume restored with its snapshot's tags.
fn fits_set(volume: &Volume, own: usize) -> bool {
    let ours = volume
        .tags
        .iter()
        .any(|(key, _)| key.starts_with(tags::PREFIX));
    !ours && copied(volume).count() + own <= tags::TAGS_MAX
}

/// A volume's own tags that its snapshot gets.
pub(super) fn copied(volume: &Volume) -> impl Iterator<Item = &Tag> {
    volume
        .tags
        .iter()
        .filter(|(key, _)| !key.starts_with("aws:") && !key.starts_with(tags::PREFIX))
}

impl Group<'_, '_> {
    pub(super) fn resource(&self) -> Resource {
        match self.instance {
            Some(instance) => Resource::instance(instance),
            None => Resource::volume(
                self.due
                    .iter()
                    .map(|d| d.volume.id.as_str())
                    .collect::<String>(),
            ),
        }
    }

    /// One set, or one by one where `CreateSnapshots` can't leave out what isn't meant.
    pub(super) fn creations(&self, facts: &Facts, attached: &Attached<'_>) -> Vec<Create> {
        let singly = self
            .due
            .iter()
            .map(|one| self.create(Target::Volume, std::slice::from_ref(one), facts))
            .collect();
        let set = |instance| self.left_out(instance, facts, attached);
        let (Some(instance), Some((exclude_boot, exclude))) =
            (self.instance, self.instance.and_then(set))
        else {
            return singly;
        };
        let target = Target::Set {
            instance: instance.to_owned(),
            exclude_boot,
            exclude,
            singly,
        };
        vec![self.create(target, &self.due, facts)]
    }

    /// What a set has to leave out: whether the root volume, and which data volumes. None where
    /// that can't be told, or is more than AWS takes.
    fn left_out(
        &self,
        instance: &str,
        facts: &Facts,
        attached: &Attached<'_>,
    ) -> Option<(bool, Vec<String>)> {
        let root = facts.instances.get(instance)?.root_device.as_deref()?;
        let mut exclude = Vec::new();
        let mut exclude_boot = false;
        for volume in attached.0.get(instance)? {
            if self.due.iter().any(|d| d.volume.id == volume.id) {
                continue;
            }
            let attachment = volume.attachments.iter().find(|a| a.instance == instance)?;
            if attachment.device == root {
                exclude_boot = true;
            } else {
                exclude.push(volume.id.clone());
            }
        }
        (exclude.len() <= EXCLUDED_MAX).then_some((exclude_boot, exclude))
    }

    fn create(&self, target: Target, due: &[Due<'_>], facts: &Facts) -> Create {
        let members: Vec<Member> = due
            .iter()
            .map(|d| Member {
                volume: d.volume.id.clone(),
                device: d.volume.device().map(str::to_owned),
            })
            .collect();
        let attempt = due.iter().map(|d| d.attempt).max().unwrap_or(1);
        let instance = due
            .first()
            .and_then(|d| d.volume.attachments.first())
            .map(|attachment| attachment.instance.as_str());
        let plan = self.plan.name.as_str();
        let mut all = ownership::own_tags(plan, self.slot, attempt, &members);
        all.extend(instance.into_iter().flat_map(|id| instance_tags(id, facts)));
        if let ([only], Target::Volume) = (due, &target) {
            let room = tags::TAGS_MAX - all.len();
            all.extend(copied(only.volume).take(room).cloned());
        }
        let what = what(&members, instance, facts);
        Create {
            plan: plan.to_owned(),
            slot: self.slot.timestamp(),
            attempt,
            description: ownership::description(plan, self.slot, attempt, &what),
            target,
            members,
            tags: all,
        }
    }
}

/// Where the volumes were, for whoever restores them.
pub(super) fn instance_tags(id: &str, facts: &Facts) -> Vec<Tag> {
    let mut all = vec![(tags::INSTANCE.to_owned(), id.to_owned())];
    let known = facts.instances.get(id);
    if let Some(image) = known.and_then(|i| i.image.as_ref()) {
        all.push((tags::IMAGE.to_owned(), image.clone()));
    }
    if let Some(name) = known.and_then(|i| i.image_name.as_ref()) {
        all.push((tags::IMAGE_NAME.to_owned(), tags::clip(name)));
    }
    all
}

/// `/dev/xvda of web-1 (i-1)`, for people.
pub(super) fn what(members: &[Member], instance: Option<&str>, facts: &Facts) -> String {
    let what = match members {
        [only] => only.device.as_ref().unwrap_or(&only.volume).clone(),
        several => format!("{} volumes", several.len()),
    };
    let Some(id) = instance else {
        return what;
    };
    match facts.instances.get(id).and_then(|i| i.name.as_deref()) {
        Some(name) => format!("{what} of {name} ({id})"),
        None => format!("{what} of {id}"),
    }
}
