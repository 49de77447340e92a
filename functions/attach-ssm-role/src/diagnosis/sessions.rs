//! What keeps a session from opening though the node is Online, and what only loses its log: the
//! preferences of Session Manager against key, log group, role and network (SSM-17, SSM-18).
//!
//! That AWS calls the node connected proves its channel and nothing of this: the agent turns to KMS,
//! CloudWatch Logs and S3 only when a session begins.

use guardrails::aws::ApiError;
use guardrails::resource::Arn;

use super::cause::{Cause, Certainty, Known};
use super::network;
use crate::facts::network::Service;
use crate::facts::sessions::{
    Bucket, CHECK_BUCKET, DECRYPT, FIND_LOG_GROUP, FoundKey, Key, LogGroup, Right, Rights,
    Sessions, WRITE_LOG, WRITE_OBJECT,
};

/// States in which a key decrypts nothing.
const UNUSABLE: [&str; 5] = [
    "Disabled",
    "PendingDeletion",
    "PendingImport",
    "PendingReplicaDeletion",
    "Unavailable",
];

/// What was found of sessions.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What keeps them from opening.
    pub(super) blocks: Vec<Cause>,
    /// What only loses their log.
    pub(super) loses: Vec<Cause>,
}

/// What the preferences ask for and the node hasn't.
pub(super) fn judge(known: &Known<'_>, sessions: &Sessions) -> Found {
    let rights = sessions.rights.as_ref();
    let rights = rights.and_then(|read| read.as_ref().ok());
    let mut found = Found::default();
    if let Some(key) = &sessions.key {
        found.blocks.extend(unusable_key(key));
        if found.blocks.is_empty() {
            found.blocks.extend(refused_key(key, rights));
        }
        let needs = format!(
            "the session preferences encrypt with the KMS key {}",
            key.name
        );
        found.blocks.extend(ways(known, Service::Kms, &needs));
    }
    if let Some(group) = &sessions.log_group {
        log_group(group, rights, &mut found);
        let needs = before(&group.name, group.must_be_encrypted);
        found.blocks.extend(ways(known, Service::Logs, &needs));
    }
    if let Some(bucket) = &sessions.bucket {
        log_bucket(bucket, rights, &mut found);
        let needs = before(&bucket.name, bucket.must_be_encrypted);
        found.blocks.extend(ways(known, Service::S3, &needs));
    }
    if sessions.run_as_by_tag && !known.instance.windows {
        found.blocks.push(Cause::new(
            "session-run-as",
            Certainty::CannotTell,
            &known.instance.id,
            "the session preferences run sessions as an operating system's user (Run As) and name none, so only those get one whose IAM user or role bears the tag SSMSessionRunAs",
            "Name a default user (runAsDefaultUser) that the host has, or tag whoever opens sessions.",
        ));
    }
    found
}

