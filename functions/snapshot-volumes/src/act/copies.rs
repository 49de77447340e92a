//! Makes a copy in another Region: asked for once (EBS-1).
//!
//! AWS keeps nobody from asking twice, as it does with snapshots of a volume (EBS-5). So each try is
//! written down before it is sent, and whoever finds it written sends nothing. A run that is killed
//! in between leaves what it wrote, and the copy is asked for when that has expired.

use aws_sdk_ec2::Client;
use guardrails::aws::{self, ApiError, ErrorKind};
use guardrails::guardrail::Acted;
use guardrails::state::{Expect, State, Version, Written};
use jiff::Timestamp;

use crate::act::request::{specification, without_id};
use crate::action::{CopyTo, Effect};
use crate::facts::{Try, try_name};
use crate::memory::{COPY_AGAIN_AFTER, SEEN_AFTER, TRIES};
use crate::regions::{Regions, in_region};

const COPY: &str = "ec2:CopySnapshot";
/// As many copies are under way as AWS makes at once (EBS-18).
const TOO_MANY: &str = "ResourceLimitExceeded";

pub(super) async fn copy(regions: &Regions, state: &State, copy: &CopyTo) -> Acted<Effect> {
    let ec2 = match regions.client(Some(&copy.region)) {
        Ok(ec2) => ec2,
        Err(error) => return Acted::failed(error),
    };
    let presigned = match regions.presigned(&copy.source, &copy.region).await {
        Ok(presigned) => presigned,
        Err(error) => return Acted::failed(error),
    };
    let begun = match Begun::write(state, copy).await {
        Ok(Some(begun)) => begun,
        Ok(None) => {
            return Acted::skipped("another run has just asked for it; the next sweep looks again");
        }
        Err(error) => return Acted::failed(error),
    };
    match send(ec2, regions.home(), copy, presigned).await {
        Ok(id) => Acted::done(Some(id)).with(Effect::Copied),
        Err(error) => begun.not_made(state, error).await,
    }
}

async fn send(
    ec2: &Client,
    home: &str,
    copy: &CopyTo,
    presigned: Option<String>,
) -> Result<String, ApiError> {
    let answer = ec2
        .copy_snapshot()
        .source_region(home)
        .source_snapshot_id(&copy.source)
        .destination_region(&copy.region)
        .set_presigned_url(presigned)
        .encrypted(true)
        .set_kms_key_id(copy.key.clone())
        .description(&copy.description)
        .tag_specifications(specification(copy.tags.clone()))
        .customize()
        .config_override(aws::once())
        .send()
        .await
        .map_err(|error| in_region(&copy.region, ApiError::of(COPY, &error)))?;
    answer.snapshot_id.ok_or_else(|| without_id(COPY))
}

/// A try that is written down.
struct Begun {
    name: String,
    version: Version,
}

impl Begun {
    /// None: it was written down already.
    async fn write(state: &State, copy: &CopyTo) -> Result<Option<Self>, ApiError> {
        let name = try_name(&copy.region, &copy.source, copy.attempt);
        let now = Timestamp::now();
        let begun = Try {
            refused: None,
            again: now + SEEN_AFTER,
        };
        let until = Some(begun.again);
        let written = state
            .put(&TRIES, &name, &begun, until, &Expect::Absent, now)
            .await?;
        Ok(match written {
            Written::Done(version) => Some(Self { name, version }),
            Written::Conflict => None,
        })
    }

    /// What a refused copy means.
    async fn not_made(self, state: &State, error: ApiError) -> Acted<Effect> {
        if error.kind == ErrorKind::Unknown {
            // It may have been made: what is written keeps everybody from asking before it is seen.
            return Acted::failed(error);
        }
        let passes = passes_by_itself(&error);
        let settled = if passes.is_some() || error.kind == ErrorKind::Throttled {
            self.forget(state).await
        } else {
            self.remember(state, &error).await
        };
        match (settled, passes) {
            (Err(error), _) => Acted::failed(error),
            (Ok(()), Some(why)) => Acted::skipped(format!("{why} ({})", error.code)),
            (Ok(()), None) => Acted::failed(error),
        }
    }

    async fn forget(self, state: &State) -> Result<(), ApiError> {
        let expect = Expect::Version(self.version);
        state.delete(&TRIES, &self.name, &expect).await.map(drop)
    }

    /// What AWS refuses leaves no snapshot that tells of it, and asked for at each sweep it would
    /// take others their turn.
    async fn remember(self, state: &State, error: &ApiError) -> Result<(), ApiError> {
        let now = Timestamp::now();
        let refused = Try {
            refused: Some(error.to_string()),
            again: now + COPY_AGAIN_AFTER,
        };
        let (until, expect) = (Some(refused.again), Expect::Version(self.version));
        let written = state.put(&TRIES, &self.name, &refused, until, &expect, now);
        written.await.map(drop)
    }
}

/// Why a refusal is nobody's fault, if it isn't: nothing was made, and the next sweep looks again.
fn passes_by_itself(error: &ApiError) -> Option<&'static str> {
    Some(match error.code.as_str() {
        TOO_MANY => {
            "as many copies to the Region are under way as AWS makes at once; the next sweep goes on once some are completed"
        }
        "IncorrectState" => "the snapshot is in no state to be copied; the next sweep looks again",
        _ if error.is_not_found() && error.code.starts_with("InvalidSnapshot") => {
            "the snapshot is gone meanwhile"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
