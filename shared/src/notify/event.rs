//! A change of a condition as it goes onto the event bus.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde_json::json;

use super::digest::Origin;
use crate::condition::Condition;

const SOURCE: &str = "ec2-guardrails";
pub(super) const DETAIL_TYPE: &str = "EC2 Guardrails Finding";

pub(super) fn of(origin: &Origin<'_>, condition: &Condition) -> PutEventsRequestEntry {
    let detail = json!({
        "guardrail": origin.guardrail,
        "account": origin.place.account,
        "region": origin.place.region,
        "resource": condition.resource,
        "kind": condition.kind.name,
        "status": condition.status,
        "text": condition.text(),
    });
    PutEventsRequestEntry::builder()
        .source(SOURCE)
        .detail_type(DETAIL_TYPE)
        .resources(condition.resource.to_string())
        .detail(detail.to_string())
        .build()
}
