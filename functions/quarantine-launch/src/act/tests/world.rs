//! A model of AWS with one instance, behind the real clients: what was changed stands, and every
//! call that changes something can be the one at which the function is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_sdk_autoscaling::Client as Asg;
use aws_sdk_autoscaling::operation as asg_calls;
use aws_sdk_autoscaling::types as asg;
use aws_sdk_cloudtrail::Client as Trail;
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::operation as calls;
use aws_sdk_ec2::types as ec2;
use aws_smithy_mocks::{MockResponse, Rule, RuleBuilder, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use guardrails::aws::{SdkConfig, never_again};
use guardrails::guardrail::{Acted, Step};
use guardrails::resource::Resource;
use guardrails::state;
use guardrails::state::model::Model;
use guardrails::trigger::{Order, Request, Scope};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::ask::Ask;
use crate::clients::Clients;
use crate::decide::{Effect, decide};
use crate::evaluate::evaluate;
use crate::facts::{Facts, ISOLATION_GROUP, NAME};
use crate::fixtures::{self, BAD, GOOD, now};
use crate::policy::Policy;
use crate::record::{BRAKE, Brake, LATELY, QUARANTINE};
use crate::rule::Rule as Inbound;

/// The tag that names the Auto Scaling group.
const GROUP: &str = "aws:autoscaling:groupName";

/// What a change comes to.
type Changed<O> = Result<O, Box<HttpResponse>>;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of AWS's own"
)]
pub(super) struct Aws {
    pub(super) image: String,
    pub(super) groups: BTreeMap<String, Vec<String>>,
    /// The interface that is a trunk.
    pub(super) trunk: Option<&'static str>,
    /// Branch interfaces: the trunk that each hangs on, where AWS tells it, and its groups.
    pub(super) branches: BTreeMap<String, (Option<&'static str>, Vec<String>)>,
    /// Interfaces in secondary networks.
    pub(super) secondary: Vec<&'static str>,
    /// Interfaces that a service manages.
    pub(super) managed: BTreeSet<String>,
    pub(super) deletion: BTreeMap<String, bool>,
    pub(super) protected: bool,
    /// Whether its own shutdown terminates it.
    pub(super) terminates: bool,
    pub(super) profile: Option<String>,
    pub(super) running: bool,
    pub(super) spot: bool,
    pub(super) tags: BTreeMap<String, String>,
    /// Security groups: tags, and how many rules each has.
    pub(super) security_groups: BTreeMap<String, (BTreeMap<String, String>, usize)>,
    /// The inbound rules of the isolation group.
    pub(super) incoming: BTreeSet<Inbound>,
    /// The snapshots: the description of each, and its volume.
    pub(super) snapshots: Vec<(String, String)>,
    /// The Auto Scaling group, where there is one.
    pub(super) group: Option<Group>,
}

/// An Auto Scaling group with the instance as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) min: i32,
    pub(super) desired: i32,
    pub(super) suspended: BTreeSet<String>,
    pub(super) member: Option<&'static str>,
    /// Its state in the group's warm pool.
    pub(super) pooled: Option<&'static str>,
    pub(super) tags: BTreeMap<String, String>,
}

impl Group {
    /// The instance goes from one lifecycle state to another, and the desired capacity with it.
    fn moves(&mut self, from: Option<&'static str>, to: Option<&'static str>) -> Changed<()> {
        if self.member != from {
            let message = format!("it is {:?}", self.member);
            return Err(asg_refused("ValidationError", &message));
        }
        self.member = to;
        let serves = to == Some("InService");
        self.desired += if serves { 1 } else { -1 };
        assert!(self.desired >= self.min);
        Ok(())
    }
}

/// When the function is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    Never,
    /// Before this change, counted from 0.
    Before(usize),
    /// Right after it: AWS has carried it out, and nobody heard of it.
    After(usize),
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(super) struct State {
    pub(super) aws: Aws,
    kill: Kill,
    pub(super) changes: usize,
    pub(super) calls: Vec<&'static str>,
    /// Calls that are answered with this, however often.
    pub(super) refuse: BTreeMap<&'static str, &'static str>,
    /// Whether answers leave the group out, though there is one.
    pub(super) unshown: bool,
    /// Whether IAM sees the label only at the next run.
    pub(super) labels_lag: bool,
    /// Interfaces that are detached and deleted just before they are changed.
    pub(super) vanishing: BTreeSet<String>,
    /// Whether the instance is gone, and has left its interfaces behind, attached to this one.
    pub(super) gone: Option<&'static str>,
    /// Whether an instance that is started doesn't run yet.
    pub(super) slow_start: bool,
    /// Whether looks show the interfaces as isolated, whatever they are.
    pub(super) stale_looks: bool,
    pub(super) restores_profiles: bool,
    /// What happens just before changes of these numbers are carried out.
    interrupts: Vec<(usize, Hook)>,
}

/// What another run does meanwhile.
struct Hook(Box<dyn FnOnce() + Send>);

impl Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug, Clone)]
pub(super) struct World(Arc<Mutex<State>>, pub(super) Model, Arc<OnceCell<Clients>>);

/// The table, in which a write can be the one at which the function is killed.
#[derive(Debug, Clone)]
struct Table(World);

