//! Reads what is known of instances that are late. What can't be read is told, and never keeps
//! the run from attaching profiles to others.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::InstanceStatus;
use guardrails::aws::{ApiError, timestamp};
use guardrails::ec2;
use jiff::Timestamp;

use crate::clients::Clients;
use crate::facts::{Console, Evidence, Facts, Read};

/// Most ids of one `DescribeInstanceStatus`.
const STATUS_IDS: usize = 100;
/// Calls for consoles in one run: up to 64 KB each.
const CONSOLES: usize = 10;
/// The last part of a console that is kept.
const CONSOLE_TAIL: usize = 16 * 1024;

/// When profiles were associated, as far as AWS tells.
pub(super) async fn associated(ec2: &Client, ids: &[String]) -> Read<HashMap<String, Timestamp>> {
    let found = read_all!(
        ec2.describe_iam_instance_profile_associations(),
        "ec2:DescribeIamInstanceProfileAssociations",
        filters "instance-id" in ids
    );
    let timed = found.into_iter().filter_map(|one| {
        let at = timestamp(one.timestamp())?;
        Some((one.instance_id?, at))
    });
    Ok(timed.collect())
}

/// Gathers evidence of `ids`.
pub(super) async fn gather(clients: &Clients, facts: &mut Facts, ids: &[String]) {
    let images: BTreeSet<String> = ids
        .iter()
        .filter_map(|id| facts.instances.get(id)?.image.clone())
        .collect();
    let (checks, names) = futures::join!(
        checks(&clients.ec2, ids),
        ec2::image_names(&clients.ec2, images),
    );
    let mut left = CONSOLES;
    for id in ids {
        let image = facts.instances.get(id).and_then(|i| i.image.as_ref());
        let of_one = Evidence {
            checks: found(&checks, Some(id)),
            console: console(&clients.ec2, id, &mut left).await,
            image_name: found(&names, image),
        };
        facts.evidence.insert(id.clone(), of_one);
    }
}

/// What was read of one; none: nothing is known of it.
fn found<T: Clone>(read: &Read<HashMap<String, T>>, key: Option<&String>) -> Option<Read<T>> {
    match read {
        Ok(all) => all.get(key?).cloned().map(Ok),
        Err(error) => Some(Err(error.clone())),
    }
}

pub(super) async fn checks(
    ec2: &Client,
    ids: &[String],
) -> Read<HashMap<String, (String, String)>> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(STATUS_IDS) {
        let mut some = some.to_vec();
        // One instance that is gone meanwhile has AWS refuse them all; it names those that are. (No
        // filter chooses by id, and without ids the whole account would be read.)
        while !some.is_empty() {
            let call = ec2
                .describe_instance_status()
                .set_instance_ids(Some(some.clone()))
                .include_all_instances(true);
            let answer = call.send().await;
            match answer.map_err(|error| ApiError::of("ec2:DescribeInstanceStatus", &error)) {
                Err(error) if error.is_not_found() => {
                    let before = some.len();
                    some.retain(|id| !names(&error.message, id));
                    if some.len() == before {
                        return Err(error);
                    }
                }
                answer => {
                    found.extend(answer?.instance_statuses().iter().filter_map(checks_of));
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// An instance's id with its checks, system and instance.
fn checks_of(status: &InstanceStatus) -> Option<(String, (String, String))> {
    let system = status.system_status()?.status()?.as_str().to_owned();
    let instance = status.instance_status()?.status()?.as_str().to_owned();
    Some((status.instance_id()?.to_owned(), (system, instance)))
}

/// Whether `message` names `id`, and not only one that begins as it does.
fn names(message: &str, id: &str) -> bool {
    message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .any(|word| word == id)
}

/// The console as it is now, where the instance type has that (those on Nitro), else as it was
/// after the last start, which may be long ago. None: there are no calls `left`.
async fn console(ec2: &Client, id: &str, left: &mut usize) -> Option<Read<Console>> {
    for latest in [true, false] {
        *left = left.checked_sub(1)?;
        let call = ec2.get_console_output().instance_id(id);
        let answer = call.set_latest(latest.then_some(true)).send().await;
        let answer = answer.map_err(|error| ApiError::of("ec2:GetConsoleOutput", &error));
        match answer {
            Err(error) if latest && error.code == "UnsupportedOperation" => {}
            Err(error) => return Some(Err(error)),
            Ok(answer) => {
                let updated = timestamp(answer.timestamp()).filter(|_| !latest);
                let output = answer.output.unwrap_or_default();
                let bytes = aws_smithy_types::base64::decode(&output)
                    .unwrap_or_else(|_| output.into_bytes());
                let from = bytes.len().saturating_sub(CONSOLE_TAIL);
                let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
                return Some(Ok(Console { text, updated }));
            }
        }
    }
    None
}
