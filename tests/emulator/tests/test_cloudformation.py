"""Stacks: what is deployed really exists, and what can't be deployed is refused with a reason."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ACCOUNT, REGION, ControlFailure, invoke
from ec2_help import eventually

TEMPLATE = """
AWSTemplateFormatVersion: 2010-09-09
Transform: AWS::Serverless-2016-10-31
Description: a small stack
Parameters:
  Email: { Type: String, Default: "" }
  Rate: { Type: String, Default: rate(15 minutes), AllowedPattern: '^rate\\(.*\\)$' }
Conditions:
  HasEmail: !Not [!Equals [!Ref Email, ""]]
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub ${AWS::StackName}-worker
      CodeUri: ./code
      Handler: bootstrap
      Runtime: provided.al2023
      Timeout: 30
      MemorySize: 256
      Role: !GetAtt Role.Arn
      Environment: { Variables: { TOPIC: !Ref Topic } }
      LoggingConfig: { LogGroup: !Ref Logs, LogFormat: JSON }
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        DestinationConfig: { OnFailure: { Type: SQS, Destination: !GetAtt Failed.Arn } }
      Events:
        Sweep:
          Type: ScheduleV2
          Properties:
            OmitName: true
            ScheduleExpression: !Ref Rate
            Input: '{"trigger": "sweep"}'
            DeadLetterConfig: { Arn: !GetAtt Failed.Arn }
        Failure:
          Type: EventBridgeRule
          Properties:
            Pattern: { source: [aws.ec2], detail-type: [EBS Snapshot Notification] }
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: 2012-10-17
        Statement:
          - { Effect: Allow, Principal: { Service: lambda.amazonaws.com }, Action: "sts:AssumeRole" }
      Policies:
        - PolicyName: all
          PolicyDocument:
            Version: 2012-10-17
            Statement: [{ Effect: Allow, Action: "*", Resource: "*" }]
  Profile: { Type: AWS::IAM::InstanceProfile, Properties: { Roles: [!Ref Role] } }
  Topic: { Type: AWS::SNS::Topic, Properties: { DisplayName: notices } }
  TopicPolicy:
    Type: AWS::SNS::TopicPolicy
    Properties:
      Topics: [!Ref Topic]
      PolicyDocument:
        Version: 2012-10-17
        Statement:
          - { Effect: Allow, Principal: { Service: cloudwatch.amazonaws.com }, Action: "sns:Publish", Resource: !Ref Topic }
  Mail:
    Type: AWS::SNS::Subscription
    Condition: HasEmail
    Properties: { TopicArn: !Ref Topic, Protocol: email, Endpoint: !Ref Email }
  Failed: { Type: AWS::SQS::Queue, Properties: { MessageRetentionPeriod: 1209600, SqsManagedSseEnabled: true } }
  FailedPolicy:
    Type: AWS::SQS::QueuePolicy
    Properties:
      Queues: [!Ref Failed]
      PolicyDocument:
        Version: 2012-10-17
        Statement:
          - { Effect: Allow, Principal: { Service: events.amazonaws.com }, Action: "sqs:SendMessage", Resource: !GetAtt Failed.Arn }
  Logs: { Type: AWS::Logs::LogGroup, Properties: { RetentionInDays: 30 } }
  Policy: { Type: AWS::SSM::Parameter, Properties: { Name: /p, Type: String, Value: "a: 1" } }
  Errors:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: !Sub ${AWS::StackName}-errors
      AlarmDescription: !Sub "look at ${Failed.QueueName}"
      Namespace: AWS/Lambda
      MetricName: Errors
      Dimensions: [{ Name: FunctionName, Value: !Ref Worker }]
      Statistic: Sum
      Period: 300
      EvaluationPeriods: 1
      Threshold: 1
      ComparisonOperator: GreaterThanOrEqualToThreshold
      TreatMissingData: notBreaching
      AlarmActions: [!Ref Topic]
  Board: { Type: AWS::CloudWatch::Dashboard, Properties: { DashboardBody: '{"widgets": []}' } }
Outputs:
  Function: { Value: !Ref Worker }
  Queue: { Value: !Ref Failed, Description: what failed }
  Mail: { Condition: HasEmail, Value: !Ref Email }
