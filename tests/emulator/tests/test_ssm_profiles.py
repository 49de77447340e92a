"""Instance profiles: SSM-2's errors, SSM-3's conditions, Auto Scaling groups, status and simulation."""

import json
import urllib.parse
import urllib.request

import conftest
import ec2_help
from botocore.exceptions import ClientError
from conftest import ACCOUNT, REGION, trust
from ec2_help import amazon_linux, eventually, instance, refused, tags_of
from ssm_help import CORE, allow, attach, launch, make_profile
from test_authorization import LOGS, call

NEEDED = ["ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"]


def attached(ec2, instance_id, arn):
    try:
        return attach(ec2, instance_id, arn)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidParameterValue", error
        return None


# SSM-2


def test_only_running_or_stopped(emulator, ec2, iam):
    arn = make_profile(iam)
    instance_id = launch(ec2)
    attach(ec2, instance_id, arn)
    emulator.control("PATCH", "settings", instance_transition_seconds=3600)
    pending = launch(ec2)
    with refused("IncorrectInstanceState", f"'{pending}' is not in the 'running' or 'stopped' states"):
        attach(ec2, pending, arn)
    ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        attach(ec2, instance_id, arn)


def test_a_stopped_instance(ec2, iam):
    arn = make_profile(iam)
    instance_id = launch(ec2)
    ec2.stop_instances(InstanceIds=[instance_id])
    attach(ec2, instance_id, arn)
    assert instance(ec2, instance_id)["IamInstanceProfile"]["Arn"] == arn


def test_another_profile_once_the_first_is_gone(ec2, iam):
    mine, other = make_profile(iam), make_profile(iam, "other")
    instance_id = launch(ec2)
    association = attach(ec2, instance_id, mine)
    profile = iam.get_instance_profile(InstanceProfileName="managed")["InstanceProfile"]
    assert instance(ec2, instance_id)["IamInstanceProfile"] == {"Arn": mine, "Id": profile["InstanceProfileId"]}
    ec2.disassociate_iam_instance_profile(AssociationId=association)
    assert "IamInstanceProfile" not in instance(ec2, instance_id)
    attach(ec2, instance_id, other)


def test_a_profile_that_ec2_does_not_know_yet(emulator, ec2, iam):
    emulator.control("PATCH", "settings", instance_profile_visibility_delay_seconds=3600)
    instance_id = launch(ec2)
    arn = make_profile(iam)
    with refused("InvalidParameterValue", "Invalid IAM Instance Profile ARN"):
        attach(ec2, instance_id, arn)
    with refused("InvalidParameterValue", "Invalid IAM Instance Profile name"):
        launch(ec2, IamInstanceProfile={"Name": "managed"})
    assert iam.get_instance_profile(InstanceProfileName="managed")  # IAM itself knows it
    emulator.control("PATCH", "settings", instance_profile_visibility_delay_seconds=0.5)
    eventually(lambda: attached(ec2, instance_id, arn))


def test_an_instance_that_does_not_exist(ec2, iam):
    with refused("InvalidInstanceID.NotFound"):
        attach(ec2, "i-0123456789abcdef0", make_profile(iam))


def test_a_profile_without_a_role_launches_nothing(ec2, iam):
    arn = iam.create_instance_profile(InstanceProfileName="empty")["InstanceProfile"]["Arn"]
    with refused("InvalidParameterValue", f'IAM Instance Profile "{arn}" has no associated IAM Roles'):
        launch(ec2, IamInstanceProfile={"Name": "empty"})


def test_replacing(ec2, iam):
    mine, other = make_profile(iam), make_profile(iam, "other")
    instance_id = launch(ec2)
    old = attach(ec2, instance_id, mine)
    new = ec2.replace_iam_instance_profile_association(AssociationId=old, IamInstanceProfile={"Arn": other})
    assert new["IamInstanceProfileAssociation"]["AssociationId"] != old
    assert instance(ec2, instance_id)["IamInstanceProfile"]["Arn"] == other
    ec2.stop_instances(InstanceIds=[instance_id])
    with refused("IncorrectState", "is not the active association"):
        ec2.replace_iam_instance_profile_association(
            AssociationId=new["IamInstanceProfileAssociation"]["AssociationId"], IamInstanceProfile={"Arn": mine}
        )


