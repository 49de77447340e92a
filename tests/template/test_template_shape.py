"""The template as a whole: valid, known resource types, nothing that collides or is left open."""

import json
import re
import subprocess
import tomllib

import pytest
import samstack
from guardrails import FINDINGS_BUS, GUARDRAILS, each_guardrail

# Every type that the stack may consist of. A new one is a decision: add it here and, where the
# local AWS doesn't know it, to its CloudFormation.
KNOWN_TYPES = {
    "AWS::CloudFormation::Stack",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::DynamoDB::Table",
    "AWS::Events::Rule",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::Logs::QueryDefinition",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::Scheduler::ScheduleGroup",
}


def test_every_function_is_known_to_the_tests(stack):
    functions = stack.of_type("AWS::Lambda::Function").keys()
    assert functions == {guardrail.function for guardrail in GUARDRAILS}, "add it to guardrails.py"
    folders = {path.parent.name for path in (samstack.ROOT / "functions").glob("*/Cargo.toml")}
    assert folders == {guardrail.name for guardrail in GUARDRAILS}, "a guardrail that the template doesn't deploy"


@pytest.mark.parametrize("template", [samstack.TEMPLATE, samstack.MONITORING], ids=["template", "monitoring"])
def test_sam_validate_finds_nothing(sam, tmp_path, template):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AWS_DEFAULT_REGION": samstack.REGION,
        "SAM_CLI_TELEMETRY": "0",
    }
    result = subprocess.run(
        [sam, "validate", "--lint", "--template-file", str(template)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=samstack.ROOT,
        env=environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    # cfn-lint's warnings leave the exit code alone.
    assert not re.findall(r"^[EWI]\d{4}.*", result.stdout + result.stderr, re.MULTILINE)


def test_every_resource_type_is_known(stack):
    full = samstack.Stack(NotificationEmail="ops@example.com", Monitoring="full")
    types = {resource["Type"] for resource in [*full.resources.values(), *full.monitoring.resources.values()]}
    assert types == KNOWN_TYPES


def test_the_template_is_half_of_what_it_was():
    """2,549 lines that nobody reads before signing for them; what `make monitoring` writes isn't counted."""
    assert len(samstack.TEMPLATE.read_text().splitlines()) <= 1400


def test_stack_needs_no_named_iam():
    """CAPABILITY_NAMED_IAM is asked for when an IAM resource has a name of its own. The other is for nested stacks."""
    named = {kind for kind, _ in samstack.Stack(FindingsBusArn=FINDINGS_BUS).names().values()}
    assert not {kind for kind in named if kind.startswith("AWS::IAM::")}
    config = tomllib.loads((samstack.ROOT / "samconfig.toml").read_text())
    for environment in ("default", "local"):
        assert config[environment]["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"


def test_parameters_are_grouped_and_explained():
    template = samstack.source()
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"]), "each parameter stands in one group"
    for name, parameter in template["Parameters"].items():
        assert parameter.get("Description"), name
        assert "Default" in parameter, f"{name}: `sam deploy` with Enter only must work"
        if "AllowedPattern" in parameter:
            assert parameter.get("ConstraintDescription"), name


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (
            "NotificationEmail",
            ["", "ops@example.com", "first.last+aws@mail.example.co.uk"],
            ["ops", "ops@example", "a@example.com,b@example.com", "ops @example.com", "@example.com", "ops@example."],
        ),
        (
            "PolicyParameterName",
            ["/ec2-guardrails/policy", "/policy", "/a/b.c/d_e-1"],
            ["ec2-guardrails/policy", "/", "", "/a/", "/a//b", "/aws/policy", "/AWS/policy", "/ssm/policy", "/a b", "/a*"],
        ),
        (
            "Prefix",
            ["ec2-guardrails", "g1", "Guard", "p" * 40],
            ["", "g", "-guard", "guard-", "1guard", "ec2_guardrails", "a/b", "a b", "g*"],
        ),
        (
            "RefreshAlarmPrefix",
            ["", "web-", "web/api 5xx", "Team.web_"],
            ["web*", "web?", '"', "w" * 201],
        ),
        (
            "PermissionsBoundaryArn",
            ["", "arn:aws:iam::123456789012:policy/boundary", "arn:aws-cn:iam::123456789012:policy/a/b", "arn:aws:iam::aws:policy/PowerUserAccess"],
            ["boundary", "arn:aws:iam::123456789012:role/boundary", "arn:aws:iam::123456789012:policy/*", "*"],
        ),
        (
            "KmsKeyArn",
            ["", "arn:aws:kms:eu-central-1:123456789012:key/1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d", "arn:aws:kms:eu-central-1:123456789012:key/mrk-1a2b"],
            ["alias/aws/sns", "arn:aws:kms:eu-central-1:123456789012:alias/mine", "arn:aws:kms:eu-central-1:123456789012:key/*", "1a2b3c4d"],
        ),
        (
            "InstanceProfileName",
            ["", "web", "teams/web", "My_Profile+1=2,3.4@5-6", "p" * 128],
            ["*", "web*", "we?", "/web", "web/", "a//b", "arn:aws:iam::123456789012:instance-profile/web", "p" * 129],
        ),
        (
            "InstanceRoleName",
            ["", "web", "teams/web", "r" * 64],
            ["*", "web*", "/web", "web/", "arn:aws:iam::123456789012:role/web", "r" * 65],
        ),
        (
            "SweepSchedule",
            ["rate(5 minutes)", "rate(15 minutes)", "rate(30 minutes)"],
            ["rate(1 minute)", "rate(4 minutes)", "rate(31 minutes)", "rate(1 hour)", "rate(15 hours)", "15", "cron(0 3 * * ? *)"],
        ),
        (
            "RefreshSweepSchedule",
            ["rate(1 minute)", "rate(2 minutes)", "rate(5 minutes)", "rate(15 minutes)"],
            ["rate(1 minutes)", "rate(2 minute)", "rate(0 minutes)", "rate(16 minutes)", "rate(20 minutes)", "rate(1 hour)", "5"],
        ),
        (
            "FindingsBusArn",
            ["", "arn:aws:events:eu-central-1:123456789012:event-bus/default", "arn:aws:events:eu-west-1:123456789012:event-bus/a/b.c"],
            ["findings", "*", "arn:aws:events:eu-central-1:123456789012:event-bus/*", "arn:aws:events:eu-central-1:123456789012:rule/r"],
        ),
        (
            "PolicyParameterArn",
            ["", "arn:aws:ssm:eu-central-1:123456789012:parameter/org/ec2-guardrails"],
            ["/org/policy", "*", "arn:aws:ssm:eu-central-1:123456789012:parameter/*", "arn:aws:ssm:*:123456789012:parameter/p"],
        ),
        (
            "LaunchSweepSchedule",
            ["rate(1 minute)", "rate(5 minutes)", "rate(15 minutes)"],
            ["rate(1 minutes)", "rate(0 minutes)", "rate(16 minutes)", "rate(1 hour)"],
        ),
        (
            "ImageParameterArns",
            [
                "",
                "arn:aws:ssm:eu-central-1:123456789012:parameter/golden",
                "arn:aws:ssm:eu-central-1:123456789012:parameter/golden/web-1.x_y",
                "arn:aws-us-gov:ssm:us-gov-west-1:123456789012:parameter/golden/*",
            ],
            [
                "*",
                "/golden",
                "arn:aws:ssm:eu-central-1:123456789012:parameter/*",
                "arn:aws:ssm:eu-central-1:123456789012:parameter/golden*",
                "arn:aws:ssm:eu-central-1:123456789012:parameter/*/golden",
                "arn:aws:ssm:eu-central-1:123456789012:*",
                "arn:aws:ssm:*:123456789012:parameter/golden",
                "arn:aws:ecr:eu-central-1:123456789012:repository/shop",
            ],
        ),
        (
            "RestoreProfileRoleArns",
            [
                "",
                "arn:aws:iam::123456789012:role/web",
                "arn:aws-cn:iam::123456789012:role/teams/web_1+x=y@z.a-b",
                "arn:aws:iam::123456789012:role/teams/*",
                "arn:aws:iam::123456789012:role/web-*",
            ],
            [
                "web",
                "*",
                "arn:aws:iam::123456789012:role/*",
                "arn:aws:iam::123456789012:role/",
                "arn:aws:iam::123456789012:role/teams/",
                "arn:aws:iam::123456789012:role//*",
                "arn:aws:iam::123456789012:role/*/web",
                "arn:aws:iam::123456789012:role/we?",
                "arn:aws:iam::*:role/web",
                "arn:aws:iam::123456789012:instance-profile/web",
                "arn:aws:iam::123456789012:role/web;arn:aws:iam::123456789012:role/db",
            ],
        ),
        (
            "ImageRepositoryArns",
            [
                "",
                "arn:aws:ecr:eu-central-1:123456789012:repository/shop",
                "arn:aws-cn:ecr:cn-north-1:123456789012:repository/team/shop-api_2.x",
            ],
            [
                "shop",
                "*",
                "arn:aws:ecr:eu-central-1:123456789012:repository/*",
                "arn:aws:ecr:eu-central-1:123456789012:repository/shop*",
                "arn:aws:ecr:*:123456789012:repository/shop",
                "arn:aws:ecr:eu-central-1:*:repository/shop",
                "arn:aws:s3:::bucket",
                "arn:aws:ecr:eu-central-1:123456789012:repository/a;arn:aws:ecr:eu-west-1:123456789012:repository/b",
            ],
        ),
    ],
)
def test_parameter_patterns(parameter, good, bad):
    # CloudFormation matches the whole value, of a list each one by itself.
    pattern = re.compile(samstack.source()["Parameters"][parameter]["AllowedPattern"])
    for value in good:
        assert pattern.fullmatch(value), value
    for value in bad:
        assert not pattern.fullmatch(value), value


def test_defaults_are_allowed_values():
    for name, parameter in samstack.source()["Parameters"].items():
        default = str(parameter["Default"])
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), default), name
        assert default in [str(value) for value in parameter.get("AllowedValues", [default])], name


