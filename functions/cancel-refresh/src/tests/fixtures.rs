//! Groups, refreshes and instances that read as sentences. All happens on one morning; the refresh
//! of the group `web`, from version 3 to version 4, starts at 09:00.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::state::Expect;
use jiff::{SignedDuration, Timestamp};

use crate::facts::{
    Activity, Case, Ended, Facts, Group, Image, Member, Preferences, Refresh, Status,
};
use crate::image::{Outcome, Plan};
use crate::memory::{Claim, Memory, Repair, Seen, Step};
use crate::policy::Policy;
use crate::source::{Source, Template};

pub(crate) const REFRESH: &str = "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b";
/// When tests look at it.
pub(crate) const NOW: &str = "09:05";
pub(crate) const NO_AMI: &str =
    "The image id '[ami-0123456789abcdef0]' does not exist. Launching EC2 instance failed.";
pub(crate) const NO_CAPACITY: &str = "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-1a). Launching EC2 instance failed.";

const LAUNCHING: &str = "Launching a new EC2 instance";

/// A moment: `09:05`, `09:00:10`, or so many seconds after the start.
pub(crate) trait When: Copy {
    fn at(self) -> Timestamp;
}

impl When for &str {
    fn at(self) -> Timestamp {
        let seconds = if self.len() == 5 { ":00" } else { "" };
        format!("2026-11-21T{self}{seconds}Z").parse().unwrap()
    }
}

impl When for i64 {
    fn at(self) -> Timestamp {
        "09:00".at() + SignedDuration::from_secs(self)
    }
}

impl When for Timestamp {
    fn at(self) -> Timestamp {
        self
    }
}

pub(crate) fn policy_of(section: &str) -> Policy {
    guardrails::policy::parse(&format!("cancel-refresh: {section}"), crate::NAME).unwrap()
}

pub(crate) fn policy() -> Policy {
    policy_of("{exclude: {tag: Hands}, groups: [{name: 'w*', alarms: [errors]}]}")
}

/// The same, with an image tag that may be put back.
pub(crate) fn policy_with_image() -> Policy {
    policy_of(
        "{exclude: {tag: Hands}, groups: [{name: web, image: {repository: app, tag: prod, stable-tag: prod-stable}}]}",
    )
}

/// How that tag of the group `web` is put back, and what comes of it.
pub(crate) fn the_plan() -> Plan {
    Plan {
        repository: "app".to_owned(),
        tag: "prod".to_owned(),
        stable: "prod-stable".to_owned(),
        bad: "b".to_owned(),
        good: "a".to_owned(),
        keep_as: format!("prod-failed-{REFRESH}"),
    }
}

pub(crate) fn put_back() -> Outcome {
    let plan = the_plan();
    Outcome::Restored {
        digest: plan.good,
        kept_as: plan.keep_as,
    }
}

pub(crate) fn error(kind: ErrorKind) -> ApiError {
    ApiError {
        operation: "ec2:DescribeInstances",
        code: "Throttling".to_owned(),
        message: "no".to_owned(),
        kind,
    }
}

/// How Auto Scaling refuses a call.
pub(crate) fn refused(status: u16, code: &str) -> HttpResponse {
    let body = format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>says AWS</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    let status = StatusCode::try_from(status).unwrap();
    HttpResponse::new(status, SdkBody::from(body))
}

pub(crate) fn source(version: &str) -> Source {
    Source {
        template: template(version),
        overrides: Vec::new(),
    }
}

/// A version of the template `web`, or `template:version` of another.
pub(crate) fn template(version: &str) -> Template {
    let (name, version) = version.split_once(':').unwrap_or(("web", version));
    let id = if name == "web" { "lt-1" } else { name };
    Template {
        id: Some(id.to_owned()),
        name: Some(name.to_owned()),
        version: version.to_owned(),
    }
}

/// The n-th of the group's old instances, and of the new ones.
pub(crate) fn old(n: u32) -> String {
    format!("i-00000{n:012x}")
}

pub(crate) fn new(n: u32) -> String {
    format!("i-0ffff{n:012x}")
}