"""


def stack_of(client, name):
    return client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]


def outputs(client, name):
    return {o["OutputKey"]: o["OutputValue"] for o in stack_of(client, name).get("Outputs", [])}


def deploy(client, name, template, capabilities=("CAPABILITY_IAM",), update=False, **parameters):
    """CreateStack or UpdateStack, and the status it ends in."""
    cloudformation = client("cloudformation")
    operation = cloudformation.update_stack if update else cloudformation.create_stack
    operation(
        StackName=name,
        TemplateBody=template if isinstance(template, str) else json.dumps(template),
        Capabilities=list(capabilities),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    )
    return eventually(lambda: not (status := stack_of(client, name)["StackStatus"]).endswith("IN_PROGRESS") and status)


def sam(emulator, folder, *arguments):
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "samcli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    """A built SAM project."""
    (tmp_path / "code").mkdir()
    bootstrap = Path(__file__).parent / "function" / "bootstrap"
    (tmp_path / "code" / "bootstrap").write_bytes(bootstrap.read_bytes())
    (tmp_path / "code" / "bootstrap").chmod(0o755)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return tmp_path


def test_sam_deploys_updates_and_deletes_a_stack(emulator, client, project):
    deploy_arguments = ["deploy", "--stack-name", "small", "--resolve-s3", "--capabilities", "CAPABILITY_IAM",
                        "--no-confirm-changeset", "--tags", "team=storage"]  # fmt: skip
    code, text = sam(emulator, project, *deploy_arguments, "--parameter-overrides", "Email=ops@example.com")
    assert code == 0, text + failure(client, "small")
    found = outputs(client, "small")
    assert found["Function"] == "small-worker" and found["Mail"] == "ops@example.com"

    # Each resource of the template exists afterwards.
    resources = client("cloudformation").list_stack_resources(StackName="small")["StackResourceSummaries"]
    by_name = {r["LogicalResourceId"]: r for r in resources}
    assert {"Worker", "Role", "Topic", "Mail", "Failed", "Logs", "Errors", "Board", "Profile"} <= by_name.keys()
    assert all(r["ResourceStatus"] == "CREATE_COMPLETE" for r in resources)
    function = client("lambda").get_function(FunctionName="small-worker")
    assert function["Configuration"]["Timeout"] == 30
    assert function["Configuration"]["LoggingConfig"]["LogFormat"] == "JSON"
    assert function["Tags"]["team"] == "storage"
    (schedule,) = client("scheduler").list_schedules()["Schedules"]
    described = client("scheduler").get_schedule(Name=schedule["Name"])
    assert described["Target"]["Input"] == '{"trigger": "sweep"}' and described["State"] == "ENABLED"
    (rule,) = client("events").list_rules()["Rules"]
    (target,) = client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"] == function["Configuration"]["FunctionArn"]
    config = client("lambda").get_function_event_invoke_config(FunctionName="small-worker")
    assert config["MaximumRetryAttempts"] == 1
    (alarm,) = client("cloudwatch").describe_alarms(AlarmNames=["small-errors"])["MetricAlarms"]
    assert alarm["Threshold"] == 1 and alarm["AlarmDescription"].startswith("look at small-Failed-")
    topic = by_name["Topic"]["PhysicalResourceId"]
    (subscription,) = client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert subscription["Endpoint"] == "ops@example.com"
    (group,) = client("logs").describe_log_groups()["logGroups"]
    assert group["retentionInDays"] == 30
    answer = invoke(emulator, "small-worker", {})
    assert answer["Payload"]["environment"]["TOPIC"] == topic

    # Nothing new is said so; a changed parameter changes what depends on it, in place.
    code, text = sam(emulator, project, *deploy_arguments, "--no-fail-on-empty-changeset",
                     "--parameter-overrides", "Email=ops@example.com")  # fmt: skip
    assert code == 0 and "No changes to deploy" in text, text
    code, text = sam(
        emulator, project, *deploy_arguments, "--parameter-overrides", 'Rate="rate(5 minutes)"', 'Email=""'
    )
    assert code == 0, text
    assert client("scheduler").get_schedule(Name=schedule["Name"])["ScheduleExpression"] == "rate(5 minutes)"
    assert client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    assert "Mail" not in outputs(client, "small")

    code, text = sam(emulator, project, "delete", "--stack-name", "small", "--no-prompts", "--region", REGION)
    assert code == 0, text
    assert client("lambda").list_functions()["Functions"] == []
    assert client("scheduler").list_schedules()["Schedules"] == []
    assert client("events").list_rules()["Rules"] == []
    assert "small-Failed" not in str(client("sqs").list_queues())
    assert client("iam").list_instance_profiles()["InstanceProfiles"] == []


TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "a"}}


def failure(client, name):
    events = client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return next(e["ResourceStatusReason"] for e in events if e["ResourceStatus"].endswith("_FAILED"))


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"Type": "AWS::Made::Up"}, "doesn't handle resource type AWS::Made::Up"),
        ({"Type": "AWS::SNS::Topic", "Properties": {"Invented": 1}}, "doesn't handle Invented of AWS::SNS::Topic"),
        ({"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String"}}, "required key [Value] not found"),
    ],
)
def test_what_is_not_handled_fails_the_stack_and_is_rolled_back(client, resource, reason):
    assert (
        deploy(client, "bad", {"Resources": {"Topic": TOPIC, "Other": resource | {"DependsOn": "Topic"}}})
        == "ROLLBACK_COMPLETE"
    )
    assert reason in failure(client, "bad")
    assert client("sns").list_topics().get("Topics", []) == []


def test_a_failed_update_goes_back_to_what_was(client):
    before = {"Resources": {"Topic": TOPIC}}
    assert deploy(client, "s", before) == "CREATE_COMPLETE"
    changed = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "b"}}
    after = {"Resources": {"Topic": changed, "Q": {"Type": "AWS::SQS::Queue"}, "Bad": {"Type": "AWS::Made::Up"}}}
    after["Resources"]["Bad"]["DependsOn"] = ["Topic", "Q"]
    assert deploy(client, "s", after, update=True) == "UPDATE_ROLLBACK_COMPLETE"
    (topic,) = client("sns").list_topics()["Topics"]
    assert client("sns").get_topic_attributes(TopicArn=topic["TopicArn"])["Attributes"]["DisplayName"] == "a"
    assert "QueueUrls" not in client("sqs").list_queues()


def test_replacement_and_removal(client):
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/one", "Type": "String", "Value": "1"}}
    deploy(client, "s", {"Resources": {"P": parameter, "Topic": TOPIC}})
    renamed = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/two", "Type": "String", "Value": "1"}}
    assert deploy(client, "s", {"Resources": {"P": renamed}}, update=True) == "UPDATE_COMPLETE"
    names = [p["Name"] for p in client("ssm").describe_parameters()["Parameters"]]
    assert names == ["/two"]
    assert client("sns").list_topics().get("Topics", []) == []


def test_what_a_template_no_longer_says_goes_back_to_its_default(client):
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "q", "VisibilityTimeout": 99, "DelaySeconds": 5}}
    deploy(client, "s", {"Resources": {"Q": queue}})
    queue["Properties"] = {"QueueName": "q", "DelaySeconds": 6}
    assert deploy(client, "s", {"Resources": {"Q": queue}}, update=True) == "UPDATE_COMPLETE"
    url = client("sqs").get_queue_url(QueueName="q")["QueueUrl"]
    attributes = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (attributes["VisibilityTimeout"], attributes["DelaySeconds"]) == ("30", "6")


def test_what_is_to_be_retained_stays(client):
    kept = {"Type": "AWS::SSM::Parameter", "DeletionPolicy": "Retain",
            "Properties": {"Name": "/kept", "Type": "String", "Value": "1"}}  # fmt: skip
    deploy(client, "s", {"Resources": {"P": kept, "Topic": TOPIC}})
    stack_id = stack_of(client, "s")["StackId"]
    client("cloudformation").delete_stack(StackName="s")
    assert stack_of(client, stack_id)["StackStatus"] == "DELETE_COMPLETE"
    assert client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "1"
    assert client("sns").list_topics().get("Topics", []) == []
    with pytest.raises(client("cloudformation").exceptions.ClientError, match="Stack with id s does not exist"):
        stack_of(client, "s")


TABLE = """
Parameters:
  Ttl: { Type: String, Default: "true" }
  Backup: { Type: String, Default: "true" }
