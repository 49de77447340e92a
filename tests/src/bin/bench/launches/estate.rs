//! The synthetic estate: instances, their AMIs and Auto Scaling groups, and what a run should make
//! of them.

use std::collections::{BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::{ISOLATES, Scenario, ec2, services};
use crate::auto_scaling::{self, set_tag, tag};
use crate::estate::{Answer, Described, Estate, SWEEP, Tag, id};
use crate::least::Least;
use crate::outcomes::{Outcomes, Told};
use crate::query::{Query, Refusal};
use crate::server::Calls;

/// Instances of a group; every second ten stands alone.
const SIZE: usize = 10;
/// AMIs: the account's own, Amazon's, and those of somebody whom the policy doesn't name.
pub(super) const IMAGES: [usize; 3] = [24, 12, 4];
/// VPCs, each with an isolation group from an earlier quarantine.
pub(super) const VPCS: usize = 3;
/// One in so many was launched long ago from an AMI that isn't approved.
const OLD_EVERY: usize = 250;
/// One in so many was launched just now from an AMI that isn't approved; one at least.
const UNAPPROVED_EVERY: usize = 250;

const MARK: &str = "ec2-guardrails:quarantined";
const TOLD: &str = "ec2-guardrails:told-quarantined";
const LAUNCHER: &str = "ec2-guardrails:quarantine-launcher";
/// Launchers that a sweep looks up at most which an earlier run couldn't learn.
const LAUNCHERS: usize = 5;

/// What a run should see in an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Approved, or too old: nobody touches it.
    Fine,
    /// To be isolated.
    Unapproved,
}

/// What was done to an instance, how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) isolated: usize,
    pub(super) protected: usize,
    pub(super) disks_kept: usize,
    pub(super) evidence: usize,
    pub(super) standby: usize,
}

/// An instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) image: usize,
    pub(super) launched: Timestamp,
    pub(super) vpc: usize,
    pub(super) group: Option<usize>,
    pub(super) standing: Standing,
    pub(super) steps: Steps,
    pub(super) tags: Vec<Tag>,
    pub(super) xml: String,
}

/// An Auto Scaling group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) template: String,
    pub(super) tags: Vec<Tag>,
}

/// The estate.
#[derive(Debug)]
pub(crate) struct Launches {
    pub(super) instances: Vec<Instance>,
    pub(super) groups: Vec<Group>,
    pub(super) scenario: Scenario,
    ids: HashMap<String, usize>,
    /// Those that this run should isolate.
    due: Vec<usize>,
    /// Those that an earlier run isolated without learning who launched them: CloudTrail throttles.
    unnamed: Vec<usize>,
    least: Least,
}

/// Id of a VPC's isolation group.
pub(super) fn isolation(vpc: usize) -> String {
    id("sg", 900 + vpc)
}

/// Id of a VPC.
pub(super) fn vpc(number: usize) -> String {
    id("vpc", number)
}

impl Launches {
    /// An estate of so many instances.
    pub(crate) fn new(count: usize, scenario: Scenario) -> Self {
        let now = Timestamp::now();
        let groups = (0..count.div_ceil(SIZE)).map(|number| Group {
            name: format!("web-{number:03}"),
            template: id("lt", number),
            tags: Vec::new(),
        });
        let groups: Vec<Group> = groups.collect();
        let instances = (0..count).map(|number| instance(number, scenario, &groups, now));
        let instances: Vec<Instance> = instances.collect();
        let ids = instances.iter().enumerate();
        let mut estate = Self {
            ids: ids.map(|(at, found)| (found.id.clone(), at)).collect(),
            instances,
            groups,
            scenario,
            due: Vec::new(),
            unnamed: Vec::new(),
            least: Least::of([]),
        };
        for at in 0..count {
            estate.render(at);
        }
        estate.begin();
        estate
    }

    fn render(&mut self, at: usize) {
        let found = &self.instances[at];
        let group = match found.steps.isolated {
            0 => id("sg", found.vpc),
            _ => isolation(found.vpc),
        };
        let xml = Described {
            id: &found.id,
            image: &id("ami", found.image),
            state: "running",
            launched: found.launched,
            vpc: &vpc(found.vpc),
            subnet: &id("subnet", found.vpc),
            group: &group,
            address: &format!("10.{}.{}.{}", found.vpc, at / 200 % 256, 10 + at % 200),
            profile: None,
            volumes: &[("/dev/xvda", &id("vol", at))],
            tags: &found.tags,
        }
        .xml();
        self.instances[at].xml = xml;
    }

