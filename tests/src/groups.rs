//! Auto Scaling groups with their launch templates and instance refreshes, as an operator or a
//! pipeline uses them.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::operation::create_auto_scaling_group::builders::CreateAutoScalingGroupFluentBuilder;
use aws_sdk_autoscaling::types::builders::RefreshPreferencesBuilder;
use aws_sdk_autoscaling::types::{
    Activity, AutoScalingGroup, DesiredConfiguration, InstanceRefresh, LaunchTemplateSpecification,
    LifecycleState, RefreshPreferences, ScalingActivityStatusCode, Tag,
};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData};
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, ProtocolEnum};
use serde_json::{Value, json};

use crate::LocalAws;
use crate::estate::{ZONE, answered};

/// How much time passes in one request.
const CHUNK_SECONDS: u32 = 120;
/// How often the guardrail's schedule fires.
const SWEEP_MINUTES: u32 = 5;

/// A group with a launch template of its own name.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    aws: &'a LocalAws,
    /// Its name, and its launch template's.
    pub name: &'a str,
}

/// What a refresh cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// Instances launched since its start.
    pub launched: usize,
    /// Launches that failed since its start.
    pub failed: usize,
    /// Instances terminated since its start.
    pub terminated: usize,
}

/// What stops an instance refresh.
pub const CANCEL: &str = "CancelInstanceRefresh";
/// See [`CANCEL`].
pub const ROLLBACK: &str = "RollbackInstanceRefresh";

impl LocalAws {
    /// How often the function has cancelled a refresh, and how often rolled one back.
    pub async fn stopped(&self) -> (usize, usize) {
        let cancelled = self.carried_out(CANCEL).await;
        (cancelled, self.carried_out(ROLLBACK).await)
    }

    /// Fails if the function has so much as asked for one of the two.
    pub async fn has_stopped_nothing(&self) {
        for operation in [CANCEL, ROLLBACK] {
            assert!(self.calls_of(operation).await.is_empty(), "{operation}");
        }
    }

    /// Makes a group of so many instances from version 1 of a launch template that names `image`,
    /// and waits until they are in service.
    pub async fn group<'a>(
        &'a self,
        name: &'a str,
        desired: i32,
        image: &str,
        with: impl FnOnce(CreateAutoScalingGroupFluentBuilder) -> CreateAutoScalingGroupFluentBuilder,
    ) -> Group<'a> {
        let template = self.ec2.create_launch_template().launch_template_name(name);
        let template = template.launch_template_data(launches(image)).send().await;
        answered("CreateLaunchTemplate", template);
        let group = self.autoscaling.create_auto_scaling_group();
        let group = group
            .auto_scaling_group_name(name)
            .launch_template(version_of(name, "1"))
            .availability_zones(ZONE)
            .min_size(0)
            .max_size(desired + 5)
            .desired_capacity(desired);
        answered("CreateAutoScalingGroup", with(group).send().await);
        let group = Group { aws: self, name };
        let wanted = usize::try_from(desired).unwrap_or_default();
        // Half an hour is enough for the slowest health check.
        for _ in 0..60 {
            if group.in_service().await.len() == wanted {
                return group;
            }
            self.pass_seconds(30).await;
        }
        panic!("{name}: not in service: {:#?}", group.activities().await);
    }
}

impl LocalAws {
    /// Makes a target group to which a load balancer sends traffic; returns its ARN.
    pub async fn target_group(&self, name: &str) -> String {
        let subnets = self.ec2.describe_subnets().send().await;
        let subnets = answered("DescribeSubnets", subnets)
            .subnets
            .unwrap_or_default();
        let group = self.load_balancing.create_target_group().name(name);
        let group = group
            .protocol(ProtocolEnum::Http)
            .port(80)
            .set_vpc_id(subnets[0].vpc_id.clone());
        let group = answered("CreateTargetGroup", group.send().await);
        let arn = group.target_groups()[0].target_group_arn();
        let arn = arn.expect("a target group has an ARN").to_owned();
        // One that no listener sends to has targets that are `unused`.
        let balancer = self.load_balancing.create_load_balancer().name(name);
        let two = subnets.into_iter().take(2).filter_map(|s| s.subnet_id);
        let balancer = balancer.set_subnets(Some(two.collect())).send().await;
        let balancer = answered("CreateLoadBalancer", balancer);
        let forward = Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .target_group_arn(&arn);
        let listener = self.load_balancing.create_listener();
        let listener = listener
            .set_load_balancer_arn(balancer.load_balancers()[0].load_balancer_arn.clone())
            .protocol(ProtocolEnum::Http)
            .port(80)
            .default_actions(forward.build());
        answered("CreateListener", listener.send().await);
        arn
    }
}

