//! What the tests speak of, in sentences.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2::State;
use guardrails::guardrail::{Assessment, Decision, Settled};
use guardrails::report::Outcome;
use guardrails::state::Expect;
use guardrails::state::model::Model;
use jiff::{SignedDuration, Timestamp};

use crate::ask::Ask;
use crate::decide::{Action, Effect, decide};
use crate::evaluate::evaluate;
use crate::facts::{Disk, Facts, Group, Image, Instance, Interface, Isolation, Known, Link};
use crate::launcher::Who;
use crate::policy::Policy;
use crate::policy::tests::parse;
use crate::record::{BRAKE, Brake, LATELY, Loop, Record, Released, Seen, Service, Stage};
use crate::report::report;

pub(crate) const BAD: &str = "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64";
pub(crate) const GOOD: &str = "al2023-ami-2023.9.20251208.0-kernel-6.1-x86_64";
pub(crate) const ADMIN: &str = "arn:aws:iam::1:user/admin-02";

pub(crate) fn now() -> Timestamp {
    at("12:00")
}

/// This time of the day of all tests.
pub(crate) fn at(time: &str) -> Timestamp {
    let seconds = if time.len() == 5 { ":00" } else { "" };
    format!("2026-11-21T{time}{seconds}Z").parse().unwrap()
}

/// An instance that was launched a minute ago from `ami-bad`.
pub(crate) fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        account: Some("111122223333".to_owned()),
        state: State::Running,
        launched: now() - SignedDuration::from_mins(1),
        image: Some("ami-bad".to_owned()),
        architecture: Some("x86_64".to_owned()),
        vpc: "vpc-1".to_owned(),
        subnet: "subnet-1".to_owned(),
        profile: None,
        tags: Vec::new(),
        operator: None,
        spot: false,
        spot_request: None,
        interfaces: vec![Interface {
            id: "eni-1".to_owned(),
            vpc: "vpc-1".to_owned(),
            groups: vec!["sg-web".to_owned(), "sg-ssh".to_owned()],
            operator: None,
            link: Link::Plain,
        }],
        beyond: BTreeMap::new(),
        disks: vec![Disk {
            device: "/dev/xvda".to_owned(),
            volume: "vol-1".to_owned(),
            delete_on_termination: true,
        }],
    }
}

pub(crate) fn member(id: &str, group: &str) -> Instance {
    instance(id).tagged("aws:autoscaling:groupName", group)
}

impl Instance {
    pub(crate) fn launched(self, time: &str) -> Self {
        let launched = at(time);
        Self { launched, ..self }
    }

    pub(crate) fn from(self, image: &str) -> Self {
        let image = Some(image.to_owned());
        Self { image, ..self }
    }

    pub(crate) fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With these security groups.
    pub(crate) fn behind(mut self, groups: &[&str]) -> Self {
        self.interfaces[0].groups = groups.iter().map(|&group| group.to_owned()).collect();
        self
    }

    pub(crate) fn isolated(self) -> Self {
        self.behind(&["sg-isolation"])
    }

    pub(crate) fn managed_by(self, service: &str) -> Self {
        let operator = Some(service.to_owned());
        Self { operator, ..self }
    }

    pub(crate) fn terminated(self) -> Self {
        let state = State::Terminal;
        Self { state, ..self }
    }
}

