//! Accounts as the tests tell of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2::State;
use guardrails::policy;
use guardrails::state::model::Model;
use guardrails::state::{Expect, Stored, Topic, Version, Written};
use jiff::Timestamp;

use crate::facts::identity::{Identity, Permissions, REGISTER, Role};
use crate::facts::network::{Interface, Network};
use crate::facts::{Facts, Group, Instance, Node};
use crate::memory::{Managed, NODES};
use crate::policy::Policy;

pub(crate) const OURS: &str = "arn:aws:iam::111122223333:instance-profile/ec2-guardrails-ssm";
pub(crate) const THEIRS: &str = "arn:aws:iam::111122223333:instance-profile/web";
pub(crate) const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

pub(crate) fn at(time: &str) -> Timestamp {
    format!("2026-11-21T{time}Z").parse().unwrap()
}

/// Noon: instances of these tests start at eight.
pub(crate) fn now() -> Timestamp {
    at("12:00:00")
}

pub(crate) fn policy(section: &str) -> Policy {
    policy::parse(&format!("attach-ssm-role: {section}"), crate::NAME).unwrap()
}

pub(crate) fn default_policy() -> Policy {
    policy::parse("", crate::NAME).unwrap()
}

/// One that is not allowed.
pub(crate) fn denied(operation: &'static str) -> ApiError {
    ApiError {
        operation,
        code: "UnauthorizedOperation".to_owned(),
        message: "no".to_owned(),
        kind: ErrorKind::Denied,
    }
}

/// One that may come through the next time.
pub(crate) fn throttled(operation: &'static str) -> ApiError {
    ApiError {
        code: "RequestLimitExceeded".to_owned(),
        kind: ErrorKind::Throttled,
        ..denied(operation)
    }
}

/// It runs since eight, without a profile.
pub(crate) fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        state: State::Running,
        launched: at("08:00:00"),
        profile: None,
        profile_id: None,
        tags: Vec::new(),
        image: Some("ami-1".to_owned()),
        windows: false,
        metadata: true,
        tokens: true,
        operator: None,
        interface: Interface {
            vpc: "vpc-1".to_owned(),
            subnet: "subnet-a".to_owned(),
            addresses: vec!["10.0.1.10".parse().unwrap()],
            public: false,
            groups: vec!["sg-app".to_owned()],
        },
    }
}

/// It runs since eight, with a profile.
pub(crate) fn with_profile(id: &str, profile: &str) -> Instance {
    Instance {
        profile: Some(profile.to_owned()),
        ..instance(id)
    }
}

impl Instance {
    pub(crate) fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn member_of(self, group: &str) -> Self {
        self.tagged("aws:autoscaling:groupName", group)
    }

    pub(crate) fn launched(mut self, time: &str) -> Self {
        self.launched = at(time);
        self
    }

    pub(crate) fn is(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    pub(crate) fn operated(mut self) -> Self {
        self.operator = Some("eks.amazonaws.com".to_owned());
        self
    }

    pub(crate) fn without_metadata(mut self) -> Self {
        self.metadata = false;
        self
    }
}

pub(crate) fn node(ping: &str, last: Timestamp) -> Node {
    Node {
        online: ping == "Online",
        ping: ping.to_owned(),
        last_ping: Some(last),
        agent: Some("3.3.3572.0".to_owned()),
    }
}

pub(crate) fn role(missing: &[&str]) -> Identity {
    let missing = missing.iter().map(|action| (*action).to_owned());
    role_with(
        TRUST,
        Permissions::Simulated {
            missing: missing.collect(),
            unclear: Vec::new(),
        },
    )
}

/// A role of which it can't be simulated whether it allows anything.
pub(crate) fn in_doubt() -> Identity {
    let unclear = vec![format!("{REGISTER} (no value for aws:PrincipalTag/team)")];
    let missing = Vec::new();
    role_with(TRUST, Permissions::Simulated { missing, unclear })
}

pub(crate) fn role_with(trust: &str, permissions: Permissions) -> Identity {
    Identity::Role(Role {
        name: "web-role".to_owned(),
        arn: "arn:aws:iam::111122223333:role/web-role".to_owned(),
        trust: trust.to_owned(),
        permissions,
        has_core: false,
        simulated_for: "i-1".to_owned(),
    })
}

/// What a sweep finds.
pub(crate) fn facts(instances: impl IntoIterator<Item = Instance>) -> Facts {
    Facts {
        complete: true,
        instances: instances.into_iter().map(|i| (i.id.clone(), i)).collect(),
        ..Facts::new(OURS)
    }
}

impl Facts {
    /// What the run of an event finds.
    pub(crate) fn of_an_event(mut self) -> Self {
        self.complete = false;
        self.groups = None;
        self
    }

