//! Launches that a quarantine is about: AMIs of all owners, who launches, and what an instance is
//! like before and after.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::AutoScalingGroup;
use aws_sdk_ec2::config::Credentials;
use aws_sdk_ec2::types::{Filter, InstanceAttributeName, SecurityGroup};
use aws_sdk_lambda::primitives::Blob;
use serde_json::{Value, json};

use crate::estate::answered;
use crate::{Call, LocalAws, Notice, Report, Run, config};

/// What all tags of the guardrails begin with.
const OURS: &str = "ec2-guardrails:";
/// An AMI of Amazon's that the tests' policies approve, and
pub(crate) const GOOD: &str = "al2023-ami-2023.9.20251117.1-kernel-6.12-x86_64";
/// one that incident 3's pattern matched.
pub const BAD: &str = "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64";

/// The text of a field of the control API's answer.
fn text(answer: &Value, key: &str) -> String {
    answer[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {answer}"))
        .to_owned()
}

impl LocalAws {
    /// An AMI of that owner (`self`, `amazon`, `aws-marketplace` or an account's id), `with` more
    /// fields: see `POST images` of the emulator.
    pub async fn image_of(&self, owner: &str, name: &str, with: Value) -> String {
        let mut body = json!({ "owner": owner, "name": name });
        for (key, value) in with.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        text(&self.post("images", body).await, "image_id")
    }

    /// Amazon's AMI that the tests' policies approve.
    pub async fn good_image(&self) -> String {
        self.image_of("amazon", GOOD, json!({})).await
    }

    /// Amazon's AMI that they don't: [`BAD`].
    pub async fn bad_image(&self) -> String {
        self.image_of("amazon", BAD, json!({})).await
    }

    /// The notices that tell of a quarantine of this instance.
    pub async fn told_of(&self, instance: &str) -> Vec<Notice> {
        let mut notices = self.notices().await;
        notices.retain(|n| n.message.contains(&format!("* {instance}: launched from")));
        notices
    }

    /// An AMI's owner shares it no longer.
    pub async fn make_private(&self, image: &str) {
        let body = json!({ "image_id": image, "private": true });
        self.post("images/access", body).await;
    }

    /// Writes an SSM parameter, also one that AWS publishes.
    pub async fn parameter(&self, name: &str, value: &str) {
        let body = json!({ "name": name, "value": value });
        self.post("parameters", body).await;
    }

    /// EC2 as a user of that name calls it: CloudTrail tells who it was.
    pub async fn as_user(&self, name: &str) -> aws_sdk_ec2::Client {
        let answer = self.post("principals", json!({ "user": name })).await;
        let credentials = Credentials::new(
            text(&answer, "access_key_id"),
            text(&answer, "secret_access_key"),
            answer["session_token"].as_str().map(str::to_owned),
            None,
            "test",
        );
        aws_sdk_ec2::Client::new(&config(&self.emulator, credentials))
    }

    /// An EC2 Fleet launches one instance; `of` is the fleet that launched before. Returns the
    /// instance and the fleet.
    pub async fn fleet_launch(&self, image: &str, of: Option<&str>) -> (String, String) {
        self.a_minute_after_the_last_notice().await;
        let mut body = json!({ "by": "fleet", "image_id": image });
        if let Some(fleet) = of {
            body["request_id"] = fleet.into();
        }
        let answer = self.post("launches", body).await;
        self.wait_until_idle().await;
        let id = answer["instance_ids"][0].as_str().expect("an instance");
        (id.to_owned(), text(&answer, "request_id"))
    }

    /// A network interface that a service of AWS makes and manages (AMI-5).
    pub async fn managed_interface(&self, instance: &str) -> String {
        let body = json!({ "instance_id": instance });
        let answer = self.post("interfaces", body).await;
        text(&answer, "network_interface_id")
    }

    /// A trunk on an instance, as EKS and ECS attach one (AMI-17).
    pub async fn trunk(&self, instance: &str) -> String {
        let body = json!({ "instance_id": instance, "trunk": true });
        text(&self.post("interfaces", body).await, "network_interface_id")
    }

    /// A pod's network interface in a subnet, on this trunk; on none: AWS doesn't tell where.
    pub async fn branch(&self, trunk: Option<&str>, subnet: &str, group: &str) -> String {
        let body = json!({ "on": trunk, "subnet_id": subnet, "groups": [group] });
        text(&self.post("interfaces", body).await, "network_interface_id")
    }

    /// An interface in a secondary network (AMI-19).
    pub async fn secondary(&self, instance: &str, id: &str) {
        let body = json!({ "instance_id": instance, "secondary_interface_id": id });
        self.post("instances/secondary", body).await;
    }

    /// The security groups of a network interface, whatever it is attached to.
    pub async fn groups_on(&self, interface: &str) -> Vec<String> {
        let found = self.ec2.describe_network_interfaces();
        let found = found.network_interface_ids(interface).send().await;
        let found = answered("DescribeNetworkInterfaces", found);
        let groups = found.network_interfaces()[0].groups().iter();
        groups
            .filter_map(|group| Some(group.group_id()?.to_owned()))
            .collect()
    }

    /// A new security group in a VPC.
    pub async fn security_group(&self, vpc: &str, name: &str) -> String {
        let made = self.ec2.create_security_group().vpc_id(vpc);
        let made = made.group_name(name).description(name).send().await;
        let made = answered("CreateSecurityGroup", made);
        made.group_id.expect("a security group has an id")
    }

    /// Makes it a group of another account, which shares it with this one or does so no longer.
    pub async fn owned_by(&self, group: &str, owner: &str, shared: bool) {
        let body = json!({ "group": group, "owner": owner, "shared": shared });
        self.post("network/groups", body).await;
    }

    /// Whom the isolation group of a VPC lets in, each with its ports.
    pub async fn responders_in(&self, vpc: &str) -> BTreeSet<String> {
        let group = self.isolation_of(vpc).await.expect("it is there");
        assert!(group.ip_permissions_egress().is_empty(), "{group:?}");
        let mut whom = BTreeSet::new();
        for permission in group.ip_permissions() {
            let ports = match permission.from_port() {
                Some(port) => format!(" {port}"),
                None => String::new(),
            };
            let v4 = permission.ip_ranges().iter().map(|one| one.cidr_ip());
            let v6 = permission.ipv6_ranges().iter().map(|one| one.cidr_ipv6());
            let pairs = permission.user_id_group_pairs().iter();
            let sources = v4.chain(v6).chain(pairs.map(|one| one.group_id()));
            whom.extend(sources.flatten().map(|from| format!("{from}{ports}")));
        }
        whom
    }

    /// Makes it an instance that only this AWS service may change (AMI-8).
    pub async fn operate(&self, instance: &str, service: &str) {
        let body = json!({ "instance_ids": [instance], "principal": service });
        self.post("instances/operator", body).await;
    }

    /// Turns this guardrail's rules off too: only the schedule starts it.
    pub async fn deaf(&self) {
        let rules = self.eventbridge.list_rules().send().await;
        for rule in answered("ListRules", rules).rules() {
            let off = self.eventbridge.disable_rule();
            let off = off.name(rule.name().unwrap_or_default()).send().await;
            answered("DisableRule", off);
        }
    }

    /// A command, as a person gives it.
    pub async fn command(&self, command: &str, arguments: &[(&str, &str)]) -> Report {
        let mut payload = json!({ "trigger": "command", "command": command });
        for (key, value) in arguments {
            payload[*key] = (*value).into();
        }
        // Not as the latest run: what a release sets off may start the function at once.
        let answer = self.lambda.invoke().function_name(self.function());
        let answer = answer.qualifier("operator");
        let answer = answer.payload(Blob::new(payload.to_string())).send().await;
        let answer = answered("Invoke", answer);
        let text = String::from_utf8_lossy(answer.payload().map_or(&[], Blob::as_ref)).into_owned();
        assert_eq!(answer.function_error(), None, "{payload}: {text}");
        self.wait_until_idle().await;
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("not a report: {error} in {text}"))
    }

    /// The calls of one run.
    pub async fn calls_in(&self, run: &Run) -> Vec<Call> {
        let path = format!("calls?request_id={}", run.request_id);
        let answer: Value = self.get(&path).await;
        serde_json::from_value(answer["calls"].clone()).expect("calls")
    }

    /// The security groups of each network interface of an instance.
    pub async fn groups_of(&self, instance: &str) -> BTreeMap<String, Vec<String>> {
        let described = self.described(instance).await;
        let interfaces = described.network_interfaces().iter();
        interfaces
            .map(|interface| {
                let groups = interface.groups().iter();
                let ids = groups.filter_map(|group| Some(group.group_id()?.to_owned()));
                let id = interface.network_interface_id().unwrap_or_default();
                (id.to_owned(), ids.collect())
            })
            .collect()
    }

    /// The isolation group of a VPC.
    pub async fn isolation_of(&self, vpc: &str) -> Option<SecurityGroup> {
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let found = self.ec2.describe_security_groups();
        let found = found
            .filters(filter("vpc-id", vpc))
            .filters(filter("group-name", "ec2-guardrails-quarantine"));
        let found = answered("DescribeSecurityGroups", found.send().await);
        assert!(found.security_groups().len() < 2, "{found:?}");
        found.security_groups().first().cloned()
    }

    /// Whether each interface of the instance has its VPC's isolation group and no other, and that
    /// group has no rule at all.
    pub async fn is_isolated(&self, instance: &str) -> bool {
        self.is_isolated_but(instance, &[]).await
    }

    /// The same, but for these whom it lets in.
    pub async fn is_isolated_but(&self, instance: &str, responders: &[&str]) -> bool {
        let vpc = self.described(instance).await;
        let vpc = vpc.vpc_id().expect("it is in a VPC").to_owned();
        let Some(group) = self.isolation_of(&vpc).await else {
            return false;
        };
        let only = vec![group.group_id().expect("an id").to_owned()];
        let groups = self.groups_of(instance).await;
        let in_it_only = !groups.is_empty() && groups.values().all(|groups| *groups == only);
        let whom = responders.iter().map(|&one| one.to_owned()).collect();
        in_it_only
            && group.ip_permissions_egress().is_empty()
            && self.responders_in(&vpc).await == whom
    }

    /// Whether termination protection is on.
    pub async fn is_protected(&self, instance: &str) -> bool {
        let answer = self.ec2.describe_instance_attribute().instance_id(instance);
        let answer = answer
            .attribute(InstanceAttributeName::DisableApiTermination)
            .send()
            .await;
        answered("DescribeInstanceAttribute", answer)
            .disable_api_termination()
            .and_then(aws_sdk_ec2::types::AttributeBooleanValue::value)
            .unwrap_or_default()
    }

    /// All that EC2 tells of an instance, but for the guardrails' own tags: to compare before with
    /// after, to the letter. Without its launch time, which moves back when time is let pass.
    pub async fn picture(&self, instance: &str) -> String {
        let mut described = self.described(instance).await;
        described.launch_time = None;
        let mut tags = described.tags.take().unwrap_or_default();
        tags.retain(|tag| !tag.key().unwrap_or_default().starts_with(OURS));
        tags.sort_by(|a, b| a.key().cmp(&b.key()));
        described.tags = Some(tags);
        let protected = self.is_protected(instance).await;
        format!("{described:#?}\ntermination protection: {protected}")
    }

    /// The keys of the guardrails' tags on an instance.
    pub async fn our_tags(&self, instance: &str) -> BTreeSet<String> {
        let described = self.described(instance).await;
        let keys = described.tags().iter().filter_map(|tag| tag.key());
        keys.filter(|key| key.starts_with(OURS))
            .map(str::to_owned)
            .collect()
    }

    /// Fails unless nothing of a quarantine is left of a released instance.
    pub async fn bears_no_trace(&self, instance: &str) {
        assert_eq!(self.our_tags(instance).await, BTreeSet::new());
        assert_eq!(self.stage(instance).await, None);
    }

    /// How far an instance's quarantine is, as it is remembered.
    pub async fn stage(&self, instance: &str) -> Option<String> {
        let record = self.memory(&format!("quarantine#{instance}")).await?;
        record["stage"].as_str().map(str::to_owned)
    }

    /// Lets seconds pass for what is remembered of its quarantine.
    pub async fn age_quarantine(&self, instance: &str, seconds: u32) {
        self.age_memory(&format!("quarantine#{instance}"), seconds)
            .await;
    }

    /// The evidence snapshots of an instance.
    pub async fn evidence(&self, instance: &str) -> Vec<crate::Snapshot> {
        let mut all = self.snapshots().await;
        all.retain(|snapshot| snapshot.tag("ec2-guardrails:evidence") == instance);
        all
    }

    /// How many instances a group has launched since it was made.
    pub async fn launched_by(&self, group: &str) -> u64 {
        let path = format!("autoscaling/history?group={group}");
        let history: Value = self.get(&path).await;
        let launched = history["groups"][0]["launched"].as_u64();
        launched.unwrap_or_else(|| panic!("no launches in {history}"))
    }

    /// Lets a group have so many instances, which begins at once.
    pub async fn resize(&self, group: &str, min: i32, desired: i32) {
        let update = self.autoscaling.update_auto_scaling_group();
        let update = update.auto_scaling_group_name(group).min_size(min);
        let update = update.desired_capacity(desired).send().await;
        answered("UpdateAutoScalingGroup", update);
        self.wait_until_idle().await;
    }

    /// Takes a group down with its instances.
    pub async fn take_down(&self, group: &str) {
        let gone = self.autoscaling.delete_auto_scaling_group();
        let gone = gone.auto_scaling_group_name(group).force_delete(true);
        answered("DeleteAutoScalingGroup", gone.send().await);
        self.pass_seconds(60).await;
    }
}

/// The processes of a group that are suspended.
#[must_use]
pub fn suspended(group: &AutoScalingGroup) -> BTreeSet<String> {
    let suspended = group.suspended_processes().iter();
    suspended
        .filter_map(|process| Some(process.process_name()?.to_owned()))
        .collect()
}
