"""What each service's operations must be allowed: resources and condition keys (Service Authorization Reference)."""

import pytest
from asg_help import Web
from conftest import ACCOUNT, REGION, allow, invoke, policy
from ec2_help import launch, specification, tag_list

GROUPS = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName"


def ec2_arn(kind, name="*"):
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/{name}"


class Worker:
    """A function that makes calls with its role."""

    def __init__(self, emulator, function):
        self._emulator, self._function, self._made = emulator, function, False

    def may(self, *statements):
        if not self._made:
            self._function("worker", statements=list(statements))
            self._made = True
        self._emulator.client("iam").put_role_policy(
            RoleName="worker-role", PolicyName="all", PolicyDocument=policy(*statements)
        )

    def call(self, text, **event):
        """Whether the call got past its authorization."""
        invoke(self._emulator, "worker", {"call": text, **event})
        call = self._emulator.control("GET", "calls", caller="worker")["calls"][-1]
        denied = call["error"] in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
        assert denied != call["executed"], call
        return call["executed"]

    def scaling(self, text):
        return self.call(text, service="autoscaling", version="2011-01-01")

    def ecr(self, operation, **body):
        target = f"AmazonEC2ContainerRegistry_V20150921.{operation}"
        return self.call(target, service="ecr", body=body)

    def ssm(self, operation, **body):
        return self.call(f"AmazonSSM.{operation}", service="ssm", body=body)


@pytest.fixture
def worker(emulator, function):
    return Worker(emulator, function)


@pytest.fixture
def group(emulator):
    return Web(emulator, 0, Tags=[{"Key": "team", "Value": "red", "PropagateAtLaunch": False}])


def test_groups_by_name_whatever_their_id(worker, group):
    worker.may(allow("autoscaling:SuspendProcesses", f"{GROUPS}/web"))
    assert worker.scaling("SuspendProcesses&AutoScalingGroupName=web")
    assert not worker.scaling("SuspendProcesses&AutoScalingGroupName=other")
    assert not worker.scaling("ResumeProcesses&AutoScalingGroupName=web")


@pytest.mark.parametrize("key", ["aws:ResourceTag/team", "autoscaling:ResourceTag/team"])
def test_groups_by_their_tags(worker, group, key):
    worker.may(allow("autoscaling:CancelInstanceRefresh", f"{GROUPS}/*", StringEquals={key: "red"}))
    assert worker.scaling("CancelInstanceRefresh&AutoScalingGroupName=web")
    worker.may(allow("autoscaling:CancelInstanceRefresh", f"{GROUPS}/*", StringEquals={key: "blue"}))
    assert not worker.scaling("CancelInstanceRefresh&AutoScalingGroupName=web")


def test_a_group_may_get_only_our_tags(worker, group):
    ours = {"ForAllValues:StringLike": {"aws:TagKeys": "ec2-guardrails:*"}}
    worker.may(allow("autoscaling:CreateOrUpdateTags", f"{GROUPS}/*", **ours))
    tag = "CreateOrUpdateTags&Tags.member.1.ResourceId=web&Tags.member.1.ResourceType=auto-scaling-group"
    tag += "&Tags.member.1.PropagateAtLaunch=false&Tags.member.1.Value=x"
    assert worker.scaling(f"{tag}&Tags.member.1.Key=ec2-guardrails:refresh")
    assert not worker.scaling(f"{tag}&Tags.member.1.Key=team")


def test_descriptions_of_groups_name_no_resource(worker):
    worker.may(allow("autoscaling:Describe*", f"{GROUPS}/*"))
    assert not worker.scaling("DescribeAutoScalingGroups")
    worker.may(allow("autoscaling:Describe*"))
    assert worker.scaling("DescribeAutoScalingGroups")


def test_repositories_by_arn_and_tag(worker, client):
    for name, team in (("app", "red"), ("other", "blue")):
        client("ecr").create_repository(repositoryName=name, tags=[{"Key": "team", "Value": team}])
    arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository"
    worker.may(allow("ecr:BatchGetImage", f"{arn}/app"))
    image = {"imageIds": [{"imageTag": "prod"}]}
    assert worker.ecr("BatchGetImage", repositoryName="app", **image)
    assert not worker.ecr("BatchGetImage", repositoryName="other", **image)
    assert not worker.ecr("PutImage", repositoryName="app", imageManifest="{}")
    worker.may(allow("ecr:BatchGetImage", f"{arn}/*", StringEquals={"ecr:ResourceTag/team": "red"}))
    assert worker.ecr("BatchGetImage", repositoryName="app", **image)
    assert not worker.ecr("BatchGetImage", repositoryName="other", **image)


