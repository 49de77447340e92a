//! Snapshots EBS volumes on schedule, copies the snapshots to other Regions, prunes both, and tries
//! whether they can be restored.
//!
//! Each plan's *slot* is the last time of its schedule that has come. A sweep makes what the slot
//! still lacks and deletes what the plan no longer keeps. What exists is read from the snapshots'
//! descriptions and tags, so a missed window, a failed snapshot or a killed run is made up by the next sweep.

mod act;
mod action;
mod conditions;
mod decide;
mod disk;
mod evaluate;
mod facts;
mod memory;
mod observe;
mod ownership;
pub mod policy;
mod regions;
mod report;
mod retention;
mod slots;

use std::future::Future;

use guardrails::aws::{ApiError, SdkConfig};
use guardrails::condition::Kind;
use guardrails::configuration::{ConfigurationError, Environment};
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::resource::{Resource, name_of};
use guardrails::state::State;
use guardrails::trigger::{Event, Request, Scope, Trigger, TriggerError};
use jiff::Timestamp;
use serde_json::Value;

use crate::action::{Action, Effect};
use crate::evaluate::Evaluation;
use crate::facts::{Ask, Facts};
pub use crate::ownership::NAME;
use crate::policy::Policy;
use crate::regions::Regions;

/// The guardrail.
#[derive(Debug)]
pub struct SnapshotVolumes {
    regions: Regions,
    state: State,
}

impl Guardrail for SnapshotVolumes {
    const NAME: &'static str = NAME;
    const KINDS: &'static [&'static Kind] = conditions::KINDS;
    type Policy = Policy;
    type Ask = Ask;
    type Facts = Facts;
    type Evaluation<'a> = Evaluation<'a>;
    type Action = Action;
    type Effect = Effect;

    fn new(
        config: &SdkConfig,
        environment: &Environment,
        state: &State,
    ) -> Result<Self, ConfigurationError> {
        Ok(Self {
            regions: Regions::new(config, environment)?,
            state: state.clone(),
        })
    }

    fn request(trigger: &Trigger) -> Result<Request<Ask>, TriggerError> {
        match trigger {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Event(event) => Ok(Request::of(Scope::one(volume_of(event)?))),
            Trigger::Command(command) if command.name == "explain" => {
                let volume = Resource::volume(command.only_id("volume-id", "vol-")?);
                Ok(Request::asking(Scope::one(volume)))
            }
            Trigger::Command(command) if command.name == "proofs" => {
                command.takes(&["after"])?;
                let after = match command.arguments.get("after") {
                    None => String::new(),
                    Some(_) => command.argument("after")?.to_owned(),
                };
                let ask = Ask {
                    proofs: Some(after),
                };
                Ok(Request {
                    ask,
                    ..Request::asking(Scope::Only(Vec::new()))
                })
            }
            Trigger::Command(command) => Err(TriggerError::Command {
                name: command.name.clone(),
                known: "explain (with `volume-id`), proofs",
            }),
        }
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request<Ask>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.regions, &self.state, policy, request, now)
    }

    fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
        evaluate::evaluate(facts, policy, now)
    }

    fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
        decide::decide(evaluation)
    }

    fn revalidate(
        &self,
        actions: &[&Action],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send {
        observe::revalidate(&self.regions, actions)
    }

    fn act(&self, action: &Action, run: &str) -> impl Future<Output = Acted<Effect>> + Send {
        act::act(&self.regions, &self.state, action, run)
    }

    fn remember<'a, 'b: 'a>(
        &'a self,
        evaluation: &'a Evaluation<'b>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        act::drills::begin(&self.state, evaluation)
    }

    fn report(evaluation: &Evaluation<'_>, settled: &[Settled<'_, Action, Effect>]) -> Assessment {
        report::report(evaluation, settled)
    }
}

/// The volume of that id. AWS takes `*` and `?` in a filter for any characters, so what isn't an id
/// could mean many.
fn volume(id: &str) -> Option<Resource> {
    let digits = id.strip_prefix("vol-")?;
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (!digits.is_empty() && digits.bytes().all(hexadecimal)).then(|| Resource::volume(id))
}

/// The volume that a snapshot event is about (EBS-10). Of a set any member will do: its
/// neighbours on the same instance are looked at with it.
fn volume_of(event: &Event) -> Result<Resource, TriggerError> {
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
        .and_then(|source| volume(name_of(source)))
        .ok_or_else(|| TriggerError::event(event, "it names no volume as `source`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::trigger::Order;
    use serde_json::json;

    fn request(payload: Value) -> Result<Request<Ask>, TriggerError> {
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
            assert_eq!(request.scope, Scope::one(Resource::volume("vol-1")));
            assert_eq!(request.order, Order::Own);
        }
        let detail = json!({"event": "createSnapshots", "result": "failed", "snapshots": [
            {"snapshot_id": "arn:aws:ec2::r:snapshot/snap-1", "source": "arn:aws:ec2::r:volume/vol-2", "status": "error"}
        ]});
        let request = request(event(
            "EBS Multi-Volume Snapshots Completion Status",
            &detail,
        ))
        .unwrap();
        assert_eq!(request.scope, Scope::one(Resource::volume("vol-2")));
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
            json!({"trigger": "command", "command": "explain", "volume-id": "vol-*"}),
            json!({"trigger": "command", "command": "explain", "volume-id": "vol-"}),
            json!({"trigger": "command", "command": "explain", "volume-id": "i-1"}),
            event(
                "EBS Snapshot Notification",
                &json!({"event": "createSnapshot", "source": "arn:aws:ec2::r:volume/vol-?"}),
            ),
        ] {
            assert!(request(payload.clone()).is_err(), "{payload}");
        }
    }

    #[test]
    fn proofs_are_asked_for_and_nothing_is_changed() {
        for (payload, after) in [
            (json!({"trigger": "command", "command": "proofs"}), ""),
            (
                json!({"trigger": "command", "command": "proofs", "after": "a/b/c"}),
                "a/b/c",
            ),
        ] {
            let request = request(payload).unwrap();
            assert_eq!(request.order, Order::Question);
            assert_eq!(request.ask.proofs.as_deref(), Some(after));
        }
        request(json!({"trigger": "command", "command": "proofs", "volume-id": "vol-1"}))
            .unwrap_err();
    }

    #[test]
    fn explain_changes_nothing() {
        let id = "vol-0123456789abcdef0";
        let explain = json!({"trigger": "command", "command": "explain", "volume-id": id});
        assert_eq!(request(explain).unwrap().order, Order::Question);
    }
}
