//! Compares facts and policy: what is to be made, what is to be deleted, and why. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use guardrails::guardrail::Decision;
use guardrails::tags;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::facts::{Facts, Index, Snapshot, Tag, Volume};
use crate::policy::{Plan, Policy};
use crate::{retention, slots};

/// AWS refuses a second snapshot of a volume within so many seconds (EBS-5).
const BETWEEN: SignedDuration = SignedDuration::from_secs(15);
/// Most data volumes that `CreateSnapshots` can leave out (EBS-2).
const EXCLUDED_MAX: usize = 40;
/// After so many failed tries a set is given up and its volumes go one by one: one bad volume
/// fails them all (EBS-2), and the others shall not stay unprotected for its sake.
const SET_ATTEMPTS: u32 = 2;
/// Volumes that one tag lists: `vol-0123456789abcdef0=/dev/xvda` is 31 characters, device names
/// may be longer.
const LISTED_PER_TAG: usize = 6;
/// Longest description that EC2 takes.
const DESCRIPTION_MAX: usize = 255;

/// Make a snapshot or a set of them.
pub const CREATE: &str = "create-snapshot";
/// Delete one.
pub const DELETE: &str = "delete-snapshot";

/// What `act` carries out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make what a slot lacks.
    Create(Create),
    /// Delete one snapshot of ours.
    Delete(Delete),
}

/// A snapshot or a crash-consistent set to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// The plan.
    pub plan: String,
    /// The slot.
    pub slot: Timestamp,
    /// Which try at the slot.
    pub attempt: u32,
    /// By which call.
    pub target: Target,
    /// The volumes meant.
    pub members: Vec<Member>,
    /// The tags, all of them given at creation: a crash leaves no untagged snapshot (EBS-12).
    pub tags: Vec<Tag>,
    /// What a person reads in the console.
    pub description: String,
}

/// A volume to be snapshotted.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// `vol-…`
    pub volume: String,
    /// `/dev/xvda`, where it is attached.
    pub device: Option<String>,
}

/// How a snapshot is made.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// `CreateSnapshot` of the one member.
    Volume,
    /// `CreateSnapshots` of an instance without the volumes that aren't meant.
    Set {
        /// `i-…`
        instance: String,
        /// Leave out the root volume, which can't be named below (EBS-2).
        exclude_boot: bool,
        /// The data volumes to leave out.
        exclude: Vec<String>,
    },
}

impl Create {
    /// A snapshot among `made` that makes this one needless: somebody else filled the slot, or
    /// tried and failed.
    #[must_use]
    pub fn overtaken_by<'a>(&self, made: &'a [Snapshot]) -> Option<&'a Snapshot> {
        made.iter().find(|snapshot| {
            *snapshot.plan == *self.plan
                && self.members.iter().any(|m| m.volume == snapshot.volume)
                && snapshot.slot >= self.slot
                && (!snapshot.is_error() || snapshot.attempt >= self.attempt)
        })
    }
}

/// A snapshot to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    /// `snap-…`
    pub snapshot: String,
    /// The completed snapshot that goes on protecting the volume; none for a volume that is gone.
    pub keeper: Option<String>,
}

/// What is to be done: creations first, then deletions.
#[must_use]
pub fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
    let index = Index::of(&facts.snapshots);
    let mut decisions = creations(facts, policy, &index, now);
    if facts.complete {
        for plan in &policy.plans.0 {
            if !facts.volumes.values().any(|v| plan.selects(v, facts)) {
                decisions.push(skip(
                    format!("plan {}", plan.name),
                    "select",
                    "selects no volume; check its tag, or that volumes carry it".to_owned(),
                ));
            }
        }
        decisions.extend(deletions(facts, policy, &index, now));
    }
    decisions
}

fn skip(resource: String, action: &'static str, reason: String) -> Decision<Action> {
    Decision {
        resource,
        action,
        reason,
        step: None,
    }
}

// ---- what a slot lacks -------------------------------------------------------------------------

