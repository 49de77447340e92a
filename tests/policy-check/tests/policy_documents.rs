//! The policy document as a whole: its JSON Schema, the built-in one, and every example in the
//! documents, checked with the code of the functions.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what can't be read fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use guardrails::policy::{self, BUILT_IN};
use policy_check::{Checked, check, schema, yaml};
use proptest::prelude::*;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const EVERY_KEY: &str = "tests/policy-check/tests/every-key.yaml";

fn valid(document: &str) -> Checked {
    check(document).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{document}"))
}

/// The YAML blocks of a Markdown file that are policies.
fn examples(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```yaml" {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    let named = |line: &str| {
        policy::SECTIONS
            .iter()
            .any(|name| line == format!("{name}:"))
    };
    blocks.retain(|block| block.lines().any(named));
    blocks
}

fn all_examples() -> Vec<String> {
    let mut found = examples(&read("README.md"));
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.extend(examples(&fs::read_to_string(path).expect("a document")));
        }
    }
    for entry in fs::read_dir(root().join("docs/examples")).expect("docs/examples") {
        let path = entry.expect("an entry").path();
        found.push(fs::read_to_string(path).expect("a document"));
    }
    assert!(found.len() >= 13, "only {} found", found.len());
    found
}

fn generated() -> Value {
    serde_json::from_str(&schema().expect("a schema")).expect("JSON")
}

/// `make policy-schema` writes it.
#[test]
fn the_committed_schema_is_that_of_the_types() {
    const PATH: &str = "docs/policy.schema.json";
    assert_eq!(
        read(PATH),
        schema().expect("a schema"),
        "{PATH} is not what the types say: run `make policy-schema` and commit it"
    );
}

#[test]
fn every_section_that_documents_may_have_is_in_the_schema() {
    let schema = generated();
    let sections: BTreeSet<&str> = schema["properties"]
        .as_object()
        .expect("properties")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(sections, policy::SECTIONS.iter().copied().collect());
}

#[test]
fn the_built_in_policy_and_every_example_are_valid_and_meant() {
    for document in all_examples()
        .iter()
        .map(String::as_str)
        .chain([BUILT_IN, ""])
    {
        assert_eq!(valid(document).warnings, [], "{document}");
    }
    assert_eq!(valid("").built_in, policy::SECTIONS);
    assert_eq!(valid(BUILT_IN).built_in, [""; 0]);
}

/// What is printed as effective is a document that says the same.
#[test]
fn the_effective_policy_is_a_document_that_says_the_same() {
    let every_key = read(EVERY_KEY);
    for document in all_examples()
        .iter()
        .map(String::as_str)
        .chain([BUILT_IN, "", &every_key])
    {
        let effective = valid(document).effective;
        let printed = yaml(&effective).expect("YAML");
        let again = valid(&printed);
        assert_eq!(again.effective, effective, "{printed}");
        assert_eq!(again.built_in, [""; 0], "every section is printed");
        assert_eq!(yaml(&again.effective).expect("YAML"), printed);
    }
}

proptest! {
    /// Tags and names are any text, and YAML takes some for something else.
    #[test]
    fn any_text_is_printed_as_itself(
        tag in "\\PC{1,40}",
        value in prop_oneof![
            "\\PC{0,200}",
            "[ :#\\-?*&!|>'\"%@`{}\\[\\],~=0-9a-fxoeE.+_\\t\\n\\r]{0,12}",
            prop::sample::select(vec![
                "", " ", "~", "null", "Null", "true", "False", "yes", "NO", "on", "off", "y", "n",
                "0", "007", "0x1f", "0o17", "1_000", "1e3", ".5", "-.inf", ".NaN", "12:30:45",
                "2026-01-01", "<<", "=", "- a", "-", "?", "? a", "a: b", "a:", ":a", "a #b", "#a",
                "@a", "`a", "%a", "&a", "*a", "!a", "!!str a", "|", ">-", "'", "\"", "\\", "---",
                "...", "{a}", "[a]", "a,b", " a", "a ", "\ta", "a\n", "\na", "a\nb", "\u{85}",
                "\u{2028}", "\u{feff}", "123456789012",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let mut effective = valid("").effective;
        let exempt = serde_json::json!({ "tag": tag, "values": [value] });
        effective.quarantine_launch.exempt =
            serde_json::from_value(exempt).expect("a tag and a value");
        let printed = yaml(&effective).expect("YAML");
        // SSM refuses these, so such a document can't be.
        prop_assume!(!printed.contains("{{"));
        prop_assert_eq!(valid(&printed).effective, effective, "{}", printed);
    }
}

