//! A drill's next step: written down first, so that whatever is killed or comes twice, a volume has
//! one restore under way at most, and what was made is known and deleted again.

use std::hash::{BuildHasher as _, RandomState};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification, VolumeStatusInfoStatus, VolumeType};
use guardrails::aws::{ApiError, ErrorKind, filter, timestamp};
use guardrails::guardrail::Acted;
use guardrails::state::{Expect, State, Written};
use guardrails::tags;
use jiff::Timestamp;

use crate::act::blocks::{read, untried};
use crate::act::request::without_id;
use crate::action::{Drilling, Effect, Step};
use crate::evaluate::Evaluation;
use crate::facts::drills::{Ended, Made, Outcome, Record, Restore, UnderWay};
use crate::memory::{DRILLS, PROOFS, PROOFS_KEPT_FOR};
use crate::observe::drills::made_of;
use crate::ownership::NAME;
use crate::policy::Way;
use crate::regions::Regions;

const CREATE: &str = "ec2:CreateVolume";
const DELETE: &str = "ec2:DeleteVolume";
const STATUS: &str = "ec2:DescribeVolumeStatus";
const ZONES: &str = "ec2:DescribeAvailabilityZones";
/// Writes at once.
const AT_ONCE: usize = 8;
/// What a token begins with; the role may make and delete no volume whose tag begins otherwise.
const TOKEN: &str = "drill-";
/// The token's volume was made and is gone (EBS-25), or was asked for in other words.
const MISMATCH: &str = "IdempotentParameterMismatch";

/// Why a step ended early.
enum Stop {
    /// Nobody's fault.
    Skipped(String),
    Failed(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// Carries out a step.
pub(super) async fn drill(
    regions: &Regions,
    state: &State,
    drilling: &Drilling,
    run: &str,
) -> Acted<Effect> {
    let mut book = Book::of(state, drilling);
    let acted = match book.step(regions, drilling, run).await {
        Ok(note) => Acted::done(Some(note)),
        Err(Stop::Skipped(why)) => Acted::skipped(why),
        // What is written can't be done again on the same look.
        Err(Stop::Failed(error)) if error.kind == ErrorKind::Throttled && book.is_written => {
            Acted::skipped(error.to_string())
        }
        Err(Stop::Failed(error)) => Acted::failed(error),
    };
    if book.is_written {
        acted.with(Effect::Drilled(Box::new(book.record)))
    } else {
        acted
    }
}

/// Since when drills are there, and ask for a volume's first proof: written down by the first sweep
/// that finds them so. What another run has written stands.
pub(crate) async fn begin(state: &State, evaluation: &Evaluation<'_>) -> Result<(), ApiError> {
    if !evaluation.facts.complete {
        return Ok(());
    }
    let now = evaluation.now;
    for round in evaluation.rounds.iter().filter(|round| round.is_new) {
        let name = &round.drill.name;
        state
            .put(&DRILLS, name, &now, None, &Expect::Absent, now)
            .await?;
    }
    let rounds = evaluation.rounds.iter();
    let read = rounds.filter(|round| round.unread.is_none());
    let lines = read.flat_map(|round| &round.lines);
    let begun: Vec<_> = lines.filter(|line| line.begins()).collect();
    let until = Some(now + PROOFS_KEPT_FOR);
    for some in begun.chunks(AT_ONCE) {
        let puts = some.iter().map(|line| async move {
            let (key, since) = (&line.key, &line.since);
            state
                .put(&DRILLS, key, since, until, &Expect::Absent, now)
                .await
        });
        futures::future::try_join_all(puts).await?;
    }
    Ok(())
}

/// A record, and the write that it rests on.
struct Book<'a> {
    state: &'a State,
    key: &'a str,
    record: Record,
    expect: Expect,
    is_written: bool,
}

impl<'a> Book<'a> {
    fn of(state: &'a State, drilling: &'a Drilling) -> Self {
        let remembered = drilling.remembered.as_ref();
        Self {
            state,
            key: &drilling.key,
            record: remembered
                .map(|stored| stored.value.clone())
                .unwrap_or_default(),
            expect: remembered.map_or(Expect::Absent, |stored| stored.expect.clone()),
            is_written: false,
        }
    }

    async fn write(&mut self) -> Result<(), Stop> {
        let now = Timestamp::now();
        let until = self
            .record
            .under_way
            .is_none()
            .then(|| now + PROOFS_KEPT_FOR);
        let written = self
            .state
            .put(&PROOFS, self.key, &self.record, until, &self.expect, now)
            .await?;
        match written {
            Written::Done(version) => {
                self.expect = Expect::Version(version);
                self.is_written = true;
                Ok(())
            }
            Written::Conflict => Err(Stop::Skipped(
                "another run has just gone on with it; the next sweep looks again".to_owned(),
            )),
        }
    }

