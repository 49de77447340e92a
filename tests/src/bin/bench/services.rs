//! What the function asks of SSM, SNS and EventBridge.

use serde_json::{Value, json};

use crate::estate::Answer;
use crate::outcomes::Told;
use crate::query::{Query, REQUEST_ID, Refusal};

/// Name of the parameter that holds the policy.
pub(crate) const POLICY_PARAMETER: &str = "/ec2-guardrails/policy";
/// Where notices go.
pub(crate) const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:bench";

fn invalid(why: String) -> Refusal {
    Refusal::of("ValidationException", why)
}

/// `ssm:GetParameter`.
pub(crate) fn get_parameter(request: &Value, policy: &str) -> Answer {
    if request["Name"] != POLICY_PARAMETER {
        return Err(invalid(format!("GetParameter of {}", request["Name"])));
    }
    let parameter =
        json!({"Name": POLICY_PARAMETER, "Type": "String", "Value": policy, "Version": 1});
    Ok(json!({ "Parameter": parameter }).to_string())
}

/// `events:PutEvents`: ten at most, on the default bus.
pub(crate) fn put_events(request: &Value, told: &mut Told) -> Answer {
    let entries = request["Entries"].as_array().map_or(&[][..], Vec::as_slice);
    if entries.is_empty() || entries.len() > 10 {
        return Err(invalid(format!("PutEvents with {} entries", entries.len())));
    }
    for entry in entries {
        let detail = entry["Detail"].as_str().unwrap_or_default();
        let detail: Value = serde_json::from_str(detail).unwrap_or_default();
        match detail["resource"].as_str() {
            Some(resource) if entry["Source"] == "ec2-guardrails" => {
                told.findings.push(resource.to_owned());
            }
            _ => return Err(invalid(format!("PutEvents with the entry {entry}"))),
        }
    }
    let ids: Vec<Value> = entries
        .iter()
        .map(|_| json!({ "EventId": REQUEST_ID }))
        .collect();
    Ok(json!({ "FailedEntryCount": 0, "Entries": ids }).to_string())
}

/// `sns:Publish`: a subject of fewer than 100 printable ASCII characters, a message of 256 KiB with a
/// form for each protocol.
pub(crate) fn publish(query: &Query, told: &mut Told) -> Answer {
    let subject = query.get("Subject").unwrap_or_default();
    let message = query.get("Message").unwrap_or_default();
    let plain = subject.chars().all(|c| (' '..='~').contains(&c));
    let forms: Value = serde_json::from_str(message).unwrap_or_default();
    if query.get("TopicArn") != Some(TOPIC)
        || subject.is_empty()
        || subject.len() >= 100
        || !plain
        || query.get("MessageStructure") != Some("json")
        || !forms["default"].is_string()
        || message.len() > 256 * 1_024
    {
        return Err(invalid(format!("Publish with the subject {subject:?}")));
    }
    told.notices += 1;
    Ok(format!(
        "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult><MessageId>{REQUEST_ID}</MessageId></PublishResult><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></PublishResponse>"
    ))
}
