//! The synthetic estate: volumes, snapshots, instances and images, and what a sweep should make of
//! them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};

use super::{Scenario, ec2, least};
use crate::estate::{ACCOUNT, Answer, Described, Estate, REGION, Tag, id, rfc3339};
use crate::least::Least;
use crate::outcomes::{Outcomes, Told};
use crate::query::{Query, Refusal, escaped, tag_set};
use crate::server::Calls;

/// Snapshots of ours that each volume has already.
pub(crate) const HISTORY: usize = 10;
/// One in so many volumes has a snapshot made by hand, which nobody may touch.
const BY_HAND_EVERY: usize = 10;
/// One in so many instances has failed snapshots, in [`Scenario::Failed`].
const FAILED_EVERY: usize = 10;
/// AMIs that the instances were launched from.
const IMAGES: usize = 20;

/// A volume.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) instance: usize,
    pub(crate) device: &'static str,
    pub(crate) tags: Arc<Vec<Tag>>,
    pub(crate) snapshots: Vec<usize>,
    pub(crate) xml: String,
}

/// An instance; its volumes follow each other, the root volume first.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) volumes: std::ops::Range<usize>,
    pub(crate) xml: String,
}

/// An AMI.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) xml: String,
}

/// Why a snapshot is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// There before the sweep, with ours: which slot, 0 being the present one.
    Slot(usize),
    /// There before, made by hand.
    Hand,
    /// Made during the sweep.
    Sweep,
}

/// A snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) volume: usize,
    pub(crate) started: Timestamp,
    pub(crate) deleted: bool,
    pub(crate) xml: String,
    /// Those that the request gave, shared in a set.
    tags: Arc<Vec<Tag>>,
    /// Those copied from the volume.
    copied: Arc<Vec<Tag>>,
    state: &'static str,
    origin: Origin,
    description: Arc<str>,
}

impl Snapshot {
    /// Its tags.
    pub(crate) fn all_tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().chain(self.copied.iter())
    }

    /// A tag's value.
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.all_tags()
            .find(|(have, _)| have == key)
            .map(|(_, value)| value.as_str())
    }
}

/// What a creation asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) tags: Arc<Vec<Tag>>,
    pub(crate) copy_tags: bool,
    pub(crate) description: Arc<str>,
}

/// The estate.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "they are what EC2 calls them")]
pub(crate) struct Volumes {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) images: Vec<Image>,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) scenario: Scenario,
    pub(crate) volume_ids: HashMap<String, usize>,
    pub(crate) instance_ids: HashMap<String, usize>,
    pub(crate) snapshot_ids: HashMap<String, usize>,
    slot: Timestamp,
}

const GUARDRAIL: &str = "ec2-guardrails:guardrail";
const PLAN: &str = "ec2-guardrails:plan";
const SLOT: &str = "ec2-guardrails:slot";
const ATTEMPT: &str = "ec2-guardrails:attempt";
const VOLUMES: &str = "ec2-guardrails:volumes";
const TOLD: &str = "ec2-guardrails:told-failed";
/// The name of the guardrail and of the plan below.
const OURS: (&str, &str) = ("snapshot-volumes", "daily");

const DEVICES: [&str; 3] = ["/dev/xvda", "/dev/sdf", "/dev/sdg"];
const PURPOSES: [&str; 3] = ["root", "data", "logs"];

impl Volumes {
    /// An estate of so many volumes: two and three by turns on each instance, [`HISTORY`]
    /// snapshots of each, and some made by hand.
    pub(crate) fn new(volumes: usize, scenario: Scenario) -> Self {
        let now = Timestamp::now();
        // An hour ago: the slot stays the same while the benchmark runs, and a missing snapshot
        // isn't late yet.
        let minute = Timestamp::from_second(now.as_second() / 60 * 60).unwrap_or(now);
        let mut estate = Self {
            volumes: Vec::with_capacity(volumes),
            instances: Vec::new(),
            images: (0..IMAGES).map(image).collect(),
            snapshots: Vec::with_capacity(volumes * (HISTORY + 2)),
            scenario,
            volume_ids: HashMap::with_capacity(volumes),
            instance_ids: HashMap::new(),
            snapshot_ids: HashMap::with_capacity(volumes * (HISTORY + 2)),
            slot: minute - 1.hour(),
        };
        while estate.volumes.len() < volumes {
            estate.add_instance(volumes - estate.volumes.len());
        }
        estate.add_history();
        estate
    }