def test_log_level_keeps_the_figures_and_shows_no_secret():
    """Lambda takes lines without a level for INFO, and the figures are such lines. TRACE logs AWS's answers as they are."""
    assert set(samstack.source()["Parameters"]["LogLevel"]["AllowedValues"]) == {"INFO", "DEBUG"}


@each_guardrail
def test_function_is_built_and_run_as_lambda_expects(stack, guardrail):
    resource = samstack.source()["Resources"][guardrail.function]
    assert resource["Metadata"] == {"BuildMethod": "rust-cargolambda"}
    assert samstack.ROOT / resource["Properties"]["CodeUri"] == guardrail.folder
    assert (guardrail.folder / "Cargo.toml").is_file()
    function = stack.properties(guardrail.function)
    assert function["FunctionName"] == f"{samstack.STACK}-{guardrail.name}"
    assert function["Runtime"] == "provided.al2023"
    assert function["Handler"] == "bootstrap"
    assert function["Architectures"] == ["arm64"]
    other = samstack.Stack(Architecture="x86_64", Memory="1024")
    assert other.properties(guardrail.function)["Architectures"] == ["x86_64"]
    assert other.properties(guardrail.function)["MemorySize"] == "1024"
    # Not by default: a new account's quota may be too small for it (SAM-5).
    assert "ReservedConcurrentExecutions" not in function
    limited = samstack.Stack(ReservedConcurrency="5").properties(guardrail.function)
    assert limited["ReservedConcurrentExecutions"] == "5"