Conditions:
  HasTtl: !Equals [!Ref Ttl, "true"]
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: RetainExceptOnCreate
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{ AttributeName: a, AttributeType: S }]
      KeySchema: [{ AttributeName: a, KeyType: HASH }]
      TimeToLiveSpecification: !If [HasTtl, { AttributeName: expires, Enabled: true }, !Ref "AWS::NoValue"]
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: !Ref Backup }
Outputs:
  Name: { Value: !Ref Table }
  Arn: { Value: !GetAtt Table.Arn }
"""


def test_a_table_is_made_changed_and_kept(client):
    assert deploy(client, "s", TABLE) == "CREATE_COMPLETE"
    name, arn = outputs(client, "s")["Name"], outputs(client, "s")["Arn"]
    assert name.startswith("s-Table-") and arn == f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    dynamodb = client("dynamodb")

    def state():
        ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        return ttl["TimeToLiveStatus"], ttl["AttributeName"], recovery

    assert state() == ("ENABLED", "expires", "ENABLED")
    billing = dynamodb.describe_table(TableName=name)["Table"]["BillingModeSummary"]["BillingMode"]
    assert billing == "PAY_PER_REQUEST"
    dynamodb.put_item(TableName=name, Item={"a": {"S": "x"}})
    assert deploy(client, "s", TABLE, update=True, Ttl="false", Backup="false") == "UPDATE_COMPLETE"
    assert state() == ("DISABLED", "expires", "DISABLED")
    assert deploy(client, "s", TABLE, update=True) == "UPDATE_COMPLETE"
    assert state() == ("ENABLED", "expires", "ENABLED")
    client("cloudformation").delete_stack(StackName="s")
    assert dynamodb.scan(TableName=name, ConsistentRead=True)["Items"] == [{"a": {"S": "x"}}]
    # What was kept isn't in the way of the next deployment.
    assert deploy(client, "s", TABLE) == "CREATE_COMPLETE"
    assert len(dynamodb.list_tables()["TableNames"]) == 2


def test_a_table_of_a_deployment_that_fails_is_not_kept(client):
    bad = TABLE.replace("Outputs:", "  Bad: { Type: AWS::Made::Up, DependsOn: Table }\nOutputs:")
    assert deploy(client, "s", bad) == "ROLLBACK_COMPLETE"
    assert client("dynamodb").list_tables()["TableNames"] == []
    deploy(client, "t", {"Resources": {"Topic": TOPIC}})
    assert deploy(client, "t", bad, update=True) == "UPDATE_ROLLBACK_COMPLETE"
    assert client("dynamodb").list_tables()["TableNames"] == []


def test_a_table_with_another_key_is_another_table(client):
    deploy(client, "s", TABLE)
    before = outputs(client, "s")["Name"]
    other = TABLE.replace("AttributeName: a,", "AttributeName: b,")
    assert deploy(client, "s", other, update=True) == "UPDATE_COMPLETE"
    assert outputs(client, "s")["Name"] != before


def test_calls_of_a_deployment_are_not_taken_for_the_clients(emulator, client):
    deploy(client, "s", {"Resources": {"Topic": TOPIC}})
    (call,) = emulator.control("GET", "calls", operation="CreateTopic")["calls"]
    assert call["caller"] == "cloudformation"


RULES = """
Parameters:
  Role: { Type: String, Default: "" }
  Profile: { Type: String, Default: "" }
  Zones: { Type: CommaDelimitedList, Default: "a, b" }
