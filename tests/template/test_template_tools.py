"""The tests' own tools: what they must see, and what must not deceive them."""

import pytest
import rust_scan
from iam_policy import allows

RUST = rb'''
//! Not called: `ec2.delete_volume()`.
use aws_sdk_ec2::Client;
use aws_sdk_sns as sns;
use std::env;

// ec2.terminate_instances().send().await
async fn observe(ec2: &Client) -> Result<(), ApiError> {
    let pages = ec2.describe_volumes().set_filters(None).into_paginator().items().send();
    let made = ec2
        .create_snapshot()
        .volume_id("vol-1")
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:CreateSnapshot", &error))?;
    println!("never .stop_instances() nor ec2:StopInstances");
    let role = env::var("NOTIFICATION_TOPIC_ARN");
    let both = tokio::join!(ec2.describe_images().send(), done());
    let named = queue.publish(made); // a method of ours with an argument
    Ok(())
}

#[cfg(test)]
mod tests {
    fn seen() { ec2.reboot_instances().send(); env::var("ONLY_IN_TESTS"); }
}

#[tokio::test]
async fn not_either() { ec2.copy_snapshot().send(); }

fn after_the_tests(ec2: &Client) { ec2.delete_snapshot(); }
'''


def test_scan_sees_calls_and_only_calls():
    scan = rust_scan.scan(RUST)
    assert scan.actions == {
        "ec2:DescribeVolumes",
        "ec2:CreateSnapshot",
        "ec2:DescribeImages",
        "ec2:DeleteSnapshot",
    }
    assert scan.named_actions == {"ec2:CreateSnapshot"}
    assert scan.environment == {"NOTIFICATION_TOPIC_ARN"}
    assert scan.crates == {"aws_sdk_ec2", "aws_sdk_sns"}


def test_scan_counts_an_operation_only_where_its_service_is_used():
    assert rust_scan.scan(b"fn f(queue: &Queue) { queue.publish(); }").actions == set()
    assert rust_scan.scan(b"use aws_sdk_sns::Client; fn f(c: &Client) { c.publish(); }").actions == {"sns:Publish"}


def test_scan_sees_what_the_table_and_the_topic_are_asked():
    source = b"""
    use aws_sdk_dynamodb::Client;
    async fn read(table: &Client, topic: &aws_sdk_sns::Client, url: &Uri) {
        table.query().table_name("t").into_paginator().items().send();
        table.get_item().send().await.map_err(|error| ApiError::of("dynamodb:GetItem", &error));
        table.put_item().send();
        table.delete_item().send();
        topic.get_topic_attributes().send();
    }
    """
    actions = {f"dynamodb:{name}" for name in ("DeleteItem", "GetItem", "PutItem", "Query")}
    scan = rust_scan.scan(source)
    assert scan.actions == actions | {"sns:GetTopicAttributes"}
    assert scan.named_actions == {"dynamodb:GetItem"}
    # A method of that name of something else, where no table is.
    assert rust_scan.scan(b"fn f(url: &Uri) { url.query(); }").actions == set()


def test_scan_sees_calls_of_clients_that_another_file_made(tmp_path):
    (tmp_path / "lib.rs").write_bytes(b"struct Clients { a: aws_sdk_ec2::Client, b: aws_sdk_autoscaling::Client }")
    (tmp_path / "act.rs").write_bytes(b"fn f(c: &Clients) { c.a.describe_volumes(); c.b.delete_tags(); c.b.close(); }")
    # Both services have DeleteTags: whose it is must be seen in the file.
    assert rust_scan.scan_folders(tmp_path).actions == {"ec2:DescribeVolumes"}
    (tmp_path / "act.rs").write_bytes(b"fn f(b: &aws_sdk_autoscaling::Client) { b.delete_tags(); }")
    assert rust_scan.scan_folders(tmp_path).actions == {"autoscaling:DeleteTags"}


def test_scan_sees_what_a_macro_of_the_file_calls():
    source = b"""
    use aws_sdk_ec2::Client;
    macro_rules! pages { ($ec2:expr, $call:ident) => { $ec2.$call().send() }; }
    macro_rules! names { ($call:ident) => { stringify!($call) }; }
    fn f(ec2: &Client) {
        pages!(ec2, describe_route_tables);
        names!(describe_volumes);
        pages!(ec2, other.describe_images);
    }
    """
    assert rust_scan.scan(source).actions == {"ec2:DescribeRouteTables"}


@pytest.mark.parametrize(
    "source",
    [
        b'fn f() { std::env::var("MY_ARN"); }',
        b'fn f() { let all = env::vars_os(); all.get("MY_ARN"); }',
        b'fn f(environment: &Environment) { environment.required("MY_ARN", "what it is"); }',
    ],
)
def test_scan_sees_the_environment_read(source):
    assert rust_scan.scan(source).environment == {"MY_ARN"}
    assert rust_scan.scan(b'fn f() { print("MY_ARN"); }').environment == set()


def test_scan_refuses_what_it_cannot_parse():
    with pytest.raises(AssertionError, match="not parsed"):
        rust_scan.scan(b"fn f( { ec2.describe_volumes()")


def test_several_values_need_an_operator_for_them():
    statement = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Condition": {"StringEquals": {"k:a": "x"}}}
    with pytest.raises(AssertionError, match="several values"):
        allows({"Statement": [statement]}, "s3:GetObject", "arn:aws:s3:::b/x", {"K:A": ["x"]})