impl HttpConnector for Table {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let call = match target.rsplit('.').next() {
            Some("PutItem") => "PutItem",
            Some("DeleteItem") => "DeleteItem",
            _ => return self.0.1.call(request),
        };
        let dead = || {
            let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#Killed","message":"dead"}"#;
            let status = StatusCode::try_from(400).unwrap();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
        };
        match self.0.count(call) {
            Fate::Dead => dead(),
            Fate::Lives => self.0.1.call(request),
            Fate::Dies => {
                drop(self.0.1.call(request));
                dead()
            }
        }
    }
}

/// What becomes of a change.
enum Fate {
    /// It is not carried out: the function is dead.
    Dead,
    /// It is, and the function hears of it.
    Lives,
    /// It is, and nobody hears of it.
    Dies,
}

impl Aws {
    /// A running instance with two interfaces and two volumes.
    pub(super) fn new() -> Self {
        let list = |groups: &[&str]| groups.iter().map(|&group| group.to_owned()).collect();
        Self {
            image: "ami-bad".to_owned(),
            groups: BTreeMap::from([
                ("eni-1".to_owned(), list(&["sg-web", "sg-ssh"])),
                ("eni-2".to_owned(), list(&["sg-db"])),
            ]),
            trunk: None,
            branches: BTreeMap::new(),
            secondary: Vec::new(),
            managed: BTreeSet::new(),
            deletion: BTreeMap::from([
                ("/dev/xvda".to_owned(), true),
                ("/dev/sdf".to_owned(), false),
            ]),
            protected: false,
            terminates: true,
            profile: Some("arn:aws:iam::1:instance-profile/app".to_owned()),
            running: true,
            spot: false,
            tags: BTreeMap::from([("Name".to_owned(), "web-1".to_owned())]),
            security_groups: ["sg-web", "sg-ssh", "sg-db"]
                .map(|id| (id.to_owned(), (BTreeMap::new(), 1)))
                .into(),
            incoming: BTreeSet::new(),
            snapshots: Vec::new(),
            group: None,
        }
    }

    pub(super) fn in_group(mut self, desired: i32) -> Self {
        self.tags.insert(GROUP.to_owned(), "web".to_owned());
        self.group = Some(Group {
            min: 0,
            desired,
            suspended: BTreeSet::new(),
            member: Some("InService"),
            pooled: None,
            tags: BTreeMap::new(),
        });
        self
    }

    /// A member of the warm pool of a group.
    pub(super) fn in_pool(self, state: &'static str) -> Self {
        let mut aws = self.in_group(2);
        let group = aws.group.as_mut().unwrap();
        (group.member, group.pooled) = (None, Some(state));
        aws
    }
}

fn refused(code: &str, message: &str) -> Box<HttpResponse> {
    Box::new(HttpResponse::new(
        StatusCode::try_from(400).unwrap(),
        SdkBody::from(format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        )),
    ))
}

fn asg_refused(code: &str, message: &str) -> Box<HttpResponse> {
    Box::new(HttpResponse::new(
        StatusCode::try_from(400).unwrap(),
        SdkBody::from(format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        )),
    ))
}

fn pairs(tags: &[ec2::Tag]) -> impl Iterator<Item = (String, String)> {
    let of = |text: Option<&str>| text.unwrap().to_owned();
    tags.iter().map(move |tag| (of(tag.key()), of(tag.value())))
}

fn volume(device: &str) -> String {
    format!("vol{}", device.replace('/', "-"))
}

fn permission(rule: &Inbound) -> ec2::IpPermission {
    let (protocol, ports) = (rule.protocol.as_str(), rule.ports.unzip());
    let one = ec2::IpPermission::builder()
        .ip_protocol(protocol)
        .set_from_port(ports.0)
        .set_to_port(ports.1);
    match rule.group() {
        Some(group) => {
            let pair = ec2::UserIdGroupPair::builder().group_id(group);
            one.user_id_group_pairs(pair.build())
        }
        None if rule.from.contains(':') => {
            one.ipv6_ranges(ec2::Ipv6Range::builder().cidr_ipv6(&rule.from).build())
        }
        None => one.ip_ranges(ec2::IpRange::builder().cidr_ip(&rule.from).build()),
    }
    .build()
}

fn inbound(permissions: &[ec2::IpPermission]) -> BTreeSet<Inbound> {
    let group = ec2::SecurityGroup::builder().group_id("sg-isolation");
    let group = group.set_ip_permissions(Some(permissions.to_vec())).build();
    crate::read::isolation_of(&group).unwrap().incoming
}

impl State {
    fn group(&mut self) -> Changed<&mut Group> {
        let gone = || asg_refused("ValidationError", "AutoScalingGroup name not found");
        self.aws.group.as_mut().ok_or_else(gone)
    }