def test_alarms_by_name(worker):
    arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm"
    worker.may(allow("cloudwatch:DescribeAlarms", f"{arn}:errors"))
    versioned = {"service": "monitoring", "version": "2010-08-01"}
    assert worker.call("DescribeAlarms&AlarmNames.member.1=errors", **versioned)
    assert not worker.call("DescribeAlarms&AlarmNames.member.1=other", **versioned)
    composite = "&AlarmTypes.member.1=MetricAlarm&AlarmTypes.member.2=CompositeAlarm"
    assert not worker.call(f"DescribeAlarms&AlarmNames.member.1=errors{composite}", **versioned)


def test_stacks_and_target_health(worker):
    prefix = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack"
    worker.may(allow("cloudformation:DescribeStacks", f"{prefix}/web/*"))
    assert worker.call("DescribeStacks&StackName=web", service="cloudformation", version="2010-05-15")
    assert not worker.call("DescribeStacks&StackName=db", service="cloudformation", version="2010-05-15")
    worker.may(allow("elasticloadbalancing:DescribeTargetHealth", "arn:aws:elasticloadbalancing:*:*:targetgroup/*"))
    health = "DescribeTargetHealth&TargetGroupArn=arn:aws:elasticloadbalancing:x:1:targetgroup/a/b"
    assert not worker.call(health, service="elasticloadbalancing", version="2015-12-01")


def test_a_security_group_is_made_in_a_vpc_with_tags(worker, client):
    vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    ours = {"aws:RequestTag/guardrail": "quarantine-launch"}
    on_create = {"ec2:CreateAction": "CreateSecurityGroup"}
    statements = [
        allow("ec2:CreateSecurityGroup", ec2_arn("vpc")),
        allow("ec2:CreateSecurityGroup", ec2_arn("security-group"), StringEquals=ours),
        allow("ec2:CreateTags", ec2_arn("security-group"), StringEquals=on_create),
    ]
    worker.may(*statements)
    plain = f"CreateSecurityGroup&GroupName=q&GroupDescription=q&VpcId={vpc}"
    tag = "&TagSpecification.1.ResourceType=security-group&TagSpecification.1.Tag.1.Key=guardrail"
    tagged = f"{plain}{tag}&TagSpecification.1.Tag.1.Value=quarantine-launch"
    assert not worker.call(plain)
    for missing in statements:
        worker.may(*(s for s in statements if s is not missing))
        assert not worker.call(tagged), missing
    worker.may(*statements)
    assert worker.call(tagged)


def test_rules_are_revoked_only_from_our_groups(worker, client):
    ec2 = client("ec2")
    ids = [
        ec2.create_security_group(
            GroupName=f"g-{team}", Description="g", TagSpecifications=specification("security-group", {"team": team})
        )["GroupId"]
        for team in ("red", "blue")
    ]
    condition = {"StringEquals": {"aws:ResourceTag/team": "red"}}
    worker.may(allow("ec2:RevokeSecurityGroupEgress", ec2_arn("security-group"), **condition))
    rule = "&IpPermissions.1.IpProtocol=-1&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0"
    assert worker.call(f"RevokeSecurityGroupEgress&GroupId={ids[0]}{rule}")
    assert not worker.call(f"RevokeSecurityGroupEgress&GroupId={ids[1]}{rule}")


def test_an_interface_gets_only_groups_that_are_allowed(worker, client):
    ec2 = client("ec2")
    (instance_id,) = launch(ec2)
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    eni = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=instance["VpcId"])["GroupId"]
    change = f"ModifyNetworkInterfaceAttribute&NetworkInterfaceId={eni}&SecurityGroupId.1={group}"
    wanted = [
        allow("ec2:ModifyNetworkInterfaceAttribute", arn)
        for arn in (ec2_arn("network-interface"), ec2_arn("instance"), ec2_arn("security-group", group))
    ]
    for missing in wanted:
        worker.may(*(s for s in wanted if s is not missing))
        assert not worker.call(change), missing
    worker.may(*wanted)
    assert worker.call(change)


