//! Reads blocks of a snapshot by the EBS direct APIs, which takes no volume: a sample, bounded in
//! number and time. Each block's checksum is compared, and what lies on the disk is told.

use std::time::Duration;

use aws_sdk_ebs::Client;
use aws_sdk_ebs::types::Block;
use aws_smithy_types::base64;
use guardrails::aws::{ApiError, ErrorKind};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::act::request::unreadable;
use crate::disk::{self, HEAD};
use crate::evaluate::drills::AGAIN_AFTER;
use crate::facts::drills::Ended;

const LIST: &str = "ebs:ListSnapshotBlocks";
const GET: &str = "ebs:GetSnapshotBlock";
/// So many blocks are read at points spread over the whole volume.
const SPREAD: i64 = 32;
/// Longest that one snapshot may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// Fewest blocks that a page lists (EBS-21).
const PAGE: i32 = 100;
/// Bytes in a GiB.
const GIB: i64 = 1 << 30;

/// What came of reading: an error where it isn't known.
pub(super) async fn read(ebs: &Client, snapshot: &str) -> Result<Ended, ApiError> {
    let mut sample = Sample {
        ebs,
        snapshot,
        read: Vec::new(),
        holds_data: false,
    };
    match timeout(PATIENCE, sample.take()).await {
        Ok(Ok(found)) => Ok(Ended::Proven(found, None)),
        Ok(Err(Stop::Wrong(why))) => Ok(Ended::Failed(why)),
        Ok(Err(Stop::Unknown(error))) => Err(error),
        Err(_elapsed) => Err(ApiError {
            operation: GET,
            code: "Timeout".to_owned(),
            message: format!("blocks weren't read within {} s", PATIENCE.as_secs()),
            kind: ErrorKind::Unknown,
        }),
    }
}

/// Why reading ended early.
enum Stop {
    /// The backup is wrong.
    Wrong(String),
    /// That isn't known.
    Unknown(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Unknown(error)
    }
}

struct Sample<'a> {
    ebs: &'a Client,
    snapshot: &'a str,
    /// Indexes of the blocks that were read.
    read: Vec<i32>,
    /// Whether any of them holds more than zeros.
    holds_data: bool,
}

/// What a list of blocks says.
struct Listed {
    /// Index and token of the first one at or after where it begins.
    first: Option<(i32, String)>,
    /// Of one block, in bytes.
    size: i64,
    /// Of the volume, in bytes.
    total: i64,
}

