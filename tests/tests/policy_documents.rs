//! The policy document as a whole: its JSON Schema, the built-in one, and every example in the
//! documents, checked with the code of the functions.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what can't be read fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use guardrails::policy::{self, Mistake};
use schemars::JsonSchema;
use serde_json::Value;

/// All sections. A new guardrail adds its own here.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(
    title = "ec2-guardrails policy",
    description = "The policy document of ec2-guardrails: one section per guardrail. A section left out keeps its built-in default."
)]
#[expect(dead_code, reason = "only its schema is used")]
struct Document {
    /// Snapshots EBS volumes on schedule and prunes the snapshots it made.
    snapshot_volumes: Option<snapshot_volumes::policy::Policy>,
    /// Attaches the SSM instance profile to instances without one and finds out why a node isn't
    /// Online.
    attach_ssm_role: Option<attach_ssm_role::policy::Policy>,
    /// Stops Auto Scaling instance refreshes that fail.
    cancel_refresh: Option<cancel_refresh::policy::Policy>,
    /// Isolates instances that are launched from AMIs that aren't approved.
    quarantine_launch: Option<quarantine_launch::policy::Policy>,
}

/// Reads every section of a document.
fn check(document: &str) -> Result<(), Mistake> {
    policy::parse::<snapshot_volumes::policy::Policy>(document, snapshot_volumes::NAME)?;
    policy::parse::<attach_ssm_role::policy::Policy>(document, attach_ssm_role::NAME)?;
    policy::parse::<cancel_refresh::policy::Policy>(document, cancel_refresh::NAME)?;
    policy::parse::<quarantine_launch::policy::Policy>(document, quarantine_launch::NAME)?;
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn generated() -> String {
    let schema = sorted(schemars::schema_for!(Document).to_value());
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

/// With the keys in order: otherwise it would depend on whether any crate of the build asks
/// `serde_json` to preserve theirs.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            let fields = fields.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// `make policy-schema` writes it.
#[test]
fn the_committed_schema_is_that_of_the_types() {
    const PATH: &str = "docs/policy.schema.json";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(root().join(PATH), generated()).expect("the schema can be written");
    }
    assert_eq!(
        read(PATH),
        generated(),
        "{PATH} is not what the types say: run `make policy-schema` and commit it"
    );
}

#[test]
fn every_section_that_documents_may_have_is_in_the_schema() {
    let schema: Value = serde_json::from_str(&generated()).expect("JSON");
    let mut sections: Vec<&str> = schema["properties"]
        .as_object()
        .expect("properties")
        .keys()
        .map(String::as_str)
        .collect();
    sections.sort_unstable();
    let mut known = policy::SECTIONS.to_vec();
    known.sort_unstable();
    assert_eq!(sections, known);
}

/// The YAML blocks of a Markdown file that hold a policy.
fn examples(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```yaml" {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

#[test]
fn every_example_in_the_documents_is_a_valid_policy() {
    let mut count = 0;
    for path in ["README.md", "docs/policy.md"] {
        for example in examples(&read(path)) {
            check(&example).unwrap_or_else(|mistake| panic!("{path}: {mistake}\n{example}"));
            count += 1;
        }
    }
    assert!(count >= 4, "only {count} examples found");
}

#[test]
fn the_reference_explains_every_key_of_the_schema() {
    fn keys(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                if let Some(Value::Object(properties)) = fields.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                fields.values().for_each(|value| keys(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    keys(
        &serde_json::from_str(&generated()).expect("JSON"),
        &mut found,
    );
    let reference = read("docs/policy.md");
    for key in found {
        let explained =
            reference.contains(&format!("`{key}`")) || reference.contains(&format!("\n## {key}\n"));
        assert!(explained, "docs/policy.md does not explain `{key}`");
    }
}

/// What the operations page shows as notices are whole ones of the guardrails' own tests.
#[test]
fn the_notices_in_the_documents_are_those_of_the_tests() {
    let mut told = Vec::new();
    for guardrail in policy::SECTIONS {
        let file = format!(
            "functions/{guardrail}/src/assess/snapshots/{}__assess__tests__the_notices_as_people_get_them.snap",
            guardrail.replace('-', "_")
        );
        let snapshot = read(&file);
        let (_, notices) = snapshot.split_once("\n---\n").expect("a snapshot's head");
        told.extend(
            notices
                .split("\n==========\n")
                .map(|notice| notice.trim().to_owned()),
        );
    }
    let page = read("docs/operations.md");
    let shown: Vec<&str> = page
        .split("```text\nSubject: ")
        .skip(1)
        .filter_map(|block| block.split("\n```").next())
        .collect();
    assert!(shown.len() >= 2, "the page shows notices");
    for notice in shown {
        let notice = format!("Subject: {}", notice.trim());
        assert!(told.contains(&notice), "no test has this notice:\n{notice}");
    }
}
