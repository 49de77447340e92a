//! The state table, as far as the guardrails use `DynamoDB`.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Value, json};

use crate::call::{Answer, Call};

/// The items by partition and sort key.
#[derive(Debug, Default)]
pub(crate) struct State {
    items: BTreeMap<(String, String), Value>,
    /// Request units used: consistent reads of 4 KiB, writes of 1 KiB.
    pub(crate) units: (usize, usize),
}

impl State {
    pub(crate) fn answer(&mut self, call: &Call) -> Answer {
        if call.action == "Query" {
            return Ok(self.query(&call.json));
        }
        let puts = call.action == "PutItem";
        let given = &call.json[if puts { "Item" } else { "Key" }];
        let key = key(given);
        let found = self.items.get(&key);
        if call.action == "GetItem" {
            self.units.0 += found.map_or(1, |item| size(item).div_ceil(4_096));
            let answer = found.map_or(json!({}), |item| json!({ "Item": item }));
            return Ok(answer.to_string());
        }
        self.units.1 += size(given).div_ceil(1_024);
        // Nobody else writes here, so that every other condition holds.
        let condition = call.json["ConditionExpression"].to_string();
        let new = condition.contains("attribute_not_exists") && !condition.contains(" OR ");
        if new && found.is_some() {
            let why = "The conditional request failed".to_owned();
            return Err(("ConditionalCheckFailedException", why));
        }
        self.items.remove(&key);
        if puts {
            self.items.insert(key, given.clone());
        }
        Ok("{}".to_owned())
    }

    /// Of one partition, by the beginning of the sort key where one is given.
    fn query(&mut self, request: &Value) -> String {
        let expression = request["KeyConditionExpression"].to_string();
        let part = |c: char| !(c.is_alphanumeric() || c == ':' || c == '_');
        let mut given = expression.split(part).filter(|word| word.starts_with(':'));
        let values = &request["ExpressionAttributeValues"];
        let mut next = || values[given.next().unwrap_or_default()]["S"].as_str();
        let (partition, prefix) = (next().unwrap_or_default(), next().unwrap_or_default());
        let from = match &request["ExclusiveStartKey"] {
            Value::Null => Bound::Included((partition.to_owned(), prefix.to_owned())),
            last => Bound::Excluded(key(last)),
        };
        let (mut page, mut bytes, mut answer) = (Vec::new(), 0, json!({}));
        for ((guardrail, name), item) in self.items.range((from, Bound::Unbounded)) {
            if guardrail != partition || !name.starts_with(prefix) {
                break;
            }
            page.push(item);
            bytes += size(item);
            // A page of a query holds a megabyte.
            if bytes > 1 << 20 || json!(page.len()) == request["Limit"] {
                let last = json!({"guardrail": {"S": guardrail}, "item": {"S": name}});
                answer["LastEvaluatedKey"] = last;
                break;
            }
        }
        self.units.0 += bytes.div_ceil(4_096).max(1);
        (answer["Count"], answer["Items"]) = (json!(page.len()), json!(page));
        answer.to_string()
    }
}

fn key(of: &Value) -> (String, String) {
    let part = |name: &str| of[name]["S"].as_str().unwrap_or_default().to_owned();
    (part("guardrail"), part("item"))
}

fn size(item: &Value) -> usize {
    item.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(state: &mut State, action: &str, request: &Value) -> Value {
        let call = Call::read(Some(action), request.to_string().as_bytes());
        let answer = state.answer(&call).unwrap_or_default();
        serde_json::from_str(&answer).unwrap_or_default()
    }

    #[test]
    fn a_query_finds_a_partition_by_prefix_in_pages() {
        let mut state = State::default();
        let item = |name: &str| json!({"guardrail": {"S": "g"}, "item": {"S": name}});
        for name in ["a", "b#1", "b#2", "b#3", "c"] {
            let new = "attribute_not_exists(#item)";
            let put = json!({"Item": item(name), "ConditionExpression": new});
            assert_eq!(ask(&mut state, "PutItem", &put), json!({}));
            assert!(ask(&mut state, "PutItem", &put).is_null(), "twice");
        }
        ask(&mut state, "DeleteItem", &json!({"Key": item("b#2")}));
        let mut query = json!({"KeyConditionExpression": "#g = :g AND begins_with(#i, :i)",
            "ExpressionAttributeValues": {":g": {"S": "g"}, ":i": {"S": "b#"}}, "Limit": 1});
        let first = ask(&mut state, "Query", &query);
        assert_eq!(first["Items"], json!([item("b#1")]));
        query["ExclusiveStartKey"] = first["LastEvaluatedKey"].clone();
        let second = ask(&mut state, "Query", &query);
        assert_eq!(second["Items"], json!([item("b#3")]));
    }
}
