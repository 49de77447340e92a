//! What the guardrails remember: the items of the state table.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::LocalAws;
use crate::estate::answered;

impl LocalAws {
    /// The state table's name.
    pub async fn state_table(&self) -> String {
        let tables = answered("ListTables", self.dynamodb.list_tables().send().await);
        match tables.table_names() {
            [only] => only.clone(),
            other => panic!("the stack has one table: {other:?}"),
        }
    }

    /// What the guardrail remembers under `item` (`quarantine#i-0abc`), if anything.
    pub async fn memory(&self, item: &str) -> Option<Value> {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let read = self.dynamodb.get_item().consistent_read(true);
        let read = read
            .table_name(self.state_table().await)
            .key("guardrail", text(self.guardrail))
            .key("item", text(item));
        let found = answered("GetItem", read.send().await).item?;
        let data = found["data"].as_s().expect("an item's data is text");
        Some(serde_json::from_str(data).expect("an item's data is JSON"))
    }

    /// The fingerprint of the condition of `resource` that people were notified of, and that stands.
    pub async fn notified_of(&self, resource: &str, kind: &str) -> Option<String> {
        let memory = self.memory(&format!("notified#{resource}#{kind}")).await?;
        assert_eq!(memory["stage"], "given", "{resource}: {memory}");
        memory["fingerprint"].as_str().map(str::to_owned)
    }

    /// Something that a guardrail remembers.
    pub async fn remember_in(&self, guardrail: &str, item: &str, data: Value) {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let put = self.dynamodb.put_item();
        let put = put
            .table_name(self.state_table().await)
            .item("guardrail", text(guardrail))
            .item("item", text(item))
            .item("data", text(&data.to_string()))
            .item("version", text("by a test"));
        answered("PutItem", put.send().await);
    }

    /// What the guardrail has remembered is lost.
    pub async fn forget(&self, item: &str) {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let delete = self.dynamodb.delete_item();
        let delete = delete
            .table_name(self.state_table().await)
            .key("guardrail", text(self.guardrail))
            .key("item", text(item));
        answered("DeleteItem", delete.send().await);
    }

    /// Lets seconds pass for items whose sort keys begin so.
    pub async fn age_memory(&self, item: &str, seconds: u32) {
        let body = json!({ "item": item, "seconds": seconds });
        let answer = self.post("tables/age", body).await;
        assert_ne!(answer["aged"], 0, "nothing is remembered under {item}");
    }

    /// The same, whether or not anything is remembered.
    pub async fn age_all_memory(&self, item: &str, seconds: u32) {
        let body = json!({ "item": item, "seconds": seconds });
        self.post("tables/age", body).await;
    }

    /// A minute after the last notice, so that runs by events may send another.
    pub async fn a_minute_after_the_last_notice(&self) {
        self.post(
            "tables/age",
            json!({ "item": "last-notice#", "seconds": 61 }),
        )
        .await;
    }
}