/// Each key of the schema that a document uses, as `definition.key`.
fn used<'a>(schema: &'a Value, root: &'a Value, value: &Value, found: &mut BTreeSet<String>) {
    for part in [&schema["allOf"], &schema["anyOf"]] {
        for part in part.as_array().into_iter().flatten() {
            used(part, root, value, found);
        }
    }
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/definitions/");
        let definition = &root["definitions"][name];
        for key in value.as_object().into_iter().flat_map(|map| map.keys()) {
            if definition["properties"].get(key).is_some() {
                found.insert(format!("{name}.{key}"));
            }
        }
        used(definition, root, value, found);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        used(&schema["properties"][key], root, value, found);
    }
    for item in value.as_array().into_iter().flatten() {
        used(&schema["items"], root, item, found);
    }
}

#[test]
fn the_document_with_every_key_has_every_key() {
    let schema = generated();
    let document: Value = serde_saphyr::from_str(&read(EVERY_KEY)).expect("YAML");
    let mut found = BTreeSet::new();
    used(&schema, &schema, &document, &mut found);
    let mut known = BTreeSet::new();
    for (name, definition) in schema["definitions"].as_object().expect("definitions") {
        for key in definition["properties"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys())
        {
            known.insert(format!("{name}.{key}"));
        }
    }
    assert!(known.len() > 60, "{known:?}");
    assert_eq!(found, known);
}

/// The same list is held against the schema by `tests/template/test_policy_schema.py`.
#[test]
fn each_wrong_document_is_refused_with_its_place() {
    let cases: Vec<Value> =
        serde_saphyr::from_str(&read("tests/policy-check/tests/wrong.yaml")).expect("YAML");
    assert!(cases.len() > 25, "{}", cases.len());
    for case in cases {
        let [document, expected] =
            ["document", "mistake"].map(|key| case[key].as_str().expect(key));
        let mistakes = check(document).expect_err(document);
        let [mistake] = mistakes.as_slice() else {
            panic!("{document}: {mistakes:?}");
        };
        let mistake = mistake.to_string();
        assert!(mistake.contains(expected), "{document}: {mistake}");
    }
}

/// The pointer of every value of a document, from the sections on.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, v)| (key.clone(), v)).collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .map(|(i, v): (u32, _)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (step, value) in children {
        let at = format!("{at}/{step}");
        pointers(value, &at, found);
        found.push(at);
    }
}

/// One mechanism for every key that there is, and every one that comes.
#[test]
fn no_key_and_no_item_may_have_nothing_in_it() {
    assert!(!schema().expect("a schema").contains("null"));
    let document: Value = serde_saphyr::from_str(&read(EVERY_KEY)).expect("YAML");
    let mut found = Vec::new();
    pointers(&document, "", &mut found);
    assert!(found.len() > 110, "{}", found.len());
    for pointer in found {
        let mut emptied = document.clone();
        *emptied.pointer_mut(&pointer).expect("a value") = Value::Null;
        let mistakes = check(&emptied.to_string()).expect_err(&pointer);
        let [mistake] = mistakes.as_slice() else {
            panic!("{pointer}: {mistakes:?}");
        };
        let path = mistake
            .path
            .replace('[', "/")
            .replace(']', "")
            .replace('.', "/");
        assert_eq!(format!("/{path}"), pointer);
        let problem = &mistake.problem;
        assert!(
            problem.contains("nothing") && problem.contains(" out"),
            "{pointer}: {problem}"
        );
    }
}

