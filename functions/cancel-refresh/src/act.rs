//! Carries out one action.
//!
//! Cancelling and rolling back take only the group's name (ASG-2), so what they hit is whatever
//! refresh is active at that moment. Three things keep them from hitting another, or the same one
//! twice: a claim in the group's tags before, a look at group and refresh after the claim and just
//! before each call, and a call that is sent once.

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use guardrails::autoscaling;
use guardrails::aws::{ApiError, ErrorKind, creation_timeouts, never_again};
use guardrails::guardrail::Acted;
use guardrails::tags;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::Clients;
use crate::decide::{Action, How, Restore, Stop, Stopped};
use crate::facts::{Group, Mark, Refresh, Repair, Seen};
use crate::image::{self, Outcome};
use crate::observe;

/// How long a claim stands before it is looked at again: of two runs that look, claim and look at
/// the same time, both then see the later claim, and only its run goes on.
const SETTLE: Duration = Duration::from_secs(1);

/// Carries out `action`; `run` names the invocation.
pub(crate) async fn act(clients: &Clients, action: &Action, run: &str) -> Acted {
    match action {
        // Boxed: it is by far the largest of them.
        Action::Stop(stop) => Box::pin(stop_refresh(clients, stop, run)).await,
        Action::Restore(restore) => restore_image(clients, restore).await,
        Action::Remember { group, seen } => {
            match autoscaling::tag(
                &clients.autoscaling,
                group,
                [(tags::REFRESH_IMAGE, seen.value())],
            )
            .await
            {
                Ok(()) => Acted::Done(None),
                Err(error) => Acted::Failed(error),
            }
        }
        Action::CannotJudge { error } => Acted::Failed(ApiError {
            // Nothing was sent that could be tried again.
            kind: match error.kind {
                ErrorKind::Denied => ErrorKind::Denied,
                _ => ErrorKind::Refused,
            },
            ..error.clone()
        }),
    }
}

/// Claims, looks, repairs the image tag, looks, and stops (ASG-11).
async fn stop_refresh(clients: &Clients, stop: &Stop, run: &str) -> Acted {
    let asg = &clients.autoscaling;
    let claim = Mark {
        refresh: stop.refresh.clone(),
        step: stop.how.claim(),
        at: Timestamp::now(),
        run: run.to_owned(),
    };
    let seen = |repair: Repair, digest: &str| Seen {
        refresh: stop.refresh.clone(),
        digest: digest.to_owned(),
        repair,
    };
    let mut claimed = vec![(tags::REFRESH, claim.value())];
    if let Some(plan) = &stop.image {
        // The refresh may be stopped at its first sight, before anything was written down.
        claimed.push((tags::REFRESH_IMAGE, seen(Repair::Open, &plan.bad).value()));
    }
    if let Err(error) = autoscaling::tag(asg, &stop.group, claimed).await {
        return Acted::Failed(error);
    }
    sleep(SETTLE).await;
    match look(asg, stop, run).await {
        Ok(None) => {}
        Ok(Some(why)) => return Acted::Skipped(why),
        Err(error) => return Acted::Failed(error),
    }

    let mut stopped = Stopped::default();
    if let Some(plan) = &stop.image {
        let outcome = image::restore(&clients.ecr, plan).await;
        let repair = match &outcome {
            Outcome::Restored { .. } => Repair::Restored,
            Outcome::Refused(_) => Repair::NotRestored,
            // The next sweep tries again; that ECR doesn't answer doesn't save the release.
            Outcome::Failed(_) => Repair::Open,
        };
        stopped.image = Some(outcome);
        let value = seen(repair, &plan.bad).value();
        if let Err(error) = autoscaling::tag(asg, &stop.group, [(tags::REFRESH_IMAGE, value)]).await
            && error.kind == ErrorKind::Throttled
        {
            return Acted::Failed(error);
        }
        match look(asg, stop, run).await {
            Ok(None) => {}
            Ok(Some(why)) => {
                let note = match &stopped.image {
                    Some(image) => format!("{why}; {}", say(image)),
                    None => why,
                };
                let _ = stop.result.set(stopped);
                return Acted::Skipped(note);
            }
            Err(error) => return Acted::Failed(error),
        }
    }

    let (how, hit) = match send(asg, stop, run, &mut stopped).await {
        Sent::Done(how, hit) => (how, hit),
        Sent::Skipped(why) => return Acted::Skipped(why),
        Sent::Failed(error) => {
            if error.kind != ErrorKind::Throttled {
                let _ = stop.result.set(stopped);
            }
            return Acted::Failed(error);
        }
    };
    stopped.how = Some(how);
    let done = Mark {
        step: how.done(),
        at: Timestamp::now(),
        ..claim
    };
    // The claim alone says nearly as much: a failure to write this is no failure to stop.
    let marked = autoscaling::tag(asg, &stop.group, [(tags::REFRESH, done.value())]).await;
    let hit = hit.filter(|hit| *hit != stop.refresh);
    stopped.mismatch.clone_from(&hit);
    let mut note = tell(stop, &stopped);
    if let Err(error) = marked {
        note = format!("{note}; that couldn't be written into the group's tags: {error}");
    }
    let _ = stop.result.set(stopped);
    match hit {
        None => Acted::Done(Some(note)),
        Some(hit) => Acted::Failed(ApiError {
            operation: operation(how),
            code: "RefreshMismatch".to_owned(),
            message: format!(
                "refresh {} was meant, and AWS says that {hit} was stopped: it started in the moment between. Start it again if it was good",
                stop.refresh
            ),
            kind: ErrorKind::Refused,
        }),
    }
}