impl Sample<'_> {
    async fn take(&mut self) -> Result<String, Stop> {
        let listed = self.list(0).await?;
        if listed.first.is_none() {
            return Err(Stop::Wrong(format!(
                "the disk is empty: {} holds no block at all",
                self.snapshot
            )));
        }
        let size = listed.size.max(1);
        let start = self.bytes(0, size, size).await?;
        let layout = self.layout(&start, size).await?;
        for n in 0..SPREAD {
            let at = i32::try_from(listed.total / size * n / SPREAD).unwrap_or(i32::MAX);
            // Where little was written, several points come to the same block.
            if let Some((index, token)) = self.list(at).await?.first
                && !self.read.contains(&index)
            {
                self.block(index, &token, size).await?;
            }
        }
        if !self.holds_data {
            return Err(Stop::Wrong(format!(
                "the disk is empty: {} blocks of {} hold nothing but zeros",
                self.read.len(),
                self.snapshot
            )));
        }
        Ok(format!("{} blocks are sound; {layout}", self.read.len()))
    }

    /// What lies on the disk, in words.
    async fn layout(&mut self, start: &[u8], size: i64) -> Result<String, Stop> {
        let name = |head: &[u8]| disk::known(head).unwrap_or("unrecognised");
        let Some(table) = disk::table(start) else {
            return Ok(match disk::known(start) {
                Some(known) => format!("{known} on the whole disk"),
                None => "no partition table or file system is recognised".to_owned(),
            });
        };
        let mut known = Vec::new();
        for at in &table.partitions {
            let at = i64::try_from(*at).unwrap_or(i64::MAX);
            let head = self.bytes(at, i64::from(HEAD), size).await?;
            known.push(name(&head));
        }
        let known = if known.is_empty() {
            "no partition".to_owned()
        } else {
            known.join(", ")
        };
        Ok(format!("{} with {known}", table.name))
    }

    /// So many bytes of the disk; what was never written is zeros.
    async fn bytes(&mut self, at: i64, count: i64, size: i64) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        let end = at.saturating_add(count);
        for index in at / size..=end.saturating_sub(1) / size {
            let from = usize::try_from(at - index * size).unwrap_or(0);
            let until = usize::try_from((end - index * size).min(size)).unwrap_or(0);
            let Ok(index) = i32::try_from(index) else {
                break;
            };
            let first = self.list(index).await?.first;
            let block = match first.filter(|(listed, _)| *listed == index) {
                Some((_, token)) => self.block(index, &token, size).await?,
                None => vec![0; usize::try_from(size).unwrap_or(0)],
            };
            bytes.extend_from_slice(block.get(from..until).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// The first block that is listed from `start` on. A page may be empty though others follow
    /// (EBS-21).
    async fn list(&self, start: i32) -> Result<Listed, Stop> {
        let mut token = None;
        loop {
            let page = self
                .ebs
                .list_snapshot_blocks()
                .snapshot_id(self.snapshot)
                .starting_block_index(start)
                .max_results(PAGE)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| ApiError::of(LIST, &error))?;
            let (Some(size @ 1..), Some(total @ 1..), Some(blocks)) =
                (page.block_size, page.volume_size, page.blocks)
            else {
                let lacks = "the answer lacks the blocks, their size or the volume's";
                return Err(unreadable(LIST, lacks).into());
            };
            let first = match blocks.into_iter().next() {
                None => None,
                Some(Block {
                    block_index: Some(index),
                    block_token: Some(token),
                    ..
                }) => Some((index, token)),
                Some(_) => return Err(unreadable(LIST, "a block has no index or token").into()),
            };
            token = page.next_token;
            if first.is_some() || token.is_none() {
                return Ok(Listed {
                    first,
                    size: size.into(),
                    total: total.saturating_mul(GIB),
                });
            }
        }
    }

    /// A block, whose checksum was compared. What is wrong once may have been so on its way.
    async fn block(&mut self, index: i32, token: &str, size: i64) -> Result<Vec<u8>, Stop> {
        let mut wrong = String::new();
        for _ in 0..2 {
            match self.sound(index, token, size).await? {
                Ok(data) => {
                    if !self.read.contains(&index) {
                        self.read.push(index);
                    }
                    self.holds_data |= data.iter().any(|byte| *byte != 0);
                    return Ok(data);
                }
                Err(why) => wrong = why,
            }
        }
        Err(Stop::Wrong(format!(
            "block {index} of {} is wrong, twice: {wrong}",
            self.snapshot
        )))
    }

    /// A block, or what is wrong with it.
    async fn sound(
        &self,
        index: i32,
        token: &str,
        size: i64,
    ) -> Result<Result<Vec<u8>, String>, ApiError> {
        let answer = self
            .ebs
            .get_snapshot_block()
            .snapshot_id(self.snapshot)
            .block_index(index)
            .block_token(token)
            .send()
            .await
            .map_err(|error| ApiError::of(GET, &error))?;
        let checksum = answer.checksum.unwrap_or_default();
        // What breaks off on its way says nothing of what lies there.
        let data = answer.block_data.collect().await;
        let data = data.map_err(|error| unreadable(GET, &error.to_string()))?;
        let data = data.to_vec();
        if checksum.is_empty() {
            return Err(unreadable(GET, "the answer has no checksum"));
        }
        let found = base64::encode(Sha256::digest(&data));
        Ok(if found != checksum {
            Err(format!("its SHA-256 is {found}, and AWS says {checksum}"))
        } else if i64::try_from(data.len()) != Ok(size) {
            Err(format!("it has {} bytes instead of {size}", data.len()))
        } else {
            Ok(data)
        })
    }
}

/// That it couldn't be tried. What was only too much is tried again by the next sweep.
pub(super) fn untried(error: &ApiError) -> Ended {
    let pause = match error.kind {
        ErrorKind::Throttled => jiff::SignedDuration::ZERO,
        _ => AGAIN_AFTER,
    };
    Ended::Untried(error.to_string(), pause)
}

#[cfg(test)]
mod tests;