def test_describing_associations(client, ec2, iam):
    arn = make_profile(iam)
    ids = [launch(ec2) for _ in range(7)]
    for instance_id in ids:
        attach(ec2, instance_id, arn)
    pages = ec2.get_paginator("describe_iam_instance_profile_associations").paginate(MaxResults=5)
    assert [len(p["IamInstanceProfileAssociations"]) for p in pages] == [5, 2]
    wanted = [{"Name": "instance-id", "Values": ids[:2]}, {"Name": "state", "Values": ["associated"]}]
    found = ec2.describe_iam_instance_profile_associations(Filters=wanted)["IamInstanceProfileAssociations"]
    assert {a["InstanceId"] for a in found} == set(ids[:2])
    assert all(a["State"] == "associated" and "Timestamp" not in a for a in found)
    with refused("InvalidParameterValue", "maxResults"):
        client("ec2", parameter_validation=False).describe_iam_instance_profile_associations(MaxResults=4)
    with refused("InvalidParameterValue", "filter 'profile'"):
        ec2.describe_iam_instance_profile_associations(Filters=[{"Name": "profile", "Values": ["x"]}])


def test_launching_several_with_a_profile(ec2, iam):
    arn = make_profile(iam)
    launched = ec2_help.launch(ec2, 3, IamInstanceProfile={"Arn": arn})
    assert {instance(ec2, i)["IamInstanceProfile"]["Arn"] for i in launched} == {arn}


# Auto Scaling groups


def group(client, ec2, **data):
    template = {"ImageId": amazon_linux(ec2), "InstanceType": "t3.micro"} | data
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=template)
    client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="web", MinSize=0, MaxSize=3, DesiredCapacity=2, AvailabilityZones=[f"{REGION}a"],
        LaunchTemplate={"LaunchTemplateName": "web", "Version": "$Latest"},
    )  # fmt: skip
    found = ec2.describe_instances(Filters=[{"Name": "tag:aws:autoscaling:groupName", "Values": ["web"]}])
    return [i for r in found["Reservations"] for i in r["Instances"]]


def test_members_of_a_group_without_a_profile(emulator, client, ec2, iam):
    members = group(client, ec2)
    arn = make_profile(iam)
    assert len(members) == 2 and all(tags_of(m)["aws:autoscaling:groupName"] == "web" for m in members)
    for member in members:
        # The default subnet gives a public address, so that the profile is all that they lack.
        assert "PublicIpAddress" in member and "IamInstanceProfile" not in member
        attach(ec2, member["InstanceId"], arn)
    ids = [m["InstanceId"] for m in members]
    assert all(n["online"] for n in emulator.control("POST", "nodes/retry", instance_ids=ids)["nodes"])


def test_members_of_a_group_whose_template_has_a_profile(client, ec2, iam):
    arn = make_profile(iam)
    members = group(client, ec2, IamInstanceProfile={"Arn": arn})
    assert [m["IamInstanceProfile"]["Arn"] for m in members] == [arn, arn]


# SSM-3

INSTANCES = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"


def least_privilege(profile, passed_to="ec2.amazonaws.com"):
    return [
        LOGS,
        conftest.allow(
            "ec2:AssociateIamInstanceProfile", INSTANCES,
            Null={"ec2:InstanceProfile": "true"}, ArnEquals={"ec2:NewInstanceProfile": profile},
        ),
        conftest.allow(
            "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/managed", StringEquals={"iam:PassedToService": passed_to}
        ),
    ]  # fmt: skip


def associate(instance_id, arn):
    quoted = urllib.parse.quote(arn, safe="")
    return f"AssociateIamInstanceProfile&InstanceId={instance_id}&IamInstanceProfile.Arn={quoted}"


