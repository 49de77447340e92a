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
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use guardrails::trigger::{Request, Scope};
use jiff::Timestamp;
use serde_json::json;

use crate::Clients;
use crate::decide::tests::{BAD, now};

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aws {
    pub(super) groups: BTreeMap<String, Vec<String>>,
    /// Interfaces that a service manages.
    pub(super) managed: BTreeSet<String>,
    pub(super) deletion: BTreeMap<String, bool>,
    pub(super) protected: bool,
    pub(super) profile: Option<String>,
    pub(super) running: bool,
    pub(super) spot: bool,
    pub(super) tags: BTreeMap<String, String>,
    /// Security groups: tags, and how many rules each has.
    pub(super) security_groups: BTreeMap<String, (BTreeMap<String, String>, usize)>,
    pub(super) snapshots: usize,
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
pub(super) struct State {
    pub(super) aws: Aws,
    kill: Kill,
    pub(super) changes: usize,
    pub(super) calls: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) struct World(Arc<Mutex<State>>);

impl Aws {
    /// A running instance with two interfaces and two volumes.
    pub(super) fn new() -> Self {
        let list = |groups: &[&str]| groups.iter().map(|&group| group.to_owned()).collect();
        Self {
            groups: BTreeMap::from([
                ("eni-1".to_owned(), list(&["sg-web", "sg-ssh"])),
                ("eni-2".to_owned(), list(&["sg-db"])),
            ]),
            managed: BTreeSet::new(),
            deletion: BTreeMap::from([
                ("/dev/xvda".to_owned(), true),
                ("/dev/sdf".to_owned(), false),
            ]),
            protected: false,
            profile: Some("arn:aws:iam::1:instance-profile/app".to_owned()),
            running: true,
            spot: false,
            tags: BTreeMap::from([("Name".to_owned(), "web-1".to_owned())]),
            security_groups: ["sg-web", "sg-ssh", "sg-db"]
                .map(|id| (id.to_owned(), (BTreeMap::new(), 1)))
                .into(),
            snapshots: 0,
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
            tags: BTreeMap::new(),
        });
        self
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

impl World {
    pub(super) fn new(aws: Aws) -> Self {
        Self(Arc::new(Mutex::new(State {
            aws,
            kill: Kill::Never,
            changes: 0,
            calls: Vec::new(),
        })))
    }

    pub(super) fn get(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn kill(&self, kill: Kill) {
        let mut state = self.get();
        state.kill = kill;
        state.changes = 0;
        state.calls.clear();
    }

    /// A call that changes something: refused once the function is dead.
    fn change<O, E>(
        &self,
        call: &'static str,
        change: impl FnOnce(&mut Aws) -> Result<O, Box<HttpResponse>>,
    ) -> MockResponse<O, E> {
        let mut state = self.get();
        let number = state.changes;
        let killed = || MockResponse::Http(*refused("Killed", "the function is dead"));
        let dead = match state.kill {
            Kill::Never => false,
            Kill::Before(at) => number >= at,
            Kill::After(at) => number > at,
        };
        if dead {
            return killed();
        }
        state.changes += 1;
        state.calls.push(call);
        let answer = change(&mut state.aws);
        if state.kill == Kill::After(number) {
            return killed();
        }
        match answer {
            Ok(output) => MockResponse::Output(output),
            Err(refused) => MockResponse::Http(*refused),
        }
    }

    fn instance(&self) -> ec2::Instance {
        let state = self.get();
        let aws = &state.aws;
        let launched = DateTime::from_secs(now().as_second() - 60);
        let interfaces = aws.groups.iter().enumerate().map(|(index, (id, groups))| {
            let groups = groups
                .iter()
                .map(|group| ec2::GroupIdentifier::builder().group_id(group).build());
            ec2::InstanceNetworkInterface::builder()
                .network_interface_id(id)
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
                        .volume_id(format!("vol{}", device.replace('/', "-")))
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
            .image_id("ami-bad")
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
            .set_block_device_mappings(Some(disks.collect()))
            .set_tags(Some(tags.collect()))
            .build()
    }

    fn security_group(
        id: &str,
        tags: &BTreeMap<String, String>,
        rules: usize,
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
            .vpc_id("vpc-1")
            .group_name(if id == "sg-isolation" {
                crate::ISOLATION_GROUP
            } else {
                id
            })
            .set_tags(Some(tags.collect()))
            .set_ip_permissions_egress(Some((0..rules).map(|_| rule()).collect()))
            .build()
    }

    #[expect(clippy::too_many_lines, reason = "one mock per call")]
    fn ec2(&self) -> Vec<Rule> {
        let world = || self.clone();
        vec![
            {
                let world = world();
                mock!(Ec2::describe_instances).then_compute_output(move |_| {
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
                aws_sdk_ec2::operation::describe_images::DescribeImagesOutput::builder()
                    .images(
                        ec2::Image::builder()
                            .image_id("ami-bad")
                            .name(BAD)
                            .owner_id("137112412989")
                            .image_owner_alias("amazon")
                            .creation_date("2026-11-09T12:00:00.000Z")
                            .build(),
                    )
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
                        .map(|(id, (tags, rules))| Self::security_group(id, tags, *rules))
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
                mock!(Ec2::modify_network_interface_attribute).then_compute_response(move |request| {
                    let id = request.network_interface_id().unwrap().to_owned();
                    let groups = request.groups().to_vec();
                    world.change("ModifyNetworkInterfaceAttribute", |aws| {
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
                        aws.groups.insert(id, groups);
                        Ok(aws_sdk_ec2::operation::modify_network_interface_attribute::ModifyNetworkInterfaceAttributeOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_instance_attribute).then_compute_output(move |_| {
                    let value = world.get().aws.protected;
                    aws_sdk_ec2::operation::describe_instance_attribute::DescribeInstanceAttributeOutput::builder()
                        .disable_api_termination(ec2::AttributeBooleanValue::builder().value(value).build())
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
                    assert_ne!(protect.is_some(), !disks.is_empty(), "one attribute a call");
                    world.change("ModifyInstanceAttribute", |aws| {
                        assert!(protect.is_none() || !aws.spot);
                        aws.protected = protect.unwrap_or(aws.protected);
                        aws.deletion.extend(disks);
                        Ok(aws_sdk_ec2::operation::modify_instance_attribute::ModifyInstanceAttributeOutput::builder().build())
                    })
                })
            },
            {
                let world = world();
                mock!(Ec2::describe_snapshots).then_compute_output(move |_| {
                    let snapshots = (0..world.get().aws.snapshots).map(|n| {
                        ec2::Snapshot::builder()
                            .snapshot_id(format!("snap-{n}"))
                            .start_time(DateTime::from_secs(now().as_second() + 1))
                            .build()
                    });
                    aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput::builder()
                        .set_snapshots(Some(snapshots.collect()))
                        .build()
                })
            },
            {
                let world = world();
                mock!(Ec2::create_snapshots).then_compute_response(move |_| {
                    world.change("CreateSnapshots", |aws| {
                        aws.snapshots += aws.deletion.len();
                        let made = (0..aws.snapshots).map(|n| {
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
                    world.change("DisassociateIamInstanceProfile", |aws| {
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
                    world.change("StopInstances", |aws| {
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
                    world.change("StartInstances", |aws| {
                        aws.running = true;
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
                        assert_eq!(group.member, Some("Standby"));
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
                        assert_eq!(group.member, None);
                        group.member = Some("InService");
                        group.desired += 1;
                        aws.tags.insert("aws:autoscaling:groupName".to_owned(), "web".to_owned());
                        Ok(aws_sdk_autoscaling::operation::attach_instances::AttachInstancesOutput::builder().build())
                    })
                })
            },
        ]
    }

    pub(super) fn clients(&self) -> Clients {
        let ec2 = self.ec2();
        let autoscaling = self.autoscaling();
        let trail = mock!(Trail::lookup_events).then_output(|| {
            aws_sdk_cloudtrail::operation::lookup_events::LookupEventsOutput::builder().build()
        });
        let (ec2, autoscaling): (Vec<&Rule>, Vec<&Rule>) =
            (ec2.iter().collect(), autoscaling.iter().collect());
        Clients {
            ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
            autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, autoscaling),
            cloudtrail: mock_client!(aws_sdk_cloudtrail, RuleMode::MatchAny, [&trail]),
            iam: mock_client!(aws_sdk_iam, RuleMode::MatchAny, &[]),
            ssm: mock_client!(aws_sdk_ssm, RuleMode::MatchAny, &[]),
        }
    }

    /// One run of the guardrail, so many seconds after the launch was seen first: look, decide, act.
    pub(super) async fn run(
        &self,
        policy: &crate::policy::Policy,
        request: &Request,
        after: i64,
    ) -> Vec<(&'static str, guardrails::guardrail::Acted)> {
        let clients = self.clients();
        let at: Timestamp = now() + jiff::SignedDuration::from_secs(after);
        let facts = match crate::observe::observe(&clients, "/p", policy, request).await {
            Ok(facts) => facts,
            Err(error) => panic!("{error}"),
        };
        let mut acted = Vec::new();
        for decision in crate::decide::decide(&facts, policy, at) {
            if let Some(action) = &decision.step {
                let run = format!("run-{after}");
                acted.push((decision.action, super::act(&clients, action, &run).await));
            }
        }
        acted
    }
}

pub(super) fn event() -> Request {
    Request::of(Scope::One("i-1".to_owned()))
}

pub(super) fn order(command: &str) -> Request {
    Request {
        by_hand: true,
        hint: json!({"command": command, "instance-id": "i-1", "reason": "by hand"}),
        ..event()
    }
}
