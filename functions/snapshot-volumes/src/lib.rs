//! Snapshots EBS volumes on schedule and prunes the snapshots it made.
//!
//! Each plan's *slot* is the last time of its schedule that has come. A sweep makes what the slot
//! still lacks and deletes what the plan no longer keeps. What exists is read from the snapshots'
//! own tags, so a missed window, a failed snapshot or a killed run is made up by the next sweep.

pub mod act;
pub mod assess;
pub mod decide;
pub mod facts;
pub mod observe;
pub mod policy;
pub mod retention;
pub mod slots;

use std::future::Future;

use guardrails::aws::ApiError;
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::trigger::{Event, Request, Scope, Trigger, TriggerError, id_of};
use guardrails::wiring::{Environment, WiringError};
use jiff::Timestamp;
use serde_json::Value;

use crate::decide::Action;
use crate::facts::Facts;
use crate::policy::Policy;

/// The guardrail's name, as snapshots carry it.
pub const NAME: &str = "snapshot-volumes";

/// The guardrail.
#[derive(Debug)]
pub struct SnapshotVolumes {
    ec2: aws_sdk_ec2::Client,
}

impl Guardrail for SnapshotVolumes {
    const NAME: &'static str = NAME;
    type Policy = Policy;
    type Facts = Facts;
    type Action = Action;

    fn new(
        config: &guardrails::aws::SdkConfig,
        _environment: &Environment,
    ) -> Result<Self, WiringError> {
        Ok(Self {
            ec2: aws_sdk_ec2::Client::new(config),
        })
    }

    fn request(trigger: &Trigger) -> Result<Request, TriggerError> {
        match trigger {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Event(event) => Ok(Request::of(Scope::One(volume_of(event)?))),
            Trigger::Command(command) if command.name == "explain" => Ok(Request::asking(
                Scope::One(command.only_argument("volume-id")?.to_owned()),
            )),
            Trigger::Command(command) => Err(TriggerError::Command {
                name: command.name.clone(),
                known: "explain (with `volume-id`)",
            }),
        }
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request,
        now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.ec2, policy, &request.scope, now)
    }

    fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
        decide::decide(facts, policy, now)
    }

    fn look_again(
        &self,
        actions: &[&Action],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send {
        observe::look_again(&self.ec2, actions)
    }

    fn act(&self, action: &Action, run: &str) -> impl Future<Output = Acted> + Send {
        act::act(&self.ec2, action, run)
    }

    fn assess(
        facts: &Facts,
        policy: &Policy,
        now: Timestamp,
        settled: &[Settled<'_, Action>],
    ) -> Assessment {
        assess::assess(facts, policy, now, settled)
    }
}

/// The volume that a snapshot event is about (EBS-10). Of a set any member will do: its
/// neighbours on the same instance are looked at with it.
fn volume_of(event: &Event) -> Result<String, TriggerError> {
    let source = match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.ec2", "EBS Snapshot Notification") => {
            if event.detail_str("event") != Some("createSnapshot") {
                return Err(TriggerError::event(
                    event,
                    "its `event` is not createSnapshot",
                ));
            }
            event.detail_str("source")
        }
        ("aws.ec2", "EBS Multi-Volume Snapshots Completion Status") => event
            .detail
            .get("snapshots")
            .and_then(|snapshots| snapshots.get(0))
            .and_then(|snapshot| snapshot.get("source"))
            .and_then(Value::as_str),
        _ => return Err(TriggerError::event(event, "wrong source or detail type")),
    };
    source
        .map(id_of)
        .filter(|id| id.starts_with("vol-"))
        .map(str::to_owned)
        .ok_or_else(|| TriggerError::event(event, "it names no volume as `source`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(payload: Value) -> Result<Request, TriggerError> {
        SnapshotVolumes::request(&guardrails::trigger::parse(payload).unwrap())
    }

    fn event(detail_type: &str, detail: &Value) -> Value {
        json!({
            "version": "0", "id": "1", "source": "aws.ec2", "account": "1", "region": "r",
            "time": "2026-11-21T03:00:00Z", "resources": [], "detail-type": detail_type,
            "detail": detail
        })
    }

    #[test]
    fn a_failed_snapshot_points_at_its_volume_in_both_arn_layouts() {
        for arn in [
            "arn:aws:ec2:eu-west-1::volume/vol-1",
            "arn:aws:ec2::eu-west-1:volume/vol-1",
        ] {
            let detail = json!({"event": "createSnapshot", "result": "failed", "source": arn});
            let request = request(event("EBS Snapshot Notification", &detail)).unwrap();
            assert_eq!(request.scope, Scope::One("vol-1".to_owned()));
            assert!(!request.read_only);
        }
        let detail = json!({"event": "createSnapshots", "result": "failed", "snapshots": [
            {"snapshot_id": "arn:aws:ec2::r:snapshot/snap-1", "source": "arn:aws:ec2::r:volume/vol-2", "status": "error"}
        ]});
        let request = request(event(
            "EBS Multi-Volume Snapshots Completion Status",
            &detail,
        ))
        .unwrap();
        assert_eq!(request.scope, Scope::One("vol-2".to_owned()));
    }

    #[test]
    fn other_events_and_commands_are_refused() {
        for payload in [
            event(
                "EBS Snapshot Notification",
                &json!({"event": "copySnapshot"}),
            ),
            event(
                "EBS Snapshot Notification",
                &json!({"event": "createSnapshot"}),
            ),
            event("EBS Multi-Volume Snapshots Completion Status", &json!({})),
            event("EC2 Instance State-change Notification", &json!({})),
            json!({"trigger": "command", "command": "delete"}),
            json!({"trigger": "command", "command": "explain"}),
        ] {
            assert!(request(payload.clone()).is_err(), "{payload}");
        }
    }

    #[test]
    fn explain_changes_nothing() {
        let request =
            request(json!({"trigger": "command", "command": "explain", "volume-id": "vol-1"}))
                .unwrap();
        assert!(request.read_only);
    }
}