Rules:
  RoleGoesWithAProfile:
    RuleCondition: !Not [!Equals [!Ref Role, ""]]
    Assertions:
      - Assert: !Not [!Equals [!Ref Profile, ""]]
        AssertDescription: Give both parameters, or neither.
  KnownZones:
    Assertions:
      - Assert: !Or [!Contains [!Ref Zones, a], !Contains [[global], !Ref Role]]
Resources: { Topic: { Type: AWS::SNS::Topic } }
"""


def test_rules_hold_before_anything_is_created(client):
    error = client("cloudformation").exceptions.ClientError
    with pytest.raises(error, match="Rule RoleGoesWithAProfile failed: Give both parameters, or neither."):
        deploy(client, "r", RULES, Role="r")
    with pytest.raises(error, match="Rule KnownZones failed: .*Contains"):
        deploy(client, "r", RULES, Zones="b,x")
    assert client("sns").list_topics().get("Topics", []) == []
    assert deploy(client, "r", RULES, Role="r", Profile="p") == "CREATE_COMPLETE"
    with pytest.raises(error, match="Rule RoleGoesWithAProfile failed"):
        deploy(client, "r", RULES, update=True, Role="r", Profile="")
    with pytest.raises(error, match="Rule RoleGoesWithAProfile failed"):
        client("cloudformation").create_change_set(
            StackName="other", ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=RULES,
            Parameters=[{"ParameterKey": "Role", "ParameterValue": "r"}],
        )  # fmt: skip
    assert deploy(client, "s", RULES, Role="global", Profile="p", Zones="x") == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"Assertions": [{"Assert": {"Fn::If": ["C", True, False]}}]}, "lacks the rule function Fn::If"),
        ({"Assertions": [{"Assert": {"Fn::Equals": ["a"]}}]}, "Fn::Equals takes 2 to 2 arguments"),
        ({"Assertions": [{"Assert": {"Fn::Equals": [{"Ref": "Topic"}, "a"]}}]}, "isn't a reference to a parameter"),
        ({"Assertions": [{"Assert": {"Fn::Contains": ["a", "a"]}}]}, "is a text where a list is expected"),
        ({"Assertions": [{"Assert": True}]}, "isn't true or false"),
        ({"Assertions": [{"AssertDescription": "x"}]}, "An assertion has Assert"),
        ({"Assertions": []}, "A rule has Assertions"),
        ({"Condition": {}, "Assertions": [{"Assert": {}}]}, "A rule has Assertions, and perhaps RuleCondition"),
    ],
)
def test_a_rule_that_cannot_be_evaluated_is_refused(client, rule, message):
    with pytest.raises(client("cloudformation").exceptions.ClientError, match=message):
        deploy(client, "r", {"Rules": {"R": rule}, "Resources": {"Topic": TOPIC}})


def test_a_section_that_does_not_exist_is_refused(client):
    with pytest.raises(client("cloudformation").exceptions.ClientError, match=r"properties \[Hooks, Resource\]"):
        deploy(client, "r", {"Resource": {}, "Hooks": {}, "Resources": {"Topic": TOPIC}})


def test_functions_parameters_and_conditions(client):
    template = """