/// Time, and what runs on instances. Nothing here waits in real time: it passes for groups, their
/// instances, activities, refreshes, targets and alarms, so that AWS's own times and the policy's
/// thresholds hold as they are, and the guardrail reacts at the moment at which it would have.
impl LocalAws {
    /// Lets so many seconds pass without a sweep.
    pub async fn pass_seconds(&self, seconds: u32) {
        self.post("autoscaling/pass", json!({ "seconds": seconds }))
            .await;
    }

    /// Lets so many minutes pass, with a sweep after each five of them.
    pub async fn pass_with_sweeps(&self, minutes: u32) {
        for _ in 0..minutes.div_ceil(SWEEP_MINUTES) {
            self.post(
                "autoscaling/pass",
                json!({ "seconds": SWEEP_MINUTES * 60, "step": 15 }),
            )
            .await;
            self.sweep().await.succeeded();
        }
    }

    /// What the instances of an AMI do once they have booted: see `POST autoscaling/images` of the
    /// emulator. Those of an AMI of which nothing is said are healthy.
    pub async fn behaves(&self, image: &str, how: Value) {
        let mut body = how;
        body["image_id"] = image.into();
        self.post("autoscaling/images", body).await;
    }

    /// Deregisters an AMI: from now on no instance can be launched from it.
    pub async fn deregister(&self, image: &str) {
        let gone = self.ec2.deregister_image().image_id(image).send().await;
        answered("DeregisterImage", gone);
    }

    /// Makes an alarm on the errors of some load balancer.
    pub async fn alarm(&self, name: &str) {
        let put = self.cloudwatch.put_metric_alarm().alarm_name(name);
        let put = put
            .namespace("AWS/ApplicationELB")
            .metric_name("HTTPCode_Target_5XX_Count")
            .statistic(Statistic::Sum)
            .period(60)
            .evaluation_periods(1)
            .threshold(10.0)
            .comparison_operator(ComparisonOperator::GreaterThanThreshold);
        answered("PutMetricAlarm", put.send().await);
    }

    /// Brings an alarm into a state, `OK` or `ALARM`.
    pub async fn set_alarm(&self, name: &str, state: &str) {
        let set = self.cloudwatch.set_alarm_state().alarm_name(name);
        let set = set
            .state_value(state.into())
            .state_reason("as the test wants it");
        answered("SetAlarmState", set.send().await);
    }

    /// Lets a moment pass, while a function may be running, until a refresh has this status.
    pub async fn settle(&self, group: &Group<'_>, id: &str, status: &str) {
        for _ in 0..30 {
            if group.status(id).await == status {
                return;
            }
            let body = json!({ "seconds": 5, "idle": false });
            self.post("autoscaling/pass", body).await;
        }
        panic!(
            "{}: refresh {id} isn't {status}: {:#?}",
            group.name,
            group.refresh(id).await
        );
    }

    /// Makes single instances pass or fail their status checks, whatever their image.
    pub async fn set_health(&self, instances: &[String], healthy: bool) {
        let body = json!({ "instance_ids": instances, "healthy": healthy, "check": "ec2" });
        self.post("autoscaling/instances", body).await;
    }
}

fn launches(image: &str) -> RequestLaunchTemplateData {
    RequestLaunchTemplateData::builder()
        .image_id(image)
        .instance_type(InstanceType::T3Micro.as_str().into())
        .build()
}

fn version_of(name: &str, version: &str) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification::builder()
        .launch_template_name(name)
        .version(version)
        .build()
}