/// Whether a volume lacks a plan's slot.
enum Need {
    /// It has it, or a later one.
    None,
    /// This try at it is due; why.
    Due(u32, &'static str),
    /// The next try waits; until when.
    Later(Timestamp),
}

fn need(snapshots: &[&Snapshot], slot: Timestamp, now: Timestamp) -> Need {
    if snapshots.iter().any(|s| s.slot >= slot && !s.is_error()) {
        return Need::None;
    }
    // Sorted from old to new: the last one of the slot is the latest try.
    let Some(failed) = snapshots.iter().rev().find(|s| s.slot >= slot) else {
        return Need::Due(1, "the slot has no snapshot yet");
    };
    let next = failed.started + pause_after(failed.attempt);
    if next > now {
        return Need::Later(next);
    }
    Need::Due(failed.attempt + 1, "the snapshot before failed")
}

/// How long after a failed try the next one starts. The first failure may pass by itself; a lasting
/// one, such as a disabled key, would fail at every sweep.
fn pause_after(attempt: u32) -> SignedDuration {
    let minutes = match attempt {
        0 | 1 => 0,
        2 => 15,
        3 => 30,
        4 => 60,
        5 => 120,
        _ => 240,
    };
    SignedDuration::from_mins(minutes)
}

/// Instances of volumes that lack a snapshot: only of these the AMI and root device matter.
#[must_use]
pub fn instances_of_lacking(facts: &Facts, policy: &Policy, now: Timestamp) -> BTreeSet<String> {
    let index = Index::of(&facts.snapshots);
    let mut instances = BTreeSet::new();
    for plan in &policy.plans.0 {
        let Some(slot) = plan.slot_at(now) else {
            continue;
        };
        for volume in facts.volumes.values().filter(|v| v.usable) {
            let snapshots = index.get(&volume.id, &plan.name);
            if plan.selects(volume, facts)
                && matches!(need(snapshots, slot.timestamp(), now), Need::Due(..))
            {
                instances.extend(volume.attachments.iter().map(|a| a.instance.clone()));
            }
        }
    }
    instances
}

/// All instances that volumes are attached to.
#[must_use]
pub fn attached_instances(facts: &Facts) -> BTreeSet<String> {
    facts
        .volumes
        .values()
        .flat_map(|volume| &volume.attachments)
        .map(|attachment| attachment.instance.clone())
        .collect()
}

/// A volume whose try is due.
struct Due<'a> {
    volume: &'a Volume,
    attempt: u32,
    why: &'static str,
}

fn creations(
    facts: &Facts,
    policy: &Policy,
    index: &Index<'_>,
    now: Timestamp,
) -> Vec<Decision<Action>> {
    let mut decisions = Vec::new();
    let on_instance = volumes_by_instance(facts);
    // Volumes that AWS refuses a snapshot of now, because one was just started (EBS-5).
    let mut busy: HashSet<&str> = facts
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.started + BETWEEN > now)
        .map(|snapshot| snapshot.volume.as_str())
        .collect();
    for plan in &policy.plans.0 {
        let Some(slot) = plan.slot_at(now) else {
            continue;
        };
        let mut due = Vec::new();
        for volume in facts.volumes.values().filter(|v| v.usable) {
            if !plan.selects(volume, facts) {
                continue;
            }
            match need(index.get(&volume.id, &plan.name), slot.timestamp(), now) {
                Need::None => {}
                Need::Due(attempt, why) => due.push(Due {
                    volume,
                    attempt,
                    why,
                }),
                Need::Later(next) => decisions.push(skip(
                    volume.id.clone(),
                    CREATE,
                    format!(
                        "plan {}: the latest try at slot {} failed; the next one is not before {}",
                        plan.name,
                        slots::tag(&slot),
                        next.strftime("%Y-%m-%d %H:%M UTC")
                    ),
                )),
            }
        }
        for (instance, group) in grouped(due, facts) {
            let resource = match &instance {
                Some(instance) => instance.clone(),
                None => group.iter().map(|d| d.volume.id.as_str()).collect(),
            };
            if group.iter().any(|d| busy.contains(d.volume.id.as_str())) {
                decisions.push(skip(
                    resource,
                    CREATE,
                    format!(
                        "plan {}: a snapshot of the volume is being started now, and AWS takes the next one after 15 seconds; the next sweep makes it",
                        plan.name
                    ),
                ));
                continue;
            }
            let group = Group {
                plan,
                slot: &slot,
                instance: instance.as_deref(),
                due: &group,
            };
            for create in group.creations(facts, &on_instance) {
                busy.extend(
                    group
                        .due
                        .iter()
                        .map(|d| d.volume.id.as_str())
                        .filter(|id| create.members.iter().any(|m| m.volume == *id)),
                );
                decisions.push(group.decision(create));
            }
        }
    }
    decisions
}