Parameters:
  Size: { Type: Number, Default: 5, MinValue: 1, MaxValue: 9, ConstraintDescription: must be from 1 to 9 }
  Names: { Type: CommaDelimitedList, Default: "a, b" }
Conditions:
  Big: !Equals [!Ref Size, 9]
  NotBig: !Not [{ Condition: Big }]
Resources:
  P:
    Type: AWS::SSM::Parameter
    Properties:
      Name: /p
      Type: String
      Description: !If [Big, !Ref "AWS::NoValue", small]
      Value: !Join ["|", [!Join ["+", !Ref Names], !Sub "${Size}-${AWS::AccountId}-${!Literal}-${X}"]]
  Never: { Type: AWS::Made::Up, Condition: Big }
Outputs:
  Value: { Value: !GetAtt P.Value }
""".replace('${X}"', '${AWS::StackName}"')
    assert deploy(client, "f", template) == "CREATE_COMPLETE"
    assert outputs(client, "f")["Value"] == f"a+b|5-{ACCOUNT}-${{Literal}}-f"
    error = client("cloudformation").exceptions.ClientError
    with pytest.raises(error, match="Parameter Size failed to satisfy constraint: must be from 1 to 9"):
        deploy(client, "g", template, Size="10")
    with pytest.raises(error, match=r"Parameters: \[Other\] do not exist in the template"):
        deploy(client, "g", template, Other="1")


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            {"A": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "Nobody"}}}},
            "Unresolved resource dependencies",
        ),
        (
            {
                "A": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "B"}}},
                "B": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "A"}}},
            },
            "Circular dependency",
        ),
        ({"A": {"Type": "AWS::IAM::Role", "Properties": {}}}, "Requires capabilities"),
    ],
)
def test_a_template_that_cannot_be_deployed_is_refused(client, resources, message):
    with pytest.raises(client("cloudformation").exceptions.ClientError, match=message):
        deploy(client, "bad", {"Resources": resources}, capabilities=())


def test_an_unhandled_type_fails_sam_deploy(emulator, client, project):
    (project / "template.yaml").write_text(
        TEMPLATE.replace(
            '{ Type: AWS::SSM::Parameter, Properties: { Name: /p, Type: String, Value: "a: 1" } }',
            "{ Type: AWS::Made::Up }",
        )  # fmt: skip
    )
    code, text = sam(emulator, project, "deploy", "--stack-name", "small", "--resolve-s3", "--capabilities",
                     "CAPABILITY_IAM", "--no-confirm-changeset")  # fmt: skip
    assert code != 0, text
    assert "doesn't handle resource type AWS::Made::Up" in failure(client, "small")


def test_a_stack_can_be_shown_in_the_middle_of_an_update(emulator, client):
    queue = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    assert deploy(client, "held", queue) == "CREATE_COMPLETE"
    emulator.control("POST", "stacks/status", stack="held", status="UPDATE_IN_PROGRESS")
    assert stack_of(client, "held")["StackStatus"] == "UPDATE_IN_PROGRESS"
    with pytest.raises(ControlFailure, match="no stack other"):
        emulator.control("POST", "stacks/status", stack="other", status="UPDATE_IN_PROGRESS")


# ---- stacks in stacks ----

CHILD = """
Parameters: { Name: { Type: String, AllowedPattern: '[a-z]+' } }
Resources:
  Topic: { Type: AWS::SNS::Topic, Properties: { DisplayName: !Ref Name } }
  Bad: { Type: AWS::Made::Up, Condition: IsBad }