@each_guardrail
def test_function_logs_to_its_group_for_as_long_as_asked(stack, guardrail):
    group = f"{guardrail.logical}LogGroup"
    assert stack.properties(guardrail.function)["LoggingConfig"] == {
        "LogGroup": stack.properties(group)["LogGroupName"],
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
    }
    assert stack.properties(group)["LogGroupName"] == f"/aws/lambda/{samstack.STACK}-{guardrail.name}"
    assert samstack.Stack(LogRetentionDays="7").properties(group)["RetentionInDays"] == "7"


@each_guardrail
def test_failed_invocations_are_tried_once_more_and_kept(stack, guardrail):
    function = stack.attribute(guardrail.function, "Ref")
    (config,) = (
        config
        for config in stack.of_type("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"] == function
    )
    queue = stack.attribute("DeadLetterQueue", "Arn")
    assert config["MaximumRetryAttempts"] == 1
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == queue
    timeout = stack.properties(guardrail.function)["Timeout"]
    assert config["MaximumEventAgeInSeconds"] > timeout + 60, "a run that times out is still tried again a minute later"


@each_guardrail
def test_sweep_fires_with_what_the_function_expects(stack, guardrail):
    schedule = stack.properties(guardrail.sweep)
    fixture = json.loads((samstack.ROOT / "tests/events/sweep.json").read_text())
    assert json.loads(schedule["Target"]["Input"]) == fixture
    assert schedule["Target"]["Arn"] == stack.attribute(guardrail.function, "Arn")
    assert schedule["ScheduleExpression"] == samstack.source()["Parameters"][guardrail.schedule]["Default"]
    other = samstack.Stack(**{guardrail.schedule: "rate(7 minutes)"}).properties(guardrail.sweep)
    assert other["ScheduleExpression"] == "rate(7 minutes)"
    assert schedule["State"] == "ENABLED"
    # SAM's own choice, the logical id, collides between stacks; in a group of the stack's own nothing does.
    assert schedule["GroupName"] == f"{samstack.STACK}-{guardrail.name}"
    assert schedule["Target"]["DeadLetterConfig"]["Arn"] == stack.attribute("DeadLetterQueue", "Arn")
    assert schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 15 * 60
    assert samstack.Stack(Sweeps="DISABLED").properties(guardrail.sweep)["State"] == "DISABLED"