fn volumes_by_instance(facts: &Facts) -> HashMap<&str, Vec<&Volume>> {
    let mut on_instance: HashMap<&str, Vec<&Volume>> = HashMap::new();
    for volume in facts.volumes.values() {
        for attachment in &volume.attachments {
            on_instance
                .entry(attachment.instance.as_str())
                .or_default()
                .push(volume);
        }
    }
    on_instance
}

/// Volumes that are snapshotted together: those of one instance whose tags fit a set. All others
/// are alone: unattached ones, those on their way in or out, Multi-Attach ones (once, not once per
/// instance: EBS-3), those with too many tags, and those whose set has failed before.
fn grouped<'a>(due: Vec<Due<'a>>, facts: &Facts) -> Vec<(Option<String>, Vec<Due<'a>>)> {
    let mut sets: BTreeMap<String, Vec<Due<'a>>> = BTreeMap::new();
    let mut alone = Vec::new();
    for one in due {
        match one.volume.attachments.as_slice() {
            [only]
                if only.settled
                    && one.attempt <= SET_ATTEMPTS
                    && facts
                        .instances
                        .get(&only.instance)
                        .is_some_and(|instance| instance.root_device.is_some()) =>
            {
                sets.entry(only.instance.clone()).or_default().push(one);
            }
            _ => alone.push(one),
        }
    }
    let mut groups: Vec<(Option<String>, Vec<Due<'a>>)> = Vec::new();
    for (instance, members) in sets {
        let own = own_tag_count(members.len());
        let (fit, unfit): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|d| fits_set(d.volume, own));
        alone.extend(unfit);
        if fit.len() > 1 {
            groups.push((Some(instance), fit));
        } else {
            alone.extend(fit);
        }
    }
    groups.extend(alone.into_iter().map(|one| (None, vec![one])));
    groups
}

/// How many tags of ours a set of so many has at most.
fn own_tag_count(members: usize) -> usize {
    // guardrail, plan, slot, attempt, set, instance, image, image-name, and the volumes.
    8 + members.div_ceil(LISTED_PER_TAG)
}

/// AWS copies the volume's tags beside ours (`CopyTagsFromSource`): they must fit together, and
/// none may be one of ours, as on a volume restored with its snapshot's tags.
fn fits_set(volume: &Volume, own: usize) -> bool {
    let theirs = copied(volume).count();
    let ours = volume
        .tags
        .iter()
        .filter(|(key, _)| key.starts_with(tags::PREFIX))
        .any(|(key, _)| !key.starts_with(tags::TOLD_PREFIX));
    theirs + told(volume) + own <= tags::TAGS_MAX && !ours
}

fn told(volume: &Volume) -> usize {
    volume
        .tags
        .iter()
        .filter(|(key, _)| key.starts_with(tags::TOLD_PREFIX))
        .count()
}

/// A volume's own tags that its snapshot gets.
fn copied(volume: &Volume) -> impl Iterator<Item = &Tag> {
    volume
        .tags
        .iter()
        .filter(|(key, _)| !key.starts_with("aws:") && !key.starts_with(tags::PREFIX))
}

/// Volumes that get a plan's slot together.
struct Group<'g, 'a> {
    plan: &'g Plan,
    slot: &'g Zoned,
    instance: Option<&'g str>,
    due: &'g [Due<'a>],
}