    /// The instance of this id.
    pub(super) fn find(&self, id: &str) -> Result<usize, Refusal> {
        let why = || format!("The instance ID '{id}' does not exist");
        let at = self.ids.get(id).copied();
        at.ok_or_else(|| Refusal::of("InvalidInstanceID.NotFound", why()))
    }

    /// The instance of this id, of which this run may change something.
    pub(super) fn changed(&mut self, id: &str) -> Result<&mut Instance, Refusal> {
        let at = self.find(id)?;
        if !self.due.contains(&at) {
            return Err(wrong(format!("{id} isn't to be touched in this run")));
        }
        Ok(&mut self.instances[at])
    }

    /// The same, once its state was written down: only then anything may be changed.
    pub(super) fn held(&mut self, id: &str) -> Result<&mut Instance, Refusal> {
        let found = self.changed(id)?;
        if tag(&found.tags, MARK).is_none() {
            return Err(wrong(format!("{id} is changed before it is written down")));
        }
        Ok(found)
    }

    /// Tags an instance.
    pub(super) fn tag(&mut self, id: &str, tags: &[(&str, &str)]) -> Result<(), Refusal> {
        let at = self.find(id)?;
        let named = self.unnamed.contains(&at)
            && tags.iter().all(|(key, _)| [LAUNCHER, TOLD].contains(key));
        if !named {
            self.changed(id)?;
        }
        let found = &mut self.instances[at];
        for (key, value) in tags {
            if !key.starts_with("ec2-guardrails:") {
                return Err(wrong(format!("the tag {key}={value} on {id}")));
            }
            set_tag(&mut found.tags, key, value);
        }
        self.render(at);
        Ok(())
    }

    /// Puts the interface of an instance into its VPC's isolation group.
    pub(super) fn isolate(&mut self, id: &str, groups: &[&str]) -> Result<(), Refusal> {
        let found = self.held(id)?;
        if groups != [isolation(found.vpc)] {
            return Err(wrong(format!("{id} gets the security groups {groups:?}")));
        }
        found.steps.isolated += 1;
        let at = self.find(id)?;
        self.render(at);
        Ok(())
    }

    /// Tags a group.
    pub(super) fn tag_group(&mut self, name: &str, key: &str, value: &str) -> Result<(), Refusal> {
        let at = self.groups.iter().position(|group| group.name == name);
        let at = at.ok_or_else(|| wrong(format!("there is no group {name}")))?;
        let due = self
            .due
            .iter()
            .any(|due| self.instances[*due].group == Some(at));
        if !due || key != "ec2-guardrails:loop-launches" {
            return Err(wrong(format!("the tag {key}={value} on {name}")));
        }
        set_tag(&mut self.groups[at].tags, key, value);
        Ok(())
    }