def test_mail_is_subscribed_only_where_an_address_is_given(stack):
    assert not stack.of_type("AWS::SNS::Subscription")
    (subscription,) = samstack.Stack(NotificationEmail="ops@example.com").of_type("AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")


def test_table_is_keyed_as_the_roles_divide_it(stack):
    table = stack.properties("StateTable")
    assert table["KeySchema"] == [
        {"AttributeName": "guardrail", "KeyType": "HASH"},
        {"AttributeName": "item", "KeyType": "RANGE"},
    ]
    assert {d["AttributeName"]: d["AttributeType"] for d in table["AttributeDefinitions"]} == {"guardrail": "S", "item": "S"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert "ProvisionedThroughput" not in table and table["BillingMode"] == "PAY_PER_REQUEST"


def test_table_outlives_the_stack_and_mistakes(stack):
    """By it a quarantine is undone; without a name it is in nobody's way."""
    resource = stack.resources["StateTable"]
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"
    assert resource["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert "TableName" not in resource["Properties"]
    # It couldn't be deleted when a first deployment fails.
    assert "DeletionProtectionEnabled" not in resource["Properties"]


@each_guardrail
def test_function_is_given_the_table(stack, guardrail):
    environment = stack.properties(guardrail.function)["Environment"]["Variables"]
    assert environment["STATE_TABLE"] == stack.attribute("StateTable", "Ref") == stack.outputs["StateTableName"]


def test_queue_is_encrypted_and_keeps_messages_as_long_as_possible(stack):
    queue = stack.properties("DeadLetterQueue")
    assert queue["SqsManagedSseEnabled"] is True
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_built_functions_of_tests_and_of_deployments_never_share_a_folder():
    """A function built for this machine must not end up in an account that expects another one."""
    config = tomllib.loads((samstack.ROOT / "samconfig.toml").read_text())
    assert config["local"]["deploy"]["parameters"]["template_file"] == ".aws-sam/local/template.yaml"
    # What `sam build` makes goes into its own default, .aws-sam/build.
    assert "build_dir" not in config["default"].get("build", {}).get("parameters", {})