    fn add_instance(&mut self, room: usize) {
        let number = self.instances.len();
        let first = self.volumes.len();
        let last = first + (2 + number % 2).min(room);
        let id_of_instance = id("i", number);
        for index in first..last {
            let place = index - first;
            let id = id("vol", index);
            let tags = [
                ("Name", format!("app-{number:05}-{}", PURPOSES[place])),
                ("Backup", "true".to_owned()),
                ("Environment", "production".to_owned()),
                ("Team", format!("team-{:02}", number % 12)),
                ("CostCenter", format!("{}", 4_000 + number % 37)),
            ];
            self.volume_ids.insert(id.clone(), index);
            self.volumes.push(Volume {
                id,
                instance: number,
                device: DEVICES[place],
                tags: Arc::new(tags.map(|(key, value)| (key.to_owned(), value)).to_vec()),
                snapshots: Vec::with_capacity(HISTORY + 2),
                xml: String::new(),
            });
        }
        self.instance_ids.insert(id_of_instance.clone(), number);
        self.instances.push(Instance {
            id: id_of_instance,
            volumes: first..last,
            xml: String::new(),
        });
        for index in first..last {
            self.render_volume(index);
        }
        self.instances[number].xml = self.instance_xml(number);
    }

    fn add_history(&mut self) {
        // Before a new slot the present one is the volumes' lack.
        let newest = usize::from(self.scenario == Scenario::Slot);
        // From old to new, as AWS lists nothing by, but a real history grows.
        for back in (newest..newest + HISTORY).rev() {
            let slot = self.slot_before(back);
            for number in 0..self.instances.len() {
                let failed = back == 0 && self.fails(number);
                let tags = Arc::new(self.our_tags(number, slot));
                let members = self.instances[number].volumes.clone();
                let description: Arc<str> = format!(
                    "ec2-guardrails, plan {}: {} volumes of app-{number:05} ({}), slot {} UTC",
                    OURS.1,
                    members.len(),
                    self.instances[number].id,
                    slot.strftime("%Y-%m-%d %H:%M")
                )
                .into();
                for volume in members {
                    self.add_snapshot(
                        volume,
                        Snapshot {
                            id: String::new(),
                            volume,
                            started: slot + 5.minutes(),
                            deleted: false,
                            xml: String::new(),
                            tags: Arc::clone(&tags),
                            copied: Arc::clone(&self.volumes[volume].tags),
                            state: if failed { "error" } else { "completed" },
                            origin: Origin::Slot(back),
                            description: Arc::clone(&description),
                        },
                    );
                }
            }
        }
        let by_hand = Arc::new(vec![("Name".to_owned(), "before the upgrade".to_owned())]);
        for volume in (0..self.volumes.len()).step_by(BY_HAND_EVERY) {
            self.add_snapshot(
                volume,
                Snapshot {
                    id: String::new(),
                    volume,
                    started: self.slot_before(40),
                    deleted: false,
                    xml: String::new(),
                    tags: Arc::clone(&by_hand),
                    copied: Arc::default(),
                    state: "completed",
                    origin: Origin::Hand,
                    description: "by hand".into(),
                },
            );
        }
    }

    fn slot_before(&self, days: usize) -> Timestamp {
        let hours = i64::try_from(days).unwrap_or(0) * 24;
        self.slot - hours.hours()
    }

    fn fails(&self, instance: usize) -> bool {
        self.scenario == Scenario::Failed && instance.is_multiple_of(FAILED_EVERY)
    }

