//! A model of the table in memory, for tests: `DynamoDB` as [`State`] uses it, with its faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

use super::State;

/// What happens to a call instead of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: it is answered.
    None,
    /// Carried out, and the answer is lost.
    Lost,
    /// Not carried out: too many calls.
    Throttled,
    /// Not carried out: not allowed.
    Denied,
}

#[derive(Debug, Default)]
struct Inner {
    items: BTreeMap<(String, String), Value>,
    faults: VecDeque<Fault>,
    denied: Option<&'static str>,
    calls: Vec<String>,
    page: Option<usize>,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Model(Arc<Mutex<Inner>>);

impl Model {
    /// A guardrail's partition of it.
    #[must_use]
    pub fn state(&self, guardrail: &'static str) -> State {
        let connector = SharedHttpConnector::new(self.clone());
        let config = aws_sdk_dynamodb::Config::builder()
            .with_test_defaults()
            .region(aws_sdk_dynamodb::config::Region::from_static(
                "eu-central-1",
            ))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        State {
            client: aws_sdk_dynamodb::Client::from_conf(config),
            table: "state".to_owned(),
            guardrail,
        }
    }

    /// What happens to the next calls, one after the other.
    pub fn script(&self, faults: &[Fault]) {
        self.with(|inner| inner.faults.extend(faults));
    }

    /// Forgets what was scripted and has not happened.
    pub fn clear_script(&self) {
        self.with(|inner| inner.faults.clear());
    }

    /// Refuses all calls of `operation` (`PutItem`) from now on; none: of none any more.
    pub fn deny(&self, operation: Option<&'static str>) {
        self.with(|inner| inner.denied = operation);
    }

    /// Most items that a page has.
    pub fn page(&self, items: usize) {
        self.with(|inner| inner.page = Some(items));
    }

    /// The calls so far: `PutItem quarantine#i-1`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.with(|inner| inner.calls.clone())
    }

    /// What stands: sort key and value.
    #[must_use]
    pub fn items(&self, guardrail: &str) -> Vec<(String, Value)> {
        self.with(|inner| {
            let own = inner.items.iter().filter(|((of, _), _)| of == guardrail);
            own.map(|((_, key), item)| {
                let data = item["data"]["S"].as_str().unwrap_or_default();
                (key.clone(), serde_json::from_str(data).unwrap_or_default())
            })
            .collect()
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, operation: &str, request: &Value) -> (u16, Value) {
        self.with(|inner| {
            let key = Inner::key(request);
            inner.calls.push(format!("{operation} {}", key.1));
            let fault = inner.faults.pop_front().unwrap_or(Fault::None);
            if fault == Fault::Denied || inner.denied == Some(operation) {
                return error(400, "AccessDeniedException", "not authorized");
            }
            if fault == Fault::Throttled {
                return error(400, "ThrottlingException", "Rate exceeded");
            }
            let answer = inner.carry_out(operation, request, key);
            if fault == Fault::Lost {
                return error(500, "InternalServerError", "lost");
            }
            answer
        })
    }
}

fn error(status: u16, code: &str, message: &str) -> (u16, Value) {
    (
        status,
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message}),
    )
}

fn text(value: &Value) -> String {
    value["S"].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> Option<i64> {
    value["N"].as_str()?.parse().ok()
}

impl Inner {
    fn key(request: &Value) -> (String, String) {
        let values = &request["ExpressionAttributeValues"];
        for part in [&request["Key"], &request["Item"]] {
            if !part.is_null() {
                return (text(&part["guardrail"]), text(&part["item"]));
            }
        }
        (text(&values[":g"]), text(&values[":t"]))
    }

    fn carry_out(
        &mut self,
        operation: &str,
        request: &Value,
        key: (String, String),
    ) -> (u16, Value) {
        assert!(
            operation.ends_with("Item") && operation != "GetItem"
                || request["ConsistentRead"] == true,
            "a read that may be stale"
        );
        match operation {
            "GetItem" => match self.items.get(&key) {
                Some(item) => (200, json!({"Item": item})),
                None => (200, json!({})),
            },
            "Query" => self.query(request, &key),
            "PutItem" | "DeleteItem" => {
                let stands = self.items.get(&key);
                if !holds(request, stands) {
                    let (status, mut answer) = error(
                        400,
                        "ConditionalCheckFailedException",
                        "The conditional request failed",
                    );
                    if let Some(item) = stands {
                        answer["Item"] = item.clone();
                    }
                    return (status, answer);
                }
                if operation == "PutItem" {
                    self.items.insert(key, request["Item"].clone());
                } else {
                    self.items.remove(&key);
                }
                (200, json!({}))
            }
            other => error(400, "ValidationException", other),
        }
    }

    fn query(&self, request: &Value, (guardrail, prefix): &(String, String)) -> (u16, Value) {
        let after = text(&request["ExclusiveStartKey"]["item"]);
        let mut found: Vec<&Value> = self
            .items
            .iter()
            .filter(|((of, item), _)| of == guardrail && item.starts_with(prefix) && *item > after)
            .map(|(_, item)| item)
            .collect();
        let more = self.page.is_some_and(|page| found.len() > page);
        if let Some(page) = self.page {
            found.truncate(page);
        }
        let mut answer = json!({"Items": found});
        if let (true, Some(last)) = (more, found.last()) {
            answer["LastEvaluatedKey"] =
                json!({"guardrail": last["guardrail"], "item": last["item"]});
        }
        (200, answer)
    }
}

/// Whether the condition of a write holds, of those that [`State`] sends.
fn holds(request: &Value, stands: Option<&Value>) -> bool {
    let values = &request["ExpressionAttributeValues"];
    match request["ConditionExpression"].as_str() {
        None => true,
        Some("#v = :v") => stands.is_some_and(|item| item["version"] == values[":v"]),
        Some("attribute_not_exists(#i) OR #e < :now") => {
            stands.is_none_or(
                |item| match (number(&item["expires"]), number(&values[":now"])) {
                    (Some(expires), Some(now)) => expires < now,
                    _ => false,
                },
            )
        }
        Some(_) => false,
    }
}

impl HttpConnector for Model {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request
            .headers()
            .get("x-amz-target")
            .and_then(|target| target.rsplit('.').next())
            .unwrap_or_default()
            .to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let answered = serde_json::from_slice(body)
            .map(|body: Value| self.answer(&operation, &body))
            .map_err(|error| ConnectorError::user(error.into()))
            .and_then(|(status, body)| {
                let status = StatusCode::try_from(status)
                    .map_err(|error| ConnectorError::user(error.into()))?;
                Ok(HttpResponse::new(status, SdkBody::from(body.to_string())))
            });
        HttpConnectorFuture::ready(answered)
    }
}
