//! The instance itself: its state, its checks, its metadata service.

use guardrails::ec2::State;

use super::cause::{Cause, Certainty, Known};

/// What is wrong with the instance itself.
pub(super) fn causes(known: &Known<'_>) -> Vec<Cause> {
    let instance = known.instance;
    let cause = |code, certainty, problem: String, fix| {
        Cause::new(code, certainty, &instance.id, problem, fix)
    };
    let mut causes = Vec::new();
    let state = match instance.state {
        State::Running => None,
        State::Pending => Some("is still starting"),
        State::Stopping => Some("is being stopped"),
        State::Stopped => Some("is stopped"),
        State::Terminal => Some("is being terminated"),
    };
    if let Some(state) = state {
        causes.push(cause(
            "not-running",
            Certainty::Definite,
            format!("the instance {state}"),
            "Start it; only a running instance can be a managed node.",
        ));
    }
    if let Some(Ok((system, instance))) = known.evidence.and_then(|e| e.checks.as_ref()) {
        if system == "impaired" {
            causes.push(cause(
                "system-check",
                Certainty::Likely,
                "the system status check fails: the host under the instance is impaired".to_owned(),
                "Stop and start the instance, which moves it to another host (a reboot doesn't).",
            ));
        }
        if instance == "impaired" {
            causes.push(cause(
                "instance-check",
                Certainty::Likely,
                "the instance status check fails: the operating system doesn't answer".to_owned(),
                "Look at the console output and screenshot (exhausted memory, a full or damaged file system, a wrong network setting), then reboot.",
            ));
        }
    }
    if !instance.metadata {
        causes.push(cause(
            "metadata-off",
            Certainty::Definite,
            "the instance metadata service is disabled, so the agent gets no credentials".to_owned(),
            "Enable it: aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required, and in the launch template.",
        ));
    }
    causes
}
