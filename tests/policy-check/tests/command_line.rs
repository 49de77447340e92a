//! The program as a person or a pipeline runs it.

#![expect(clippy::unwrap_used, reason = "what can't be run fails the test")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs it on a document that it reads from the standard input.
fn piped(document: &[u8], options: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_policy-check"))
        .args(options)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(document).unwrap();
    child.wait_with_output().unwrap()
}

fn with_arguments(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_policy-check"))
        .args(arguments)
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

const BUILT_IN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/default-policy.yaml"
);

#[test]
fn a_valid_document_is_printed_as_it_holds() {
    let (status, out, err) = texts(&with_arguments(&["--strict", BUILT_IN]));
    assert_eq!(status, 0, "{err}");
    assert_eq!(err, format!("{BUILT_IN}: valid\n"));
    assert!(!out.contains("so the built-in policy holds"), "{out}");

    let (status, out, err) = texts(&piped(b"attach-ssm-role: {online-within: 2h}\n", &[]));
    assert_eq!((status, err.as_str()), (0, "<stdin>: valid\n"));
    for expected in [
        "# What holds with <stdin>, all defaults filled in.\n",
        "holds: snapshot-volumes, cancel-refresh, quarantine-launch.\n# Next slots of plan daily (`0 3 * * *`, UTC): ",
        " 03:00.\n",
        "\nattach-ssm-role:\n  mode: enforce\n  exclude: {}\n  leave-alone: {}\n  hub-vpc-tag: {}\n  online-within: 2h\n  repair-roles: false\n",
        "\n      grace: 6h\n",
        "\n  launched-within: 1d\n",
    ] {
        assert!(out.contains(expected), "{expected:?} isn't in\n{out}");
    }
}

const HASTY: &[u8] = b"# first\nsnapshot-volumes:\n  plans:\n    - name: a\n      select: {tag: Backup}\n      exclude:\n        tag: Backup\n      schedule: '0 3 * * *'\n      keep: {daily: 2}\n";

#[test]
fn warnings_name_their_line_and_fail_only_where_it_is_asked_for() {
    let (status, out, err) = texts(&piped(HASTY, &[]));
    assert_eq!(status, 0);
    assert!(
        err.starts_with(
            "<stdin>:7: warning: snapshot-volumes.plans[0].exclude: leaves out every volume"
        ) && err.ends_with("\n<stdin>: valid, 1 warning\n"),
        "{err}"
    );
    let (status, strictly, again) = texts(&piped(HASTY, &["--strict"]));
    assert_eq!((status, strictly, again), (1, out, err));
}

/// Whether a parameter is set can't be told from the document, so it is no reason to fail.
#[test]
fn notes_never_fail() {
    let (status, _, err) = texts(&piped(
        b"attach-ssm-role:\n  repair-roles: true\n",
        &["--strict"],
    ));
    assert_eq!(status, 0);
    assert!(
        err.starts_with("<stdin>:2: note: attach-ssm-role.repair-roles: takes the stack's parameter RepairRoles=true")
            && err.ends_with("<stdin>: valid, 1 note\n"),
        "{err}"
    );
}

#[test]
fn mistakes_of_all_sections_are_told_at_once() {
    let (status, out, err) = texts(&piped(
        b"attach-ssm-role:\n  online-within: soon\ncancel-refresh:\n\n  on-failure: stop\n  stalled-for:\n",
        &[],
    ));
    assert_eq!((status, out.as_str()), (1, ""));
    let lines: Vec<&str> = err.lines().collect();
    let [first, second, third, sum] = lines.as_slice() else {
        panic!("{err}");
    };
    assert!(
        first.starts_with("<stdin>:2: error: attach-ssm-role.online-within: \"soon\" is no length of time; expected"),
        "{first}"
    );
    assert!(
        second.starts_with(
            "<stdin>:5: error: cancel-refresh.on-failure: `stop` isn't known here; expected one of"
        ),
        "{second}"
    );
    assert!(
        third.starts_with(
            "<stdin>:6: error: cancel-refresh.stalled-for: has nothing behind its colon"
        ),
        "{third}"
    );
    assert_eq!(
        *sum,
        "<stdin>: 3 mistakes. With this document attach-ssm-role, cancel-refresh would do nothing at all; correct it and check again"
    );
}

#[test]
fn what_is_no_yaml_is_told_once_with_its_line_and_stops_all() {
    for document in [
        "cancel-refresh:\n  mode: [observe\n",
        "cancel-refresh: {}\nrefresh: {}\n",
        "cancel-refresh: {}\ncancel-refresh: {}\n",
        "- cancel-refresh\n",
        "{}\n---\n{}\n",
    ] {
        let (status, out, err) = texts(&piped(document.as_bytes(), &[]));
        assert_eq!((status, out.as_str()), (1, ""), "{document}");
        assert_eq!(err.matches(": error: ").count(), 1, "{err}");
        assert!(err.starts_with("<stdin>:"), "{err}");
        assert!(
            err.ends_with("With this document snapshot-volumes, attach-ssm-role, cancel-refresh, quarantine-launch would do nothing at all; correct it and check again\n"),
            "{err}"
        );
    }
}

/// What AWS wouldn't take as a parameter's value.
#[test]
fn what_no_parameter_holds_is_told() {
    let comment = |length: usize| format!("# {}\n", "x".repeat(length - 3));
    for (document, status, expected) in [
        (comment(4_096), 0, "<stdin>: valid\n"),
        (
            comment(4_097),
            0,
            "<stdin>: note: the document has 4097 bytes",
        ),
        (comment(8_192), 0, "<stdin>: note: "),
        (
            comment(8_193),
            1,
            "<stdin>: error: the document has 8193 characters",
        ),
        (
            "\n# {{ssm:a}}\n".to_owned(),
            1,
            "<stdin>:2: error: SSM refuses",
        ),
    ] {
        let (code, _, err) = texts(&piped(document.as_bytes(), &["--strict"]));
        assert_eq!(code, status, "{err}");
        assert!(err.starts_with(expected), "{err}");
    }
}

#[test]
fn where_there_is_nothing_to_check_the_status_says_so() {
    let (status, out, err) = texts(&with_arguments(&["no/such/policy.yaml"]));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(
        err.starts_with("no/such/policy.yaml: can't be read: No such file"),
        "{err}"
    );
    let (status, _, err) = texts(&piped(b"a: \xff\n", &[]));
    assert_eq!(status, 2, "{err}");
    for arguments in [
        &[][..],
        &["--wrong"],
        &["--schema", BUILT_IN],
        &[BUILT_IN, BUILT_IN],
    ] {
        let (status, out, err) = texts(&with_arguments(arguments));
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains("Usage: policy-check"), "{err}");
    }
}

#[test]
fn the_schema_is_printed_alone() {
    let (status, out, err) = texts(&with_arguments(&["--schema"]));
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(out, policy_check::schema().unwrap());
    assert!(
        out.contains("\"$schema\": \"http://json-schema.org/draft-07/schema#\""),
        "{out}"
    );
}