impl Group<'_> {
    /// A further version of the launch template, with another image; returns its number.
    pub async fn version(&self, image: &str) -> String {
        let made = self.aws.ec2.create_launch_template_version();
        let made = made.launch_template_name(self.name);
        let made = made.launch_template_data(launches(image)).send().await;
        answered("CreateLaunchTemplateVersion", made)
            .launch_template_version()
            .and_then(aws_sdk_ec2::types::LaunchTemplateVersion::version_number)
            .expect("a version has a number")
            .to_string()
    }

    /// Lets the group itself launch from this version, without replacing anything.
    pub async fn set_version(&self, version: &str) {
        let update = self.aws.autoscaling.update_auto_scaling_group();
        let update = update
            .auto_scaling_group_name(self.name)
            .launch_template(version_of(self.name, version));
        answered("UpdateAutoScalingGroup", update.send().await);
    }

    /// Starts an instance refresh; to another version of the launch template, or, without one, of
    /// what the group has. Returns its id.
    pub async fn start_refresh(
        &self,
        version: Option<&str>,
        with: impl FnOnce(RefreshPreferencesBuilder) -> RefreshPreferencesBuilder,
    ) -> String {
        let wanted = version.map(|version| {
            DesiredConfiguration::builder()
                .launch_template(version_of(self.name, version))
                .build()
        });
        let preferences = RefreshPreferences::builder().skip_matching(false);
        let start = self.aws.autoscaling.start_instance_refresh();
        let start = start
            .auto_scaling_group_name(self.name)
            .set_desired_configuration(wanted)
            .preferences(with(preferences).build());
        answered("StartInstanceRefresh", start.send().await)
            .instance_refresh_id
            .expect("a refresh has an id")
    }

    /// Rolls the active refresh back as a person does.
    pub async fn roll_back(&self) {
        let back = self.aws.autoscaling.rollback_instance_refresh();
        let back = back.auto_scaling_group_name(self.name).send().await;
        answered("RollbackInstanceRefresh", back);
    }

    /// Cancels the active refresh as a person does.
    pub async fn cancel_refresh(&self) {
        let cancel = self.aws.autoscaling.cancel_instance_refresh();
        let cancel = cancel.auto_scaling_group_name(self.name).send().await;
        answered("CancelInstanceRefresh", cancel);
    }

    /// A refresh as AWS describes it.
    pub async fn refresh(&self, id: &str) -> InstanceRefresh {
        let found = self.aws.autoscaling.describe_instance_refreshes();
        let found = found
            .auto_scaling_group_name(self.name)
            .instance_refresh_ids(id);
        answered("DescribeInstanceRefreshes", found.send().await)
            .instance_refreshes()
            .first()
            .expect("the refresh is there")
            .clone()
    }

    /// The newest of its refreshes, if it has had any.
    pub async fn newest_refresh(&self) -> Option<InstanceRefresh> {
        let found = self.aws.autoscaling.describe_instance_refreshes();
        let found = found.auto_scaling_group_name(self.name).send().await;
        let found = answered("DescribeInstanceRefreshes", found);
        found.instance_refreshes().first().cloned()
    }

    /// A refresh's status.
    pub async fn status(&self, id: &str) -> String {
        let refresh = self.refresh(id).await;
        let status = refresh.status().expect("a refresh has a status");
        status.as_str().to_owned()
    }

    /// Lets time pass, with sweeps, until a refresh has this status; returns it and the minutes
    /// that it took at most.
    pub async fn pass_until(&self, id: &str, status: &str, minutes: u32) -> (InstanceRefresh, u32) {
        for passed in (0..minutes).step_by(SWEEP_MINUTES as usize) {
            if self.status(id).await == status {
                return (self.refresh(id).await, passed);
            }
            self.aws.pass_with_sweeps(SWEEP_MINUTES).await;
        }
        panic!(
            "{}: refresh {id} isn't {status} within {minutes} minutes: {:#?}\n{:#?}",
            self.name,
            self.refresh(id).await,
            self.activities().await
        );
    }

    /// Lets time pass, without sweeps, until the newest refresh has this status; returns the seconds
    /// that it took.
    pub async fn seconds_until(&self, status: &str, most: u32) -> u32 {
        let mut passed = 0.0;
        // Not all at once: a request has its limit.
        for _ in 0..most.div_ceil(CHUNK_SECONDS) {
            let body = json!({ "seconds": CHUNK_SECONDS, "until": status, "group": self.name });
            let answer = self.aws.post("autoscaling/pass", body).await;
            passed += answer["passed"].as_f64().expect("seconds have passed");
            if answer["reached"] == true {
                return format!("{passed:.0}").parse().expect("a whole number");
            }
        }
        panic!(
            "{}: its refresh isn't {status} after {passed} s: {:#?}",
            self.name,
            self.activities().await
        );
    }

    /// Keeps the group's Pending refresh as it is, or lets it go on.
    pub async fn hold_pending(&self, hold: bool) {
        let body = json!({ "group": self.name, "hold": hold });
        self.aws.post("autoscaling/hold", body).await;
    }

    /// Makes it a group that only this AWS service may change (ASG-9): no API of ours sets that.
    pub async fn operated_by(&self, service: &str) {
        let body = json!({ "group": self.name, "operator": service });
        self.aws.post("autoscaling/groups", body).await;
    }

    /// Tags the group as the stack `ec2-guardrails` would that had made it; no API lets us.
    pub async fn made_by_our_stack(&self) {
        let tags = json!({ "aws:cloudformation:stack-name": "ec2-guardrails" });
        let body = json!({ "group": self.name, "tags": tags });
        self.aws.post("autoscaling/groups", body).await;
    }

    /// Suspends one of its processes, as a person does.
    pub async fn suspend(&self, process: &str) {
        let suspend = self.aws.autoscaling.suspend_processes();
        let suspend = suspend.auto_scaling_group_name(self.name);
        let suspend = suspend.scaling_processes(process).send().await;
        answered("SuspendProcesses", suspend);
    }

    /// The group as AWS describes it.
    pub async fn described(&self) -> AutoScalingGroup {
        let found = self.aws.autoscaling.describe_auto_scaling_groups();
        let found = found.auto_scaling_group_names(self.name).send().await;
        answered("DescribeAutoScalingGroups", found).auto_scaling_groups()[0].clone()
    }

    /// What each of its instances pulled at boot, by instance id.
    pub async fn pulled(&self) -> BTreeMap<String, String> {
        let path = format!("autoscaling/history?group={}", self.name);
        let history: Value = self.aws.get(&path).await;
        let instances = history["groups"][0]["instances"].as_array();
        instances
            .into_iter()
            .flatten()
            .filter_map(|one| {
                let (id, pulled) = (one["instance_id"].as_str()?, one["pulled"].as_str()?);
                Some((id.to_owned(), pulled.to_owned()))
            })
            .collect()
    }

    /// Its instances in service: id and launch template version.
    pub async fn in_service(&self) -> Vec<(String, String)> {
        self.described()
            .await
            .instances()
            .iter()
            .filter(|i| i.lifecycle_state() == Some(&LifecycleState::InService))
            .map(|i| {
                let version = i.launch_template().and_then(|t| t.version());
                let id = i.instance_id().unwrap_or_default();
                (id.to_owned(), version.unwrap_or_default().to_owned())
            })
            .collect()
    }

    /// Tags the group, as a person does; its instances don't get the tags.
    pub async fn tag_group(&self, tags: &[(&str, &str)]) {
        let tags = tags.iter().map(|(key, value)| {
            Tag::builder()
                .resource_id(self.name)
                .resource_type("auto-scaling-group")
                .key(*key)
                .value(*value)
                .propagate_at_launch(false)
                .build()
        });
        let put = self.aws.autoscaling.create_or_update_tags();
        answered(
            "CreateOrUpdateTags",
            put.set_tags(Some(tags.collect())).send().await,
        );
    }

    /// What is remembered of its refresh.
    pub async fn remembered(&self) -> Option<Value> {
        self.aws.memory(&format!("refresh#{}", self.name)).await
    }

    /// Lets minutes pass for what is remembered of its refresh.
    pub async fn age_mark(&self, minutes: u32) {
        let item = format!("refresh#{}", self.name);
        self.aws.age_memory(&item, minutes * 60).await;
    }

    /// Its scaling activities, newest first.
    pub async fn activities(&self) -> Vec<Activity> {
        let described = self.aws.autoscaling.describe_scaling_activities();
        let mut pages = described
            .auto_scaling_group_name(self.name)
            .into_paginator()
            .send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            all.extend(
                answered("DescribeScalingActivities", page)
                    .activities
                    .unwrap_or_default(),
            );
        }
        all
    }

    /// What was launched, failed and terminated since a refresh's start, and before its rollback.
    pub async fn cost(&self, id: &str) -> Refresh {
        let refresh = self.refresh(id).await;
        let start = refresh.start_time.expect("the refresh has begun");
        let rollback = refresh.rollback_details();
        let rollback = rollback.and_then(|back| back.rollback_start_time().copied());
        let mut cost = Refresh {
            launched: 0,
            failed: 0,
            terminated: 0,
        };
        for activity in self.activities().await {
            let before = activity.start_time().is_none_or(|at| *at < start);
            let after = activity.start_time().copied() >= rollback && rollback.is_some();
            if before || after {
                continue;
            }
            let description = activity.description().unwrap_or_default();
            let failed = activity.status_code() == Some(&ScalingActivityStatusCode::Failed);
            if description.starts_with("Launching") {
                if failed {
                    cost.failed += 1;
                } else {
                    cost.launched += 1;
                }
            } else if description.starts_with("Terminating") && !failed {
                cost.terminated += 1;
            }
        }
        cost
    }
}