Conditions: { IsBad: !Equals [!Ref Name, bad] }
Outputs: { Topic: { Value: !Ref Topic } }
"""
PARENT = """
Parameters: { Name: { Type: String, Default: one }, Nested: { Type: String, Default: "true" } }
Conditions: { HasNested: !Equals [!Ref Nested, "true"] }
Resources:
  Queue: { Type: AWS::SQS::Queue }
  Inner:
    Type: AWS::CloudFormation::Stack
    Condition: HasNested
    Properties:
      TemplateURL: https://s3.eu-central-1.amazonaws.com/templates/child.yaml
      Parameters: { Name: !Ref Name }
Outputs:
  Topic: { Condition: HasNested, Value: !GetAtt Inner.Outputs.Topic }
"""


@pytest.fixture
def child(client):
    client("s3").create_bucket(Bucket="templates", CreateBucketConfiguration={"LocationConstraint": REGION})
    client("s3").put_object(Bucket="templates", Key="child.yaml", Body=CHILD.encode())


def test_a_stack_in_a_stack_is_made_changed_and_deleted_with_it(client, child):
    def topics():
        names = [topic["TopicArn"] for topic in client("sns").list_topics()["Topics"]]
        return [client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] for arn in names]

    assert deploy(client, "outer", PARENT) == "CREATE_COMPLETE"
    (inner,) = (s for s in client("cloudformation").describe_stacks()["Stacks"] if s["StackName"] != "outer")
    assert inner["StackName"].startswith("outer-Inner-")
    assert inner["ParentId"] == inner["RootId"] == stack_of(client, "outer")["StackId"]
    assert outputs(client, "outer")["Topic"] == outputs(client, inner["StackName"])["Topic"]
    assert topics() == ["one"]
    assert deploy(client, "outer", PARENT, update=True, Name="two") == "UPDATE_COMPLETE"
    assert topics() == ["two"]
    assert deploy(client, "outer", PARENT, update=True, Nested="false") == "UPDATE_COMPLETE"
    assert topics() == []
    assert deploy(client, "outer", PARENT, update=True) == "UPDATE_COMPLETE"
    client("cloudformation").delete_stack(StackName="outer")
    assert topics() == [] and client("cloudformation").describe_stacks()["Stacks"] == []


@pytest.mark.parametrize("name", ["bad", "NOT ALLOWED"])
def test_a_stack_fails_with_the_one_in_it(client, child, name):
    assert deploy(client, "outer", PARENT, Name=name) == "ROLLBACK_COMPLETE"
    assert client("sns").list_topics().get("Topics", []) == []


def test_a_nested_stack_beside_a_transform_needs_auto_expand(client, child):
    sam_parent = "Transform: AWS::Serverless-2016-10-31" + PARENT
    create = client("cloudformation").create_change_set
    arguments = {"StackName": "s", "ChangeSetName": "c", "ChangeSetType": "CREATE", "TemplateBody": sam_parent}
    with pytest.raises(client("cloudformation").exceptions.ClientError, match="CAPABILITY_AUTO_EXPAND"):
        create(**arguments)
    create(**arguments, Capabilities=["CAPABILITY_AUTO_EXPAND"])


# ---- what is attached, saved or an alias ----

MANAGED = """
Parameters: { Bucket: { Type: String, Default: one } }
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Statement: [{ Effect: Allow, Principal: { Service: lambda.amazonaws.com }, Action: "sts:AssumeRole" }]
      ManagedPolicyArns: [!Ref Common]
  Common:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Version: 2012-10-17
        Statement: [{ Effect: Allow, Action: "s3:GetObject", Resource: !Sub "arn:aws:s3:::${Bucket}/*" }]