/// What came of it, for the report.
fn tell(stop: &Stop, stopped: &Stopped) -> String {
    let how = match stopped.how {
        Some(How::Rollback) => "is being rolled back",
        Some(How::Cancel) => "is being cancelled",
        None => "was not stopped",
    };
    let mut note = format!("refresh {} {how}", stop.refresh);
    if let Some(fallback) = &stopped.fallback {
        note = format!("{note}, because {fallback}");
    }
    if let Some(image) = &stopped.image {
        note = format!("{note}; {}", say(image));
    }
    note
}

fn say(image: &Outcome) -> String {
    match image {
        Outcome::Restored { digest, kept_as } => {
            format!("the image tag points to {digest} again, the other image is kept as {kept_as}")
        }
        Outcome::Refused(why) => format!("the image tag was not put back: {why}"),
        Outcome::Failed(error) => format!("the image tag was not put back: {error}"),
    }
}

/// Why the refresh isn't to be stopped after all; none: it still is.
async fn look(asg: &Client, stop: &Stop, run: &str) -> Result<Option<String>, ApiError> {
    let (group, refresh) = futures::future::try_join(
        observe::one_group(asg, &stop.group),
        observe::newest_refresh(asg, &stop.group),
    )
    .await?;
    Ok(changed(stop, run, group.as_ref(), refresh.as_ref()))
}

fn changed(
    stop: &Stop,
    run: &str,
    group: Option<&Group>,
    refresh: Option<&Refresh>,
) -> Option<String> {
    let Some(group) = group else {
        return Some("the group is gone meanwhile".to_owned());
    };
    if let Some(operator) = &group.operator {
        return Some(format!("{operator} manages the group meanwhile"));
    }
    // A tag that isn't visible yet is no sign of another run.
    if let Some(mark) = group.mark()
        && mark.refresh == stop.refresh
        && mark.run != run
    {
        return Some(format!("another run has claimed it at {:.0}", mark.at));
    }
    match refresh {
        None => Some("the group has no refresh any more".to_owned()),
        Some(refresh) if refresh.id != stop.refresh => Some(format!(
            "refresh {} has started meanwhile, and it is not the one that was judged",
            refresh.id
        )),
        Some(refresh) if !refresh.status.is_running() => {
            Some(format!("it is {} meanwhile", refresh.status.word()))
        }
        Some(_) => None,
    }
}

enum Sent {
    /// Accepted; with the id that AWS named.
    Done(How, Option<String>),
    Skipped(String),
    Failed(ApiError),
}

