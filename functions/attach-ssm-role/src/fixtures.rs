//! Accounts as the tests tell of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_smithy_mocks::{Rule, RuleMode, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2::State;
use guardrails::policy;
use guardrails::state::model::Model;
use guardrails::state::{Expect, Stored, Topic, Version, Written};
use jiff::Timestamp;

use crate::clients::Clients;
use crate::decide::Action;
use crate::facts::identity::{Identity, Permissions, REGISTER, Role};
use crate::facts::network::{Interface, Network};
use crate::facts::{Facts, Group, Instance, Node};
use crate::memory::{Managed, NODES};
use crate::policy::Policy;

pub(crate) const OURS: &str = "arn:aws:iam::111122223333:instance-profile/ec2-guardrails-ssm";
pub(crate) const THEIRS: &str = "arn:aws:iam::111122223333:instance-profile/web";
pub(crate) const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// Rows of a table of cases, each in its line: what is given, and what must come of it.
macro_rules! rows {
    ($($($given:expr),+ => $expected:expr;)*) => { [$(($($given),+, $expected)),*] };
}

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

fn http(status: u16, body: String) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into())
}

/// EC2's answer to an operation, as it stands on the wire.
pub(crate) fn ec2_answer(
    operation: &'static str,
    body: &'static str,
) -> impl Fn() -> HttpResponse + Send + Sync + 'static {
    let xmlns = "http://ec2.amazonaws.com/doc/2016-11-15/";
    move || {
        let body = format!("<requestId>1</requestId>{body}");
        let xml = format!(r#"<{operation}Response xmlns="{xmlns}">{body}</{operation}Response>"#);
        http(200, xml)
    }
}

/// EC2's refusal.
pub(crate) fn ec2_error(status: u16, code: &str, message: &str) -> HttpResponse {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    http(
        status,
        format!("<Response><Errors>{error}</Errors><RequestID>1</RequestID></Response>"),
    )
}

pub(crate) fn ec2_denied() -> HttpResponse {
    ec2_error(403, "UnauthorizedOperation", "no")
}

/// IAM's refusal.
pub(crate) fn iam_error(code: &'static str) -> impl Fn() -> HttpResponse + Send + Sync + 'static {
    let error = format!("<Error><Code>{code}</Code><Message>says IAM</Message></Error>");
    move || http(403, format!("<ErrorResponse>{error}</ErrorResponse>"))
}

/// The refusal of a service that speaks JSON.
pub(crate) fn json_error(code: &'static str) -> impl Fn() -> HttpResponse + Send + Sync + 'static {
    move || http(400, format!(r#"{{"__type":"{code}","message":"no"}}"#))
}

/// Clients to which only these calls of EC2, Systems Manager and IAM are known: any other fails the
/// test.
pub(crate) fn clients(table: &Model, ec2: &[&Rule], ssm: &[&Rule], iam: &[&Rule]) -> Clients {
    let none: [&Rule; 0] = [];
    Clients {
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
        ssm: mock_client!(aws_sdk_ssm, RuleMode::MatchAny, ssm),
        iam: mock_client!(aws_sdk_iam, RuleMode::MatchAny, iam),
        kms: mock_client!(aws_sdk_kms, RuleMode::MatchAny, none),
        logs: mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, none),
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, none),
        own: table.state(crate::NAME),
        quarantine: table.state(crate::QUARANTINE_LAUNCH),
    }
}

/// That it gets the stack's profile.
pub(crate) fn attach(id: &str) -> Action {
    Action::Attach {
        instance: id.to_owned(),
        profile: OURS.to_owned(),
        at: now(),
        exclude: default_policy().exclude,
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

/// A role that allows all but this.
pub(crate) fn role(missing: &[&str]) -> Identity {
    trusted_by(TRUST, missing)
}

/// The same with this trust policy.
pub(crate) fn trusted_by(trust: &str, missing: &[&str]) -> Identity {
    let missing = missing.iter().map(|action| (*action).to_owned()).collect();
    let unclear = Vec::new();
    role_with(trust, Permissions::Simulated { missing, unclear })
}

/// A role of which only these policies are known.
pub(crate) fn listed(policies: &[&str]) -> Identity {
    let policies = policies.iter().map(|arn| (*arn).to_owned()).collect();
    role_with(TRUST, Permissions::Attached { policies })
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
        has_core: Ok(false),
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
        let item = given("12:00:00");
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

/// Remembers that it was attached then.
pub(crate) async fn remember(table: &Model, id: &str, attached: &str) {
    write(table, crate::NAME, &NODES, id, &given(attached)).await;
}

/// It was given its profile then, and not seen Online yet.
pub(crate) fn given(attached: &str) -> Managed {
    Managed {
        attached: at(attached),
        online: None,
        connected: false,
    }
}

/// Remembers a quarantine, of which this guardrail knows nothing but that it is there.
pub(crate) async fn quarantine(table: &Model, id: &str) {
    let record = serde_json::json!({"stage": "begun", "groups": ["sg-1"]});
    let topic = Topic::<serde_json::Value>::new("quarantine");
    write(table, crate::QUARANTINE_LAUNCH, &topic, id, &record).await;
}

async fn write<T: serde::Serialize>(
    table: &Model,
    guardrail: &'static str,
    topic: &Topic<T>,
    id: &str,
    value: &T,
) {
    let state = table.state(guardrail);
    let written = state.put(topic, id, value, None, &Expect::Any, now()).await;
    assert!(written.unwrap().is_done());
}