Outputs: { Role: { Value: !Ref Role }, Common: { Value: !Ref Common } }
"""


def test_a_managed_policy_is_changed_in_place_and_goes_with_the_stack(client):
    deploy(client, "s", MANAGED)
    role, arn = outputs(client, "s")["Role"], outputs(client, "s")["Common"]
    iam = client("iam")

    def document():
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        return json.dumps(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])

    assert [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]] == [arn]
    for n in range(7):  # more often than a policy has versions
        assert deploy(client, "s", MANAGED, update=True, Bucket=f"b{n}") == "UPDATE_COMPLETE"
        assert f"b{n}/*" in document() and outputs(client, "s")["Common"] == arn
    client("cloudformation").delete_stack(StackName="s")
    assert stack_ids(client) == []
    assert arn not in [policy["Arn"] for policy in iam.list_policies(Scope="Local")["Policies"]]


def stack_ids(client):
    return [stack["StackId"] for stack in client("cloudformation").describe_stacks()["Stacks"]]


@pytest.mark.parametrize(("type_", "limit"), [("Common", 6144), ("Role", 10240)])
def test_policies_that_are_too_long_are_refused(client, type_, limit):
    template = json.loads(json.dumps(_parsed(MANAGED)))
    long = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::" + "b" * 50] * (limit // 60)}]}  # fmt: skip
    if type_ == "Common":
        template["Resources"]["Common"]["Properties"]["PolicyDocument"] = long
    else:
        half = {"Version": "2012-10-17", "Statement": [long["Statement"][0] | {"Resource": long["Statement"][0]["Resource"][: limit // 120 + 9]}]}  # fmt: skip
        template["Resources"]["Role"]["Properties"]["Policies"] = [{"PolicyName": name, "PolicyDocument": half} for name in "ab"]
    assert deploy(client, "s", template) == "ROLLBACK_COMPLETE"
    assert str(limit) in failure(client, "s")


def _parsed(text):
    from emulator.cloudformation import template as templates

    return templates.parse(text)


def test_a_saved_query_is_kept_changed_and_deleted(client):
    query = {"Type": "AWS::Logs::QueryDefinition", "Properties": {"Name": "q/one", "QueryString": "fields @message", "LogGroupNames": ["/g"]}}  # fmt: skip
    deploy(client, "s", {"Resources": {"Query": query}})
    (saved,) = client("logs").describe_query_definitions(queryDefinitionNamePrefix="q/")["queryDefinitions"]
    assert (saved["name"], saved["queryString"], saved["logGroupNames"]) == ("q/one", "fields @message", ["/g"])
    query["Properties"]["QueryString"] = "fields @timestamp"
    deploy(client, "s", {"Resources": {"Query": query}}, update=True)
    (changed,) = client("logs").describe_query_definitions()["queryDefinitions"]
    assert changed["queryString"] == "fields @timestamp" and changed["queryDefinitionId"] == saved["queryDefinitionId"]
    client("cloudformation").delete_stack(StackName="s")
    assert client("logs").describe_query_definitions()["queryDefinitions"] == []
