//! The synthetic estate: Auto Scaling groups and their newest refreshes, and what a sweep should
//! make of them.

use jiff::{Timestamp, ToSpan as _};

use super::{Scenario, services};
use crate::auto_scaling::{self, set_tag, tag};
use crate::estate::{ACCOUNT, Answer, Estate, REGION, Tag, id};
use crate::least::Least;
use crate::outcomes::{Outcomes, Told};
use crate::query::{Query, Refusal};
use crate::server::Calls;

/// Instances of a group.
pub(super) const SIZE: usize = 10;
/// Those that a refresh under way has replaced already.
pub(super) const REPLACED: usize = 4;
/// The version that groups launch, and the one that refreshes go to.
pub(super) const VERSIONS: (u64, u64) = (3, 4);

/// What a run that is about to stop a refresh claims, and then what it did.
const MARK: &str = "ec2-guardrails:refresh";
const TOLD: &str = "ec2-guardrails:told-refresh";

/// What a sweep should see in a group's newest refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Ended long ago, or none.
    Quiet,
    /// Under way, and fine.
    Rolling,
    /// Under way, and its launches fail: to be stopped.
    Failing,
    /// Stopped.
    Stopped,
}

/// A refresh.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    /// Whether it names the version that it goes to: only then AWS can roll it back.
    pub(super) names_version: bool,
}

/// An Auto Scaling group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) template: String,
    pub(super) members: Vec<String>,
    pub(super) tags: Vec<Tag>,
    pub(super) refresh: Option<Refresh>,
    pub(super) standing: Standing,
    /// By which call its refresh was stopped in this sweep.
    pub(super) stopped_by: Option<&'static str>,
    /// Whether this sweep has claimed its refresh: whatever is read of it then is looked at again.
    claimed: bool,
}

impl Group {
    /// The id of its stack, as the tag that `CloudFormation` puts on it says.
    pub(super) fn stack(&self) -> &str {
        tag(&self.tags, STACK).unwrap_or_default()
    }

    pub(super) fn described(&self) -> auto_scaling::Described<'_> {
        let (before, after) = VERSIONS;
        let replaced = match self.standing {
            Standing::Rolling => REPLACED,
            _ => 0,
        };
        let members = self.members.iter().enumerate();
        auto_scaling::Described {
            name: &self.name,
            template: &self.template,
            version: before,
            min: 1,
            desired: SIZE,
            members: members
                .map(|(at, id)| auto_scaling::Member {
                    id,
                    state: "InService",
                    version: if at < replaced { after } else { before },
                })
                .collect(),
            tags: &self.tags,
        }
    }
}

const STACK: &str = "aws:cloudformation:stack-id";

/// The estate.
#[derive(Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "they are what Auto Scaling calls them"
)]
pub(crate) struct Groups {
    pub(super) groups: Vec<Group>,
    before: Vec<Standing>,
    least: Least,
}

impl Groups {
    /// An estate of so many groups.
    pub(crate) fn new(count: usize, scenario: Scenario) -> Self {
        let now = Timestamp::now();
        let mut estate = Self {
            groups: (0..count).map(|at| group(at, scenario, now)).collect(),
            before: Vec::new(),
            least: Least::of([]),
        };
        estate.begin();
        estate
    }

    /// The group of this name.
    pub(super) fn find(&self, name: &str) -> Result<usize, Refusal> {
        let at = self.groups.iter().position(|group| group.name == name);
        at.ok_or_else(|| Refusal::of("ValidationError", format!("Group {name} not found")))
    }

    /// Tags a group; only those of which something has to be done may be.
    pub(super) fn tag(&mut self, name: &str, key: &str, value: &str) -> Result<(), Refusal> {
        let at = self.find(name)?;
        let group = &mut self.groups[at];
        let known = key == MARK || key == TOLD;
        if self.before[at] != Standing::Failing || !known {
            return Err(wrong(format!("the tag {key}={value} on {name}")));
        }
        group.claimed |= key == MARK;
        set_tag(&mut group.tags, key, value);
        Ok(())
    }

    /// Cancels the refresh of a group, or rolls it back, after it was claimed. Returns its id.
    pub(super) fn stop(&mut self, name: &str, action: &'static str) -> Result<String, Refusal> {
        let at = self.find(name)?;
        let group = &mut self.groups[at];
        let claimed = group.claimed;
        let running = group.refresh.as_mut();
        let Some(refresh) = running.filter(|refresh| refresh.status == "InProgress") else {
            let why = format!("no refresh of {name} is active");
            return Err(Refusal::of("ActiveInstanceRefreshNotFound", why));
        };
        let (right, status) = match action {
            "RollbackInstanceRefresh" => (refresh.names_version, "RollbackInProgress"),
            _ => (!refresh.names_version, "Cancelling"),
        };
        if group.standing != Standing::Failing || !claimed || !right {
            return Err(wrong(format!("{action} of {name}")));
        }
        refresh.status = status;
        group.standing = Standing::Stopped;
        group.stopped_by = Some(action);
        Ok(refresh.id.clone())
    }

    // ---- what a sweep should make of it --------------------------------------------------------

