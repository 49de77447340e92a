//! Carries out one action.

mod brake;
mod claim;
mod evidence;
mod groups;
mod hold;
mod isolate;
mod launcher;
mod loops;
mod memory;
mod protect;
mod refusals;
mod release;
mod undone;

use guardrails::aws::ApiError;
use guardrails::guardrail::Acted;
use guardrails::state::Expect;
use jiff::Timestamp;

pub(crate) use memory::remember;

use crate::admission::Admission;
use crate::clients::Clients;
use crate::decide::{Action, Effect};
use crate::facts::Isolation;
use crate::read;
use crate::record::{BRAKE, Brake, LATELY, QUARANTINE, Record};

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
            Ok(None) => Acted::skipped("nothing of it is suspended any more"),
            restored => acted(restored),
        },
        Action::MendIsolation {
            vpc,
            group,
            admission,
            at,
        } => acted(mend_isolation(clients, vpc, group, admission, *at).await),
        Action::ReleaseBrake { at } => {
            let (none, any) = (Brake::default(), Expect::Any);
            let written = clients.state.put(&BRAKE, LATELY, &none, None, &any, *at);
            acted(written.await.map(|_| None))
        }
        Action::Forget {
            instance,
            record,
            at,
        } => {
            let forgotten = forget(clients, instance, record, *at).await;
            forgotten.unwrap_or_else(Acted::failed)
        }
    }
}

fn acted(answer: Result<Option<String>, ApiError>) -> Acted<Effect> {
    answer.map_or_else(Acted::failed, Acted::done)
}

async fn mend_isolation(
    clients: &Clients,
    vpc: &str,
    group: &Isolation,
    admission: &Admission,
    at: Timestamp,
) -> Result<Option<String>, ApiError> {
    let id = &group.id;
    let mut done = Vec::new();
    let now = isolate::mend(clients, id, vpc, admission, at).await?;
    if !admission.isolates(group) {
        done.push(format!(
            "took the rules of {id} away that the policy doesn't name"
        ));
    }
    if let Some(whom) = isolate::admit(clients, vpc, &now, admission, at).await? {
        done.push(format!("{id} lets in {whom}"));
    }
    Ok((!done.is_empty()).then(|| done.join("; ")))
}

async fn forget(
    clients: &Clients,
    instance: &str,
    record: &Record,
    at: Timestamp,
) -> Result<Acted<Effect>, ApiError> {
    // A look may have left it out: it is isolated still, and a release needs its record.
    let ids = record.interfaces.keys().cloned().collect();
    let mut left = read::left_behind(&clients.ec2, ids).await?.into_iter();
    if left.any(|one| one.instance.as_deref() == Some(instance)) {
        let why = "its network interfaces are attached to it still; a later sweep forgets it";
        return Ok(Acted::skipped(why));
    }
    let given_back = release::left_behind(clients, record, at).await?;
    let stored = clients.state.get(&QUARANTINE, instance, at).await?;
    if let Some(stored) = stored.filter(|stored| stored.value == *record) {
        let expect = Expect::Version(stored.version);
        let deleted = clients.state.delete(&QUARANTINE, instance, &expect).await?;
        if deleted.is_done() {
            return Ok(Acted::done(given_back));
        }
    }
    Ok(Acted::skipped("it was changed meanwhile"))
}

#[cfg(test)]
mod tests;
