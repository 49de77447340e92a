//! The synthetic estate: instances in a few dozen VPCs, nodes, profiles and Auto Scaling groups,
//! and what a sweep should make of them.

use std::collections::{BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use super::network::Network;
use super::{OUR_PROFILE, Scenario, ec2, services};
use crate::auto_scaling::{set_tag, tag};
use crate::estate::{ACCOUNT, Answer, Described, Estate, Tag, id};
use crate::least::Least;
use crate::outcomes::{Outcomes, Told};
use crate::query::{Query, Refusal};
use crate::server::Calls;

/// Instances of a group; what stands alone comes in as many.
const GROUP: usize = 50;
/// One in so many groups stands for instances without a group.
const ALONE_EVERY: usize = 5;
/// One in so many groups launches without a profile; what comes of it the guardrail attaches.
const WITHOUT_PROFILE: (usize, usize) = (20, 3);
/// Profiles of the account's own.
const PROFILES: usize = 20;
/// AMIs that the instances were launched from.
pub(super) const IMAGES: usize = 20;
/// Consoles that are read in one sweep, as docs/attach-ssm-role.md promises.
const CONSOLES: usize = 10;

const MARK: &str = "ec2-guardrails:managed-node";
const TOLD_INSTANCE: &str = "ec2-guardrails:told-unmanaged";
/// What a group remembers.
pub(super) const TOLD_GROUP: &str = "ec2-guardrails:told-template-profile";

/// What a sweep should see in an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A managed node, stopped, or left out: no call may be about it alone.
    Healthy,
    /// No profile: to be attached.
    Lacking,
    /// A profile, no node yet, and time left.
    Waiting,
    /// Attached, and Online since: to be noted.
    Confirming,
    /// A profile, no node Online, and no time left: to be told.
    Late,
}

/// What Systems Manager knows of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// Not listed.
    Absent,
    /// `Online`.
    Online,
    /// `ConnectionLost`.
    Lost,
}

/// An instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) running: bool,
    pub(super) node: Node,
    pub(super) profile: Option<String>,
    pub(super) launched: Timestamp,
    pub(super) xml: String,
    image: String,
    vpc: usize,
    group: Option<usize>,
    standing: Standing,
    tags: Vec<Tag>,
    address: String,
}

impl Instance {
    fn tag(&self, key: &str) -> Option<&str> {
        tag(&self.tags, key)
    }

    fn set_tag(&mut self, key: &str, value: &str) {
        set_tag(&mut self.tags, key, value);
    }

    fn late(&self) -> bool {
        self.standing == Standing::Late
    }
}

/// An Auto Scaling group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) template: String,
    pub(super) has_profile: bool,
    pub(super) told: Option<Tag>,
}

/// What a sweep finds.
#[derive(Debug, Clone)]
struct Before {
    standings: Vec<Standing>,
    news: Vec<String>,
    least: Least,
}

/// The estate.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "they are what EC2 calls them")]
pub(crate) struct Instances {
    pub(super) instances: Vec<Instance>,
    pub(super) groups: Vec<Group>,
    pub(super) network: Network,
    ids: HashMap<String, usize>,
    before: Before,
}

/// ARN of one of the account's own profiles.
fn own_profile(number: usize) -> String {
    format!(
        "arn:aws:iam::{ACCOUNT}:instance-profile/application-{:02}",
        number % PROFILES
    )
}

impl Instances {
    /// An estate of so many instances.
    pub(crate) fn new(count: usize, scenario: Scenario) -> Self {
        let now = Timestamp::now();
        let network = Network::new();
        let (of, which) = WITHOUT_PROFILE;
        let groups: Vec<Group> = (0..count.div_ceil(GROUP))
            .map(|number| {
                let has_profile = number % of != which;
                // In the common case all has been told already.
                let told = !has_profile && scenario == Scenario::Managed;
                Group {
                    name: format!("web-{number:03}"),
                    template: id("lt", number),
                    has_profile,
                    told: told.then(|| {
                        let value = "launches without instance profile".to_owned();
                        (TOLD_GROUP.to_owned(), value)
                    }),
                }
            })
            .collect();
        let instances: Vec<Instance> = (0..count)
            .map(|number| instance(number, scenario, &groups, &network, now))
            .collect();
        let ids = instances.iter().enumerate();
        let mut estate = Self {
            ids: ids.map(|(at, found)| (found.id.clone(), at)).collect(),
            instances,
            groups,
            network,
            before: Before {
                standings: Vec::new(),
                news: Vec::new(),
                least: Least::of([]),
            },
        };
        for at in 0..count {
            estate.render(at);
        }
        estate.begin();
        estate
    }