impl Group<'_, '_> {
    /// One set, or one by one where `CreateSnapshots` can't leave out what isn't meant.
    fn creations(&self, facts: &Facts, on_instance: &HashMap<&str, Vec<&Volume>>) -> Vec<Create> {
        let set = self
            .instance
            .and_then(|instance| self.set(instance, facts, on_instance));
        match set {
            Some(target) => vec![self.create(target, self.due, facts)],
            None => self
                .due
                .iter()
                .map(|one| self.create(Target::Volume, std::slice::from_ref(one), facts))
                .collect(),
        }
    }

    fn set(
        &self,
        instance: &str,
        facts: &Facts,
        on_instance: &HashMap<&str, Vec<&Volume>>,
    ) -> Option<Target> {
        let root = facts.instances.get(instance)?.root_device.as_deref()?;
        let mut exclude = Vec::new();
        let mut exclude_boot = false;
        for volume in on_instance.get(instance)? {
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
        (exclude.len() <= EXCLUDED_MAX).then(|| Target::Set {
            instance: instance.to_owned(),
            exclude_boot,
            exclude,
        })
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
        let mut all = self.tags(&members, attempt, instance, facts);
        if let ([only], Target::Volume) = (due, &target) {
            let room = tags::TAGS_MAX - all.len();
            all.extend(copied(only.volume).take(room).cloned());
        }
        Create {
            plan: self.plan.name.clone(),
            slot: self.slot.timestamp(),
            attempt,
            description: self.description(&members, instance, facts),
            target,
            members,
            tags: all,
        }
    }

    fn tags(
        &self,
        members: &[Member],
        attempt: u32,
        instance: Option<&str>,
        facts: &Facts,
    ) -> Vec<Tag> {
        let mut all = vec![
            (tags::GUARDRAIL.to_owned(), crate::NAME.to_owned()),
            (tags::PLAN.to_owned(), self.plan.name.clone()),
            (tags::SLOT.to_owned(), slots::tag(self.slot)),
            (tags::ATTEMPT.to_owned(), attempt.to_string()),
        ];
        for (n, some) in members.chunks(LISTED_PER_TAG).enumerate() {
            let key = match n {
                0 => tags::VOLUMES.to_owned(),
                n => format!("{}-{}", tags::VOLUMES, n + 1),
            };
            let listed: Vec<String> = some
                .iter()
                .map(|member| match &member.device {
                    Some(device) => format!("{}={device}", member.volume),
                    None => member.volume.clone(),
                })
                .collect();
            all.push((key, tags::clip(&listed.join(" "))));
        }
        if let Some(instance) = instance {
            all.push((tags::INSTANCE.to_owned(), instance.to_owned()));
            let known = facts.instances.get(instance);
            if let Some(image) = known.and_then(|i| i.image.as_ref()) {
                all.push((tags::IMAGE.to_owned(), image.clone()));
            }
            if let Some(name) = known.and_then(|i| i.image_name.as_ref()) {
                all.push((tags::IMAGE_NAME.to_owned(), tags::clip(name)));
            }
        }
        all
    }

    fn description(&self, members: &[Member], instance: Option<&str>, facts: &Facts) -> String {
        let what = match members {
            [
                Member {
                    device: Some(device),
                    ..
                },
            ] => device.clone(),
            [only] => only.volume.clone(),
            several => format!("{} volumes", several.len()),
        };
        let of = match instance {
            None => String::new(),
            Some(id) => match facts.instances.get(id).and_then(|i| i.name.as_deref()) {
                Some(name) => format!(" of {name} ({id})"),
                None => format!(" of {id}"),
            },
        };
        let text = format!(
            "ec2-guardrails, plan {}: {what}{of}, slot {}",
            self.plan.name,
            slots::label(self.slot, &self.plan.timezone)
        );
        // EC2 takes ASCII only.
        let ascii: String = text
            .chars()
            .map(|c| if c.is_ascii() { c } else { '?' })
            .collect();
        ascii.chars().take(DESCRIPTION_MAX).collect()
    }

    fn decision(&self, create: Create) -> Decision<Action> {
        let why = self
            .due
            .iter()
            .find(|d| create.members.iter().any(|m| m.volume == d.volume.id))
            .map_or("", |d| d.why);
        let volumes: Vec<&str> = create.members.iter().map(|m| m.volume.as_str()).collect();
        let (resource, of) = match (&create.target, volumes.as_slice()) {
            (Target::Set { instance, .. }, several) => {
                (instance.clone(), format!(" ({})", several.join(", ")))
            }
            (Target::Volume, some) => (some.concat(), String::new()),
        };
        Decision {
            resource,
            action: CREATE,
            reason: format!(
                "plan {}, slot {}: {why}{of}",
                self.plan.name,
                slots::tag(self.slot)
            ),
            step: Some(Action::Create(create)),
        }
    }
}

// ---- what the plans no longer keep -------------------------------------------------------------

/// Volumes that snapshots name and that weren't found, where that would have consequences: a
/// second look must not find them either.
#[must_use]
pub fn maybe_gone(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<String> {
    let index = Index::of(&facts.snapshots);
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for (volume, _, snapshots) in index.iter() {
        if !facts.volumes.contains_key(volume)
            && (snapshots.iter().any(|s| s.is_error()) || orphaned(snapshots, policy, now))
        {
            ids.insert(volume.to_owned());
        }
    }
    ids.into_iter().collect()
}

/// Whether the newest completed snapshot of a volume that is gone is older than orphans are kept.
fn orphaned(snapshots: &[&Snapshot], policy: &Policy, now: Timestamp) -> bool {
    let newest = snapshots
        .iter()
        .filter(|s| s.is_completed())
        .map(|s| s.started)
        .max();
    match (policy.orphans_after, newest) {
        (Some(age), Some(newest)) => age.after(newest) < now,
        _ => false,
    }
}

/// A snapshot that is to go.
struct Doomed<'a> {
    snapshot: &'a Snapshot,
    keeper: Option<&'a str>,
    reason: String,
}

impl Doomed<'_> {
    fn decision(self) -> Decision<Action> {
        Decision {
            resource: self.snapshot.id.clone(),
            action: DELETE,
            reason: format!(
                "plan {}, slot {}, of {}: {}",
                self.snapshot.plan, self.snapshot.slot, self.snapshot.volume, self.reason
            ),
            step: Some(Action::Delete(Delete {
                snapshot: self.snapshot.id.clone(),
                keeper: self.keeper.map(str::to_owned),
            })),
        }
    }
}

