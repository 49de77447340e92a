//! Looks at groups and their newest refresh; and, of refreshes that run, at what happened.
//!
//! A quiet group costs one call, for its newest refresh: AWS has none that lists the active ones of
//! the account. The rest is read only where it can change the judgement.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use guardrails::autoscaling::Which;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::resource::Resource;
use guardrails::state::{State, Stored};
use guardrails::trigger::{Order, Request};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::clients::Clients;
use crate::evaluate::Evaluated;
use crate::facts::{Case, Facts, Group, Question, Read};
use crate::memory::{Memory, REFRESHES};
use crate::policy::{Policy, Settings};
use crate::{ecr, policy, read, signals};

/// Groups read at once.
const CONCURRENCY: usize = 8;
/// How long groups are read again of which something was throttled. What is left then is told as
/// unread, and the rest of the groups still gets its turn.
const AGAIN: Duration = Duration::from_mins(1);

/// Reads what `request` asks for.
pub(crate) async fn observe(
    clients: &Clients,
    state: &State,
    policy: &Policy,
    request: &Request<Option<Question>>,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let asked = request.order == Order::Question;
    // Its triggers never name more than one.
    let subject = request.scope.named().first();
    let groups = groups(clients, policy, subject).await?;
    if let (true, Some(subject), []) = (asked, subject, groups.as_slice()) {
        return Err(no_such_group(subject.name()));
    }
    if groups.is_empty() {
        return Ok(Facts {
            complete: subject.is_none(),
            ..Facts::default()
        });
    }
    let mut memory = remembered(state, subject, now).await?;
    let look = Look {
        clients,
        policy,
        asked,
        now,
    };
    let found: Vec<Case> = groups
        .into_iter()
        .map(|group| Case {
            remembered: memory.remove(&group.name).into(),
            ..Case::of(group, now)
        })
        .collect();
    let mut cases: Vec<Case> = stream::iter(found)
        .map(|case| look.at(case))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    // All calls of Auto Scaling in an account share one limit (ASG-13), so several at once may be
    // more than it lets through, in spite of the SDK's retries. One at a time gets on.
    let until = Instant::now() + AGAIN;
    for found in &mut cases {
        if found.is_throttled() && Instant::now() < until {
            let afresh = Case {
                remembered: found.remembered.clone(),
                ..Case::of(found.group.clone(), now)
            };
            *found = look.at(afresh).await;
        }
    }
    Ok(Facts {
        complete: subject.is_none(),
        asked: request.ask.clone(),
        cases: cases
            .into_iter()
            .map(|case| (case.group.name.clone(), case))
            .collect(),
    })
}

fn no_such_group(name: &str) -> ApiError {
    ApiError {
        operation: "autoscaling:DescribeAutoScalingGroups",
        code: "NoSuchGroup".to_owned(),
        message: format!("there is no Auto Scaling group {name} in this account and Region"),
        kind: ErrorKind::Refused,
    }
}

/// The group that is named, those for which the policy names the alarm, or all.
async fn groups(
    clients: &Clients,
    policy: &Policy,
    subject: Option<&Resource>,
) -> Read<Vec<Group>> {
    let client = &clients.autoscaling;
    match subject {
        None => read::groups(client, Which::All).await,
        // Any alarm of the account comes here.
        Some(Resource::Alarm(alarm)) if !policy::names_alarm(policy, alarm) => Ok(Vec::new()),
        Some(Resource::Alarm(alarm)) => {
            let mut found = read::groups(client, Which::All).await?;
            found.retain(|group| Settings::of(policy, group).alarms.contains(alarm));
            Ok(found)
        }
        Some(other) => read::groups(client, Which::Named(&[other.name().to_owned()])).await,
    }
}