def test_least_privilege_gives_only_this_profile_to_who_has_none(emulator, function, ec2, iam):
    mine, other = make_profile(iam), make_profile(iam, "other")
    function("worker", statements=least_privilege(mine))
    instance_id = launch(ec2)
    assert call(emulator, associate(instance_id, other)) == "UnauthorizedOperation"
    assert call(emulator, associate(instance_id, mine)) is None
    # The condition speaks before SSM-2's error does.
    assert call(emulator, associate(instance_id, mine)) == "UnauthorizedOperation"
    somebodys = launch(ec2, IamInstanceProfile={"Arn": other})
    assert call(emulator, associate(somebodys, mine)) == "UnauthorizedOperation"
    assert instance(ec2, somebodys)["IamInstanceProfile"]["Arn"] == other


def test_the_role_must_be_passed_to_ec2(emulator, function, ec2, iam):
    mine = make_profile(iam)
    function("worker", statements=least_privilege(mine, passed_to="lambda.amazonaws.com"))
    assert call(emulator, associate(launch(ec2), mine)) == "UnauthorizedOperation"
    log = "\n".join(emulator.control("GET", "invocations")["invocations"][-1]["log"])
    assert f"iam:PassRole on resource: arn:aws:iam::{ACCOUNT}:role/managed" in log


def test_a_function_is_bounded_too(emulator, function, ec2, iam):
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=allow("ec2:DescribeVpcs", "logs:*"))
    function("worker")
    iam.put_role_permissions_boundary(RoleName="worker-role", PermissionsBoundary=boundary["Policy"]["Arn"])
    assert call(emulator, "DescribeVpcs") is None
    assert call(emulator, "DescribeRouteTables") == "UnauthorizedOperation"


# Status


def test_status_pages_and_states(emulator, ec2):
    ids = sorted(launch(ec2) for _ in range(6))
    ec2.stop_instances(InstanceIds=ids[:1])
    pages = ec2.get_paginator("describe_instance_status").paginate(PaginationConfig={"PageSize": 5})
    assert [len(p["InstanceStatuses"]) for p in pages] == [5]
    everything = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    states = {s["InstanceId"]: s["InstanceStatus"]["Status"] for s in everything}
    assert states == {ids[0]: "not-applicable"} | dict.fromkeys(ids[1:], "ok")
    emulator.control("POST", "instances/checks", instance_ids=ids[1:2], system="impaired")
    impaired = [{"Name": "system-status.status", "Values": ["impaired"]}]
    assert [s["InstanceId"] for s in ec2.describe_instance_status(Filters=impaired)["InstanceStatuses"]] == ids[1:2]
    with refused("InvalidParameterCombination"):
        ec2.describe_instance_status(InstanceIds=ids, MaxResults=5)
    with refused("InvalidParameterValue", "100"):
        ec2.describe_instance_status(InstanceIds=[f"i-{n:017x}" for n in range(101)])


def test_checks_begin_with_initializing(emulator, ec2):
    emulator.control("PATCH", "settings", status_initializing_seconds=60)
    launch(ec2)
    (status,) = ec2.describe_instance_status()["InstanceStatuses"]
    assert status["SystemStatus"]["Status"] == "initializing"
    emulator.control("POST", "instances/age", seconds=61)
    (status,) = ec2.describe_instance_status()["InstanceStatuses"]
    assert status["SystemStatus"]["Status"] == "ok"


# Simulation


def decisions(iam, actions=NEEDED, **more):
    found = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/managed", ActionNames=actions, **more
    )["EvaluationResults"]
    return {r["EvalActionName"]: r["EvalDecision"] for r in found}