    fn render(&mut self, at: usize) {
        let found = &self.instances[at];
        let vpc = &self.network.vpcs[found.vpc];
        let volume = id("vol", at);
        let xml = Described {
            id: &found.id,
            image: &found.image,
            state: if found.running { "running" } else { "stopped" },
            launched: found.launched,
            vpc: &vpc.id,
            subnet: &vpc.subnets[at % vpc.subnets.len()],
            group: if found.late() {
                &vpc.closed
            } else {
                &vpc.application
            },
            address: &found.address,
            profile: found.profile.as_deref(),
            volumes: &[("/dev/xvda", &volume)],
            tags: &found.tags,
        }
        .xml();
        self.instances[at].xml = xml;
    }

    /// The instance of this id.
    pub(super) fn find(&self, id: &str) -> Result<usize, Refusal> {
        self.ids.get(id).copied().ok_or_else(|| {
            Refusal::of(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            )
        })
    }

    // ---- what requests change ------------------------------------------------------------------

    /// Associates a profile, refused where AWS would (SSM-2).
    pub(super) fn associate(&mut self, id: &str, profile: &str) -> Result<(), Refusal> {
        let at = self.find(id)?;
        let found = &mut self.instances[at];
        if found.profile.is_some() {
            return Err(Refusal::of(
                "IncorrectState",
                format!("There is an existing association for instance {id}"),
            ));
        }
        if found.standing != Standing::Lacking || profile != OUR_PROFILE {
            return Err(wrong(format!("{profile} for {id}, which doesn't lack it")));
        }
        found.profile = Some(profile.to_owned());
        found.standing = if found.running {
            Standing::Waiting
        } else {
            Standing::Healthy
        };
        self.render(at);
        Ok(())
    }

    /// Tags an instance; only with what is to be noted on it.
    pub(super) fn tag(&mut self, id: &str, key: &str, value: &str) -> Result<(), Refusal> {
        let at = self.find(id)?;
        let due = match (key, value.split(' ').next()) {
            (MARK, Some("attached")) => Standing::Lacking,
            (MARK, Some("online")) => Standing::Confirming,
            (TOLD_INSTANCE, _) => Standing::Late,
            _ => return Err(wrong(format!("the tag {key}={value} on {id}"))),
        };
        let found = &mut self.instances[at];
        if found.standing != due {
            return Err(wrong(format!(
                "the tag {key}={value} on {id}, which is {:?}",
                found.standing
            )));
        }
        found.set_tag(key, value);
        if due == Standing::Confirming {
            found.standing = Standing::Healthy;
        }
        self.render(at);
        Ok(())
    }

    /// Tags a group.
    pub(super) fn tag_group(&mut self, name: &str, key: &str, value: &str) -> Result<(), Refusal> {
        let group = self.groups.iter_mut().find(|group| group.name == name);
        match group {
            Some(group) if !group.has_profile && key == TOLD_GROUP => {
                group.told = Some((key.to_owned(), value.to_owned()));
                Ok(())
            }
            _ => Err(wrong(format!("the tag {key}={value} on {name}"))),
        }
    }

    // ---- what a sweep should make of it --------------------------------------------------------

    fn all(&self, standing: Standing) -> impl Iterator<Item = &Instance> {
        self.instances
            .iter()
            .filter(move |found| found.standing == standing)
    }

    /// Groups that launch without a profile, and have instances.
    fn without_profile(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().enumerate().filter_map(|(at, group)| {
            let member = self.instances.iter().any(|found| found.group == Some(at));
            (member && !group.has_profile).then_some(group)
        })
    }

    /// What isn't known to people yet.
    fn news(&self) -> Vec<String> {
        let instances = self
            .all(Standing::Late)
            .filter(|found| found.tag(TOLD_INSTANCE).is_none())
            .map(|found| found.id.clone());
        let groups = self
            .without_profile()
            .filter(|group| group.told.is_none())
            .map(|group| format!("auto-scaling-group/{}", group.name));
        instances.chain(groups).collect()
    }