    /// The groups as Auto Scaling shows them.
    pub(super) fn described(&self) -> impl Iterator<Item = auto_scaling::Described<'_>> {
        self.groups.iter().enumerate().map(|(at, group)| {
            let from = at * SIZE;
            let to = (from + SIZE).min(self.instances.len());
            let own = &self.instances[from..to];
            let members = own.iter().filter(|found| found.group.is_some());
            let members: Vec<auto_scaling::Member<'_>> = members
                .map(|found| auto_scaling::Member {
                    id: &found.id,
                    state: match found.steps.standby {
                        0 => "InService",
                        _ => "Standby",
                    },
                    version: 3,
                })
                .collect();
            let standby = own.iter().filter(|found| found.steps.standby > 0).count();
            auto_scaling::Described {
                name: &group.name,
                template: &group.template,
                version: 3,
                min: 0,
                desired: members.len() - standby,
                members,
                tags: &group.tags,
            }
        })
    }

    // ---- what a run should make of it ----------------------------------------------------------

    fn unapproved(&self) -> impl Iterator<Item = usize> {
        let all = self.instances.iter().enumerate();
        all.filter(|(_, found)| found.standing == Standing::Unapproved)
            .map(|(at, _)| at)
    }

    /// Whether anything was changed of it already.
    fn is_held(&self, at: usize) -> bool {
        self.instances[at].steps != Steps::default()
    }

    fn due_now(&self) -> Vec<usize> {
        let open = self.unapproved().filter(|at| !self.is_held(*at));
        match self.scenario {
            Scenario::Approved | Scenario::Observed => Vec::new(),
            Scenario::Enforced => open.collect(),
            Scenario::Event => open.take(1).collect(),
        }
    }

    /// The least calls, by the largest pages and batches that AWS takes.
    fn fewest(&self) -> Least {
        let due = self.due.len();
        let sweeps = usize::from(self.scenario != Scenario::Event);
        let images: BTreeSet<usize> = self.instances.iter().map(|found| found.image).collect();
        let (instances, images) = match self.scenario {
            Scenario::Event => (1, 1),
            _ => (self.instances.len(), images.len()),
        };
        // Of the groups only those whose members aren't approved, however old, matter.
        let groups: BTreeSet<usize> = self
            .instances
            .iter()
            .filter(|found| found.image >= IMAGES[0] + IMAGES[1])
            .filter_map(|found| found.group)
            .collect();
        let members = self
            .due
            .iter()
            .filter(|at| self.instances[**at].group.is_some())
            .count();
        Least::of([
            ("GetParameter", 1),
            ("DescribeInstances", Least::pages(instances, 1_000)),
            ("DescribeImages", images.div_ceil(200)),
            ("DescribeSecurityGroups", 1),
            ("ListTagsForResource", sweeps),
            // Those named, and those whose loop was broken.
            (
                "DescribeAutoScalingGroups",
                sweeps * (1 + groups.len().div_ceil(100)),
            ),
            // Written down, and what came of it.
            ("CreateTags", 2 * due),
            (ISOLATES, due),
            ("DescribeInstanceAttribute", due),
            // Termination protection, and delete-on-termination.
            ("ModifyInstanceAttribute", 2 * due),
            ("DescribeSnapshots", due),
            ("CreateSnapshots", due),
            ("EnterStandby", members),
            // Who launched it; of a group's member who changed the group or its template.
            (
                "LookupEvents",
                due + 2 * members + 3 * self.unnamed.len().min(LAUNCHERS),
            ),
            ("CreateOrUpdateTags", members),
            ("Publish", due.min(1)),
            ("PutEvents", due.div_ceil(10)),
        ])
    }
}

pub(super) fn wrong(what: String) -> Refusal {
    Refusal::of("UnexpectedCall", what)
}

fn instance(number: usize, scenario: Scenario, groups: &[Group], now: Timestamp) -> Instance {
    let [own, amazon, others] = IMAGES;
    let (group, place) = (number / SIZE, number % SIZE);
    let unapproved = match scenario {
        Scenario::Approved => false,
        // One for each of two events, neither a group's member: its group would be read besides.
        Scenario::Event => number == 3 || number == 5,
        // By turns in a group and alone.
        _ => number % UNAPPROVED_EVERY == 4,
    };
    let alone = !group.is_multiple_of(2) || scenario == Scenario::Event;
    let old = !unapproved && number % OLD_EVERY == 29;
    let image = if unapproved || old {
        own + amazon + number % others
    } else {
        number % (own + amazon)
    };
    let mut tags = vec![
        ("Name".to_owned(), format!("app-{number:05}")),
        ("Environment".to_owned(), "production".to_owned()),
    ];
    if !alone {
        let name = groups[group].name.clone();
        tags.push(("aws:autoscaling:groupName".to_owned(), name));
    }
    Instance {
        id: id("i", number),
        image,
        launched: match (unapproved, place) {
            (true, _) => now - 2.minutes(),
            // A tenth was launched today.
            (_, 1) => now - 5.hours(),
            _ => now - (24 * 90).hours(),
        },
        vpc: number % VPCS,
        group: (!alone).then_some(group),
        standing: if unapproved {
            Standing::Unapproved
        } else {
            Standing::Fine
        },
        steps: Steps::default(),
        tags,
        xml: String::new(),
    }
}

impl Estate for Launches {
    fn policy(&self) -> String {
        let mode = match self.scenario {
            Scenario::Observed => "observe",
            _ => "enforce",
        };
        format!(
            "quarantine-launch:\n  mode: {mode}\n  approve:\n    - {{ owner: self, name: \"golden-*\" }}\n    - {{ owner: amazon, name: \"al2023-ami-2023.*-arm64\" }}\n"
        )
    }