    fn instance(&self) -> ec2::Instance {
        let aws = &self.aws;
        let launched = DateTime::from_secs(now().as_second() - 60);
        let interfaces = aws.groups.iter().enumerate().map(|(index, (id, groups))| {
            let isolated = vec!["sg-isolation".to_owned()];
            let groups = if self.stale_looks { &isolated } else { groups }.clone();
            let groups = groups
                .into_iter()
                .map(|group| ec2::GroupIdentifier::builder().group_id(group).build());
            ec2::InstanceNetworkInterface::builder()
                .network_interface_id(id)
                .interface_type(if aws.trunk == Some(id.as_str()) {
                    "trunk"
                } else {
                    "interface"
                })
                .vpc_id("vpc-1")
                .set_groups(Some(groups.collect()))
                .attachment(
                    ec2::InstanceNetworkInterfaceAttachment::builder()
                        .device_index(i32::try_from(index).unwrap())
                        .attach_time(launched)
                        .build(),
                )
                .build()
        });
        let disks = aws.deletion.iter().map(|(device, delete)| {
            ec2::InstanceBlockDeviceMapping::builder()
                .device_name(device)
                .ebs(
                    ec2::EbsInstanceBlockDevice::builder()
                        .volume_id(volume(device))
                        .delete_on_termination(*delete)
                        .build(),
                )
                .build()
        });
        let name = if aws.running {
            ec2::InstanceStateName::Running
        } else {
            ec2::InstanceStateName::Stopped
        };
        let tags = aws
            .tags
            .iter()
            .map(|(key, value)| ec2::Tag::builder().key(key).value(value).build());
        ec2::Instance::builder()
            .instance_id("i-1")
            .image_id(&aws.image)
            .state(ec2::InstanceState::builder().name(name).build())
            .launch_time(launched)
            .vpc_id("vpc-1")
            .subnet_id("subnet-1")
            .set_instance_lifecycle(aws.spot.then_some(ec2::InstanceLifecycleType::Spot))
            .set_iam_instance_profile(
                aws.profile
                    .as_ref()
                    .map(|arn| ec2::IamInstanceProfile::builder().arn(arn).build()),
            )
            .set_network_interfaces(Some(interfaces.collect()))
            .set_secondary_interfaces(Some(
                aws.secondary
                    .iter()
                    .map(|id| {
                        let one = ec2::InstanceSecondaryInterface::builder();
                        one.secondary_interface_id(*id).build()
                    })
                    .collect(),
            ))
            .set_block_device_mappings(Some(disks.collect()))
            .set_tags(Some(tags.collect()))
            .build()
    }
}

/// Mocks of calls that see the world.
trait Mocked<I, O>: Sized {
    /// It changes nothing.
    fn answers(
        self,
        world: &World,
        answer: impl Fn(&State, &I) -> O + Send + Sync + 'static,
    ) -> Rule;

    /// It changes something.
    fn changes(
        self,
        world: &World,
        call: &'static str,
        change: impl Fn(&mut State, &I) -> Changed<O> + Send + Sync + 'static,
    ) -> Rule;

    /// It does, and IAM allows it of an instance with the label only.
    fn labelled(
        self,
        world: &World,
        call: &'static str,
        change: impl Fn(&mut State, &I) -> Changed<O> + Send + Sync + 'static,
    ) -> Rule {
        self.changes(world, call, move |state, request| {
            let label = guardrails::tags::label::QUARANTINED;
            if state.labels_lag || !state.aws.tags.contains_key(label) {
                return Err(refused("UnauthorizedOperation", "not authorized"));
            }
            change(state, request)
        })
    }
}

impl<I, O, E> Mocked<I, O> for RuleBuilder<I, O, E>
where
    I: Debug + Send + Sync + 'static,
    O: Debug + Send + Sync + 'static,
    E: Error + Send + Sync + 'static,
{
    fn answers(
        self,
        world: &World,
        answer: impl Fn(&State, &I) -> O + Send + Sync + 'static,
    ) -> Rule {
        let world = world.clone();
        self.then_compute_output(move |request| answer(&world.get(), request))
    }

    fn changes(
        self,
        world: &World,
        call: &'static str,
        change: impl Fn(&mut State, &I) -> Changed<O> + Send + Sync + 'static,
    ) -> Rule {
        let world = world.clone();
        self.then_compute_response(move |request| {
            world.change(call, |state| change(state, request))
        })
    }
}

impl World {
    pub(super) fn new(aws: Aws) -> Self {
        let state = State {
            aws,
            kill: Kill::Never,
            changes: 0,
            calls: Vec::new(),
            refuse: BTreeMap::new(),
            unshown: false,
            labels_lag: false,
            vanishing: BTreeSet::new(),
            gone: None,
            slow_start: false,
            stale_looks: false,
            restores_profiles: true,
            interrupts: Vec::new(),
        };
        Self(
            Arc::new(Mutex::new(state)),
            Model::default(),
            Arc::default(),
        )
    }

