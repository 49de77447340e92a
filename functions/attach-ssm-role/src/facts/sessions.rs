//! What the preferences of Session Manager ask of a session, and what AWS has of it.

use std::collections::BTreeMap;

use guardrails::aws::ApiError;

/// To decrypt a session's data key.
pub(crate) const DECRYPT: &str = "kms:Decrypt";
/// To look whether the log group is there and encrypted, before a session opens.
pub(crate) const FIND_LOG_GROUP: &str = "logs:DescribeLogGroups";
/// To write the log there.
pub(crate) const WRITE_LOG: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
/// To look whether the bucket is encrypted, before a session opens.
pub(crate) const CHECK_BUCKET: &str = "s3:GetEncryptionConfiguration";
/// To put the log there, when the session ends.
pub(crate) const WRITE_OBJECT: &str = "s3:PutObject";

/// What this Region's preferences ask of each session; nothing: sessions take what the channel takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sessions {
    pub(crate) key: Option<Key>,
    pub(crate) log_group: Option<LogGroup>,
    pub(crate) bucket: Option<Bucket>,
    /// Whether sessions run as a user whom only the caller's tag names: the preferences name none.
    pub(crate) run_as_by_tag: bool,
    /// What the node's role allows of all this; none: nothing is asked, or no role is known.
    pub(crate) rights: Option<Result<Rights, ApiError>>,
}

/// The key that sessions are encrypted with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// As the preferences name it: id, alias or ARN.
    pub(crate) name: String,
    /// None: AWS says that there is none.
    pub(crate) found: Result<Option<FoundKey>, ApiError>,
}

/// A key, as KMS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundKey {
    pub(crate) arn: String,
    /// `Enabled`, `Disabled`, `PendingDeletion` …
    pub(crate) state: String,
}

/// Where sessions are logged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogGroup {
    pub(crate) name: String,
    /// Whether no session opens unless it is encrypted with KMS.
    pub(crate) must_be_encrypted: bool,
    /// Whether it is encrypted with KMS; none: AWS says that there is none.
    pub(crate) encrypted: Result<Option<bool>, ApiError>,
}

/// Where a session's log goes at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    /// Whether no session opens unless the agent sees that it is encrypted.
    pub(crate) must_be_encrypted: bool,
}

/// What a role allows, by action, as `SimulatePrincipalPolicy` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The role's ARN.
    pub(crate) role: String,
    pub(crate) of: BTreeMap<&'static str, Right>,
}

/// What the simulation says of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Right {
    Allowed,
    /// No policy of the role's allows it; a resource's own policy may.
    Missing,
    /// A policy denies it, whatever others allow.
    Denied,
    /// It can't be told, for this reason (SSM-12).
    Unclear(String),
}
