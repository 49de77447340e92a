//! Managed nodes: instances with their agents, roles and profiles, and the time that passes for them.

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    IamInstanceProfileSpecification, Instance, InstanceType, ResourceType, TagSpecification,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::LocalAws;
use crate::estate::{answered, tag};
use crate::launches::GOOD;

/// The agent on an instance, as only the instance itself knows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    /// Whether Systems Manager shows it Online.
    pub online: bool,
    /// Whether any message channel works.
    pub usable: bool,
    /// What a shell ends with before it opens, by the session preferences.
    pub shell: Option<String>,
    /// `instance profile` or `default host management`.
    pub source: Option<String>,
    /// Of the last attempt: `online`, `no credentials`, `no network`, `silent`.
    pub outcome: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Agents {
    nodes: Vec<Agent>,
}

/// A trust policy that lets `service` take the role.
#[must_use]
pub fn trust(service: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": format!("{service}.amazonaws.com") },
            "Action": "sts:AssumeRole"
        }]
    })
    .to_string()
}

impl LocalAws {
    /// Registers an AMI that comes with the agent.
    pub async fn amazon_linux(&self) -> String {
        self.image(GOOD).await
    }

    /// Launches an instance `with` more parameters, and waits for what its events set off.
    pub async fn launch(
        &self,
        image: &str,
        with: impl FnOnce(RunInstancesFluentBuilder) -> RunInstancesFluentBuilder,
    ) -> String {
        self.a_minute_after_the_last_notice().await;
        let request = self.ec2.run_instances().image_id(image);
        let request = request.instance_type(InstanceType::T3Micro);
        let answer = with(request.min_count(1).max_count(1)).send().await;
        let launched = answered("RunInstances", answer);
        let id = launched.instances()[0].instance_id().unwrap_or_default();
        self.wait_until_idle().await;
        id.to_owned()
    }

    /// Launches so many at once, and waits for nothing.
    pub async fn launch_many(&self, count: i32) -> Vec<String> {
        let request = self.ec2.run_instances();
        let request = request.image_id(self.amazon_linux().await);
        let request = request.instance_type(InstanceType::T3Micro);
        let answer = request.min_count(count).max_count(count).send().await;
        let launched = answered("RunInstances", answer);
        let ids = launched.instances().iter();
        ids.filter_map(|instance| instance.instance_id().map(str::to_owned))
            .collect()
    }

    /// Tags to launch an instance with.
    #[must_use]
    pub fn instance_tags(key: &str, value: &str) -> TagSpecification {
        TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .tags(tag(key, value))
            .build()
    }

    /// An instance as EC2 describes it.
    pub async fn described(&self, instance: &str) -> Instance {
        let answer = self.ec2.describe_instances().instance_ids(instance);
        let found = answered("DescribeInstances", answer.send().await);
        found.reservations()[0].instances()[0].clone()
    }

    /// The ARN of an instance's profile.
    pub async fn profile_of(&self, instance: &str) -> Option<String> {
        let described = self.described(instance).await;
        Some(described.iam_instance_profile()?.arn()?.to_owned())
    }

    /// The ARN of the profile that the stack made, from the wiring of attach-ssm-role.
    pub async fn stack_profile(&self) -> String {
        let function = self.lambda.get_function_configuration();
        let function = function.function_name("ec2-guardrails-attach-ssm-role");
        answered("GetFunctionConfiguration", function.send().await)
            .environment()
            .and_then(|environment| environment.variables())
            .and_then(|variables| variables.get("INSTANCE_PROFILE_ARN"))
            .expect("the function knows the profile")
            .clone()
    }

    /// Makes an instance profile with a role of the same name that EC2 can take and that has these
    /// managed policies; returns the profile's ARN.
    pub async fn profile(&self, name: &str, policies: &[&str]) -> String {
        let made = self.iam.create_instance_profile();
        let made = made.instance_profile_name(name).send().await;
        let arn = answered("CreateInstanceProfile", made)
            .instance_profile
            .map(|profile| profile.arn)
            .expect("a new profile has an ARN");
        let role = self.iam.create_role().role_name(name);
        let role = role.assume_role_policy_document(trust("ec2")).send().await;
        answered("CreateRole", role);
        for policy in policies {
            self.attach_policy(name, policy).await;
        }
        let added = self.iam.add_role_to_instance_profile().role_name(name);
        let added = added.instance_profile_name(name).send().await;
        answered("AddRoleToInstanceProfile", added);
        arn
    }