async fn send(asg: &Client, stop: &Stop, run: &str, stopped: &mut Stopped) -> Sent {
    let error = match request(asg, &stop.group, stop.how).await {
        Ok(hit) => return Sent::Done(stop.how, hit),
        Err(error) => error,
    };
    match error.code.as_str() {
        "ActiveInstanceRefreshNotFound" => Sent::Skipped(format!(
            "it came to its end by itself meanwhile ({})",
            error.code
        )),
        "IrreversibleInstanceRefresh" if stop.how == How::Rollback => {
            // A cancel would hit a rollback too (ASG-2), and another run may have got through with
            // one meanwhile.
            match look(asg, stop, run).await {
                Ok(None) => {}
                Ok(Some(why)) => return Sent::Skipped(why),
                Err(error) => return Sent::Failed(error),
            }
            stopped.fallback = Some(format!("AWS can't roll it back: {}", error.message));
            match request(asg, &stop.group, How::Cancel).await {
                Ok(hit) => Sent::Done(How::Cancel, hit),
                Err(error) if error.code == "ActiveInstanceRefreshNotFound" => Sent::Skipped(
                    format!("it came to its end by itself meanwhile ({})", error.code),
                ),
                Err(error) => Sent::Failed(error),
            }
        }
        _ => Sent::Failed(error),
    }
}

fn operation(how: How) -> &'static str {
    match how {
        How::Cancel => "autoscaling:CancelInstanceRefresh",
        How::Rollback => "autoscaling:RollbackInstanceRefresh",
    }
}

/// Sends the request once, whatever AWS answers: a repeat could hit a refresh that has started
/// since. Returns the id that AWS says was hit.
async fn request(asg: &Client, group: &str, how: How) -> Result<Option<String>, ApiError> {
    let operation = operation(how);
    let answer = match how {
        // AWS's default holds: it waits for launches and terminations under way, so that the
        // group is at rest when the refresh shows as Cancelled.
        How::Cancel => asg
            .cancel_instance_refresh()
            .auto_scaling_group_name(group)
            .customize()
            .config_override(once())
            .send()
            .await
            .map(|answer| answer.instance_refresh_id)
            .map_err(|error| ApiError::of(operation, &error)),
        How::Rollback => asg
            .rollback_instance_refresh()
            .auto_scaling_group_name(group)
            .customize()
            .config_override(once())
            .send()
            .await
            .map(|answer| answer.instance_refresh_id)
            .map_err(|error| ApiError::of(operation, &error)),
    };
    answer.map_err(|error| match error.code.as_str() {
        // "You already have a pending update to a resource": refused, for the moment.
        "ResourceContention" => ApiError {
            kind: ErrorKind::Throttled,
            ..error
        },
        _ => error,
    })
}

fn once() -> aws_sdk_autoscaling::config::Builder {
    aws_sdk_autoscaling::config::Builder::new()
        .retry_config(never_again())
        .timeout_config(creation_timeouts())
}

async fn restore_image(clients: &Clients, restore: &Restore) -> Acted {
    let outcome = image::restore(&clients.ecr, &restore.plan).await;
    let seen = |repair: Repair| Seen {
        refresh: restore.refresh.clone(),
        digest: restore.plan.bad.clone(),
        repair,
    };
    let note = say(&outcome);
    let (acted, seen) = match &outcome {
        Outcome::Restored { .. } => (Acted::Done(Some(note)), seen(Repair::Restored)),
        Outcome::Refused(_) => (Acted::Skipped(note), seen(Repair::NotRestored)),
        Outcome::Failed(error) => return Acted::Failed(error.clone()),
    };
    let _ = restore.result.set(outcome);
    let written = [(tags::REFRESH_IMAGE, seen.value())];
    match autoscaling::tag(&clients.autoscaling, &restore.group, written).await {
        Ok(()) => acted,
        // The next sweep does it again, which changes nothing more.
        Err(error) => Acted::Failed(error),
    }
}

#[cfg(test)]
mod tests;