/// The group with so many old instances. Grace period and warm-up are a minute.
pub(crate) fn web(desired: u32) -> Case {
    let members = (0..desired).map(|n| instance(&old(n)).on_version("3").member());
    let group = Group {
        name: "web".to_owned(),
        desired,
        source: Some(source("3")),
        members: members.collect(),
        elb_health: true,
        grace: SignedDuration::from_mins(1),
        ..Group::default()
    };
    let mut case = Case::of(group, "09:00".at());
    case.refresh = Some(Refresh {
        id: REFRESH.to_owned(),
        status: Status::InProgress,
        reason: None,
        start: Some("09:00".at()),
        end: None,
        percentage: 0,
        remaining: Some(desired),
        wanted: Some(source("4")),
        in_place: false,
        preferences: Preferences {
            warmup: Some(SignedDuration::from_mins(1)),
            waits_for_protected: true,
            waits_for_standby: true,
            ..Preferences::default()
        },
        rollback_reason: None,
    });
    case
}

/// A refresh that runs since five minutes and against which nothing stands, and one whose launches
/// fail.
pub(crate) fn fine() -> Case {
    web(2).change(|case| case.looked = NOW.at())
}

pub(crate) fn bad() -> Case {
    let message = "The image id '[ami-1]' does not exist. Launching EC2 instance failed.";
    fine()
        .with(launch_fails("09:04:20", message))
        .with(launch_fails(NOW, message))
}

/// Something that happens.
pub(crate) trait Happens {
    fn to(self, case: &mut Case);
}

impl Case {
    pub(crate) fn with(mut self, what: impl Happens) -> Self {
        what.to(&mut self);
        self
    }

    pub(crate) fn with_all(self, all: impl IntoIterator<Item = impl Happens>) -> Self {
        all.into_iter().fold(self, Self::with)
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut Case)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn newest(&mut self) -> &mut Refresh {
        self.refresh.as_mut().unwrap()
    }

    pub(crate) fn in_status(self, status: Status) -> Self {
        self.change(|case| case.newest().status = status)
    }

    /// Its refresh has come to its end.
    pub(crate) fn ended(self, status: Status, when: impl When) -> Self {
        self.in_status(status).change(|case| {
            let refresh = case.newest();
            refresh.end = Some(when.at());
            refresh.reason = Some("says AWS".to_owned());
        })
    }

    pub(crate) fn tagged(self, pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.change(|case| case.group.tags.extend(pairs))
    }

    /// With the image tag pointing to `current`, and the good image being `a`.
    pub(crate) fn pulling(self, current: char) -> Self {
        self.change(|case| {
            case.image = Some(Ok(Image {
                current: Some(current.to_string()),
                stable: Some("a".to_owned()),
            }));
        })
    }

    /// What is remembered of its refresh.
    pub(crate) fn remembering(self, remember: impl FnOnce(&mut Memory)) -> Self {
        self.change(|case| {
            let id = case.newest().id.clone();
            let mut memory = Memory::of(&id, case.remembered.memory.as_ref());
            remember(&mut memory);
            case.remembered.memory = Some(memory);
            case.remembered.expect = Expect::Any;
        })
    }

    pub(crate) fn claimed(self, step: Step, when: impl When) -> Self {
        self.remembering(|memory| {
            memory.stop = Some(Claim {
                step,
                at: when.at(),
                run: "run-1".to_owned(),
                because: "2 launches in a row failed".to_owned(),
            });
        })
    }

    pub(crate) fn seen_with(self, digest: &str, repair: Repair) -> Self {
        self.remembering(|memory| {
            memory.image = Some(Seen {
                digest: digest.to_owned(),
                repair,
            });
        })
    }

    /// As a sweep sees it that sees nothing else.
    pub(crate) fn facts(self) -> Facts {
        Facts {
            complete: true,
            asked: None,
            cases: [(self.group.name.clone(), self)].into(),
        }
    }
}

/// A launch that fails.
pub(crate) struct FailedLaunch(Timestamp, String, Option<String>);

pub(crate) fn launch_fails(when: impl When, message: &str) -> FailedLaunch {
    FailedLaunch(when.at(), message.to_owned(), None)
}

impl FailedLaunch {
    pub(crate) fn in_zone(mut self, zone: &str) -> Self {
        self.2 = Some(zone.to_owned());
        self
    }
}

impl Happens for FailedLaunch {
    fn to(self, case: &mut Case) {
        let description = format!("{LAUNCHING}.  Status Reason: {}", self.1);
        case.activities.push(Activity {
            zone: self.2,
            ..activity(self.0, description, "Failed", "")
        });
    }
}