/// A quarantine that was finished, begun at this time.
pub(crate) fn record(since: &str) -> Record {
    Record {
        stage: Stage::Complete,
        ended: true,
        since: at(since),
        run: "run-1".to_owned(),
        at: at(since),
        reason: "no rule approves its AMI".to_owned(),
        by_hand: false,
        image: "ami-bad (its name)".to_owned(),
        launched: now() - SignedDuration::from_mins(1),
        launcher: None,
        group: None,
        interfaces: BTreeMap::from([(
            "eni-1".to_owned(),
            vec!["sg-web".to_owned(), "sg-ssh".to_owned()],
        )]),
        disks: BTreeMap::from([("/dev/xvda".to_owned(), true)]),
        protected: Some(false),
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

impl Record {
    pub(crate) fn only(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    pub(crate) fn launched_by(self, principal: &str) -> Self {
        let launcher = Some(Who {
            principal: principal.to_owned(),
            text: format!("{principal} (from 203.0.113.7)"),
        });
        Self { launcher, ..self }
    }

    pub(crate) fn drifted(self, time: &str) -> Self {
        let drift = Some(at(time));
        Self { drift, ..self }
    }

    pub(crate) fn detached_from(self, group: &str) -> Self {
        let service = Some(Service::Detached(group.to_owned()));
        Self { service, ..self }
    }
}

/// A launch that was written down when nothing was to be said of it.
pub(crate) fn unseen(image: &str) -> Seen {
    Seen {
        rule: None,
        refused: None,
        image: image.to_owned(),
        launched: at("11:59"),
        was: None,
        tags: Vec::new(),
        profile: None,
    }
}

pub(crate) fn isolation() -> BTreeMap<String, Isolation> {
    let group = Isolation {
        id: "sg-isolation".to_owned(),
        ours: true,
        ..Isolation::default()
    };
    BTreeMap::from([("vpc-1".to_owned(), group)])
}

pub(crate) fn image(id: &str, name: &str) -> Image {
    Image {
        known: Known::Described,
        name: Some(name.to_owned()),
        owner: Some("137112412989".to_owned()),
        owner_alias: Some("amazon".to_owned()),
        created: Some(now() - SignedDuration::from_hours(24 * 12)),
        ..Image::unknown(id)
    }
}

pub(crate) fn group(name: &str) -> Group {
    Group {
        name: name.to_owned(),
        min: 0,
        desired: 2,
        ..Group::default()
    }
}

impl Group {
    pub(crate) fn suspended(self) -> Self {
        let suspended = crate::launches::PROCESSES.map(str::to_owned).into();
        Self { suspended, ..self }
    }
}

/// A loop that was broken at this time.
pub(crate) fn broken(time: &str) -> Loop {
    Loop {
        suspended: crate::launches::PROCESSES.map(str::to_owned).into(),
        run: Some(("run-1".to_owned(), at(time))),
        broken: Some(at(time)),
        desired: Some(2),
        ..Loop::default()
    }
}

pub(crate) fn facts(instances: impl IntoIterator<Item = Instance>) -> Facts {
    Facts {
        account: Some("111122223333".to_owned()),
        instances: instances
            .into_iter()
            .map(|one| (one.id.clone(), one))
            .collect(),
        images: [image("ami-bad", BAD), image("ami-good", GOOD)]
            .into_iter()
            .map(|one| (one.id.clone(), one))
            .collect(),
        isolation: Some(isolation()),
        failed_evidence: Some(BTreeMap::new()),
        policy_parameter: "/p".to_owned(),
        ..Facts::default()
    }
}

impl Facts {
    pub(crate) fn recorded(mut self, id: &str, record: Record) -> Self {
        self.records.insert(id.to_owned(), record);
        self
    }

    pub(crate) fn released(mut self, id: &str, image: &str) -> Self {
        let released = Released {
            image: Some(image.to_owned()),
            at: at("11:59"),
        };
        self.released.insert(id.to_owned(), released);
        self
    }

    pub(crate) fn group(mut self, group: Group) -> Self {
        self.groups.insert(group.name.clone(), group);
        self
    }

    pub(crate) fn looped(mut self, name: &str, known: Loop) -> Self {
        self.loops.insert(name.to_owned(), known);
        self
    }

    pub(crate) fn beside(mut self, instances: impl IntoIterator<Item = Instance>) -> Self {
        let siblings = instances.into_iter().map(|one| (one.id.clone(), one));
        self.siblings.extend(siblings);
        self
    }

    /// So many were isolated a moment ago.
    pub(crate) fn braked(mut self, count: usize) -> Self {
        let lately = (0..count).map(|n| (format!("i-before-{n}"), at("11:50")));
        let lately = Brake(lately.collect());
        let state = Model::default().state(crate::NAME);
        // As it would be read.
        self.brake = block_on(async {
            let any = Expect::Any;
            let put = state.put(&BRAKE, LATELY, &lately, None, &any, now());
            assert!(put.await.unwrap().is_done());
            state.get(&BRAKE, LATELY, now()).await.unwrap()
        });
        self
    }

    pub(crate) fn all(self) -> Self {
        let complete = true;
        Self { complete, ..self }
    }

    pub(crate) fn asked(self, ask: Ask) -> Self {
        Self { ask, ..self }
    }
}

pub(crate) fn by_hand() -> Ask {
    Ask::Quarantine {
        instance: "i-1".to_owned(),
        reason: "odd traffic".to_owned(),
    }
}

pub(crate) fn release(from_labels: bool) -> Ask {
    Ask::Release {
        instance: "i-1".to_owned(),
        from_labels,
    }
}

/// Runs it here and now.
pub(crate) fn block_on<T>(run: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run)
}

pub(crate) fn policy() -> Policy {
    parse("{mode: enforce, approve: [{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}]}").unwrap()
}

pub(crate) fn refused(code: &str) -> ApiError {
    ApiError::new("ssm:GetParameters", code, "says AWS", ErrorKind::Denied)
}

pub(crate) fn decided(facts: &Facts, policy: &Policy) -> Vec<Decision<Action>> {
    decide(&evaluate(facts, policy, now()))
}

/// What a run comes to that carries out what is decided with these outcomes.
pub(crate) fn reported(
    facts: &Facts,
    policy: &Policy,
    settled: &[(Action, Outcome, Option<Effect>)],
) -> Assessment {
    let settled: Vec<Settled<'_, Action, Effect>> = settled
        .iter()
        .map(|(action, outcome, effect)| Settled {
            action,
            outcome: *outcome,
            note: None,
            effect: effect.as_ref(),
        })
        .collect();
    report(&evaluate(facts, policy, now()), &settled)
}