    /// The tags that the function gives a set.
    fn our_tags(&self, instance: usize, slot: Timestamp) -> Vec<Tag> {
        let of = &self.instances[instance];
        let listed: Vec<String> = of
            .volumes
            .clone()
            .map(|v| format!("{}={}", self.volumes[v].id, self.volumes[v].device))
            .collect();
        let image = instance % IMAGES;
        [
            (GUARDRAIL, OURS.0.to_owned()),
            (PLAN, OURS.1.to_owned()),
            (SLOT, slot.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()),
            (ATTEMPT, "1".to_owned()),
            (VOLUMES, listed.join(" ")),
            ("ec2-guardrails:instance", of.id.clone()),
            ("ec2-guardrails:image", id("ami", image)),
            ("ec2-guardrails:image-name", image_name(image)),
            ("ec2-guardrails:set", format!("{}-59dbff89", of.id)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    fn add_snapshot(&mut self, volume: usize, mut snapshot: Snapshot) -> usize {
        let index = self.snapshots.len();
        snapshot.id = id("snap", index);
        self.snapshot_ids.insert(snapshot.id.clone(), index);
        snapshot.xml = self.snapshot_xml(&snapshot);
        self.volumes[volume].snapshots.push(index);
        self.snapshots.push(snapshot);
        index
    }

    // ---- what requests change ------------------------------------------------------------------

    /// Makes a snapshot, unless one of the volume was started less than 15 seconds ago or five are
    /// pending (EBS-5).
    pub(crate) fn may_snapshot(&self, volume: usize, now: Timestamp) -> Result<(), Refusal> {
        let Volume { id, snapshots, .. } = &self.volumes[volume];
        let recent = |index: &&usize| self.snapshots[**index].started + 15.seconds() > now;
        if snapshots.iter().rev().any(|index| recent(&index)) {
            return Err(Refusal::of(
                "SnapshotCreationPerVolumeRateExceeded",
                format!(
                    "The maximum per volume CreateSnapshot request rate has been exceeded for {id}"
                ),
            ));
        }
        let pending = snapshots
            .iter()
            .map(|index| &self.snapshots[*index])
            .filter(|s| !s.deleted && s.state != "completed");
        if pending.count() >= 5 {
            return Err(Refusal::of(
                "ConcurrentSnapshotLimitExceeded",
                format!("Maximum allowed in-progress snapshots for {id} exceeded"),
            ));
        }
        Ok(())
    }

    /// Makes a snapshot; `pending` first, as AWS does.
    pub(crate) fn snapshot(&mut self, volume: usize, wanted: &Wanted, now: Timestamp) -> usize {
        let copied = if wanted.copy_tags {
            Arc::clone(&self.volumes[volume].tags)
        } else {
            Arc::default()
        };
        self.add_snapshot(
            volume,
            Snapshot {
                id: String::new(),
                volume,
                started: now,
                deleted: false,
                xml: String::new(),
                tags: Arc::clone(&wanted.tags),
                copied,
                state: "pending",
                origin: Origin::Sweep,
                description: Arc::clone(&wanted.description),
            },
        )
    }

    /// Sets a volume's tags (`Some`) or removes them (`None`).
    pub(crate) fn tag_volume(&mut self, volume: usize, tags: &[(&str, Option<&str>)]) {
        let mut all = self.volumes[volume].tags.to_vec();
        for (key, value) in tags {
            all.retain(|(have, _)| have != key);
            all.extend(value.map(|value| ((*key).to_owned(), value.to_owned())));
        }
        self.volumes[volume].tags = Arc::new(all);
        self.render_volume(volume);
    }

    // ---- what a sweep should make of it --------------------------------------------------------

    /// Instances whose volumes lack the slot's snapshot, each a set.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = usize> {
        (0..self.instances.len()).filter(|instance| match self.scenario {
            Scenario::Slot => true,
            Scenario::Failed => self.fails(*instance),
            Scenario::Idle | Scenario::Prune => false,
        })
    }

    /// The snapshots that are no longer kept.
    pub(crate) fn doomed(&self) -> impl Iterator<Item = usize> {
        let oldest = Origin::Slot(HISTORY - 1);
        (0..self.snapshots.len()).filter(move |s| {
            self.scenario == Scenario::Prune && self.snapshots[*s].origin == oldest
        })
    }

    /// Snapshots that carried our tag before the sweep.
    pub(crate) fn owned(&self) -> usize {
        let ours = |s: &&Snapshot| matches!(s.origin, Origin::Slot(_));
        self.snapshots.iter().filter(ours).count()
    }

    /// The volumes that are told of.
    pub(crate) fn failing(&self) -> impl Iterator<Item = usize> {
        (0..self.volumes.len()).filter(|volume| self.fails(self.volumes[*volume].instance))
    }

    /// How many sets were made, each whole.
    fn verify_made(&self) -> Result<usize, String> {
        let lacking: HashSet<usize> = self.lacking().collect();
        let mut members: BTreeMap<usize, usize> = BTreeMap::new();
        let mut seen: HashSet<usize> = HashSet::new();
        for snapshot in self.snapshots.iter().filter(|s| s.origin == Origin::Sweep) {
            let volume = &self.volumes[snapshot.volume];
            let wrong = |what: &str| Err(format!("{} of {}: {what}", snapshot.id, volume.id));
            if !lacking.contains(&volume.instance) {
                return wrong("the slot had a snapshot already");
            }
            if snapshot.deleted || !seen.insert(snapshot.volume) {
                return wrong("made twice or deleted again");
            }
            let attempt = match self.scenario {
                Scenario::Failed => "2",
                _ => "1",
            };
            let slot = snapshot.tag(SLOT).and_then(|slot| slot.parse().ok());
            let listed = snapshot
                .tag(VOLUMES)
                .is_some_and(|v| v.contains(&volume.id));
            if snapshot.tag(GUARDRAIL) != Some(OURS.0)
                || snapshot.tag(PLAN) != Some(OURS.1)
                || slot != Some(self.slot)
                || snapshot.tag(ATTEMPT) != Some(attempt)
                || !listed
                || snapshot.tag("CostCenter").is_none()
            {
                return wrong(&format!("its tags are {:?}", snapshot.tags));
            }
            *members.entry(volume.instance).or_default() += 1;
        }
        let partial = members
            .iter()
            .find(|(instance, count)| self.instances[**instance].volumes.len() != **count);
        match partial {
            Some((instance, count)) => Err(format!(
                "{}: {count} of its {} volumes were snapshotted",
                self.instances[*instance].id,
                self.instances[*instance].volumes.len()
            )),
            None => Ok(members.len()),
        }
    }

    /// How many snapshots were deleted.
    fn verify_deleted(&self) -> Result<usize, String> {
        let doomed: HashSet<usize> = self.doomed().collect();
        let mut deleted = 0;
        for (index, snapshot) in self.snapshots.iter().enumerate() {
            if snapshot.deleted && !doomed.contains(&index) {
                return Err(format!(
                    "{} of {} was deleted, though it was to stay",
                    snapshot.id, self.volumes[snapshot.volume].id
                ));
            }
            deleted += usize::from(snapshot.deleted);
        }
        Ok(deleted)
    }

    // ---- as EC2 answers ------------------------------------------------------------------------

    fn render_volume(&mut self, index: usize) {
        let volume = &self.volumes[index];
        let instance = &self.instances[volume.instance];
        let created = rfc3339(self.slot_before(90));
        let mut xml = String::with_capacity(1_536);
        let _ = write!(
            xml,
            "<item><volumeId>{id}</volumeId><size>100</size><snapshotId>snap-0{index:016x}</snapshotId><availabilityZone>{REGION}a</availabilityZone><availabilityZoneId>euc1-az2</availabilityZoneId><status>in-use</status><createTime>{created}</createTime><attachmentSet><item><volumeId>{id}</volumeId><instanceId>{instance}</instanceId><device>{device}</device><status>attached</status><attachTime>{created}</attachTime><deleteOnTermination>true</deleteOnTermination></item></attachmentSet><volumeType>gp3</volumeType><iops>3000</iops><throughput>125</throughput><encrypted>true</encrypted><kmsKeyId>{KEY}</kmsKeyId><sseType>sse-ebs</sseType><multiAttachEnabled>false</multiAttachEnabled><operator><managed>false</managed></operator>",
            id = volume.id,
            instance = instance.id,
            device = volume.device,
        );
        tag_set(&mut xml, volume.tags.iter());
        xml.push_str("</item>");
        self.volumes[index].xml = xml;
    }

    fn snapshot_xml(&self, snapshot: &Snapshot) -> String {
        let started = rfc3339(snapshot.started);
        let mut xml = String::with_capacity(2_560);
        let _ = write!(
            xml,
            "<item><snapshotId>{id}</snapshotId><volumeId>{volume}</volumeId><status>{state}</status><startTime>{started}</startTime>",
            id = snapshot.id,
            volume = self.volumes[snapshot.volume].id,
            state = snapshot.state,
        );
        match snapshot.state {
            "completed" => {
                let _ = write!(
                    xml,
                    "<completionTime>{started}</completionTime><progress>100%</progress><fullSnapshotSizeInBytes>53687091200</fullSnapshotSizeInBytes>"
                );
            }
            "error" => xml.push_str(
                "<statusMessage>Given key ID is not accessible</statusMessage><progress>0%</progress>",
            ),
            _ => xml.push_str("<progress>0%</progress>"),
        }
        let _ = write!(
            xml,
            "<ownerId>{ACCOUNT}</ownerId><volumeSize>100</volumeSize><description>{}</description><encrypted>true</encrypted><kmsKeyId>{KEY}</kmsKeyId><storageTier>standard</storageTier><sseType>sse-ebs</sseType>",
            escaped(&snapshot.description)
        );
        tag_set(&mut xml, snapshot.all_tags());
        xml.push_str("</item>");
        xml
    }

    fn instance_xml(&self, number: usize) -> String {
        let Instance { id, volumes, .. } = &self.instances[number];
        let volumes: Vec<(&str, &str)> = volumes
            .clone()
            .map(|volume| {
                (
                    self.volumes[volume].device,
                    self.volumes[volume].id.as_str(),
                )
            })
            .collect();
        let tags = [
            ("Name", format!("app-{number:05}")),
            ("Environment", "production".to_owned()),
            ("Team", format!("team-{:02}", number % 12)),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        Described {
            id,
            image: &self.images[number % IMAGES].id,
            state: "running",
            launched: self.slot_before(90),
            vpc: "vpc-0123456789abcdef0",
            subnet: "subnet-0123456789abcdef0",
            group: "sg-0123456789abcdef0",
            address: "10.0.0.10",
            profile: Some("arn:aws:iam::123456789012:instance-profile/application"),
            volumes: &volumes,
            tags: &tags,
        }
        .xml()
    }
}

impl Estate for Volumes {
    /// The policy that the estate is swept under: daily at the slot's time, and kept so that only
    /// [`Scenario::Prune`] has something to delete, one of each volume's ten.
    fn policy(&self) -> String {
        let time = self.slot.strftime("%-M %-H");
        let daily = match self.scenario {
            Scenario::Prune => HISTORY - 1,
            _ => HISTORY,
        };
        format!(
            "snapshot-volumes:
  plans:
    - name: {plan}
      select: {{ tag: Backup, values: [\"true\"] }}
      schedule: \"{time} * * *\"
      timezone: UTC
      keep: {{ last: 2, daily: {daily} }}
",
            plan = OURS.1
        )
    }

    fn ec2(&mut self, action: &str, query: &Query) -> Answer {
        ec2::respond(self, action, query)
    }

    fn looks_again(&self, action: &str, query: &Query) -> bool {
        action == "DescribeSnapshots" && ec2::looks_again(query)
    }

    fn least(&self) -> Least {
        least(self)
    }

    /// Checks what a sweep made of the estate against what it says it did: each snapshot that was
    /// lacking made once and rightly, each that is no longer kept deleted, nothing else touched.
    fn verify(
        &self,
        outcomes: &Outcomes,
        told: &Told,
        made: &Calls,
        may_leave: bool,
    ) -> Result<(), String> {
        least(self).suffices_for(made)?;
        let made = self.verify_made()?;
        let deleted = self.verify_deleted()?;
        let due = self.lacking().count() + self.doomed().count();
        let Outcomes {
            considered,
            done,
            skipped,
            would_do,
            failed,
            left,
        } = *outcomes;
        let others = failed + skipped + would_do;
        if considered != self.volumes.len() || done != made + deleted || others > 0 {
            return Err(format!(
                "the report says {outcomes:?}, but there are {} volumes, {made} sets were made and {deleted} snapshots deleted",
                self.volumes.len()
            ));
        }
        if done + left != due || (left > 0 && !may_leave) {
            return Err(format!(
                "{due} sets and deletions were due, {done} were done and {left} left"
            ));
        }
        let failing = self.failing().map(|volume| self.volumes[volume].id.clone());
        told.expect(&Told::of(failing))?;
        for (index, volume) in self.volumes.iter().enumerate() {
            let remembered = volume.tags.iter().any(|(key, _)| key == TOLD);
            if remembered != self.fails(self.volumes[index].instance) {
                return Err(format!(
                    "{}: the tag {TOLD} is {}",
                    volume.id,
                    if remembered { "there" } else { "missing" }
                ));
            }
        }
        Ok(())
    }
}

const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn image_name(number: usize) -> String {
    format!("al2023-ami-2023.9.202511{number:02}.0-kernel-6.1-arm64")
}

fn image(number: usize) -> Image {
    let id = id("ami", number);
    let name = image_name(number);
    let xml = format!(
        "<item><imageId>{id}</imageId><imageLocation>amazon/{name}</imageLocation><imageState>available</imageState><imageOwnerId>137112412989</imageOwnerId><isPublic>true</isPublic><architecture>arm64</architecture><imageType>machine</imageType><imageOwnerAlias>amazon</imageOwnerAlias><name>{name}</name><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><virtualizationType>hvm</virtualizationType></item>"
    );
    Image { id, xml }
}

#[cfg(test)]
mod tests;
