//! The image tag's repair: whether the known good image may be put back (ASG-10). Pure.
//!
//! ECR has no compare-and-swap. So what the tag pointed to is remembered when the refresh is first
//! seen, and the known good image goes back only while the tag still points to that.

use guardrails::aws::{ApiError, ErrorKind};
use jiff::{SignedDuration, Timestamp};

use crate::facts::{Case, Image, Refresh, Status};
use crate::memory::{Repair, Seen};
use crate::policy::{IMAGE_TAG_MAX, ImageTags};

/// How long after a refresh's start its image tag may be seen for the first time. Later nobody
/// knows whether it is still the image that the refresh brought.
const FIRST_SIGHT: SignedDuration = SignedDuration::from_mins(10);

/// How an image tag's repair stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Not opted in, or not looked at.
    NotAsked,
    /// The tag points to the known good image, and nobody has moved it there.
    Good,
    /// The tag was moved back to the known good image.
    Moved(Moved),
    Repair(Plan),
    /// It is left as it is, for this reason; with what a person does about it.
    Refused(String),
    /// It can't be told: this couldn't be read.
    Unread(String),
}

impl Standing {
    /// What is to be put back.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Repair(plan) => Some(plan),
            _ => None,
        }
    }
}

/// An image tag that was put back while its refresh was the group's newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub name: String,
    /// The digest that it pointed to when the refresh began.
    pub from: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub repository: String,
    /// The tag that the instances pull.
    pub tag: String,
    /// The tag of the known good image.
    pub stable: String,
    /// The digest that the tag points to: the image of the failing refresh.
    pub bad: String,
    /// The digest of the known good image.
    pub good: String,
    /// The tag under which the failing image stays: without any tag a lifecycle rule may sweep it.
    pub keep_as: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The tag points to the known good image; the other stays under `keep_as`.
    Restored {
        digest: String,
        kept_as: String,
    },
    /// Nothing was overwritten: why, and what to do.
    Refused(String),
    Failed(ApiError),
}

impl Outcome {
    /// How far the repair has come with it.
    pub(crate) fn repair(&self) -> Repair {
        match self {
            Self::Restored { .. } => Repair::Restored,
            Self::Refused(_) => Repair::NotRestored,
            // The next sweep tries again; that ECR doesn't answer doesn't save the release.
            Self::Failed(_) => Repair::Restoring,
        }
    }
}

/// How the repair of the image tag `tags` stands for `refresh`, the newest of `case`.
pub(crate) fn standing(case: &Case, refresh: &Refresh, tags: Option<&ImageTags>) -> Standing {
    let seen = case.memory().and_then(|memory| memory.image.as_ref());
    let Some(tags) = tags else {
        return Standing::NotAsked;
    };
    let moved = |seen: &Seen| {
        Standing::Moved(Moved {
            name: format!("{}:{}", tags.repository, tags.tag),
            from: seen.digest.clone(),
        })
    };
    if let Some(seen) = seen.filter(|seen| seen.repair == Repair::Restored) {
        return moved(seen);
    }
    let Some(read) = &case.image else {
        return Standing::NotAsked;
    };
    let ImageTags {
        repository, tag, ..
    } = tags;
    let image = match read {
        Ok(image) => image,
        Err(error) => {
            let why = format!("{repository} couldn't be read: {error}");
            return match error.kind {
                ErrorKind::Denied => Standing::Refused(format!(
                    "{why}. Name the repository's ARN in the stack's parameter ImageRepositoryArns: without it the function may do nothing there. Until then put the image that you trust under {repository}:{tag} yourself"
                )),
                ErrorKind::Refused => Standing::Refused(why),
                ErrorKind::Throttled | ErrorKind::Unknown => Standing::Unread(why),
            };
        }
    };
    let bad = match seen {
        Some(seen) if seen.repair == Repair::NotRestored => {
            return refused(tags, &format!("{repository}:{tag} couldn't be changed"));
        }
        Some(seen) => Some(&seen.digest),
        None => image
            .current
            .as_ref()
            .filter(|_| seen_in_time(refresh, case.looked)),
    };
    match compared(tags, image, bad) {
        Ok(None) => match seen {
            Some(seen) if seen.repair == Repair::Restoring => moved(seen),
            _ => Standing::Good,
        },
        Ok(Some((bad, good))) => Standing::Repair(Plan {
            repository: repository.clone(),
            tag: tag.clone(),
            stable: tags.stable_tag.clone(),
            bad: bad.to_owned(),
            good: good.to_owned(),
            keep_as: keep_as(tag, &refresh.id),
        }),
        Err(why) => refused(tags, &why),
    }
}

fn refused(tags: &ImageTags, why: &str) -> Standing {
    Standing::Refused(left_alone(why, &tags.repository, &tags.tag))
}

/// Why a tag is left as it is, and what a person does about it.
pub(crate) fn left_alone(why: &str, repository: &str, tag: &str) -> String {
    format!(
        "{why}. Nothing was overwritten. Put the image that you trust under {repository}:{tag} yourself"
    )
}

/// The image that the refresh brought and the one to go back to; none: it is there already. `bad`:
/// what the tag pointed to when the refresh began, if anybody saw it.
fn compared<'a>(
    tags: &ImageTags,
    image: &'a Image,
    bad: Option<&'a String>,
) -> Result<Option<(&'a str, &'a str)>, String> {
    let ImageTags {
        repository,
        tag,
        stable_tag: stable,
    } = tags;
    let Some(current) = &image.current else {
        return Err(format!("{repository}:{tag} doesn't exist"));
    };
    let Some(good) = &image.stable else {
        return Err(format!(
            "there is no known good image: {repository}:{stable} doesn't exist"
        ));
    };
    let Some(bad) = bad else {
        return Err(format!(
            "nobody saw what {repository}:{tag} pointed to when the refresh started"
        ));
    };
    if bad == good {
        return Err(format!(
            "{repository}:{stable} is the same image as the refresh brought ({good}), so there is nothing to go back to"
        ));
    }
    if current == good {
        return Ok(None);
    }
    if current != bad {
        return Err(format!(
            "{repository}:{tag} has changed since the refresh started: it points to {current}, no longer to {bad}"
        ));
    }
    Ok(Some((bad, good)))
}

/// Whether what is seen now for the first time is what the refresh brought. Once it is on its way
/// out, that may be somebody's correction.
pub(crate) fn seen_in_time(refresh: &Refresh, looked: Timestamp) -> bool {
    let goes_on = refresh.status == Status::Pending || refresh.status.is_running();
    goes_on
        && refresh
            .start
            .is_none_or(|start| looked.duration_since(start) <= FIRST_SIGHT)
}

/// `<tag>-failed-<refresh id>`, within what a tag may be.
fn keep_as(tag: &str, refresh: &str) -> String {
    let suffix = format!("-failed-{refresh}");
    let room = IMAGE_TAG_MAX.saturating_sub(suffix.len());
    let tag: String = tag.chars().take(room).collect();
    format!("{tag}{suffix}")
}

#[cfg(test)]
mod tests;