/// What is remembered, by group: of the one that is named, or of all.
async fn remembered(
    state: &State,
    subject: Option<&Resource>,
    now: Timestamp,
) -> Read<HashMap<String, Stored<Memory>>> {
    let found = match subject {
        Some(Resource::Group(group)) => {
            let one = state.get(&REFRESHES, group, now).await?;
            one.into_iter().collect()
        }
        _ => state.list(&REFRESHES, now).await?,
    };
    let by_name = found
        .into_iter()
        .map(|stored| (stored.name.clone(), stored));
    Ok(by_name.collect())
}

/// A look at groups.
struct Look<'a> {
    clients: &'a Clients,
    policy: &'a Policy,
    /// Whether a person asks: then all is read.
    asked: bool,
    now: Timestamp,
}

impl Look<'_> {
    /// All about one group that its judgement needs. What can't be read is told with the group: one
    /// failure never stops the rest.
    async fn at(&self, mut case: Case) -> Case {
        if self.evaluated(&case).excluded.is_some() && !self.asked {
            return case;
        }
        match read::refreshes(&self.clients.autoscaling, &case.group.name).await {
            Ok(refreshes) => {
                let mut refreshes = refreshes.into_iter();
                case.refresh = refreshes.next();
                case.earlier = refreshes.collect();
            }
            Err(error) => case.unread.push(error),
        }
        self.history(&mut case).await;
        self.health(&mut case).await;
        self.settings_of_a_stop(&mut case).await;
        case
    }

    /// By what is known so far.
    fn evaluated<'a>(&self, case: &'a Case) -> Evaluated<'a> {
        Evaluated::of(case, self.policy, self.now)
    }

    /// What happened since the refresh's start, and what its alarms say.
    async fn history(&self, case: &mut Case) {
        let evaluated = self.evaluated(case);
        let Some(newest) = &evaluated.refresh else {
            return;
        };
        let refresh = newest.refresh;
        let matters = refresh.status.is_running()
            || (refresh.status.is_ended_badly() && newest.ended_recently);
        let Some(start) = signals::read_from(case).filter(|_| matters || self.asked) else {
            return;
        };
        let names = evaluated.settings.alarms;
        match read::activities(&self.clients.autoscaling, &case.group.name, start).await {
            Ok(activities) => case.activities = activities,
            Err(error) => case.unread.push(error),
        }
        if !names.is_empty() {
            match read::alarms(&self.clients.cloudwatch, &names).await {
                Ok(alarms) => case.alarms = Some(alarms),
                Err(error) => case.unread.push(error),
            }
        }
    }

    /// What EC2 and the load balancer say, where that matters.
    async fn health(&self, case: &mut Case) {
        let terminated = signals::terminated(case);
        if !terminated.is_empty() {
            match read::ended(&self.clients.ec2, &terminated).await {
                Ok(ended) => case.ended = ended,
                Err(error) => case.unread.push(error),
            }
        }
        let matter = signals::targets_matter(&self.evaluated(case).judgement);
        let asked = self.asked && case.refresh.is_some();
        if (asked || matter) && !case.group.target_groups.is_empty() {
            match read::targets(&self.clients.elb, &case.group.target_groups).await {
                Ok(targets) => case.targets = Some(targets),
                Err(error) => case.unread.push(error),
            }
        }
    }

    /// What its image tag points to; and, of a refresh that fails with that known, what may keep it
    /// from being stopped.
    async fn settings_of_a_stop(&self, case: &mut Case) {
        if case.refresh.is_none() {
            return;
        }
        let evaluated = self.evaluated(case);
        let failing = evaluated.judgement.is_failing();
        let image_matters = failing || self.asked || evaluated.image_matters();
        if let Some(tags) = evaluated.settings.image.filter(|_| image_matters) {
            case.image = Some(ecr::read(&self.clients.ecr, &tags).await);
        }
        let failing = self.evaluated(case).judgement.is_failing();
        if (failing || self.asked) && case.group.operator.is_none() {
            case.stack = read::stack(&self.clients.cloudformation, &case.group).await;
        }
    }
}

#[cfg(test)]
mod tests;