    /// The least calls, by the largest pages and batches that AWS takes.
    fn fewest(&self) -> Least {
        let late: Vec<&Instance> = self.all(Standing::Late).collect();
        let attached = self.all(Standing::Lacking).count();
        let news = self.news();
        let of_groups = news.iter().filter(|told| told.contains('/')).count();
        let nodes = self.instances.iter().filter(|i| i.node != Node::Absent);
        let running = self.instances.iter().filter(|found| found.running);
        let online = || {
            let all = self.instances.iter();
            all.filter(|found| found.running && found.node == Node::Online)
        };
        let profiles: BTreeSet<&String> = running
            .filter(|found| found.standing != Standing::Lacking)
            .filter_map(|found| found.profile.as_ref())
            .collect();
        let images: BTreeSet<&String> = late.iter().map(|found| &found.image).collect();
        // Those of late instances; and of nodes whose way to `ssmmessages` another endpoint's
        // private DNS may have cut off.
        let uneven = online()
            .map(|found| found.vpc)
            .filter(|vpc| self.network.vpcs[*vpc].uneven());
        let vpcs: BTreeSet<usize> = late
            .iter()
            .map(|found| found.vpc)
            .chain(uneven.clone())
            .collect();
        let applications: BTreeSet<usize> = uneven.collect();
        let closed: BTreeSet<usize> = late.iter().map(|found| found.vpc).collect();
        let groups_read = self.without_profile().count();
        let untold = self.without_profile().filter(|group| group.told.is_none());
        let calls = [
            ("GetParameter", 1),
            (
                "DescribeInstances",
                Least::pages(self.instances.len(), 1_000),
            ),
            (
                "DescribeInstanceInformation",
                Least::pages(nodes.count(), 50),
            ),
            ("GetInstanceProfile", profiles.len()),
            ("SimulatePrincipalPolicy", profiles.len()),
            (
                "DescribeVpcEndpoints",
                usize::from(!late.is_empty() || online().next().is_some()),
            ),
            // Those of which something was told, and those whose members were attached a profile.
            (
                "DescribeAutoScalingGroups",
                usize::from(self.instances.iter().any(|found| found.group.is_some()))
                    + untold.count().div_ceil(100),
            ),
            // One template a call.
            ("DescribeLaunchTemplateVersions", groups_read),
            // Late instances.
            (
                "DescribeIamInstanceProfileAssociations",
                late.len().div_ceil(200),
            ),
            ("DescribeInstanceStatus", late.len().div_ceil(100)),
            ("DescribeImages", images.len().div_ceil(200)),
            ("GetConsoleOutput", late.len().min(CONSOLES)),
            ("GetServiceSetting", usize::from(!late.is_empty())),
            // What is done and told.
            ("AssociateIamInstanceProfile", attached),
            (
                "CreateTags",
                attached.min(1)
                    + self.all(Standing::Confirming).count().min(1)
                    + (news.len() - of_groups).min(1),
            ),
            ("CreateOrUpdateTags", of_groups.min(1)),
            ("Publish", usize::from(!news.is_empty())),
            ("PutEvents", news.len().div_ceil(10)),
        ];
        let network = self.network.fewest(&vpcs, &applications, &closed);
        Least::of(calls.into_iter().chain(network))
    }

    /// Refuses a call that names an instance of which nothing is to be known: that is a call per
    /// healthy instance.
    fn may_name<'a>(
        &self,
        action: &str,
        mut values: impl Iterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        let healthy = values.find(|value| {
            let at = self.ids.get(*value);
            at.is_some_and(|at| self.before.standings[*at] == Standing::Healthy)
        });
        match healthy {
            None => Ok(()),
            Some(id) => Err(wrong(format!(
                "{action} names {id}, a healthy instance; a sweep makes no call for those"
            ))),
        }
    }
}

fn wrong(what: String) -> Refusal {
    Refusal::of("UnexpectedCall", what)
}