def test_simulating_a_managed_policy(iam):
    make_profile(iam)
    assert decisions(iam) == dict.fromkeys(NEEDED, "allowed")
    iam.detach_role_policy(RoleName="managed", PolicyArn=CORE)
    assert decisions(iam) == dict.fromkeys(NEEDED, "implicitDeny")
    iam.put_role_policy(RoleName="managed", PolicyName="some", PolicyDocument=allow("ssm:*"))
    assert decisions(iam)[NEEDED[0]] == "allowed"
    denial = allow("ssm:Update*").replace("Allow", "Deny")
    iam.put_role_policy(RoleName="managed", PolicyName="none", PolicyDocument=denial)
    assert decisions(iam)[NEEDED[0]] == "explicitDeny"


def test_simulating_a_boundary(iam):
    make_profile(iam)
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=allow("ssm:*"))["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName="managed", PermissionsBoundary=boundary)
    found = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/managed", ActionNames=NEEDED[:2]
    )["EvaluationResults"]
    assert [r["EvalDecision"] for r in found] == ["allowed", "implicitDeny"]
    details = [r["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"] for r in found]
    assert details == [True, False]


def test_simulating_resources_and_conditions(iam):
    make_profile(iam, policies=())
    document = allow("ssm:UpdateInstanceInformation", Condition={"StringEquals": {"aws:SourceVpc": "vpc-1"}})
    iam.put_role_policy(RoleName="managed", PolicyName="some", PolicyDocument=document)
    (found,) = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/managed", ActionNames=NEEDED[:1]
    )["EvaluationResults"]
    assert (found["EvalDecision"], found["MissingContextValues"]) == ("implicitDeny", ["aws:SourceVpc"])
    entry = {"ContextKeyName": "aws:SourceVpc", "ContextKeyValues": ["vpc-1"], "ContextKeyType": "string"}
    assert decisions(iam, NEEDED[:1], ContextEntries=[entry]) == {NEEDED[0]: "allowed"}


def test_simulating_in_an_organization_with_a_region_lock(iam, emulator):
    """Its conditions aren't known to the simulation, whatever context it is given (SSM-12)."""
    make_profile(iam)
    emulator.control("PATCH", "settings", organization_denies_without_region=True)
    found = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/managed", ActionNames=NEEDED[:1]
    )["EvaluationResults"][0]
    assert (found["EvalDecision"], found["MissingContextValues"]) == ("implicitDeny", [])
    assert found["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": False}


def test_simulation_takes_no_wildcards(iam):
    make_profile(iam)
    for wrong in ("ssm:*", "ssmmessages:Create?ataChannel", "ssm"):
        with refused("InvalidInput", wrong):
            decisions(iam, [wrong])
    with refused("NoSuchEntity", status=404):
        iam.simulate_principal_policy(PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/none", ActionNames=NEEDED)
    with refused("InvalidInput", "does not clearly define"):
        iam.simulate_principal_policy(PolicySourceArn=CORE, ActionNames=NEEDED)


def test_simulation_pages(iam):
    make_profile(iam)
    pages = list(
        iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/managed", ActionNames=NEEDED,
            PaginationConfig={"PageSize": 2},
        )
    )  # fmt: skip
    assert [len(p["EvaluationResults"]) for p in pages] == [2, 1]


# IAM


def test_a_role_that_is_not_there_is_named_in_the_words_of_iam(iam):
    with refused("NoSuchEntity", "The role with name none cannot be found.", status=404):
        iam.list_attached_role_policies(RoleName="none")


def test_trust_policies_are_url_encoded_on_the_wire(emulator, iam):
    make_profile(iam)
    for action in ("GetRole&RoleName=managed", "GetInstanceProfile&InstanceProfileName=managed", "ListRoles"):
        request = urllib.request.Request(
            emulator.endpoint, data=f"Action={action}&Version=2010-05-08".encode(),
            headers={"Authorization": f"AWS4-HMAC-SHA256 Credential=k/20260101/{REGION}/iam/aws4_request, Signature=s"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
        document = text.split("<AssumeRolePolicyDocument>")[1].split("</AssumeRolePolicyDocument>")[0]
        assert json.loads(urllib.parse.unquote(document)) == json.loads(trust("ec2")), action
        assert document.startswith("%7B"), action