fn deletions(
    facts: &Facts,
    policy: &Policy,
    index: &Index<'_>,
    now: Timestamp,
) -> Vec<Decision<Action>> {
    let mut decisions: Vec<_> = failed_ones(facts, policy, index)
        .into_iter()
        .map(Doomed::decision)
        .collect();
    let doomed = no_longer_kept(facts, policy, index, now);
    if let Some(held) = brake(facts, policy, &doomed) {
        decisions.push(skip(
            held.oldest.to_owned(),
            DELETE,
            format!(
                "the brake holds: {} of {} snapshots would be deleted; none is",
                held.doomed, held.owned
            ),
        ));
    } else {
        decisions.extend(doomed.into_iter().map(Doomed::decision));
    }
    decisions
}

/// What the brake holds back.
#[derive(Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// How many would be deleted,
    pub doomed: usize,
    /// of how many that are completed.
    pub owned: usize,
    /// The oldest that would: it remembers that this was told.
    pub oldest: &'a str,
}

fn brake<'a>(facts: &Facts, policy: &Policy, doomed: &[Doomed<'a>]) -> Option<Held<'a>> {
    let owned = facts.snapshots.iter().filter(|s| s.is_completed()).count();
    let oldest = doomed
        .iter()
        .map(|d| d.snapshot)
        .min_by_key(|s| (s.started, &s.id))?;
    policy.brake.holds(doomed.len(), owned).then_some(Held {
        doomed: doomed.len(),
        owned,
        oldest: &oldest.id,
    })
}