/// What couldn't be read of what sessions take.
pub(super) fn unread<'a>(known: &Known<'a>) -> Vec<&'a ApiError> {
    let sessions = match known.sessions {
        None => return Vec::new(),
        Some(Err(error)) => return vec![error],
        Some(Ok(sessions)) => sessions,
    };
    let (key, group) = (sessions.key.as_ref(), sessions.log_group.as_ref());
    let goes_out = key.is_some() || group.is_some() || sessions.bucket.is_some();
    let (rights, network) = (sessions.rights.as_ref(), known.network);
    [
        key.and_then(|key| key.found.as_ref().err()),
        group.and_then(|group| group.encrypted.as_ref().err()),
        rights.and_then(|read| read.as_ref().err()),
        network.and_then(|read| read.as_ref().err().filter(|_| goes_out)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn unusable_key(key: &Key) -> Option<Cause> {
    let name = &key.name;
    let (state, fix) = match key.found.as_ref().ok()? {
        None => (
            "KMS has none of that name in this Region".to_owned(),
            "Name a key that exists in the session preferences (document SSM-SessionManagerRunShell), or none.".to_owned(),
        ),
        Some(FoundKey { arn, state }) if UNUSABLE.contains(&state.as_str()) => (
            format!("that is {state}"),
            format!(
                "aws kms enable-key --key-id {arn} (after cancel-key-deletion, where it is to be deleted), or name another key in the session preferences."
            ),
        ),
        Some(_) => return None,
    };
    Some(Cause::new(
        "session-key-unusable",
        Certainty::Definite,
        name,
        format!(
            "the session preferences encrypt with the KMS key {name}, and {state}, so no shell opens"
        ),
        fix,
    ))
}

fn refused_key(key: &Key, rights: Option<&Rights>) -> Option<Cause> {
    let found = key.found.as_ref().ok().and_then(Option::as_ref);
    let name = found.map_or(&key.name, |found| &found.arn);
    // Who uses another account's key needs his own account's permission besides the key's.
    let account = |arn| Arn::read(arn).map(|arn| arn.account.to_owned());
    let own = rights.and_then(|rights| account(&rights.role));
    let by_itself = account(name).is_none_or(|owner| Some(owner) == own);
    let (certainty, lacks) = refused(rights, &[DECRYPT], by_itself)?;
    Some(Cause::new(
        "session-key-refused",
        certainty,
        name,
        format!(
            "the session preferences encrypt with the KMS key {name}, and {lacks}: then a shell ends in its handshake, while port forwarding works"
        ),
        format!(
            "Allow kms:Decrypt on {name} to that role, unless the key's own policy or a grant does, or name no key in the session preferences."
        ),
    ))
}

fn log_group(group: &LogGroup, rights: Option<&Rights>, found: &mut Found) {
    let (name, must_be) = (&group.name, group.must_be_encrypted);
    let of_group = |code, certainty, problem: String, fix: &str| {
        Cause::new(code, certainty, name, problem, fix)
    };
    let allow = "Allow logs:DescribeLogGroups on all log groups (AWS asks for no single one), and logs:CreateLogStream and logs:PutLogEvents on this one.";
    if must_be {
        let asks = format!(
            "the session preferences open no session unless the log group {name} is encrypted with KMS"
        );
        let unencrypted = match &group.encrypted {
            Ok(None) => Some("there is none of that name"),
            Ok(Some(false)) => Some("it isn't"),
            _ => None,
        };
        let unencrypted = unencrypted.map(|why| {
            let fix = "Encrypt it (aws logs associate-kms-key), after creating it where there is none, or set cloudWatchEncryptionEnabled to false in the session preferences.";
            let problem = format!("{asks}, and {why}");
            of_group("session-log-unencrypted", Certainty::Definite, problem, fix)
        });
        let unseen = || {
            let (certainty, lacks) = refused(rights, &[FIND_LOG_GROUP], false)?;
            let problem = format!(
                "{asks}, and {lacks}, so the agent can't see that it is: each ends with \"encryption is not set up on the selected CloudWatch Logs log group\""
            );
            Some(of_group("session-log-unseen", certainty, problem, allow))
        };
        found.blocks.extend(unencrypted.or_else(unseen));
    } else if group.encrypted == Ok(None) {
        let (code, certainty) = ("session-log-missing", Certainty::Definite);
        let problem = format!("sessions open, and none is logged: there is no log group {name}");
        let fix = "Create it: aws logs create-log-group.";
        found.loses.push(of_group(code, certainty, problem, fix));
    }
    let takes: &[&str] = if must_be {
        &WRITE_LOG
    } else {
        &[FIND_LOG_GROUP, WRITE_LOG[0], WRITE_LOG[1]]
    };
    let lost = refused(rights, takes, false).filter(|_| group.encrypted != Ok(None));
    found.loses.extend(lost.map(|(certainty, lacks)| {
        let problem = format!("no session is logged in {name}: {lacks}");
        of_group("session-log-refused", certainty, problem, allow)
    }));
}

/// A bucket's own policy may allow what the role's don't.
fn log_bucket(bucket: &Bucket, rights: Option<&Rights>, found: &mut Found) {
    let name = &bucket.name;
    if bucket.must_be_encrypted {
        found.blocks.extend(refused(rights, &[CHECK_BUCKET], true).map(|(certainty, lacks)| {
            let problem = format!("the session preferences open no session unless the bucket {name} is encrypted, and {lacks}, so the agent can't see that it is, as all are");
            let fix = format!("Allow s3:GetEncryptionConfiguration on {name} to that role, unless the bucket's own policy does, or set s3EncryptionEnabled to false in the session preferences.");
            Cause::new("session-log-unseen", certainty, name, problem, fix)
        }));
    }
    found.loses.extend(refused(rights, &[WRITE_OBJECT], true).map(|(certainty, lacks)| {
        let problem = format!("a session's log doesn't get into the bucket {name}: {lacks}");
        let fix = format!("Allow s3:PutObject there to that role, unless the bucket's own policy does; where the bucket {name} has a key of its own, kms:GenerateDataKey as well.");
        Cause::new("session-log-refused", certainty, name, problem, fix)
    }));
}

/// How surely one of `actions` isn't allowed, and the words; `elsewhere`: a resource's own policy may
/// allow it.
fn refused(
    rights: Option<&Rights>,
    actions: &[&'static str],
    elsewhere: bool,
) -> Option<(Certainty, String)> {
    let Rights { role, of } = rights?;
    let role = guardrails::resource::name_of(role);
    let missing = if elsewhere {
        Certainty::Likely
    } else {
        Certainty::Definite
    };
    let judged = |action: &&'static str| {
        Some(match of.get(action)? {
            Right::Allowed => return None,
            Right::Denied => (
                Certainty::Definite,
                format!("role {role} is denied {action}"),
            ),
            Right::Missing => (missing, format!("role {role} doesn't allow {action}")),
            Right::Unclear(why) => (
                Certainty::CannotTell,
                format!("whether role {role} allows {action} can't be simulated from here ({why})"),
            ),
        })
    };
    actions
        .iter()
        .filter_map(judged)
        .min_by_key(|(certainty, _)| *certainty)
}

/// Why the agent turns to where the log goes before a session opens.
fn before(name: &str, must_be_encrypted: bool) -> String {
    let agent = "the session preferences have the agent look";
    if must_be_encrypted {
        format!("{agent} whether {name} is encrypted before a session opens")
    } else {
        format!(
            "{agent} for {name} before a session opens, which then stays black for minutes and isn't logged"
        )
    }
}

/// What stands in the way to `service`, for which a session asks.
fn ways(known: &Known<'_>, service: Service, needs: &str) -> Vec<Cause> {
    let Some(network) = known.seen_network() else {
        return Vec::new();
    };
    let mut causes = network::to_service(service, known.instance, network);
    for cause in &mut causes {
        cause.problem = format!("{needs}; but {}", cause.problem);
    }
    causes
}
