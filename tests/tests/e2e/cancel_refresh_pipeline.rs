//! The pipeline's step of docs/pipeline.md, as it stands there, against the local AWS.

#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use std::path::Path;
use std::process::{Child, Stdio};

use e2e::{CANCEL_REFRESH, Group, LocalAws, deployed};

/// The script in the document.
fn script() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pipeline.md");
    let document = std::fs::read_to_string(document).expect("docs/pipeline.md");
    let (_, from) = document.split_once("```sh\n").expect("a script");
    let (script, _) = from.split_once("```").expect("its end");
    // The pinned AWS CLI is version 1, which knows no other way and takes no option for it.
    script.replace(" --cli-binary-format raw-in-base64-out", "")
}

/// Starts it as a pipeline does.
fn release(aws: &LocalAws, group: &str, version: &str) -> Child {
    let wanted = format!(
        r#"{{"LaunchTemplate": {{"LaunchTemplateName": "{group}", "Version": "{version}"}}}}"#
    );
    aws.program("sh")
        .args(["-c", &script(), "release.sh", group, &wanted])
        .env("EVERY", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell")
}

/// Lets time pass until the script ends; its exit code and what it printed.
async fn ends(aws: &LocalAws, group: &Group<'_>, mut script: Child) -> (Option<i32>, String) {
    for _ in 0..120 {
        if script.try_wait().expect("its status").is_some() {
            break;
        }
        aws.pass_with_sweeps(5).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let _ = script.kill();
    let output = script.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(failed, "", "{}: {said}", group.name);
    (output.status.code(), said)
}

#[tokio::test]
async fn the_step_waits_for_a_good_release_and_ends_well() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, next) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 2, &first, |group| group).await;
        let version = group.version(&next).await;
        let script = release(aws, "web", &version);
        // No time passes for the group until the verdict was asked for.
        for _ in 0..600 {
            if !aws.calls_of("DescribeInstanceRefreshes").await.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let (code, said) = ends(aws, &group, script).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("running: "), "{said}");
        assert!(said.ends_with("good: Successful\n"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn the_step_fails_with_the_reasons_when_the_release_is_stopped() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, bad) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 4, &first, |group| group).await;
        let version = group.version(&bad).await;
        let script = release(aws, "web", &version);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while group.newest_refresh().await.is_none() && std::time::Instant::now() < until {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        aws.deregister(&bad).await;
        let (code, said) = ends(aws, &group, script).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("stopped: Rollback"), "{said}");
        assert!(said.contains("no longer available"), "{said}");
    })
    .await;
}