/// Each line of the document with every key says something else than it should (not everything, for
/// time), and so does the document as a whole: whoever reads the mistake knows YAML, and neither Rust nor the
/// parser.
#[test]
fn a_mistake_is_told_without_rusts_words_and_the_parsers() {
    const VALUES: &str = r"[]|{}|[[]]|[~]|{a: ~}|~|-1|0|1.5|99999999999|1e400|.inf|.nan|true|text|''
        |99999999999999999999999999|12345678901.0|2026-01-01|0x1F|[1, [2]]|{a: {b: c}}|!!int x|!a b
        |!!binary '*'|!!binary '/w=='|*nowhere|&a [*a]|'unclosed|[unclosed|a: b: c|{[]: 1}|? [x]|@";
    const FORMS: &str = r#"- a|text|7|null: {}|[a]: {}|7: {}|~: x|a: *b|a: &b *b|<<: 7|a: {<<: [1]}|{
        |a: b¶ c: d|a: b¶- c|→a: b|%YAML 3.0¶---¶{}|{}¶---¶{}|attach-ssm-role: {<<: 7}
        |attach-ssm-role: {[a]: 1}|attach-ssm-role: {~: 1}|attach-ssm-role: !!set {a}
        |attach-ssm-role: {mode: observe, mode: observe}|attach-ssm-role: &a {mode: *a}
        |attach-ssm-role: "\q"|attach-ssm-role: {exclude: {tag: !!binary '*'}}|a: ¤"#;
    const FOREIGN: &str = "invalid_type invalid_value unknown_field Option String str> u8 u32 u64 i64 f64 usize nonzero NonZero struct enum \
        variant tuple newtype serde deserial Deserial Raw floating integer boolean sequence mapping \
        scalar budget breach Some( :: saphyr granit borrow null panic Alias Error";
    let texts = |list: &str| -> Vec<String> {
        let list = list
            .replace('¶', "\n")
            .replace('→', "\t")
            .replace('¤', "\u{7}");
        list.split('|')
            .map(|text| text.trim_end_matches(' ').trim_end_matches('\n').to_owned())
            .collect()
    };
    let every_key = read(EVERY_KEY);
    let lines: Vec<&str> = every_key.lines().collect();
    let mut documents = texts(FORMS);
    documents.push(format!("attach-ssm-role: {}", "[".repeat(2_000)));
    documents.push(format!(
        "attach-ssm-role: {{a: &a x, b: [{}]}}",
        "*a, ".repeat(30_000)
    ));
    for (index, line) in lines.iter().enumerate().skip(1) {
        let Some((key, _)) = line.split_once(": ") else {
            continue;
        };
        for value in texts(VALUES).iter().skip(index % 5).step_by(5) {
            let (before, after) = (&lines[..index], &lines[index + 1..]);
            let line = format!("{key}: {value}");
            documents.push([before, &[line.as_str()], after].concat().join("\n"));
        }
    }
    let mut refused = 0;
    for document in documents {
        let Err(mistakes) = check(&document) else {
            continue;
        };
        refused += 1;
        for mistake in mistakes {
            // What isn't YAML is told in YAML's own words.
            let problem = &mistake.problem;
            let foreign: Vec<_> = FOREIGN
                .split_whitespace()
                .filter(|word| problem.contains(&word.replace('_', " ")))
                .filter(|_| !problem.starts_with("isn't YAML: "))
                .collect();
            assert!(foreign.is_empty(), "{foreign:?} in {mistake}\n{document}");
            assert!(!problem.contains('\n') && problem.len() < 600, "{mistake}");
            assert!(mistake.line.is_some(), "{mistake}\n{document}");
        }
    }
    assert!(refused > 250, "{refused}");
}

/// Where the schema is stricter, which docs/policy.md says.
#[test]
fn a_text_that_looks_like_something_else_is_read_as_the_text() {
    let unquoted = "attach-ssm-role: { exclude: { tag: 7, values: [true, 1.0, on] } }";
    let quoted = r#"attach-ssm-role: { exclude: { tag: "7", values: ["true", "1.0", "on"] } }"#;
    assert_eq!(valid(unquoted).effective, valid(quoted).effective);
}

#[test]
fn what_the_stack_must_allow_are_parameters_that_it_has() {
    let document = read(EVERY_KEY)
        .replace("mode: observe", "mode: enforce")
        .replace("30 2 * * MON-FRI", "*/10 * * * *");
    let template = read("template.yaml");
    let (_, parameters) = template.split_once("\nParameters:\n").expect("a section");
    let (parameters, _) = parameters.split_once("\nRules:\n").expect("its end");
    let mut named = BTreeSet::new();
    for note in valid(&document).notes {
        let text = note.remark.text;
        let (_, rest) = text.split_once("stack's parameter ").expect("a parameter");
        let end = rest.find(|c: char| !c.is_alphanumeric()).expect("an end");
        let name = &rest[..end];
        assert!(parameters.contains(&format!("\n  {name}:\n")), "{name}");
        named.insert(name.to_owned());
    }
    let expected = [
        "CopyKeyArns",
        "CopyRegions",
        "ImageParameterArns",
        "QuarantineStops",
        "QuarantineTakesProfiles",
        "RepairRoles",
        "RestoreDrills",
        "SweepSchedule",
    ];
    assert!(named.iter().eq(expected), "{named:?}");
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
    keys(&generated(), &mut found);
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
            "functions/{guardrail}/src/report/snapshots/{}__report__tests__the_notices_as_people_get_them.snap",
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
