//! The documents' tables of conditions are those of the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use policy_check::tables::{GUARDRAILS, rewritten};

#[test]
fn each_guardrails_conditions_stand_in_a_document_as_in_the_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut missing: BTreeSet<&str> = GUARDRAILS.iter().map(|(name, _)| *name).collect();
    for entry in fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let document = fs::read_to_string(&path).unwrap();
        missing.retain(|name| !document.contains(&format!("\n<!-- conditions: {name} -->\n")));
        assert_eq!(
            rewritten(&document).unwrap(),
            document,
            "{} is stale: run make docs",
            path.display()
        );
    }
    assert!(
        missing.is_empty(),
        "no document has the conditions of {missing:?}"
    );
}

#[test]
fn kinds_are_told_apart_by_their_names() {
    for (guardrail, kinds) in GUARDRAILS {
        // The name is part of the key under which a condition is remembered: kinds of one name are
        // stages of one condition, each said in words of its own.
        let words: BTreeSet<(&str, &str)> = kinds.iter().map(|k| (k.name, k.one)).collect();
        assert_eq!(words.len(), kinds.len(), "{guardrail}");
        for kind in kinds {
            assert!(!kind.name.contains('#'), "{guardrail}: {}", kind.name);
            for text in [kind.meaning, kind.next, kind.one, kind.many, kind.resolved] {
                assert!(
                    !text.is_empty() && !text.contains('|'),
                    "{}: {text}",
                    kind.name
                );
            }
        }
    }
}

#[test]
fn a_table_that_is_not_closed_is_an_error() {
    for document in [
        "\n<!-- conditions: snapshot-volumes -->\n",
        "\n<!-- conditions: nobody -->\n<!-- /conditions -->",
        "\n<!-- conditions: x",
    ] {
        rewritten(document).unwrap_err();
    }
}
