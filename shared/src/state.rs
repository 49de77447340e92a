//! What a guardrail must remember and nobody else may write: its partition of the stack's table.
//!
//! AWS stays the truth about AWS: the table says what the guardrail did, saw and said, never what
//! exists. Its role reaches no partition but its own (`dynamodb:LeadingKeys`), so what stands here
//! was written by this code; what stands in tags may be anybody's.
//!
//! Every read is strongly consistent, and every write that rests on a read is conditional on it. An
//! item that has expired counts as absent, also while `DynamoDB` still holds it (for up to 48 hours).

#[cfg(any(test, feature = "test-util"))]
pub mod model;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::marker::PhantomData;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aws::{ApiError, ErrorKind};
use crate::text::clip;

/// The partition key: the guardrail.
const GUARDRAIL: &str = "guardrail";
/// The sort key: topic and name.
const ITEM: &str = "item";
/// The value, as JSON.
const DATA: &str = "data";
/// A word that no other write has.
const VERSION: &str = "version";
/// When `DynamoDB` may delete the item: seconds since 1970.
const EXPIRES: &str = "expires";

type Attributes = HashMap<String, AttributeValue>;

/// A kind of item: what is remembered of each name, as a `T`.
///
/// The sort key begins with the topic, so that all items of one are read by one query.
#[derive(Debug)]
pub struct Topic<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> Topic<T> {
    /// A topic; `name` is a word without `#`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            of: PhantomData,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}#{name}", self.name)
    }
}

/// Which write an item is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// One that no other write has: neither of this process nor of another.
    fn unique() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let write = WRITES.fetch_add(1, Ordering::Relaxed);
        Self(format!("{:016x}-{write}", *PROCESS))
    }
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// Of what: the part of the key behind the topic.
    pub name: String,
    /// What.
    pub value: T,
    /// Which write it is from, for a write that rests on it.
    pub version: Version,
}

/// What a write expects to find; where it finds something else, it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything: the last writer wins.
    Any,
    /// No item, or one that has expired.
    Absent,
    /// The item as it was read.
    Version(Version),
}

impl Expect {
    /// What was read: an item, or none.
    #[must_use]
    pub fn read<T>(stored: Option<&Stored<T>>) -> Self {
        stored.map_or(Self::Absent, |stored| Self::Version(stored.version.clone()))
    }
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It stands.
    Done(Version),
    /// Somebody else has written meanwhile; nothing was changed.
    Conflict,
}

impl Written {
    /// Whether it stands.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// A guardrail's partition of the state table.
#[derive(Debug, Clone)]
pub struct State {
    client: Client,
    table: String,
    guardrail: &'static str,
}

impl State {
    /// The partition of `guardrail` in `table`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, guardrail: &'static str) -> Self {
        Self {
            client: Client::new(config),
            table,
            guardrail,
        }
    }

    /// The partition of another guardrail, to be read: the role of each may write its own only.
    #[must_use]
    pub fn of(&self, guardrail: &'static str) -> Self {
        Self {
            guardrail,
            ..self.clone()
        }
    }