    pub(crate) fn online(self, id: &str) -> Self {
        self.pinged(id, "Online", "12:00:00")
    }

    pub(crate) fn lost(self, id: &str, since: &str) -> Self {
        self.pinged(id, "ConnectionLost", since)
    }

    pub(crate) fn pinged(mut self, id: &str, ping: &str, last: &str) -> Self {
        self.nodes.insert(id.to_owned(), node(ping, at(last)));
        self
    }

    pub(crate) fn quarantined(mut self, id: &str) -> Self {
        self.quarantined.as_mut().unwrap().insert(id.to_owned());
        self
    }

    pub(crate) fn attached(self, id: &str, time: &str) -> Self {
        self.remembered(id, time, None)
    }

    pub(crate) fn remembered(mut self, id: &str, attached: &str, online: Option<&str>) -> Self {
        let managed = Managed {
            attached: at(attached),
            online: online.map(at),
            connected: online.is_some(),
        };
        self.memory.insert(id.to_owned(), stored(id, managed));
        self
    }

    pub(crate) fn role(mut self, profile: &str, identity: Identity) -> Self {
        self.identities.insert(profile.to_owned(), Ok(identity));
        self
    }

    /// AWS's answer to whether a session can be opened.
    pub(crate) fn connected(mut self, id: &str, connected: bool) -> Self {
        self.connections.insert(id.to_owned(), Ok(connected));
        self
    }

    /// Default Host Management is on.
    pub(crate) fn hosted(mut self) -> Self {
        self.dhmc = Ok(Some(
            "AWSSystemsManagerDefaultEC2InstanceManagementRole".to_owned(),
        ));
        self
    }

    pub(crate) fn network(mut self, network: Network) -> Self {
        self.network = Some(Ok(network));
        self
    }

    /// A group, and whether what it launches from names a profile.
    pub(crate) fn group(mut self, name: &str, has_profile: Option<Result<bool, ApiError>>) -> Self {
        let group = Group {
            source: "launch template lt-1 version 3".to_owned(),
            has_profile,
        };
        let groups = self.groups.get_or_insert_with(|| Ok(BTreeMap::default()));
        groups.as_mut().unwrap().insert(name.to_owned(), group);
        self
    }
}

/// An item as the table gives it.
fn stored(id: &str, managed: Managed) -> Stored<Managed> {
    static VERSION: LazyLock<Version> = LazyLock::new(|| {
        let state = Model::default().state(crate::NAME);
        let item = Managed {
            attached: now(),
            online: None,
            connected: false,
        };
        let written = state.put(&NODES, "i-1", &item, None, &Expect::Any, now());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        match runtime.unwrap().block_on(written) {
            Ok(Written::Done(version)) => version,
            other => panic!("{other:?}"),
        }
    });
    Stored {
        name: id.to_owned(),
        value: managed,
        version: VERSION.clone(),
    }
}

/// Writes an item into the partition of this guardrail.
pub(crate) async fn remember<T: serde::Serialize>(
    table: &Model,
    topic: &Topic<T>,
    id: &str,
    value: &T,
) {
    let state = table.state(crate::NAME);
    let written = state.put(topic, id, value, None, &Expect::Any, now()).await;
    assert!(written.unwrap().is_done());
}