/// What the brake holds back now, if it does.
#[must_use]
pub fn held_back<'a>(facts: &'a Facts, policy: &Policy, now: Timestamp) -> Option<Held<'a>> {
    let index = Index::of(&facts.snapshots);
    brake(facts, policy, &no_longer_kept(facts, policy, &index, now))
}

/// Failed snapshots that are of no more use: each is kept until a later one is completed or has
/// failed too, because it tells how often and when the slot was tried. They count towards the
/// pending limit (EBS-5) and protect nobody.
fn failed_ones<'a>(facts: &Facts, policy: &Policy, index: &Index<'a>) -> Vec<Doomed<'a>> {
    let mut doomed = Vec::new();
    for (volume, plan, snapshots) in index.iter() {
        let gone = facts.gone.contains(volume);
        for (at, snapshot) in snapshots.iter().enumerate() {
            if !snapshot.is_error() {
                continue;
            }
            let later = snapshots[at + 1..]
                .iter()
                .any(|s| s.is_completed() || s.is_error());
            if later || gone || policy.plan(plan).is_none() {
                doomed.push(Doomed {
                    snapshot,
                    keeper: None,
                    reason: "it failed and is of no use".to_owned(),
                });
            }
        }
    }
    doomed
}

/// Completed snapshots that the plans no longer keep. Snapshots of a plan that is no longer in the
/// policy are left alone: nothing says what of them to keep.
fn no_longer_kept<'a>(
    facts: &Facts,
    policy: &Policy,
    index: &Index<'a>,
    now: Timestamp,
) -> Vec<Doomed<'a>> {
    let mut doomed = Vec::new();
    for (volume, plan, snapshots) in index.iter() {
        if facts.gone.contains(volume) && orphaned(snapshots, policy, now) {
            doomed.extend(
                snapshots
                    .iter()
                    .filter(|s| s.is_completed())
                    .map(|snapshot| Doomed {
                        snapshot,
                        keeper: None,
                        reason: "the volume is gone, and so is the time that orphans are kept"
                            .to_owned(),
                    }),
            );
            continue;
        }
        let Some(plan) = policy.plan(plan) else {
            continue;
        };
        doomed.extend(pruned(plan, snapshots));
    }
    doomed
}

/// What one plan no longer keeps of one volume's snapshots.
fn pruned<'a>(plan: &Plan, snapshots: &[&'a Snapshot]) -> Vec<Doomed<'a>> {
    // One per slot: the earliest. A second one of a slot, made by a run that couldn't see the
    // first yet, goes (EBS-1).
    let mut by_slot: BTreeMap<Timestamp, Vec<&'a Snapshot>> = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|s| s.is_completed()) {
        by_slot.entry(snapshot.slot).or_default().push(snapshot);
    }
    let mut doomed = Vec::new();
    let mut slots = Vec::with_capacity(by_slot.len());
    let mut firsts = Vec::with_capacity(by_slot.len());
    for (slot, mut same) in by_slot {
        same.sort_by_key(|s| (s.started, &s.id));
        let mut same = same.into_iter();
        let Some(first) = same.next() else { continue };
        doomed.extend(same.map(|snapshot| Doomed {
            snapshot,
            keeper: Some(&first.id),
            reason: format!("the slot has {} already", first.id),
        }));
        slots.push(slot);
        firsts.push(first);
    }
    let kept = retention::kept(&slots, &plan.keep, &plan.timezone);
    let newest = firsts.last().map(|s| s.id.as_str());
    doomed.extend(
        firsts
            .iter()
            .zip(kept)
            .filter(|(_, kept)| !kept)
            .map(|(snapshot, _)| Doomed {
                snapshot,
                keeper: newest,
                reason: "no rule of `keep` keeps it".to_owned(),
            }),
    );
    doomed
}

#[cfg(test)]
pub(crate) mod tests;
