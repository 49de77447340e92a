//! A model of AWS with one instance, behind the real clients: what was changed stands, and every
//! call that changes something can be the one at which the function is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_sdk_autoscaling::Client as Asg;
use aws_sdk_autoscaling::types as asg;
use aws_sdk_cloudtrail::Client as Trail;
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types as ec2;
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
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
use crate::fixtures::{BAD, GOOD, now};
use crate::policy::Policy;
use crate::record::{BRAKE, Brake, LATELY, QUARANTINE};
use crate::rule::Rule as Inbound;

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

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        self.tags
            .insert("aws:autoscaling:groupName".to_owned(), "web".to_owned());
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

impl World {
    pub(super) fn new(aws: Aws) -> Self {
        let state = State {
            aws,
            kill: Kill::Never,
            changes: 0,
            calls: Vec::new(),
            refuse: BTreeMap::new(),
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
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .start_paused(true)
                    .build()
                    .unwrap();
                runtime.block_on(world.run(&policy, &request, after));
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

    /// A call that changes something.
    fn change<O, E>(
        &self,
        call: &'static str,
        change: impl FnOnce(&mut Aws) -> Result<O, Box<HttpResponse>>,
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
        let answer = change(&mut state.aws);
        if matches!(fate, Fate::Dies) {
            return killed();
        }
        match answer {
            Ok(output) => MockResponse::Output(output),
            Err(refused) => MockResponse::Http(*refused),
        }
    }

    /// A change that IAM allows of an instance with the label only.
    fn change_labelled<O, E>(
        &self,
        call: &'static str,
        change: impl FnOnce(&mut Aws) -> Result<O, Box<HttpResponse>>,
    ) -> MockResponse<O, E> {
        let state = self.get();
        let label = state
            .aws
            .tags
            .contains_key(guardrails::tags::label::QUARANTINED);
        let unseen = state.labels_lag || !label;
        drop(state);
        self.change(call, |aws| {
            if unseen {
                return Err(refused("UnauthorizedOperation", "not authorized"));
            }
            change(aws)
        })
    }

    fn instance(&self) -> ec2::Instance {
        let state = self.get();
        let aws = &state.aws;
        let launched = DateTime::from_secs(now().as_second() - 60);
        let interfaces = aws.groups.iter().enumerate().map(|(index, (id, groups))| {
            let isolated = vec!["sg-isolation".to_owned()];
            let groups = if state.stale_looks { &isolated } else { groups }.clone();
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
        let world = || self.clone();
        vec![
            {
                let world = world();
                mock!(Ec2::describe_instances).then_compute_output(move |_| {
                    if world.get().gone.is_some() {
                        return aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput::builder().build();
                    }
                    aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput::builder()
                        .reservations(
                            ec2::Reservation::builder()
                                .owner_id("111122223333")
                                .instances(world.instance())
                                .build(),
                        )
                        .build()
                })
            },
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
                aws_sdk_ec2::operation::describe_images::DescribeImagesOutput::builder()
                    .set_images(Some(images.into()))
                    .build()
            }),
            {
                let world = world();
                mock!(Ec2::create_tags).then_compute_response(move |request| {
                    assert_eq!(request.resources(), ["i-1"]);
                    let tags: Vec<(String, String)> = request
                        .tags()
                        .iter()
                        .map(|tag| {
                            let value = tag.value().unwrap().to_owned();
                            assert!(value.chars().count() <= 256, "{value}");
                            (tag.key().unwrap().to_owned(), value)
                        })
                        .collect();
                    world.change("CreateTags", |aws| {
                        aws.tags.extend(tags);
                        Ok(
                            aws_sdk_ec2::operation::create_tags::CreateTagsOutput::builder()
                                .build(),
                        )
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::delete_tags).then_compute_response(move |request| {
                    let keys: Vec<String> = request
                        .tags()
                        .iter()
                        .map(|tag| tag.key().unwrap().to_owned())
                        .collect();
                    world.change("DeleteTags", |aws| {
                        aws.tags.retain(|key, _| !keys.contains(key));
                        Ok(
                            aws_sdk_ec2::operation::delete_tags::DeleteTagsOutput::builder()
                                .build(),
                        )
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_security_groups).then_compute_output(move |request| {
                    let state = world.get();
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
                    let groups = found
                        .map(|(id, (tags, rules))| {
                            Self::security_group(id, tags, *rules, &state.aws.incoming)
                        })
                        .collect();
                    aws_sdk_ec2::operation::describe_security_groups::DescribeSecurityGroupsOutput::builder()
                        .set_security_groups(Some(groups))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Ec2::create_security_group).then_compute_response(move |request| {
                    let tags: BTreeMap<String, String> = request.tag_specifications()[0]
                        .tags()
                        .iter()
                        .map(|tag| (tag.key().unwrap().to_owned(), tag.value().unwrap().to_owned()))
                        .collect();
                    world.change("CreateSecurityGroup", |aws| {
                        if aws.security_groups.contains_key("sg-isolation") {
                            return Err(refused("InvalidGroup.Duplicate", "exists"));
                        }
                        // A new group lets everything out (AMI-5).
                        aws.security_groups
                            .insert("sg-isolation".to_owned(), (tags, 1));
                        Ok(aws_sdk_ec2::operation::create_security_group::CreateSecurityGroupOutput::builder()
                            .group_id("sg-isolation")
                            .build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::revoke_security_group_egress).then_compute_response(move |request| {
                    let id = request.group_id().unwrap().to_owned();
                    assert_eq!(id, "sg-isolation");
                    world.change("RevokeSecurityGroupEgress", |aws| {
                        aws.security_groups.get_mut(&id).unwrap().1 = 0;
                        Ok(aws_sdk_ec2::operation::revoke_security_group_egress::RevokeSecurityGroupEgressOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::revoke_security_group_ingress).then_compute_response(move |request| {
                    assert_eq!(request.group_id(), Some("sg-isolation"));
                    let rules = inbound(request.ip_permissions());
                    assert!(!rules.is_empty());
                    world.change("RevokeSecurityGroupIngress", |aws| {
                        if !rules.is_subset(&aws.incoming) {
                            return Err(refused("InvalidPermission.NotFound", "no such rule"));
                        }
                        aws.incoming.retain(|rule| !rules.contains(rule));
                        Ok(aws_sdk_ec2::operation::revoke_security_group_ingress::RevokeSecurityGroupIngressOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::authorize_security_group_ingress).then_compute_response(move |request| {
                    assert_eq!(request.group_id(), Some("sg-isolation"), "never to another group");
                    let rules = inbound(request.ip_permissions());
                    world.change("AuthorizeSecurityGroupIngress", |aws| {
                        if !rules.is_disjoint(&aws.incoming) {
                            return Err(refused("InvalidPermission.Duplicate", "exists"));
                        }
                        aws.incoming.extend(rules);
                        Ok(aws_sdk_ec2::operation::authorize_security_group_ingress::AuthorizeSecurityGroupIngressOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
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
                    MockResponse::Output(aws_sdk_ec2::operation::describe_trunk_interface_associations::DescribeTrunkInterfaceAssociationsOutput::builder()
                        .set_interface_associations(Some(found.collect()))
                        .build())
                })
            },
            {
                let world = world();
                mock!(Ec2::modify_network_interface_attribute).then_compute_response(move |request| {
                    let id = request.network_interface_id().unwrap().to_owned();
                    let groups = request.groups().to_vec();
                    let vanishes = world.get().vanishing.remove(&id);
                    world.change("ModifyNetworkInterfaceAttribute", |aws| {
                        if vanishes {
                            aws.groups.remove(&id);
                            return Err(refused("InvalidNetworkInterfaceID.NotFound", &id));
                        }
                        if aws.managed.contains(&id) {
                            return Err(refused(
                                "AuthFailure",
                                "You do not have permission to access the specified resource.",
                            ));
                        }
                        if let Some(gone) = groups.iter().find(|id| !aws.security_groups.contains_key(*id)) {
                            return Err(refused("InvalidGroup.NotFound", gone));
                        }
                        if groups == ["sg-isolation"] {
                            assert_eq!(aws.security_groups["sg-isolation"].1, 0, "it must isolate");
                        }
                        match aws.branches.get_mut(&id) {
                            Some(branch) => branch.1 = groups,
                            None => drop(aws.groups.insert(id, groups)),
                        }
                        Ok(aws_sdk_ec2::operation::modify_network_interface_attribute::ModifyNetworkInterfaceAttributeOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_network_interfaces).then_compute_output(move |request| {
                    let state = world.get();
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
                    aws_sdk_ec2::operation::describe_network_interfaces::DescribeNetworkInterfacesOutput::builder()
                        .set_network_interfaces(Some(interfaces.collect()))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_instance_attribute).then_compute_output(move |request| {
                    let state = world.get();
                    let answer = aws_sdk_ec2::operation::describe_instance_attribute::DescribeInstanceAttributeOutput::builder();
                    if request.attribute() == Some(&ec2::InstanceAttributeName::DisableApiTermination) {
                        let value = state.aws.protected;
                        return answer
                            .disable_api_termination(ec2::AttributeBooleanValue::builder().value(value).build())
                            .build();
                    }
                    let value = if state.aws.terminates { "terminate" } else { "stop" };
                    answer
                        .instance_initiated_shutdown_behavior(ec2::AttributeValue::builder().value(value).build())
                        .build()
                })
            },
            {
                let world = world();
                mock!(Ec2::modify_instance_attribute).then_compute_response(move |request| {
                    let protect = request
                        .disable_api_termination()
                        .and_then(ec2::AttributeBooleanValue::value);
                    let disks: Vec<(String, bool)> = request
                        .block_device_mappings()
                        .iter()
                        .map(|mapping| {
                            let ebs = mapping.ebs().unwrap();
                            (
                                mapping.device_name().unwrap().to_owned(),
                                ebs.delete_on_termination().unwrap(),
                            )
                        })
                        .collect();
                    let shutdown = request
                        .instance_initiated_shutdown_behavior()
                        .and_then(ec2::AttributeValue::value)
                        .map(|behaviour| behaviour == "terminate");
                    let given = [protect.is_some(), !disks.is_empty(), shutdown.is_some()];
                    assert_eq!(given.iter().filter(|given| **given).count(), 1, "one attribute a call");
                    world.change_labelled("ModifyInstanceAttribute", |aws| {
                        assert!(protect.is_none() || !aws.spot);
                        aws.terminates = shutdown.unwrap_or(aws.terminates);
                        aws.protected = protect.unwrap_or(aws.protected);
                        aws.deletion.extend(disks);
                        Ok(aws_sdk_ec2::operation::modify_instance_attribute::ModifyInstanceAttributeOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_snapshots).then_compute_output(move |_| {
                    let state = world.get();
                    let snapshots = state.aws.snapshots.iter().enumerate();
                    let snapshots = snapshots.map(|(n, (description, volume))| {
                        ec2::Snapshot::builder()
                            .snapshot_id(format!("snap-{n}"))
                            .description(description)
                            .volume_id(volume)
                            .start_time(DateTime::from_secs(now().as_second() + 3_600))
                            .build()
                    });
                    aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput::builder()
                        .set_snapshots(Some(snapshots.collect()))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Ec2::create_snapshots).then_compute_response(move |request| {
                    let description = request.description().unwrap().to_owned();
                    world.change_labelled("CreateSnapshots", |aws| {
                        let devices = aws.deletion.keys();
                        let more = devices.map(|device| (description.clone(), volume(device)));
                        aws.snapshots.extend(more);
                        let made = (0..aws.snapshots.len()).map(|n| {
                            ec2::SnapshotInfo::builder()
                                .snapshot_id(format!("snap-{n}"))
                                .build()
                        });
                        Ok(aws_sdk_ec2::operation::create_snapshots::CreateSnapshotsOutput::builder()
                            .set_snapshots(Some(made.collect()))
                            .build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_iam_instance_profile_associations).then_compute_output(move |_| {
                    let association = world.get().aws.profile.as_ref().map(|arn| {
                        ec2::IamInstanceProfileAssociation::builder()
                            .association_id("iip-1")
                            .iam_instance_profile(ec2::IamInstanceProfile::builder().arn(arn).build())
                            .build()
                    });
                    aws_sdk_ec2::operation::describe_iam_instance_profile_associations::DescribeIamInstanceProfileAssociationsOutput::builder()
                        .set_iam_instance_profile_associations(Some(association.into_iter().collect()))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Ec2::disassociate_iam_instance_profile).then_compute_response(move |_| {
                    world.change_labelled("DisassociateIamInstanceProfile", |aws| {
                        aws.profile = None;
                        Ok(aws_sdk_ec2::operation::disassociate_iam_instance_profile::DisassociateIamInstanceProfileOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::associate_iam_instance_profile).then_compute_response(move |request| {
                    let arn = request.iam_instance_profile().unwrap().arn().unwrap().to_owned();
                    world.change("AssociateIamInstanceProfile", |aws| {
                        aws.profile = Some(arn);
                        Ok(aws_sdk_ec2::operation::associate_iam_instance_profile::AssociateIamInstanceProfileOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::stop_instances).then_compute_response(move |_| {
                    world.change_labelled("StopInstances", |aws| {
                        aws.running = false;
                        Ok(
                            aws_sdk_ec2::operation::stop_instances::StopInstancesOutput::builder()
                                .build(),
                        )
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::start_instances).then_compute_response(move |_| {
                    let slow = world.get().slow_start;
                    world.change_labelled("StartInstances", |aws| {
                        aws.running = !slow;
                        Ok(
                            aws_sdk_ec2::operation::start_instances::StartInstancesOutput::builder(
                            )
                            .build(),
                        )
                    })
                })
            },
        ]
    }

    #[expect(clippy::too_many_lines, reason = "one mock per call")]
    fn autoscaling(&self) -> Vec<Rule> {
        let world = || self.clone();
        vec![
            {
                let world = world();
                mock!(Asg::describe_auto_scaling_groups).then_compute_output(move |_| {
                    let state = world.get();
                    let group = state.aws.group.as_ref().map(|group| {
                        let member = group.member.map(|lifecycle| {
                            asg::Instance::builder()
                                .instance_id("i-1")
                                .lifecycle_state(lifecycle.into())
                                .build()
                        });
                        asg::AutoScalingGroup::builder()
                            .auto_scaling_group_name("web")
                            .min_size(group.min)
                            .desired_capacity(group.desired)
                            .set_instances(Some(member.into_iter().collect()))
                            .set_suspended_processes(Some(
                                group
                                    .suspended
                                    .iter()
                                    .map(|process| {
                                        asg::SuspendedProcess::builder().process_name(process).build()
                                    })
                                    .collect(),
                            ))
                            .set_tags(Some(
                                group
                                    .tags
                                    .iter()
                                    .map(|(key, value)| {
                                        asg::TagDescription::builder().key(key).value(value).build()
                                    })
                                    .collect(),
                            ))
                            .build()
                    });
                    aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput::builder()
                        .set_auto_scaling_groups(Some(group.into_iter().collect()))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Asg::describe_auto_scaling_instances).then_compute_output(move |request| {
                    assert_eq!(request.instance_ids(), ["i-1"]);
                    let state = world.get();
                    let found = state.aws.group.as_ref().and_then(|group| group.member.or(group.pooled));
                    let found = found.map(|lifecycle| {
                        asg::AutoScalingInstanceDetails::builder()
                            .instance_id("i-1")
                            .lifecycle_state(lifecycle)
                            .build()
                    });
                    aws_sdk_autoscaling::operation::describe_auto_scaling_instances::DescribeAutoScalingInstancesOutput::builder()
                        .set_auto_scaling_instances(Some(found.into_iter().collect()))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Asg::create_or_update_tags).then_compute_response(move |request| {
                    let tags: Vec<(String, String)> = request
                        .tags()
                        .iter()
                        .map(|tag| {
                            assert_eq!(tag.propagate_at_launch(), Some(false));
                            (tag.key().unwrap().to_owned(), tag.value().unwrap().to_owned())
                        })
                        .collect();
                    world.change("CreateOrUpdateTags", |aws| {
                        aws.group.as_mut().unwrap().tags.extend(tags);
                        Ok(aws_sdk_autoscaling::operation::create_or_update_tags::CreateOrUpdateTagsOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::delete_tags).then_compute_response(move |request| {
                    let keys: Vec<String> = request
                        .tags()
                        .iter()
                        .map(|tag| tag.key().unwrap().to_owned())
                        .collect();
                    world.change("DeleteGroupTags", |aws| {
                        let group = aws.group.as_mut().unwrap();
                        group.tags.retain(|key, _| !keys.contains(key));
                        Ok(
                            aws_sdk_autoscaling::operation::delete_tags::DeleteTagsOutput::builder(
                            )
                            .build(),
                        )
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::suspend_processes).then_compute_response(move |request| {
                    let processes = request.scaling_processes().to_vec();
                    assert!(!processes.is_empty(), "none means all");
                    world.change("SuspendProcesses", |aws| {
                        aws.group.as_mut().unwrap().suspended.extend(processes);
                        Ok(aws_sdk_autoscaling::operation::suspend_processes::SuspendProcessesOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::resume_processes).then_compute_response(move |request| {
                    let processes = request.scaling_processes().to_vec();
                    assert!(!processes.is_empty(), "none means all");
                    world.change("ResumeProcesses", |aws| {
                        let group = aws.group.as_mut().unwrap();
                        group.suspended.retain(|process| !processes.contains(process));
                        Ok(aws_sdk_autoscaling::operation::resume_processes::ResumeProcessesOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::enter_standby).then_compute_response(move |request| {
                    assert_eq!(request.should_decrement_desired_capacity(), Some(true));
                    world.change("EnterStandby", |aws| {
                        let group = aws.group.as_mut().unwrap();
                        if group.member != Some("InService") {
                            return Err(asg_refused("ValidationError", "not in InService"));
                        }
                        group.member = Some("Standby");
                        group.desired -= 1;
                        assert!(group.desired >= group.min);
                        Ok(aws_sdk_autoscaling::operation::enter_standby::EnterStandbyOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::exit_standby).then_compute_response(move |_| {
                    world.change("ExitStandby", |aws| {
                        let group = aws.group.as_mut().unwrap();
                        if group.member != Some("Standby") {
                            return Err(asg_refused("ValidationError", "not in Standby"));
                        }
                        group.member = Some("InService");
                        group.desired += 1;
                        Ok(aws_sdk_autoscaling::operation::exit_standby::ExitStandbyOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::detach_instances).then_compute_response(move |_| {
                    world.change("DetachInstances", |aws| {
                        let group = aws.group.as_mut().unwrap();
                        if group.member != Some("InService") {
                            return Err(asg_refused("ValidationError", "not in InService"));
                        }
                        group.member = None;
                        group.desired -= 1;
                        aws.tags.remove("aws:autoscaling:groupName");
                        Ok(aws_sdk_autoscaling::operation::detach_instances::DetachInstancesOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Asg::attach_instances).then_compute_response(move |_| {
                    world.change("AttachInstances", |aws| {
                        let group = aws.group.as_mut().unwrap();
                        if group.member.is_some() {
                            return Err(asg_refused("ValidationError", "already attached"));
                        }
                        group.member = Some("InService");
                        group.desired += 1;
                        aws.tags.insert("aws:autoscaling:groupName".to_owned(), "web".to_owned());
                        Ok(aws_sdk_autoscaling::operation::attach_instances::AttachInstancesOutput::builder().build())
                    })
                })
            },
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
        let record = crate::fixtures::record("12:00");
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
    order(Ask::Release {
        instance: "i-1".to_owned(),
        from_labels: false,
    })
}

pub(super) fn release_group() -> Request<Ask> {
    order(Ask::ReleaseGroup("web".to_owned()))
}

pub(super) fn release_from_labels() -> Request<Ask> {
    order(Ask::Release {
        instance: "i-1".to_owned(),
        from_labels: true,
    })
}

pub(super) fn by_hand() -> Request<Ask> {
    order(Ask::Quarantine {
        instance: "i-1".to_owned(),
        reason: "odd traffic".to_owned(),
    })
}