fn instance(
    number: usize,
    scenario: Scenario,
    groups: &[Group],
    network: &Network,
    now: Timestamp,
) -> Instance {
    let (group, place) = (number / GROUP, number % GROUP);
    let alone = group.is_multiple_of(ALONE_EVERY);
    let attaches = alone || !groups[group].has_profile;
    let long_ago = now - (24 * 90).hours();
    let mut tags: Vec<Tag> = [
        ("Name", format!("app-{number:05}")),
        ("Environment", "production".to_owned()),
        ("Team", format!("team-{:02}", number % 12)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec();
    if !alone {
        let name = groups[group].name.clone();
        tags.push(("aws:autoscaling:groupName".to_owned(), name));
    }
    let mut found = Instance {
        id: id("i", number),
        running: true,
        node: Node::Online,
        profile: Some(own_profile(number)),
        launched: long_ago,
        xml: String::new(),
        image: id("ami", number % IMAGES),
        vpc: number % network.vpcs.len(),
        group: (!alone).then_some(group),
        standing: Standing::Healthy,
        tags,
        address: format!(
            "10.{}.{}.{}",
            number % 36,
            number / 36 / 200,
            10 + number / 36 % 200
        ),
    };
    let all_is_well = scenario == Scenario::Managed;
    match place {
        0..4 | 7 if attaches && !all_is_well && (alone == (place == 7)) => {
            found.standing = Standing::Lacking;
            found.profile = None;
            found.node = Node::Absent;
            found.running = place != 7 || !group.is_multiple_of(10);
        }
        17 if attaches && !all_is_well => {
            found.standing = Standing::Confirming;
            found.profile = Some(OUR_PROFILE.to_owned());
            found.set_tag(MARK, &format!("attached {:.0}", now - 30.minutes()));
        }
        27 if group.is_multiple_of(2) && !all_is_well => {
            found.standing = Standing::Waiting;
            found.node = Node::Absent;
            found.launched = now - 5.minutes();
        }
        37 if group % 4 == 1 && !all_is_well => {
            found.standing = Standing::Late;
            found.launched = now - 3.hours();
            found.node = match group % 8 {
                1 => Node::Absent,
                _ => Node::Lost,
            };
        }
        9 | 29 => {
            // Nodes of stopped instances aren't listed.
            found.running = false;
            found.node = Node::Absent;
        }
        // By Default Host Management.
        11..14 => found.profile = None,
        14 => {
            found.profile = None;
            found.node = Node::Absent;
            found.set_tag("NoSsm", "");
        }
        _ if attaches && (!alone || number.is_multiple_of(2)) => {
            found.profile = Some(OUR_PROFILE.to_owned());
            found.set_tag(MARK, &format!("online {:.0}", long_ago + 1.hour()));
        }
        _ => {}
    }
    found
}

impl Estate for Instances {
    fn policy(&self) -> String {
        "attach-ssm-role:\n  exclude: { tag: NoSsm }\n".to_owned()
    }

    fn begin(&mut self) {
        self.before = Before {
            standings: self.instances.iter().map(|found| found.standing).collect(),
            news: self.news(),
            least: self.fewest(),
        };
    }

    fn ec2(&mut self, action: &str, query: &Query) -> Answer {
        self.may_name(action, query.values())?;
        ec2::respond(self, action, query)
    }

    fn query(&mut self, service: &str, action: &str, query: &Query) -> Answer {
        self.may_name(action, query.values())?;
        services::query(self, service, action, query)
    }

    fn json(&mut self, target: &str, request: &Value) -> Answer {
        services::json(self, target, request)
    }

    fn looks_again(&self, action: &str, query: &Query) -> bool {
        action == "DescribeInstances"
            && query
                .filters()
                .is_ok_and(|filters| filters.iter().any(|(name, _)| *name == "instance-id"))
    }

    fn least(&self) -> Least {
        self.before.least.clone()
    }

    fn verify(
        &self,
        outcomes: &Outcomes,
        told: &Told,
        made: &Calls,
        may_leave: bool,
    ) -> Result<(), String> {
        let Before {
            standings,
            news,
            least,
        } = &self.before;
        least.suffices_for(made)?;
        let count = |standing| standings.iter().filter(|s| **s == standing).count();
        let due = count(Standing::Lacking) + count(Standing::Confirming);
        let seen = count(Standing::Waiting) + count(Standing::Late);
        let mut done = 0;
        for (found, before) in self.instances.iter().zip(standings) {
            let mark = found.tag(MARK).unwrap_or_default();
            let right = match before {
                Standing::Lacking if found.profile.is_none() => may_leave,
                Standing::Lacking => {
                    done += 1;
                    mark.starts_with("attached ")
                }
                Standing::Confirming if mark.starts_with("attached ") => may_leave,
                Standing::Confirming => {
                    done += 1;
                    mark.starts_with("online ")
                }
                Standing::Late => found.tag(TOLD_INSTANCE).is_some(),
                Standing::Healthy | Standing::Waiting => true,
            };
            if !right {
                return Err(format!(
                    "{}, {before:?} before, has the profile {:?} and the tags {:?}",
                    found.id, found.profile, found.tags
                ));
            }
        }
        let expected = Outcomes {
            considered: self.instances.len(),
            done,
            skipped: seen,
            failed: 0,
            left: due - done,
            ..Outcomes::default()
        };
        if *outcomes != expected {
            return Err(format!(
                "the report says {outcomes:?} instead of {expected:?}"
            ));
        }
        if let Some(group) = self.without_profile().find(|group| group.told.is_none()) {
            return Err(format!("{}: the tag {TOLD_GROUP} is missing", group.name));
        }
        told.expect(&Told::of(news.iter().cloned()))
    }
}

#[cfg(test)]
mod tests;