    /// Attaches AWS's managed policy of that name to a role.
    pub async fn attach_policy(&self, role: &str, policy: &str) {
        let attach = self.iam.attach_role_policy().role_name(role);
        let attach = attach.policy_arn(format!("arn:aws:iam::aws:policy/{policy}"));
        answered("AttachRolePolicy", attach.send().await);
    }

    /// Lets a role do one thing more, by a policy of its own.
    pub async fn allow(&self, role: &str, action: &str) {
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }]
        });
        let put = self.iam.put_role_policy().role_name(role);
        let put = put.policy_name(action.replace(':', "-"));
        let put = put.policy_document(document.to_string()).send().await;
        answered("PutRolePolicy", put);
    }

    /// Sets the preferences of Session Manager anew.
    pub async fn prefer(&self, inputs: Value) {
        let name = "SSM-SessionManagerRunShell";
        // There may be none as yet.
        let _gone = self.ssm.delete_document().name(name).send().await;
        let content =
            json!({ "schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": inputs });
        let made = self.ssm.create_document().name(name);
        let made = made.document_type(aws_sdk_ssm::types::DocumentType::Session);
        let made = made.content(content.to_string()).send().await;
        answered("CreateDocument", made);
    }

    /// Associates a profile as an operator does.
    pub async fn associate(&self, instance: &str, profile: &str) {
        let profile = IamInstanceProfileSpecification::builder().arn(profile);
        let answer = self
            .ec2
            .associate_iam_instance_profile()
            .instance_id(instance)
            .iam_instance_profile(profile.build())
            .send()
            .await;
        answered("AssociateIamInstanceProfile", answer);
    }

    /// Turns on Default Host Management (SSM-4).
    pub async fn manage_hosts_by_default(&self) {
        let role = "AWSSystemsManagerDefaultEC2InstanceManagementRole";
        let made = self.iam.create_role().role_name(role);
        let made = made.path("/service-role/");
        let made = made.assume_role_policy_document(trust("ssm")).send().await;
        answered("CreateRole", made);
        self.attach_policy(role, "AmazonSSMManagedEC2InstanceDefaultPolicy")
            .await;
        let setting = self.ssm.update_service_setting();
        let setting = setting
            .setting_id("/ssm/managed-instance/default-ec2-instance-management-role")
            .setting_value(format!("service-role/{role}"));
        answered("UpdateServiceSetting", setting.send().await);
    }

    /// Has an instance's agent try now, as after a reboot, instead of at the end of its wait.
    pub async fn try_agent(&self, instance: &str) -> Agent {
        let body = json!({ "instance_ids": [instance] });
        Self::first(self.post("nodes/retry", body).await)
    }

    /// An instance's agent.
    pub async fn agent(&self, instance: &str) -> Agent {
        Self::first(self.get(&format!("nodes?instance_id={instance}")).await)
    }

    fn first(answer: Value) -> Agent {
        let agents: Agents = serde_json::from_value(answer).expect("agents");
        agents.nodes.into_iter().next().expect("it has an agent")
    }

    /// Changes what happens inside hosts: `agent` is `running`, `stopped` or `missing`.
    pub async fn set_agent(&self, instance: &str, agent: &str) {
        let body = json!({ "instance_ids": [instance], "agent": agent });
        self.post("nodes/host", body).await;
    }

    /// Lets minutes pass for an instance: for AWS and the agent, which makes the attempts that come
    /// due, and for what the guardrail has noted of it.
    pub async fn pass_minutes(&self, instance: &str, minutes: i64) {
        let body = json!({ "seconds": minutes * 60, "instance_ids": [instance] });
        self.post("instances/age", body).await;
        let remembered = format!("node#{instance}");
        let body = json!({ "seconds": minutes * 60, "item": remembered });
        self.post("tables/age", body).await;
    }

    /// What the guardrail remembers of an instance: that it was `attached`, or seen `online`.
    pub async fn noted(&self, instance: &str) -> Option<String> {
        let node = self.memory(&format!("node#{instance}")).await?;
        let word = if node["online"].is_null() {
            "attached"
        } else {
            "online"
        };
        Some(word.to_owned())
    }
}