    /// What is remembered of `name`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        topic: &Topic<T>,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Stored<T>>, ApiError> {
        const CALL: &str = "dynamodb:GetItem";
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(self.key(topic, name)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| ApiError::of(CALL, &error))?;
        answer
            .item
            .filter(|item| !has_expired(item, now))
            .map(|item| self.stored(CALL, topic, &item))
            .transpose()
    }

    /// All that is remembered under `topic`, by name.
    pub async fn list<T: DeserializeOwned>(
        &self,
        topic: &Topic<T>,
        now: Timestamp,
    ) -> Result<Vec<Stored<T>>, ApiError> {
        const CALL: &str = "dynamodb:Query";
        let items: Vec<Attributes> = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#g = :g AND begins_with(#i, :t)")
            .expression_attribute_names("#g", GUARDRAIL)
            .expression_attribute_names("#i", ITEM)
            .expression_attribute_values(":g", AttributeValue::S(self.guardrail.to_owned()))
            .expression_attribute_values(":t", AttributeValue::S(topic.key("")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| ApiError::of(CALL, &error))?;
        items
            .iter()
            .filter(|item| !has_expired(item, now))
            .map(|item| self.stored(CALL, topic, item))
            .collect()
    }

    /// Remembers `value` of `name`: until `expires`, or for good.
    pub async fn put<T: Serialize>(
        &self,
        topic: &Topic<T>,
        name: &str,
        value: &T,
        expires: Option<Timestamp>,
        expect: &Expect,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        const CALL: &str = "dynamodb:PutItem";
        let data = serde_json::to_string(value).map_err(|error| {
            ApiError::new(
                CALL,
                "InvalidRequest",
                error.to_string(),
                ErrorKind::Refused,
            )
        })?;
        let version = Version::unique();
        let mut item = self.key(topic, name);
        item.insert(DATA.to_owned(), AttributeValue::S(data));
        item.insert(VERSION.to_owned(), AttributeValue::S(version.0.clone()));
        if let Some(expires) = expires {
            let seconds = expires.as_second().to_string();
            item.insert(EXPIRES.to_owned(), AttributeValue::N(seconds));
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match expect {
            Expect::Any => put,
            Expect::Absent => put
                .condition_expression("attribute_not_exists(#i) OR #e < :now")
                .expression_attribute_names("#i", ITEM)
                .expression_attribute_names("#e", EXPIRES)
                .expression_attribute_values(
                    ":now",
                    AttributeValue::N(now.as_second().to_string()),
                ),
            Expect::Version(Version(read)) => put
                .condition_expression("#v = :v")
                .expression_attribute_names("#v", VERSION)
                .expression_attribute_values(":v", AttributeValue::S(read.clone())),
        };
        let Err(error) = put.send().await else {
            return Ok(Written::Done(version));
        };
        let Some(PutItemError::ConditionalCheckFailedException(found)) = error.as_service_error()
        else {
            return Err(ApiError::of(CALL, &error));
        };
        // The SDK repeats a call whose answer was lost; then it finds what it has written itself.
        let ours = found.item().and_then(version_of) == Some(version.0.as_str());
        Ok(if ours {
            Written::Done(version)
        } else {
            Written::Conflict
        })
    }

    /// Forgets what is remembered of `name`. What isn't there (any more) is forgotten; who expects
    /// nothing has nothing to forget.
    pub async fn delete<T>(
        &self,
        topic: &Topic<T>,
        name: &str,
        expect: &Expect,
    ) -> Result<Written, ApiError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(self.key(topic, name)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let delete = match expect {
            Expect::Absent => return Ok(Written::Done(Version::unique())),
            Expect::Any => delete,
            Expect::Version(Version(read)) => delete
                .condition_expression("#v = :v")
                .expression_attribute_names("#v", VERSION)
                .expression_attribute_values(":v", AttributeValue::S(read.clone())),
        };
        let Err(error) = delete.send().await else {
            return Ok(Written::Done(Version::unique()));
        };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(found)) => match found.item() {
                None => Ok(Written::Done(Version::unique())),
                Some(_) => Ok(Written::Conflict),
            },
            _ => Err(ApiError::of("dynamodb:DeleteItem", &error)),
        }
    }

    fn key<T>(&self, topic: &Topic<T>, name: &str) -> Attributes {
        [
            (GUARDRAIL, self.guardrail.to_owned()),
            (ITEM, topic.key(name)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value)))
        .collect()
    }

    /// Reads an item. One that can't be read stops the run, as a table that can't be read does:
    /// whoever takes it for absent would do again what it says was done.
    fn stored<T: DeserializeOwned>(
        &self,
        call: &'static str,
        topic: &Topic<T>,
        item: &Attributes,
    ) -> Result<Stored<T>, ApiError> {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        let key = text(ITEM).map(String::as_str).unwrap_or_default();
        let unreadable = |why: &dyn fmt::Display| {
            let message = format!(
                "item `{key}` of guardrail {} in table {} can't be read ({}); correct it, or delete it to have it forgotten",
                self.guardrail,
                self.table,
                clip(&why.to_string(), 300)
            );
            ApiError::new(call, "UnreadableItem", message, ErrorKind::Refused)
        };
        let name = key.strip_prefix(&topic.key("")).unwrap_or(key).to_owned();
        let version = version_of(item).ok_or_else(|| unreadable(&"it has no version"))?;
        let data = text(DATA).ok_or_else(|| unreadable(&"it has no data"))?;
        Ok(Stored {
            value: serde_json::from_str(data).map_err(|error| unreadable(&error))?,
            version: Version(version.to_owned()),
            name,
        })
    }
}

fn version_of(item: &Attributes) -> Option<&str> {
    item.get(VERSION)?.as_s().ok().map(String::as_str)
}

fn has_expired(item: &Attributes, now: Timestamp) -> bool {
    item.get(EXPIRES)
        .and_then(|value| value.as_n().ok())
        .and_then(|seconds| seconds.parse::<i64>().ok())
        .is_some_and(|seconds| seconds < now.as_second())
}

#[cfg(test)]
mod tests;
