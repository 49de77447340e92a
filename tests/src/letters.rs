//! Dead letters: how they come about, and their replay as an operator does it.

use std::path::Path;

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use crate::{LocalAws, REGION, Run};

impl LocalAws {
    pub(crate) async fn dead_letter_queue(&self) -> String {
        let queues = self.sqs.list_queues().send().await.expect("queues");
        let urls = queues.queue_urls();
        let ours = urls.iter().find(|url| url.contains("DeadLetterQueue"));
        ours.expect("the stack has a dead-letter queue").clone()
    }

    /// How many letters could be received now.
    pub async fn dead_letter_count(&self) -> usize {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let queue = self.dead_letter_queue().await;
        let attributes = self.sqs.get_queue_attributes().queue_url(queue);
        let attributes = attributes.attribute_names(visible.clone()).send().await;
        let attributes = attributes.expect("the queue is there");
        let count = attributes.attributes().and_then(|all| all.get(&visible));
        count
            .and_then(|count| count.parse().ok())
            .expect("a number")
    }

    /// Puts something into the queue that no guardrail sent.
    pub async fn send_dead_letter(&self, body: &str) {
        let queue = self.dead_letter_queue().await;
        let sent = self.sqs.send_message().queue_url(queue).message_body(body);
        sent.send().await.expect("the queue takes it");
    }

    /// From now on no rule may invoke the function of `guardrail`.
    pub async fn forbid_rules(&self, guardrail: &str) {
        self.may_be_denied("lambda:InvokeFunction").await;
        let function = format!("ec2-guardrails-{guardrail}");
        let policy = self
            .lambda
            .get_policy()
            .function_name(&function)
            .send()
            .await;
        let policy = policy.expect("rules may invoke it");
        let policy: Value =
            serde_json::from_str(policy.policy().unwrap_or_default()).expect("a policy is JSON");
        for statement in policy["Statement"].as_array().into_iter().flatten() {
            self.lambda
                .remove_permission()
                .function_name(&function)
                .statement_id(statement["Sid"].as_str().unwrap_or_default())
                .send()
                .await
                .expect("the permission can be removed");
        }
    }

    /// From now on the schedules' role may put letters into the queue and nothing else.
    pub async fn forbid_schedules(&self) {
        self.may_be_denied("lambda:InvokeFunction").await;
        let roles = self.iam.list_roles().send().await.expect("roles");
        let role = roles
            .roles()
            .iter()
            .map(aws_sdk_iam::types::Role::role_name);
        let role = role
            .into_iter()
            .find(|name| name.contains("SweepScheduleRole"));
        let role = role.expect("the stack has a role of the schedules");
        let policies = self.iam.list_role_policies().role_name(role).send().await;
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*" }],
        });
        for name in policies.expect("the role is there").policy_names() {
            self.iam
                .put_role_policy()
                .role_name(role)
                .policy_name(name)
                .policy_document(document.to_string())
                .send()
                .await
                .expect("the policy can be put");
        }
    }

    /// Invokes the function of `guardrail` as Lambda's own queue does it.
    pub async fn invoke_in_background(&self, guardrail: &str, event: &Value) {
        self.lambda
            .invoke()
            .function_name(format!("ec2-guardrails-{guardrail}"))
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(event.to_string()))
            .send()
            .await
            .expect("Lambda accepts it");
    }

    /// Invokes a function and waits for its answer.
    pub async fn invoke_of(&self, function: &str, event: &Value) -> Run {
        let invocation = self.lambda.invoke().function_name(function);
        let invocation = invocation.payload(Blob::new(event.to_string()));
        invocation.send().await.expect("it can be invoked");
        let mut runs = self.runs_with(&format!("function={function}")).await;
        runs.pop().expect("the run is recorded")
    }

    /// The runs of `guardrail`'s function that a client has started and not waited for.
    pub async fn runs_in_background(&self, guardrail: &str) -> Vec<Run> {
        let function = format!("function=ec2-guardrails-{guardrail}");
        self.runs_with(&format!("{function}&kind=async&source=client"))
            .await
    }

    /// Runs docs/replay.py with these arguments; what it printed.
    #[must_use]
    pub fn replay(&self, arguments: &[&str]) -> String {
        let (status, said) = self.script("replay.py", arguments);
        assert!(matches!(status, Some(0 | 2)), "{status:?}: {said}");
        said
    }

    /// Runs a script of docs/ on the stack, as an operator does; its exit status and what it said.
    #[must_use]
    pub fn script(&self, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let output = self
            .program(&root.join(".venv/bin/python").display().to_string())
            .arg(root.join("docs").join(name))
            .args(["--stack", "ec2-guardrails", "--region", REGION])
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("Python runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}