    fn event(&self) -> String {
        let due = self.due.first().map(|at| self.instances[*at].id.as_str());
        match (self.scenario, due) {
            (Scenario::Event, Some(id)) => json!({
                "source": "aws.ec2",
                "detail-type": "EC2 Instance State-change Notification",
                "detail": {"instance-id": id, "state": "pending"},
            })
            .to_string(),
            _ => SWEEP.to_owned(),
        }
    }

    fn begin(&mut self) {
        self.due = self.due_now();
        let all = self.instances.iter().enumerate();
        let unnamed =
            all.filter(|(at, found)| self.is_held(*at) && tag(&found.tags, LAUNCHER).is_none());
        self.unnamed = unnamed.map(|(at, _)| at).collect();
        self.least = self.fewest();
    }

    fn ec2(&mut self, action: &str, query: &Query) -> Answer {
        ec2::respond(self, action, query)
    }

    fn query(&mut self, service: &str, action: &str, query: &Query) -> Answer {
        services::query(self, service, action, query)
    }

    fn json(&mut self, target: &str, request: &Value) -> Answer {
        services::json(self, target, request)
    }

    /// What is read of an instance, or of its group, once the instance was written down; and what
    /// a sweep reads by id.
    fn looks_again(&self, action: &str, query: &Query) -> bool {
        let written = |at: usize| tag(&self.instances[at].tags, MARK).is_some();
        match action {
            "DescribeInstances" => {
                let ids = query.list("Filter.1.Value");
                let mut found = ids.iter().filter_map(|id| self.ids.get(*id));
                found.any(|at| written(*at) || self.scenario != Scenario::Event)
            }
            "DescribeAutoScalingGroups" => {
                let name = query.get("AutoScalingGroupNames.member.1");
                let of_name = |at: &&usize| {
                    let group = self.instances[**at].group;
                    group.is_some_and(|group| Some(self.groups[group].name.as_str()) == name)
                };
                self.due.iter().filter(of_name).any(|at| written(*at))
            }
            _ => false,
        }
    }

    fn least(&self) -> Least {
        self.least.clone()
    }

    fn verify(
        &self,
        outcomes: &Outcomes,
        told: &Told,
        made: &Calls,
        may_leave: bool,
    ) -> Result<(), String> {
        self.least.suffices_for(made)?;
        let mut done = Vec::new();
        for (at, found) in self.instances.iter().enumerate() {
            let held = Steps {
                isolated: 1,
                protected: 1,
                disks_kept: 1,
                evidence: 1,
                standby: usize::from(found.group.is_some()),
            };
            let value = |key| tag(&found.tags, key).unwrap_or_default();
            let whole = found.steps == held
                && value(MARK).starts_with("complete ")
                && value(TOLD).starts_with(&id("ami", found.image));
            let untouched = found.steps == Steps::default() && value(MARK).is_empty();
            let right = if self.due.contains(&at) {
                done.extend(whole.then(|| found.id.clone()));
                whole || (may_leave && untouched)
            } else {
                untouched || (found.standing == Standing::Unapproved && whole)
            };
            if !right {
                return Err(format!(
                    "{}, {:?}, had {:?} done and has the tags {:?}",
                    found.id, found.standing, found.steps, found.tags
                ));
            }
        }
        let left = self.due.len() - done.len();
        let named = self.unnamed.iter().map(|at| &self.instances[*at]);
        let named = named.filter(|found| tag(&found.tags, LAUNCHER).is_some());
        done.extend(named.map(|found| found.id.clone()));
        let expected = Outcomes {
            considered: match self.scenario {
                Scenario::Event => 1,
                _ => self.instances.len(),
            },
            done: done.len(),
            would_do: match self.scenario {
                Scenario::Observed => self.unapproved().count(),
                _ => 0,
            },
            left,
            // Asked for in vain once more.
            skipped: outcomes.skipped.min(self.unnamed.len().min(LAUNCHERS)),
            failed: 0,
        };
        if *outcomes != expected {
            return Err(format!(
                "the report says {outcomes:?} instead of {expected:?}"
            ));
        }
        told.expect(&Told::of(done.into_iter()))
    }
}

#[cfg(test)]
mod tests;
