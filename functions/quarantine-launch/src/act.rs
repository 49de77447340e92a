//! Carries out one action.

mod claim;
mod evidence;
mod groups;
mod hold;
mod isolate;
mod launcher;
mod loops;
mod protect;
mod refusals;
mod release;

use guardrails::guardrail::Acted;
use guardrails::state::Expect;
use jiff::Timestamp;

use crate::clients::Clients;
use crate::decide::{Action, Effect};
use crate::record::{Approval, KEPT, LAUNCH, QUARANTINE, Record};

/// Carries out `action`.
pub(crate) async fn act(clients: &Clients, action: &Action, run: &str) -> Acted<Effect> {
    match action {
        // Boxed: their many steps would make every run's future large.
        Action::Quarantine(order) => Box::pin(hold::quarantine(clients, order, run)).await,
        Action::Release(order) => Box::pin(release::release(clients, order, run)).await,
        Action::ReleaseByLabels(order) => Box::pin(release::by_labels(clients, order)).await,
        Action::BreakLoop(order) => loops::break_loop(clients, order, run).await,
        Action::NameLauncher(order) => launcher::name(clients, order).await,
        Action::RestoreGroup { group, at } => match loops::restore(clients, group, *at).await {
            Ok(Some(note)) => Acted::done(Some(note)),
            Ok(None) => Acted::skipped("nothing of it is suspended any more"),
            Err(error) => Acted::failed(error),
        },
        Action::RememberApproval {
            instance,
            approval,
            at,
        } => remember(clients, instance, approval, *at).await,
        Action::Forget {
            instance,
            record,
            at,
        } => forget(clients, instance, record, *at).await,
    }
}

async fn remember(
    clients: &Clients,
    instance: &str,
    approval: &Approval,
    at: Timestamp,
) -> Acted<Effect> {
    let (until, absent) = (Some(KEPT.after(at)), Expect::Absent);
    let written = clients
        .state
        .put(&LAUNCH, instance, approval, until, &absent, at)
        .await;
    match written {
        Ok(written) if written.is_done() => Acted::done(None),
        Ok(_) => Acted::skipped("another run has written it down"),
        Err(error) => Acted::failed(error),
    }
}

async fn forget(
    clients: &Clients,
    instance: &str,
    record: &Record,
    at: Timestamp,
) -> Acted<Effect> {
    let forgotten = async {
        let Some(stored) = clients.state.get(&QUARANTINE, instance, at).await? else {
            return Ok(false);
        };
        if stored.value != *record {
            return Ok(false);
        }
        let expect = Expect::Version(stored.version);
        let written = clients.state.delete(&QUARANTINE, instance, &expect).await?;
        Ok(written.is_done())
    };
    match forgotten.await {
        Ok(true) => Acted::done(None),
        Ok(false) => Acted::skipped("it was changed meanwhile"),
        Err(error) => Acted::failed(error),
    }
}

#[cfg(test)]
mod tests;