    pub(super) fn get(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn kill(&self, kill: Kill) {
        let mut state = self.get();
        state.kill = kill;
        state.interrupts.clear();
        state.changes = 0;
        state.calls.clear();
    }

    /// Counts a change; none once the function is dead.
    fn count(&self, call: &'static str) -> Fate {
        let mut state = self.get();
        let number = state.changes;
        let dead = match state.kill {
            Kill::Never => false,
            Kill::Before(at) => number >= at,
            Kill::After(at) => number > at,
        };
        if dead {
            return Fate::Dead;
        }
        state.changes += 1;
        state.calls.push(call);
        let fate = if state.kill == Kill::After(number) {
            Fate::Dies
        } else {
            Fate::Lives
        };
        let due = state.interrupts.iter().position(|(at, _)| *at <= number);
        let due = due.map(|at| state.interrupts.swap_remove(at));
        drop(state);
        if let Some((_, Hook(meanwhile))) = due {
            meanwhile();
        }
        fate
    }

    /// Before the change of this number arrives another run comes and goes.
    pub(super) fn interrupt(&self, at: usize, policy: &Policy, request: Request<Ask>, after: i64) {
        // With clients of its own: those of this run are in the middle of a call.
        let world = Self(self.0.clone(), self.1.clone(), Arc::default());
        let policy = policy.clone();
        let hook = Hook(Box::new(move || {
            let other = std::thread::spawn(move || {
                fixtures::block_on(world.run(&policy, &request, after));
            });
            other.join().unwrap();
        }));
        let mut state = self.get();
        state.changes = 0;
        state.interrupts.push((at, hook));
    }

    /// Before the change of this number somebody does this.
    pub(super) fn meanwhile(&self, at: usize, does: impl FnOnce(&mut Aws) + Send + 'static) {
        let world = self.0.clone();
        let hook = Hook(Box::new(move || does(&mut world.lock().unwrap().aws)));
        let mut state = self.get();
        state.changes = 0;
        state.interrupts.push((at, hook));
    }

    /// What becomes of a call that changes something.
    fn change<O, E>(
        &self,
        call: &'static str,
        change: impl FnOnce(&mut State) -> Changed<O>,
    ) -> MockResponse<O, E> {
        let killed = || MockResponse::Http(*refused("Killed", "the function is dead"));
        let fate = self.count(call);
        if matches!(fate, Fate::Dead) {
            return killed();
        }
        let mut state = self.get();
        if let Some(code) = state.refuse.get(call) {
            return MockResponse::Http(*refused(code, "says AWS"));
        }
        let answer = change(&mut state);
        if matches!(fate, Fate::Dies) {
            return killed();
        }
        match answer {
            Ok(output) => MockResponse::Output(output),
            Err(refused) => MockResponse::Http(*refused),
        }
    }

    fn security_group(
        id: &str,
        tags: &BTreeMap<String, String>,
        rules: usize,
        incoming: &BTreeSet<Inbound>,
    ) -> ec2::SecurityGroup {
        let rule = || {
            ec2::IpPermission::builder()
                .ip_protocol("-1")
                .ip_ranges(ec2::IpRange::builder().cidr_ip("0.0.0.0/0").build())
                .ipv6_ranges(ec2::Ipv6Range::builder().cidr_ipv6("::/0").build())
                .build()
        };
        let tags = tags
            .iter()
            .map(|(key, value)| ec2::Tag::builder().key(key).value(value).build());
        ec2::SecurityGroup::builder()
            .group_id(id)
            .owner_id("111122223333")
            .vpc_id("vpc-1")
            .group_name(if id == "sg-isolation" {
                ISOLATION_GROUP
            } else {
                id
            })
            .set_tags(Some(tags.collect()))
            .set_ip_permissions_egress(Some((0..rules).map(|_| rule()).collect()))
            .set_ip_permissions(
                (id == "sg-isolation").then(|| incoming.iter().map(permission).collect()),
            )
            .build()
    }

    #[expect(clippy::too_many_lines, reason = "one mock per call")]
    fn ec2(&self) -> Vec<Rule> {
        let world = self.clone();
        vec![
            mock!(Ec2::describe_instances).answers(self, |state, _| {
                let shown = state.gone.is_none().then(|| {
                    let one = ec2::Reservation::builder().owner_id("111122223333");
                    one.instances(state.instance()).build()
                });
                calls::describe_instances::DescribeInstancesOutput::builder()
                    .set_reservations(Some(shown.into_iter().collect()))
                    .build()
            }),
            mock!(Ec2::describe_images).then_output(|| {
                let images = [("ami-bad", BAD), ("ami-good", GOOD)].map(|(id, name)| {
                    ec2::Image::builder()
                        .image_id(id)
                        .name(name)
                        .owner_id("137112412989")
                        .image_owner_alias("amazon")
                        .creation_date("2026-11-09T12:00:00.000Z")
                        .build()
                });
                calls::describe_images::DescribeImagesOutput::builder()
                    .set_images(Some(images.into()))
                    .build()
            }),
            mock!(Ec2::create_tags).changes(self, "CreateTags", |state, request| {
                assert_eq!(request.resources(), ["i-1"]);
                for (key, value) in pairs(request.tags()) {
                    assert!(value.chars().count() <= 256, "{value}");
                    state.aws.tags.insert(key, value);
                }
                Ok(calls::create_tags::CreateTagsOutput::builder().build())
            }),
            mock!(Ec2::delete_tags).changes(self, "DeleteTags", |state, request| {
                for tag in request.tags() {
                    state.aws.tags.remove(tag.key().unwrap());
                }
                Ok(calls::delete_tags::DeleteTagsOutput::builder().build())
            }),
            mock!(Ec2::describe_security_groups).answers(self, |state, request| {
                let found = state.aws.security_groups.iter().filter(|(id, (tags, _))| {
                    request.filters().iter().all(|filter| {
                        let values = filter.values();
                        match filter.name().unwrap() {
                            "group-id" => values.contains(id),
                            "group-name" => id.as_str() == "sg-isolation",
                            "vpc-id" => values == ["vpc-1"],
                            tag => tags
                                .get(tag.strip_prefix("tag:").unwrap())
                                .is_some_and(|value| values.contains(value)),
                        }
                    })
                });
                let groups = found.map(|(id, (tags, rules))| {
                    Self::security_group(id, tags, *rules, &state.aws.incoming)
                });
                calls::describe_security_groups::DescribeSecurityGroupsOutput::builder()
                    .set_security_groups(Some(groups.collect()))
                    .build()
            }),
            mock!(Ec2::create_security_group).changes(self, "CreateSecurityGroup",
                |state, request| {
                    let groups = &mut state.aws.security_groups;
                    if groups.contains_key("sg-isolation") {
                        return Err(refused("InvalidGroup.Duplicate", "exists"));
                    }
                    // A new group lets everything out (AMI-5).
                    let tags = pairs(request.tag_specifications()[0].tags()).collect();
                    groups.insert("sg-isolation".to_owned(), (tags, 1));
                    Ok(calls::create_security_group::CreateSecurityGroupOutput::builder()
                        .group_id("sg-isolation")
                        .build())
                },
            ),
            mock!(Ec2::revoke_security_group_egress).changes(self, "RevokeSecurityGroupEgress",
                |state, request| {
                    assert_eq!(request.group_id(), Some("sg-isolation"));
                    state.aws.security_groups.get_mut("sg-isolation").unwrap().1 = 0;
                    Ok(calls::revoke_security_group_egress::RevokeSecurityGroupEgressOutput::builder().build())
                },
            ),
            mock!(Ec2::revoke_security_group_ingress).changes(self, "RevokeSecurityGroupIngress",
                |state, request| {
                    assert_eq!(request.group_id(), Some("sg-isolation"));
                    let rules = inbound(request.ip_permissions());
                    assert!(!rules.is_empty());
                    if !rules.is_subset(&state.aws.incoming) {
                        return Err(refused("InvalidPermission.NotFound", "no such rule"));
                    }
                    state.aws.incoming.retain(|rule| !rules.contains(rule));
                    Ok(calls::revoke_security_group_ingress::RevokeSecurityGroupIngressOutput::builder().build())
                },
            ),
            mock!(Ec2::authorize_security_group_ingress).changes(self, "AuthorizeSecurityGroupIngress",
                |state, request| {
                    assert_eq!(request.group_id(), Some("sg-isolation"), "never to another group");
                    let rules = inbound(request.ip_permissions());
                    if !rules.is_disjoint(&state.aws.incoming) {
                        return Err(refused("InvalidPermission.Duplicate", "exists"));
                    }
                    state.aws.incoming.extend(rules);
                    Ok(calls::authorize_security_group_ingress::AuthorizeSecurityGroupIngressOutput::builder().build())
                },
            ),
            mock!(Ec2::describe_trunk_interface_associations).then_compute_response(move |_| {
                let state = world.get();
                if let Some(code) = state.refuse.get("DescribeTrunkInterfaceAssociations") {
                    return MockResponse::Http(*refused(code, "says AWS"));
                }
                let branches = state.aws.branches.iter();
                let found = branches.filter_map(|(branch, (trunk, _))| {
                    let one = ec2::TrunkInterfaceAssociation::builder();
                    Some(one.branch_interface_id(branch).trunk_interface_id((*trunk)?).build())
                });
                MockResponse::Output(calls::describe_trunk_interface_associations::DescribeTrunkInterfaceAssociationsOutput::builder()
                    .set_interface_associations(Some(found.collect()))
                    .build())
            }),
            mock!(Ec2::modify_network_interface_attribute).changes(self, "ModifyNetworkInterfaceAttribute",
                |state, request| {
                    let (id, groups) = (request.network_interface_id().unwrap(), request.groups());
                    let aws = &mut state.aws;
                    if state.vanishing.remove(id) {
                        aws.groups.remove(id);
                        return Err(refused("InvalidNetworkInterfaceID.NotFound", id));
                    }
                    if aws.managed.contains(id) {
                        return Err(refused(
                            "AuthFailure",
                            "You do not have permission to access the specified resource.",
                        ));
                    }
                    let gone = |id: &&String| !aws.security_groups.contains_key(*id);
                    if let Some(gone) = groups.iter().find(gone) {
                        return Err(refused("InvalidGroup.NotFound", gone));
                    }
                    if groups == ["sg-isolation"] {
                        assert_eq!(aws.security_groups["sg-isolation"].1, 0, "it must isolate");
                    }
                    let groups = groups.to_vec();
                    match aws.branches.get_mut(id) {
                        Some(branch) => branch.1 = groups,
                        None => drop(aws.groups.insert(id.to_owned(), groups)),
                    }
                    Ok(calls::modify_network_interface_attribute::ModifyNetworkInterfaceAttributeOutput::builder().build())
                },
            ),
            mock!(Ec2::describe_network_interfaces).answers(self, |state, request| {
                let branches = state.aws.branches.iter();
                let branches = branches.map(|(id, (_, groups))| (id, groups));
                let own = state.aws.groups.iter().filter(|_| {
                    let mut filters = request.filters().iter();
                    !filters.any(|filter| filter.name() == Some("interface-type"))
                });
                let interfaces = own.chain(branches).map(|(id, groups)| {
                    let groups = groups.iter().map(|group| {
                        let name = if group == "sg-isolation" { ISOLATION_GROUP } else { group };
                        ec2::GroupIdentifier::builder().group_id(group).group_name(name).build()
                    });
                    let attachment = ec2::NetworkInterfaceAttachment::builder();
                    ec2::NetworkInterface::builder()
                        .network_interface_id(id)
                        .vpc_id("vpc-1")
                        .set_groups(Some(groups.collect()))
                        .attachment(attachment.set_instance_id(state.gone.map(str::to_owned)).build())
                        .build()
                });
                calls::describe_network_interfaces::DescribeNetworkInterfacesOutput::builder()
                    .set_network_interfaces(Some(interfaces.collect()))
                    .build()
            }),
            mock!(Ec2::describe_instance_attribute).answers(self, |state, request| {
                let answer = calls::describe_instance_attribute::DescribeInstanceAttributeOutput::builder();
                if request.attribute() == Some(&ec2::InstanceAttributeName::DisableApiTermination) {
                    let value = ec2::AttributeBooleanValue::builder().value(state.aws.protected);
                    return answer.disable_api_termination(value.build()).build();
                }
                let value = if state.aws.terminates { "terminate" } else { "stop" };
                let value = ec2::AttributeValue::builder().value(value).build();
                answer.instance_initiated_shutdown_behavior(value).build()
            }),
            mock!(Ec2::modify_instance_attribute).labelled(self, "ModifyInstanceAttribute",
                |state, request| {
                    let protect = request
                        .disable_api_termination()
                        .and_then(ec2::AttributeBooleanValue::value);
                    let disks = request.block_device_mappings().iter().map(|mapping| {
                        let delete = mapping.ebs().unwrap().delete_on_termination();
                        (mapping.device_name().unwrap().to_owned(), delete.unwrap())
                    });
                    let shutdown = request
                        .instance_initiated_shutdown_behavior()
                        .and_then(ec2::AttributeValue::value)
                        .map(|behaviour| behaviour == "terminate");
                    let maps = !request.block_device_mappings().is_empty();
                    let given = [protect.is_some(), maps, shutdown.is_some()];
                    let given = given.iter().filter(|given| **given);
                    assert_eq!(given.count(), 1, "one attribute a call");
                    let aws = &mut state.aws;
                    assert!(protect.is_none() || !aws.spot);
                    aws.terminates = shutdown.unwrap_or(aws.terminates);
                    aws.protected = protect.unwrap_or(aws.protected);
                    aws.deletion.extend(disks);
                    Ok(calls::modify_instance_attribute::ModifyInstanceAttributeOutput::builder().build())
                },
            ),
            mock!(Ec2::describe_snapshots).answers(self, |state, _| {
                let snapshots = state.aws.snapshots.iter().enumerate();
                let snapshots = snapshots.map(|(n, (description, volume))| {
                    ec2::Snapshot::builder()
                        .snapshot_id(format!("snap-{n}"))
                        .description(description)
                        .volume_id(volume)
                        .start_time(DateTime::from_secs(now().as_second() + 3_600))
                        .build()
                });
                calls::describe_snapshots::DescribeSnapshotsOutput::builder()
                    .set_snapshots(Some(snapshots.collect()))
                    .build()
            }),
            mock!(Ec2::create_snapshots).labelled(self, "CreateSnapshots", |state, request| {
                let description = request.description().unwrap();
                let aws = &mut state.aws;
                let devices = aws.deletion.keys();
                let more = devices.map(|device| (description.to_owned(), volume(device)));
                aws.snapshots.extend(more);
                let made = (0..aws.snapshots.len()).map(|n| {
                    let id = format!("snap-{n}");
                    ec2::SnapshotInfo::builder().snapshot_id(id).build()
                });
                Ok(calls::create_snapshots::CreateSnapshotsOutput::builder()
                    .set_snapshots(Some(made.collect()))
                    .build())
            }),
            mock!(Ec2::describe_iam_instance_profile_associations).answers(self, |state, _| {
                let association = state.aws.profile.as_ref().map(|arn| {
                    let profile = ec2::IamInstanceProfile::builder().arn(arn).build();
                    let one = ec2::IamInstanceProfileAssociation::builder().association_id("iip-1");
                    one.iam_instance_profile(profile).build()
                });
                calls::describe_iam_instance_profile_associations::DescribeIamInstanceProfileAssociationsOutput::builder()
                    .set_iam_instance_profile_associations(Some(association.into_iter().collect()))
                    .build()
            }),
            mock!(Ec2::disassociate_iam_instance_profile).labelled(self, "DisassociateIamInstanceProfile",
                |state, _| {
                    state.aws.profile = None;
                    Ok(calls::disassociate_iam_instance_profile::DisassociateIamInstanceProfileOutput::builder().build())
                },
            ),
            mock!(Ec2::associate_iam_instance_profile).changes(self, "AssociateIamInstanceProfile",
                |state, request| {
                    let arn = request.iam_instance_profile().unwrap().arn().unwrap();
                    state.aws.profile = Some(arn.to_owned());
                    Ok(calls::associate_iam_instance_profile::AssociateIamInstanceProfileOutput::builder().build())
                },
            ),
            mock!(Ec2::stop_instances).labelled(self, "StopInstances", |state, _| {
                state.aws.running = false;
                Ok(calls::stop_instances::StopInstancesOutput::builder().build())
            }),
            mock!(Ec2::start_instances).labelled(self, "StartInstances", |state, _| {
                state.aws.running = !state.slow_start;
                Ok(calls::start_instances::StartInstancesOutput::builder().build())
            }),
        ]
    }

    fn autoscaling(&self) -> Vec<Rule> {
        vec![
            mock!(Asg::describe_auto_scaling_groups).answers(self, |state, _| {
                let shown = state.aws.group.as_ref().filter(|_| !state.unshown);
                let group = shown.map(|group| {
                    let member = group.member.map(|lifecycle| {
                        asg::Instance::builder()
                            .instance_id("i-1")
                            .lifecycle_state(lifecycle.into())
                            .build()
                    });
                    let suspended = group.suspended.iter().map(|process| {
                        asg::SuspendedProcess::builder().process_name(process).build()
                    });
                    let tags = group.tags.iter().map(|(key, value)| {
                        asg::TagDescription::builder().key(key).value(value).build()
                    });
                    asg::AutoScalingGroup::builder()
                        .auto_scaling_group_name("web")
                        .min_size(group.min)
                        .desired_capacity(group.desired)
                        .set_instances(Some(member.into_iter().collect()))
                        .set_suspended_processes(Some(suspended.collect()))
                        .set_tags(Some(tags.collect()))
                        .build()
                });
                asg_calls::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput::builder()
                    .set_auto_scaling_groups(Some(group.into_iter().collect()))
                    .build()
            }),
            mock!(Asg::describe_auto_scaling_instances).answers(self, |state, request| {
                assert_eq!(request.instance_ids(), ["i-1"]);
                let group = state.aws.group.as_ref();
                let found = group.and_then(|group| group.member.or(group.pooled));
                let found = found.map(|lifecycle| {
                    asg::AutoScalingInstanceDetails::builder()
                        .instance_id("i-1")
                        .lifecycle_state(lifecycle)
                        .build()
                });
                asg_calls::describe_auto_scaling_instances::DescribeAutoScalingInstancesOutput::builder()
                    .set_auto_scaling_instances(Some(found.into_iter().collect()))
                    .build()
            }),
            mock!(Asg::create_or_update_tags).changes(self, "CreateOrUpdateTags", |state, request| {
                for tag in request.tags() {
                    assert_eq!(tag.propagate_at_launch(), Some(false));
                    let (key, value) = (tag.key().unwrap(), tag.value().unwrap());
                    state.group()?.tags.insert(key.to_owned(), value.to_owned());
                }
                Ok(asg_calls::create_or_update_tags::CreateOrUpdateTagsOutput::builder().build())
            }),
            mock!(Asg::delete_tags).changes(self, "DeleteGroupTags", |state, request| {
                for tag in request.tags() {
                    state.group()?.tags.remove(tag.key().unwrap());
                }
                Ok(asg_calls::delete_tags::DeleteTagsOutput::builder().build())
            }),
            mock!(Asg::suspend_processes).changes(self, "SuspendProcesses", |state, request| {
                let processes = request.scaling_processes().to_vec();
                assert!(!processes.is_empty(), "none means all");
                state.group()?.suspended.extend(processes);
                Ok(asg_calls::suspend_processes::SuspendProcessesOutput::builder().build())
            }),
            mock!(Asg::resume_processes).changes(self, "ResumeProcesses", |state, request| {
                let processes = request.scaling_processes();
                assert!(!processes.is_empty(), "none means all");
                let suspended = &mut state.group()?.suspended;
                suspended.retain(|process| !processes.contains(process));
                Ok(asg_calls::resume_processes::ResumeProcessesOutput::builder().build())
            }),
            mock!(Asg::enter_standby).changes(self, "EnterStandby", |state, request| {
                assert_eq!(request.should_decrement_desired_capacity(), Some(true));
                state.group()?.moves(Some("InService"), Some("Standby"))?;
                Ok(asg_calls::enter_standby::EnterStandbyOutput::builder().build())
            }),
            mock!(Asg::exit_standby).changes(self, "ExitStandby", |state, _| {
                state.group()?.moves(Some("Standby"), Some("InService"))?;
                Ok(asg_calls::exit_standby::ExitStandbyOutput::builder().build())
            }),
            mock!(Asg::detach_instances).changes(self, "DetachInstances", |state, request| {
                assert_eq!(request.should_decrement_desired_capacity(), Some(true));
                state.group()?.moves(Some("InService"), None)?;
                state.aws.tags.remove(GROUP);
                Ok(asg_calls::detach_instances::DetachInstancesOutput::builder().build())
            }),
            mock!(Asg::attach_instances).changes(self, "AttachInstances", |state, _| {
                state.group()?.moves(None, Some("InService"))?;
                state.aws.tags.insert(GROUP.to_owned(), "web".to_owned());
                Ok(asg_calls::attach_instances::AttachInstancesOutput::builder().build())
            }),
        ]
    }

    async fn state(&self) -> state::State {
        // Once: it reads the root certificates.
        static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
        let table = SharedHttpConnector::new(Table(self.clone()));
        let config = CONFIG.get_or_init(guardrails::aws::config).await.clone();
        let config = config
            .into_builder()
            .http_client(http_client_fn(move |_, _| table.clone()))
            .region(aws_sdk_ec2::config::Region::from_static("eu-central-1"))
            .credentials_provider(aws_sdk_ec2::config::SharedCredentialsProvider::new(
                aws_sdk_ec2::config::Credentials::for_tests(),
            ))
            .build();
        state::State::new(&config, "state".to_owned(), NAME)
    }

    /// The table is lost.
    pub(super) async fn lose_the_record(&self) {
        let state = self.1.state(NAME);
        let lost = state.delete(&QUARANTINE, "i-1", &state::Expect::Any).await;
        assert!(lost.unwrap().is_done());
    }

    /// Another instance is in quarantine.
    pub(super) async fn record_of(&self, instance: &str) {
        let (state, any) = (self.1.state(NAME), state::Expect::Any);
        let record = fixtures::record("12:00");
        let put = state.put(&QUARANTINE, instance, &record, None, &any, now());
        assert!(put.await.unwrap().is_done());
    }

    /// Another launch was isolated a moment ago.
    pub(super) async fn take_a_place(&self) {
        let (state, any) = (self.1.state(NAME), state::Expect::Any);
        let taken = Brake([("i-other".to_owned(), now())].into());
        let put = state.put(&BRAKE, LATELY, &taken, None, &any, now());
        assert!(put.await.unwrap().is_done());
    }

    /// What is remembered, by key.
    pub(super) fn remembered(&self) -> BTreeMap<String, Value> {
        self.1.items(NAME).into_iter().collect()
    }

    pub(super) async fn clients(&self) -> Clients {
        let clients = self.2.get_or_init(|| self.make_clients()).await;
        Clients {
            restores_profiles: self.get().restores_profiles,
            ..clients.clone()
        }
    }

    async fn make_clients(&self) -> Clients {
        let ec2 = self.ec2();
        let autoscaling = self.autoscaling();
        let trail = mock!(Trail::lookup_events).then_output(|| {
            aws_sdk_cloudtrail::operation::lookup_events::LookupEventsOutput::builder().build()
        });
        let (ec2, autoscaling): (Vec<&Rule>, Vec<&Rule>) =
            (ec2.iter().collect(), autoscaling.iter().collect());
        Clients {
            ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2, |config| config
                .retry_config(never_again())),
            autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, autoscaling),
            cloudtrail: mock_client!(aws_sdk_cloudtrail, RuleMode::MatchAny, [&trail]),
            iam: mock_client!(aws_sdk_iam, RuleMode::MatchAny, &[]),
            ssm: mock_client!(aws_sdk_ssm, RuleMode::MatchAny, &[]),
            state: self.state().await,
            restores_profiles: true,
        }
    }

    /// What a run sees that begins so many seconds after the launch was seen first.
    pub(super) async fn look(&self, policy: &Policy, request: &Request<Ask>, after: i64) -> Facts {
        let at = now() + jiff::SignedDuration::from_secs(after);
        let clients = self.clients().await;
        match crate::observe::observe(&clients, "/p", policy, request, at).await {
            Ok(facts) => facts,
            Err(error) => panic!("{error}"),
        }
    }

    /// What a run does that has seen `facts`.
    pub(super) async fn act(
        &self,
        facts: &Facts,
        policy: &Policy,
        after: i64,
    ) -> Vec<(&'static str, Acted<Effect>)> {
        let at: Timestamp = now() + jiff::SignedDuration::from_secs(after);
        let run = format!("run-{after}");
        self.act_as(facts, policy, at, &run).await
    }

    pub(super) async fn act_as(
        &self,
        facts: &Facts,
        policy: &Policy,
        at: Timestamp,
        run: &str,
    ) -> Vec<(&'static str, Acted<Effect>)> {
        let clients = self.clients().await;
        let mut acted = Vec::new();
        let evaluation = evaluate(facts, policy, at);
        for decision in decide(&evaluation) {
            if let Step::Act(action) = &decision.step {
                acted.push((decision.action, super::act(&clients, action, run).await));
            }
        }
        // What isn't written down, because the function is dead, the next run writes.
        drop(super::remember(&clients, &evaluation).await);
        acted
    }

    /// One run of the guardrail, so many seconds after the launch was seen first: look, decide, act.
    pub(super) async fn run(
        &self,
        policy: &Policy,
        request: &Request<Ask>,
        after: i64,
    ) -> Vec<(&'static str, Acted<Effect>)> {
        let facts = self.look(policy, request, after).await;
        self.act(&facts, policy, after).await
    }
}

pub(super) fn event() -> Request<Ask> {
    Request::of(Scope::one(Resource::instance("i-1")))
}

fn order(ask: Ask) -> Request<Ask> {
    Request {
        order: Order::Person,
        ask,
        ..event()
    }
}

pub(super) fn release() -> Request<Ask> {
    order(fixtures::release(false))
}

pub(super) fn release_group() -> Request<Ask> {
    order(Ask::ReleaseGroup("web".to_owned()))
}

pub(super) fn release_from_labels() -> Request<Ask> {
    order(fixtures::release(true))
}

pub(super) fn by_hand() -> Request<Ask> {
    order(fixtures::by_hand())
}