    async fn step(
        &mut self,
        regions: &Regions,
        drilling: &Drilling,
        run: &str,
    ) -> Result<String, Stop> {
        let ec2 = regions.client_in(&drilling.region)?;
        match &drilling.step {
            Step::Read { snapshot, slot } => {
                let ebs = regions.ebs(&drilling.region)?;
                self.read(ebs, snapshot, *slot).await
            }
            Step::Make {
                snapshot,
                slot,
                not_in,
                of,
            } => {
                self.record.taken = Some(*slot);
                let zone = match zone(ec2, not_in.as_deref()).await {
                    Ok(zone) => zone,
                    Err(error) => return self.not_tried(Way::Volume, snapshot, error).await,
                };
                let restore = Restore {
                    token: token(run, self.key),
                    snapshot: snapshot.clone(),
                    zone,
                    begun: Timestamp::now(),
                    ..Restore::default()
                };
                self.record.under_way = Some(UnderWay::Volume(restore.clone()));
                self.write().await?;
                match ask(ec2, &restore, of).await {
                    Ok(made) => self.note(&made).await,
                    // Nothing was made; but the SDK may have asked twice, and a mismatch says that a
                    // volume was made by the first request (EBS-25).
                    Err(error)
                        if error.code != MISMATCH
                            && matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused) =>
                    {
                        self.not_tried(Way::Volume, snapshot, error).await
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Step::Ask { of } => {
                let restore = self.restore()?.clone();
                match ask(ec2, &restore, of).await {
                    Ok(made) => self.note(&made).await,
                    // The first request may have been carried out all the same.
                    Err(error) if error.code == MISMATCH => Err(Stop::Skipped(error.to_string())),
                    Err(error) => Err(error.into()),
                }
            }
            Step::Note(made) => self.note(made).await,
            Step::Check(made) => {
                self.restore()?.ready.get_or_insert_with(Timestamp::now);
                match status(ec2, &made.id).await? {
                    None => {
                        self.write().await?;
                        Err(Stop::Skipped(format!(
                            "AWS doesn't tell the status of {} yet",
                            made.id
                        )))
                    }
                    Some(outcome) => self.close(ec2, made, outcome).await,
                }
            }
            Step::Close(made, outcome) => self.close(ec2, made, outcome.clone()).await,
            Step::Settle(ended) => {
                let (way, snapshot) = match &self.record.under_way {
                    Some(UnderWay::Volume(restore)) => (Way::Volume, restore.snapshot.clone()),
                    Some(UnderWay::Blocks { snapshot, .. }) => (Way::Blocks, snapshot.clone()),
                    None => return Err(nothing_under_way()),
                };
                self.settle(way, &snapshot, ended.clone()).await
            }
        }
    }

    fn restore(&mut self) -> Result<&mut Restore, Stop> {
        match &mut self.record.under_way {
            Some(UnderWay::Volume(restore)) => Ok(restore),
            _ => Err(nothing_under_way()),
        }
    }

    async fn settle(&mut self, way: Way, snapshot: &str, ended: Ended) -> Result<String, Stop> {
        let note = match &ended {
            Ended::Proven(note, _) | Ended::Failed(note) | Ended::Untried(note, _) => note.clone(),
        };
        let record = std::mem::take(&mut self.record);
        self.record = record.settled(way, snapshot, ended, Timestamp::now());
        self.write().await?;
        Ok(note)
    }

    /// It couldn't be tried. A run fails for it once; from then on the condition tells.
    async fn not_tried(
        &mut self,
        way: Way,
        snapshot: &str,
        error: ApiError,
    ) -> Result<String, Stop> {
        let is_known = self.record.untried.is_some();
        self.settle(way, snapshot, untried(&error)).await?;
        Err(if is_known {
            Stop::Skipped(error.to_string())
        } else {
            Stop::Failed(error)
        })
    }

    async fn read(
        &mut self,
        ebs: &aws_sdk_ebs::Client,
        snapshot: &str,
        slot: Timestamp,
    ) -> Result<String, Stop> {
        let before = match self.record.under_way {
            Some(UnderWay::Blocks { tries, .. }) => tries,
            _ => 0,
        };
        self.record.taken = Some(slot);
        self.record.under_way = Some(UnderWay::Blocks {
            snapshot: snapshot.to_owned(),
            begun: Timestamp::now(),
            tries: before.saturating_add(1),
        });
        self.write().await?;
        match read(ebs, snapshot).await {
            Ok(ended) => self.settle(Way::Blocks, snapshot, ended).await,
            Err(error) => self.not_tried(Way::Blocks, snapshot, error).await,
        }
    }

    async fn note(&mut self, made: &Made) -> Result<String, Stop> {
        let restore = self.restore()?;
        restore.volume = Some(made.id.clone());
        restore.created = Some(made.created);
        if made.state == "creating" {
            restore.creating = Some(Timestamp::now());
        }
        let note = format!("{} is being made in {}", made.id, restore.zone);
        self.write().await?;
        Ok(note)
    }

    /// Writes down what came of it, and deletes the volume: on a look of this moment, and only if it
    /// is the one in all that AWS says.
    async fn close(&mut self, ec2: &Client, made: &Made, outcome: Outcome) -> Result<String, Stop> {
        let restore = self.restore()?;
        restore.volume = Some(made.id.clone());
        if restore.outcome.is_none() {
            restore.outcome = Some(outcome);
            self.write().await?;
        }
        let now = made_of(ec2, "volume-id", vec![made.id.clone()]).await?;
        let Some(its) = now.iter().find(|one| one.id == made.id) else {
            return Ok(format!("{} is gone already", made.id));
        };
        self.restore()?.may_delete(its).map_err(Stop::Skipped)?;
        let answer = ec2.delete_volume().volume_id(&made.id).send().await;
        let Err(error) = answer.map_err(|error| ApiError::of(DELETE, &error)) else {
            return Ok(format!("{} is deleted", made.id));
        };
        // The role allows deletion by the volume's tag, and what is gone has none.
        let is_gone = error.is_not_found()
            || (error.kind == ErrorKind::Denied
                && made_of(ec2, "volume-id", vec![made.id.clone()])
                    .await?
                    .is_empty());
        if is_gone {
            return Ok(format!("{} is gone already", made.id));
        }
        if !matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused) {
            return Err(error.into());
        }
        // A run fails for it once; from then on the condition tells.
        let text = error.to_string();
        match self.restore()?.refused.replace(text.clone()) {
            Some(before) if before == text => Err(Stop::Skipped(text)),
            _ => {
                self.write().await?;
                Err(error.into())
            }
        }
    }
}

fn nothing_under_way() -> Stop {
    Stop::Skipped("nothing is under way any more; the next sweep looks again".to_owned())
}

/// A word that no other restore has: the client token, and the value of the volume's tag.
fn token(run: &str, key: &str) -> String {
    let random = RandomState::new().hash_one(key);
    let run = run.split('-').next().unwrap_or(run);
    format!("{TOKEN}{run}-{random:016x}")
}

/// A zone for the volume: another one than the source's, so that its loss is what is tried.
async fn zone(ec2: &Client, not_in: Option<&str>) -> Result<String, ApiError> {
    let answer = ec2
        .describe_availability_zones()
        .filters(filter("zone-type", vec!["availability-zone".to_owned()]))
        .filters(filter("state", vec!["available".to_owned()]))
        .send()
        .await
        .map_err(|error| ApiError::of(ZONES, &error))?;
    let zones = answer.availability_zones().iter();
    let zones: Vec<&str> = zones.filter_map(|zone| zone.zone_name()).collect();
    let other = zones.iter().find(|zone| Some(**zone) != not_in);
    let zone = other.or(zones.first()).copied();
    zone.map(str::to_owned).ok_or_else(|| ApiError {
        operation: ZONES,
        code: "NoZone".to_owned(),
        message: "the Region has no available zone".to_owned(),
        kind: ErrorKind::Unknown,
    })
}

/// Asks for the volume. The SDK may repeat it: the token makes that harmless (EBS-24).
async fn ask(ec2: &Client, restore: &Restore, of: &str) -> Result<Made, ApiError> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(tags::clip(value)).build();
    let specification = TagSpecification::builder()
        .resource_type(ResourceType::Volume)
        .tags(tag(tags::GUARDRAIL, NAME))
        .tags(tag(tags::DRILL, &restore.token))
        .tags(tag("Name", &format!("restore drill of {of}")))
        .build();
    let made = ec2
        .create_volume()
        .client_token(&restore.token)
        .availability_zone(&restore.zone)
        .snapshot_id(&restore.snapshot)
        .volume_type(VolumeType::Gp3)
        .tag_specifications(specification)
        .send()
        .await
        .map_err(|error| ApiError::of(CREATE, &error))?;
    Ok(Made {
        token: Some(restore.token.clone()),
        snapshot: restore.snapshot.clone(),
        created: timestamp(made.create_time()).unwrap_or_else(Timestamp::now),
        state: made
            .state()
            .map_or("creating", |state| state.as_str())
            .to_owned(),
        attached: None,
        id: made.volume_id.ok_or_else(|| without_id(CREATE))?,
    })
}

/// What the status of a volume says; none: nothing yet.
async fn status(ec2: &Client, id: &str) -> Result<Option<Outcome>, ApiError> {
    let answer = ec2
        .describe_volume_status()
        .filters(filter("volume-id", vec![id.to_owned()]))
        .send()
        .await
        .map_err(|error| ApiError::of(STATUS, &error))?;
    let found = answer.volume_statuses().iter();
    let found = found
        .filter(|status| status.volume_id() == Some(id))
        .find_map(|status| status.volume_status()?.status());
    Ok(match found {
        Some(VolumeStatusInfoStatus::Ok) => Some(Outcome::Proven),
        Some(VolumeStatusInfoStatus::Impaired) => Some(Outcome::Failed(format!(
            "the status of {id}, made from it, is `impaired`"
        ))),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