def test_an_attribute_of_an_instance(worker, client):
    ec2 = client("ec2")
    (instance_id,) = launch(ec2)
    condition = {"StringEquals": {"ec2:Attribute": "DisableApiTermination"}}
    worker.may(allow("ec2:ModifyInstanceAttribute", ec2_arn("instance"), **condition))
    assert worker.call(f"ModifyInstanceAttribute&InstanceId={instance_id}&DisableApiTermination.Value=true")
    assert not worker.call(f"ModifyInstanceAttribute&InstanceId={instance_id}&DisableApiStop.Value=true")


def test_keeping_a_volume_is_about_the_volume_too(worker, client):
    (instance_id,) = launch(client("ec2"))
    instance = client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    mapping = "BlockDeviceMapping.1"
    keep = f"ModifyInstanceAttribute&InstanceId={instance_id}&{mapping}.Ebs.DeleteOnTermination=false"
    keep += f"&{mapping}.DeviceName={instance['RootDeviceName']}"
    on_instance = allow("ec2:ModifyInstanceAttribute", ec2_arn("instance"))
    worker.may(on_instance)
    assert not worker.call(keep)
    worker.may(on_instance, allow("ec2:ModifyInstanceAttribute", ec2_arn("volume")))
    assert worker.call(keep)


def test_stopping_only_what_carries_a_tag(worker, client):
    ec2 = client("ec2")
    one, other = launch(ec2, 2)
    ec2.create_tags(Resources=[one], Tags=tag_list({"quarantined": "yes"}))
    worker.may(allow("ec2:StopInstances", ec2_arn("instance"), Null={"aws:ResourceTag/quarantined": "false"}))
    assert worker.call(f"StopInstances&InstanceId.1={one}")
    assert not worker.call(f"StopInstances&InstanceId.1={one}&InstanceId.2={other}")


def test_parameters_of_the_account_and_of_aws(worker, client):
    client("ssm").put_parameter(Name="/app/ami", Value="ami-1", Type="String")
    own = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/*"
    public = f"arn:aws:ssm:{REGION}::parameter/aws/service/*"
    worker.may(allow(["ssm:GetParameters", "ssm:GetParameterHistory"], own))
    assert worker.ssm("GetParameters", Names=["/app/ami"])
    assert worker.ssm("GetParameterHistory", Name="/app/ami")
    both = ["/app/ami", "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"]
    assert not worker.ssm("GetParameters", Names=both)
    worker.may(allow("ssm:GetParameters", [own, public]))
    assert worker.ssm("GetParameters", Names=both)


def test_trails_are_looked_up_without_a_resource(worker):
    call = ("com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents",)
    worker.may(allow("cloudtrail:LookupEvents", f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/*"))
    assert not worker.call(*call, service="cloudtrail", body={})
    worker.may(allow("cloudtrail:LookupEvents"))
    assert worker.call(*call, service="cloudtrail", body={})


def test_what_session_preferences_name(worker, client):
    """A document by its ARN, a key by its own though an alias names it, log groups all or none (SSM-18)."""
    arn = client("kms").create_key()["KeyMetadata"]["Arn"]
    client("kms").create_alias(AliasName="alias/sessions", TargetKeyId=arn)
    logs = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"

    def calls():
        describe = {"service": "logs", "body": {"logGroupNamePrefix": "/sessions"}}
        return (
            worker.ssm("GetDocument", Name="SSM-SessionManagerRunShell"),
            worker.call("TrentService.DescribeKey", service="kms", body={"KeyId": "alias/sessions"}),
            worker.call("Logs_20140328.DescribeLogGroups", **describe),
        )

    document = f"arn:aws:ssm:{REGION}:{ACCOUNT}:document"
    worker.may(
        allow("ssm:GetDocument", f"{document}/Other"),
        allow("kms:DescribeKey", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/sessions"),
        allow("logs:DescribeLogGroups", f"{logs}:/sessions:*"),
    )
    assert calls() == (False, False, False)
    worker.may(
        allow("ssm:GetDocument", f"{document}/SSM-SessionManagerRunShell"),
        allow("kms:DescribeKey", arn),
        allow("logs:DescribeLogGroups", f"{logs}:*"),
    )
    assert calls() == (True, True, True)