    fn all(&self, standing: Standing) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .filter(move |group| group.standing == standing)
    }

    /// The least calls, by the largest pages that AWS takes.
    fn fewest(&self) -> Least {
        let failing = self.all(Standing::Failing).count();
        let rolls_back = |group: &&Group| group.refresh.as_ref().is_some_and(|r| r.names_version);
        let back = self.all(Standing::Failing).filter(rolls_back).count();
        Least::of([
            ("GetParameter", 1),
            (
                "DescribeAutoScalingGroups",
                Least::pages(self.groups.len(), 100),
            ),
            // AWS has no call that lists the active ones of an account.
            ("DescribeInstanceRefreshes", self.groups.len()),
            (
                "DescribeScalingActivities",
                self.all(Standing::Rolling).count() + failing,
            ),
            ("DescribeStacks", failing),
            // A claim, what was done, and what was told.
            ("CreateOrUpdateTags", 3 * failing.min(1)),
            ("RollbackInstanceRefresh", back),
            ("CancelInstanceRefresh", failing - back),
            ("Publish", failing.min(1)),
            ("PutEvents", failing.div_ceil(10)),
        ])
    }
}

pub(super) fn wrong(what: String) -> Refusal {
    Refusal::of("UnexpectedCall", what)
}

fn group(number: usize, scenario: Scenario, now: Timestamp) -> Group {
    let standing = match (scenario, number % 10) {
        (Scenario::Rolling | Scenario::Failing, 3) => Standing::Rolling,
        // Two at least, one of each way to be stopped.
        (Scenario::Failing, 7) if number < 20 || number % 100 == 7 => Standing::Failing,
        (Scenario::Failing, 8) if number < 20 => Standing::Failing,
        _ => Standing::Quiet,
    };
    let name = format!("web-{number:03}");
    let started = match standing {
        Standing::Quiet => now - (24 * 7).hours(),
        _ => now - 10.minutes(),
    };
    let quiet = standing == Standing::Quiet;
    let refresh = Refresh {
        id: format!("08b91cf7-8fa6-48af-b6a6-{number:012x}"),
        status: if quiet { "Successful" } else { "InProgress" },
        started,
        ended: quiet.then(|| started + 20.minutes()),
        names_version: number % 10 != 8,
    };
    let tags = [
        ("Name", name.clone()),
        ("Environment", "production".to_owned()),
        ("Team", format!("team-{:02}", number % 12)),
        (
            STACK,
            format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{number:012x}"),
        ),
    ];
    Group {
        template: id("lt", number),
        members: (0..SIZE).map(|at| id("i", number * SIZE + at)).collect(),
        tags: tags.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        // A quarter had none in the last six weeks.
        refresh: (!quiet || !number.is_multiple_of(4)).then_some(refresh),
        standing,
        stopped_by: None,
        claimed: false,
        name,
    }
}

impl Estate for Groups {
    fn policy(&self) -> String {
        "cancel-refresh:\n  mode: enforce\n".to_owned()
    }

    fn begin(&mut self) {
        for group in &mut self.groups {
            group.claimed = false;
            group.stopped_by = None;
        }
        self.before = self.groups.iter().map(|group| group.standing).collect();
        self.least = self.fewest();
    }

    fn ec2(&mut self, action: &str, _query: &Query) -> Answer {
        Err(Refusal::unknown(action))
    }

    fn query(&mut self, service: &str, action: &str, query: &Query) -> Answer {
        services::query(self, service, action, query)
    }

    fn looks_again(&self, action: &str, query: &Query) -> bool {
        let name = match action {
            "DescribeAutoScalingGroups" => query.get("AutoScalingGroupNames.member.1"),
            "DescribeInstanceRefreshes" => query.get("AutoScalingGroupName"),
            _ => None,
        };
        name.is_some_and(|name| self.find(name).is_ok_and(|at| self.groups[at].claimed))
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
        let mut stopped = Vec::new();
        let mut left = 0;
        for (group, before) in self.groups.iter().zip(&self.before) {
            let value = |key| tag(&group.tags, key).unwrap_or_default();
            let right = match (before, &group.refresh, group.stopped_by) {
                (Standing::Failing, Some(_), None) => {
                    left += 1;
                    may_leave
                }
                (Standing::Failing, Some(refresh), Some(action)) => {
                    stopped.push(format!("auto-scaling-group/{}", group.name));
                    let done = match action {
                        "RollbackInstanceRefresh" => "rolled-back",
                        _ => "cancelled",
                    };
                    value(MARK).starts_with(&format!("{} {done} ", refresh.id))
                        && value(TOLD) == format!("{} stopped", refresh.id)
                }
                (_, _, action) => action.is_none(),
            };
            if !right {
                return Err(format!(
                    "{}, {before:?} before, was stopped by {:?} and has the tags {:?}",
                    group.name, group.stopped_by, group.tags
                ));
            }
        }
        let expected = Outcomes {
            considered: self.groups.len(),
            done: stopped.len(),
            left,
            ..Outcomes::default()
        };
        if *outcomes != expected {
            return Err(format!(
                "the report says {outcomes:?} instead of {expected:?}"
            ));
        }
        told.expect(&Told::of(stopped.into_iter()))
    }
}

#[cfg(test)]
mod tests;