fn activity(at: Timestamp, description: String, status: &str, cause: &str) -> Activity {
    Activity {
        id: String::new(),
        description,
        cause: cause.to_owned(),
        status: status.to_owned(),
        message: None,
        zone: None,
        start: at,
        end: Some(at),
    }
}

/// What happens to an instance.
pub(crate) struct Instance {
    id: String,
    version: String,
    lifecycle: Option<&'static str>,
    zone: Option<String>,
    activities: Vec<Activity>,
    ended: Option<Ended>,
}

/// An instance on the version that the refresh goes to.
pub(crate) fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        version: "4".to_owned(),
        lifecycle: None,
        zone: None,
        activities: Vec::new(),
        ended: None,
    }
}

impl Instance {
    pub(crate) fn on_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    pub(crate) fn in_zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.to_owned());
        self
    }

    /// It comes up and stands.
    pub(crate) fn launched(self, when: impl When) -> Self {
        self.launch(LAUNCHING, when, "Successful", Some("InService"))
    }

    /// Its launch has begun.
    pub(crate) fn launching(self, when: impl When) -> Self {
        self.launch(LAUNCHING, when, "PreInService", Some("Pending"))
    }

    /// It is made for the warm pool.
    pub(crate) fn pooled(self, when: impl When) -> Self {
        let into = format!("{LAUNCHING} into warm pool");
        self.launch(&into, when, "Successful", Some("Warmed:Stopped"))
    }

    /// It comes out of the warm pool and stands.
    pub(crate) fn out_of_the_pool(self, when: impl When) -> Self {
        let from = format!("{LAUNCHING} from warm pool");
        self.launch(&from, when, "Successful", Some("InService"))
    }

    /// Its lifecycle hook is abandoned.
    pub(crate) fn abandoned(mut self, when: impl When) -> Self {
        let description = format!("{LAUNCHING}: {}", self.id);
        let abandoned = "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token b1ed9e5f-0000-4c4f-9a77-0123456789ab was abandoned: Heartbeat Timeout";
        self.activities.push(Activity {
            message: Some(abandoned.to_owned()),
            ..activity(when.at(), description, "Cancelled", "")
        });
        self.lifecycle = None;
        self
    }

    fn launch(
        mut self,
        what: &str,
        when: impl When,
        status: &str,
        lifecycle: Option<&'static str>,
    ) -> Self {
        let description = format!("{what}: {}", self.id);
        self.activities.push(Activity {
            zone: self.zone.clone(),
            ..activity(when.at(), description, status, "")
        });
        self.lifecycle = lifecycle;
        self
    }

    /// It is terminated because it fails its health checks.
    pub(crate) fn unhealthy(self, when: impl When) -> Self {
        self.terminated(when, "an ELB system health check failure.")
    }

    /// It is terminated by the refresh itself.
    pub(crate) fn replaced(self, when: impl When) -> Self {
        self.terminated(when, "an instance refresh.  At 2026-11-21T09:00:00Z instance i-0 was selected for termination.")
    }

    /// It is found stopped or terminated.
    pub(crate) fn found_gone(self, when: impl When) -> Self {
        let gone = "an EC2 health check indicating it has been terminated or stopped.";
        self.terminated(when, gone)
    }

    fn terminated(mut self, when: impl When, response: &str) -> Self {
        let description = format!("Terminating EC2 instance: {}", self.id);
        let cause = format!(
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to {response}"
        );
        self.activities
            .push(activity(when.at(), description, "Successful", &cause));
        self.lifecycle = None;
        self
    }

    /// What EC2 still says of it, with the code of its state's reason.
    pub(crate) fn which_ec2_says(mut self, reason: Option<&str>) -> Self {
        self.ended = Some(Ended {
            reason: reason.map(str::to_owned),
            template: Some(template(&self.version)),
        });
        self
    }

    fn member(&self) -> Member {
        Member {
            id: self.id.clone(),
            template: Some(template(&self.version)),
            lifecycle: self.lifecycle.unwrap_or("InService").to_owned(),
            healthy: true,
            protected: false,
        }
    }
}

impl Happens for Instance {
    fn to(self, case: &mut Case) {
        case.group.members.retain(|member| member.id != self.id);
        if self.lifecycle.is_some() {
            case.group.members.push(self.member());
        }
        case.activities.extend(self.activities);
        if let Some(ended) = self.ended {
            case.ended.insert(self.id, ended);
        }
    }
}
