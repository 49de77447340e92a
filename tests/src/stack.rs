//! The deployed stack itself: findings that it forwards, sweeps that can't be started, and a stack
//! that is being updated.

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use hyper::Method;
use serde_json::{Value, json};

use crate::estate::answered;
use crate::{ACCOUNT, LocalAws, REGION};

impl LocalAws {
    /// An event bus with a queue for all that comes onto it, as an account has it that looks after
    /// others; returns the queue's URL.
    pub async fn bus(&self, name: &str) -> String {
        let made = self.eventbridge.create_event_bus().name(name).send().await;
        answered("CreateEventBus", made);
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        let allow = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": { "Service": "events.amazonaws.com" },
            "Action": "sqs:SendMessage", "Resource": queue,
        } });
        let made = self.sqs.create_queue().queue_name(name);
        let made = made.attributes(QueueAttributeName::Policy, allow.to_string());
        let url = answered("CreateQueue", made.send().await).queue_url;
        let rule = self.eventbridge.put_rule().name(name).event_bus_name(name);
        let rule = rule.event_pattern(json!({ "source": ["ec2-guardrails"] }).to_string());
        answered("PutRule", rule.send().await);
        let target = Target::builder().id(name).arn(queue).build();
        let target = target.expect("a target needs an id and an ARN");
        let put = self
            .eventbridge
            .put_targets()
            .rule(name)
            .event_bus_name(name);
        answered("PutTargets", put.targets(target).send().await);
        url.expect("a queue has a URL")
    }

    /// The bodies in a queue; they stay there.
    pub async fn messages(&self, queue: &str) -> Vec<Value> {
        let received = self.sqs.receive_message().queue_url(queue);
        let received = received.max_number_of_messages(10).visibility_timeout(0);
        answered("ReceiveMessage", received.send().await)
            .messages()
            .iter()
            .filter_map(|message| serde_json::from_str(message.body()?).ok())
            .collect()
    }

    /// Takes the function away, so that nothing can start it.
    pub async fn delete_function(&self) {
        let gone = self.lambda.delete_function().function_name(self.function());
        answered("DeleteFunction", gone.send().await);
    }

    /// What couldn't be delivered since this was asked last.
    pub async fn take_delivery_failures(&self) -> Vec<Value> {
        let failures: Value = self
            .control(Method::DELETE, "delivery-failures", None)
            .await;
        let failures = failures["failures"].as_array();
        failures.expect("a list of failures").clone()
    }

    /// Brings the stack `ec2-guardrails`, the only one that there is, into a status as in the middle
    /// of an update.
    pub async fn stack_is(&self, status: &str) {
        let body = json!({ "stack": "ec2-guardrails", "status": status });
        self.post("stacks/status", body).await;
    }
}
