"""Managed instances (SSM)."""

from collections.abc import Callable

from conformance.account import Account, allow, nobody
from conformance.probe import NotTried, accepted, expect, expect_that, probe, refused, untried

HOST_MANAGEMENT = "/ssm/managed-instance/default-ec2-instance-management-role"
CORE = "AmazonSSMManagedInstanceCore"
NEEDED = (
    "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
    "ec2messages:GetMessages",
)  # fmt: skip

untried("SSM-1", "it takes an hour of an agent's waiting; its source says so")
untried("SSM-17", "the document is the account's own, and what asks for its key is an agent")
untried("SSM-18", "an agent does it, when a person opens a session")


def associate(aws: Account, instance: str, profile: str) -> None:
    aws.ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Name": profile})


def known(aws: Account, attempt: Callable[[], None]) -> None:
    """Has the attempt made until EC2 knows the new profile in it, which takes seconds."""

    def try_it() -> bool:
        try:
            attempt()
        except aws.ec2.exceptions.ClientError as error:
            if "Invalid IAM Instance Profile" not in str(error) and "InstanceIdentityProfileNotFound" not in str(error):
                raise
            return False
        return True

    aws.eventually(try_it, "a profile that EC2 knows")


@probe(
    "SSM-2",
    must="IncorrectState, existing association, for a second profile; IncorrectInstanceState for a pending instance",
    usd=0.002,
    seconds=90,
)
def one_profile_and_only_when_it_runs(aws: Account) -> None:
    """Associates a profile with a running instance, it again and another one, and with a pending instance."""
    first, second = (aws.profile(aws.role("ec2")) for _ in range(2))
    instance = aws.launch()
    aws.running(instance)
    known(aws, lambda: associate(aws, instance, first))
    for profile in (first, second):
        with refused("IncorrectState", saying="existing association"):
            known(aws, lambda: associate(aws, instance, profile))  # noqa: B023
    new = aws.launch()
    state = aws.eventually(lambda: aws.described(new), "an instance that EC2 knows")["State"]["Name"]
    if state != "pending":
        raise NotTried(f"the new instance was {state} too soon")
    with refused("IncorrectInstanceState"):
        associate(aws, new, first)


@probe("SSM-2", must="InvalidParameterValue, Invalid IAM Instance Profile", usd=0.001, seconds=5)
def a_profile_that_does_not_exist(aws: Account) -> None:
    """Associates profiles by a name and an ARN that nothing has."""
    name = aws.name("nothing")
    with refused("InvalidParameterValue", saying="Invalid IAM Instance Profile name"):
        associate(aws, aws.instance, name)
    arn = f"arn:{aws.partition}:iam::{aws.account_id}:instance-profile/{name}"
    with refused("InvalidParameterValue", saying="Invalid IAM Instance Profile ARN"):
        aws.ec2.associate_iam_instance_profile(InstanceId=aws.instance, IamInstanceProfile={"Arn": arn})


@probe(
    "SSM-2", "SSM-5",
    must="a profile without a role exists, and is refused: has no associated IAM Roles",
    usd=0.001,
    seconds=30,
)
def a_profile_without_a_role_is_not_associated(aws: Account) -> None:
    """Makes a profile without a role and associates it."""
    profile = aws.profile(None)
    found = aws.iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
    expect("its roles", found["Roles"], [])

    def try_it() -> bool:
        """Whether EC2 knows the new profile."""
        with refused("InvalidParameterValue") as refusal:
            associate(aws, aws.instance, profile)
        if "Invalid IAM Instance Profile" in refusal.message:
            return False
        expect_that("the refusal says why", "has no associated IAM Roles" in refusal.message, refusal.message)
        return True

    aws.eventually(try_it, "a profile that EC2 knows", 60)


@probe(
    "SSM-3", must="allowed for an instance without a profile, denied for one with, and for another profile", seconds=20
)
def least_privilege_in_the_simulator(aws: Account) -> None:
    """Has IAM's simulator decide about AWS's own shape of the role."""
    mine, other = (
        f"arn:{aws.partition}:iam::{aws.account_id}:instance-profile/{name}" for name in ("managed", "other")
    )
    passed = f"arn:{aws.partition}:iam::{aws.account_id}:role/managed"
    instance = f"arn:{aws.partition}:ec2:{aws.region}:{aws.account_id}:instance/{nobody('i')}"
    role = aws.role(
        "lambda",
        allow(
            "ec2:AssociateIamInstanceProfile", resource=f"arn:{aws.partition}:ec2:*:*:instance/*",
            Null={"ec2:InstanceProfile": "true"}, ArnEquals={"ec2:NewInstanceProfile": mine},
        ),
        allow("iam:PassRole", resource=passed, StringEquals={"iam:PassedToService": "ec2.amazonaws.com"}),
    )  # fmt: skip

    def entry(name: str, value: str) -> dict:
        return {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}

    def associating(new: str, *present: str) -> str:
        context = [entry("ec2:NewInstanceProfile", new), *(entry("ec2:InstanceProfile", arn) for arn in present)]
        return aws.simulated(role, "ec2:AssociateIamInstanceProfile", instance, context)

    def passing(service: str) -> str:
        return aws.simulated(role, "iam:PassRole", passed, [entry("iam:PassedToService", service)])

    expect("an instance without a profile", associating(mine), "allowed")
    expect("one that has a profile", associating(mine, other), "implicitDeny")
    expect("another profile", associating(other), "implicitDeny")
    expect("passing the role to EC2", passing("ec2.amazonaws.com"), "allowed")
    expect("passing it to Lambda", passing("lambda.amazonaws.com"), "implicitDeny")


@probe("SSM-4", must="$None, with the status Default", seconds=1)
def host_management_is_none_when_it_is_off(aws: Account) -> None:
    """Reads the service setting; it is never changed."""
    setting = aws.ssm.get_service_setting(SettingId=HOST_MANAGEMENT)["ServiceSetting"]
    if setting["Status"] != "Default":
        raise NotTried(f"Default Host Management is configured here (status {setting['Status']})")
    expect("its value", setting["SettingValue"], "$None")


untried("SSM-4", "what an agent prefers takes agents, and the account's own setting to be changed")


@probe("SSM-5", must="one decision for each action; wildcards refused", seconds=15)
def the_simulator_decides_action_by_action(aws: Account) -> None:
    """Simulates what the agent needs for a role without and with these permissions, and a wildcard."""
    role = aws.role("ec2", allow(*NEEDED[:2]))

    def decided(*actions: str) -> dict[str, str]:
        found = aws.iam.simulate_principal_policy(PolicySourceArn=aws.arn_of_role(role), ActionNames=list(actions))
        return {result["EvalActionName"]: result["EvalDecision"] for result in found["EvaluationResults"]}

    wanted = dict.fromkeys(NEEDED[:2], "allowed") | dict.fromkeys(NEEDED[2:], "implicitDeny")
    expect("the decisions", decided(*NEEDED), wanted)
    with refused("InvalidInput") as refusal:
        decided("ssm:*")
    aws.note(f"a wildcard: {refusal.code}: {refusal.message}")


@probe("SSM-5", must="AWS's own policy names what is needed", seconds=2)
def the_managed_policy_has_what_is_needed(aws: Account) -> None:
    """Reads AmazonSSMManagedInstanceCore."""
    arn = f"arn:{aws.partition}:iam::aws:policy/{CORE}"
    version = aws.iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = aws.iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    actions = {action for statement in document["Statement"] for action in statement["Action"]}
    expect("what is missing", sorted(set(NEEDED) - actions), [])


@probe("SSM-6", must="ValidationException beyond 100 values and outside 5 to 50", seconds=3)
def limits_of_describing_nodes(aws: Account) -> None:
    """Describes nodes with too many values, and too small and too large a page."""
    ssm = aws.client("ssm", parameter_validation=False)

    def describe(count: int, **more: int) -> dict:
        values = [nobody("i", n) for n in range(count)]
        return ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": values}], **more)

    for size in (4, 51):
        with refused("ValidationException"):
            describe(1, MaxResults=size)
    with refused("ValidationException"):
        describe(101)
    for size in (5, 50):
        with accepted():
            describe(100, MaxResults=size)


@probe("SSM-6", must="nothing of an instance that never registered", usd=0.001, seconds=3)
def who_never_registered_is_absent(aws: Account) -> None:
    """Describes the node of an instance without profile and network."""
    found = aws.ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [aws.instance]}])
    expect("what is shown of it", found["InstanceInformationList"], [])


untried("SSM-7", "it takes interface endpoints, a NAT gateway, and half an hour of an agent's waiting for each case")
untried("SSM-8", "what an agent writes to the console comes minutes later, and not always")


@probe("SSM-9", "AMI-1", must="instance-id and state, and nothing else", usd=0.001, seconds=60)
def the_event_of_a_state_change(aws: Account) -> None:
    """Listens to EC2 Instance State-change Notification, launches an instance and describes it."""
    queue = aws.listen({"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]})
    instance = aws.launch()
    message = aws.received(queue, "the event", lambda event: event["detail"]["instance-id"] == instance)
    expect("what the event has", sorted(message["Body"]["detail"]), ["instance-id", "state"])
    expect("the AMI that DescribeInstances tells", aws.running(instance)["ImageId"], aws.image)


untried("SSM-9", "an event that comes twice, late or not at all can't be brought about")


@probe("SSM-10", must="ParameterNotFound, InvalidResourceId without a message", seconds=1)
def a_parameter_that_does_not_exist(aws: Account) -> None:
    """Reads a parameter that nothing has, and its tags."""
    name = f"/{aws.name('nothing')}"
    with refused("ParameterNotFound", silent=True):
        aws.ssm.get_parameter(Name=name)
    with refused("InvalidResourceId", silent=True):
        aws.ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)


@probe("SSM-10", "AMI-15", must="its own name and ARN, and what was asked for behind them as Selector", seconds=2)
def a_parameter_by_name_selector_and_arn(aws: Account) -> None:
    """Puts a parameter and reads it by name, by version and by ARN, with one that doesn't exist."""
    name, missing = f"/{aws.name('parameter')}", f"/{aws.name('nothing')}"
    aws.ssm.put_parameter(Name=name, Value="1", Type="String")
    arn = f"arn:{aws.partition}:ssm:{aws.region}:{aws.account_id}:parameter{name}"
    for asked, selector in ((name, None), (f"{name}:1", ":1"), (arn, None), (f"{arn}:1", ":1")):
        answer = aws.ssm.get_parameters(Names=[asked, missing])
        expect("what isn't there", answer["InvalidParameters"], [missing])
        for found in (*answer["Parameters"], aws.ssm.get_parameter(Name=asked)["Parameter"]):
            expect("its name and ARN", (found["Name"], found["ARN"]), (name, arn))
            expect("its selector", found.get("Selector"), selector)


@probe("SSM-11", must="NoSuchEntity that names it", seconds=1)
def roles_and_profiles_that_do_not_exist(aws: Account) -> None:
    """Reads a role and an instance profile that nothing has."""
    name = aws.name("nothing")
    with refused("NoSuchEntity", saying=f"The role with name {name} cannot be found."):
        aws.iam.get_role(RoleName=name)
    with refused("NoSuchEntity", saying=f"Instance Profile {name} cannot be found."):
        aws.iam.get_instance_profile(InstanceProfileName=name)


untried("SSM-12", "it takes an organization's policies, and roles bound to a Region")
untried("SSM-13", "it takes an agent that is connected, and one that isn't")
untried("SSM-14", "a regional NAT gateway bills by the hour")
untried("SSM-15", "it takes an instance on Nitro, and minutes of its console")
untried("SSM-16", "it takes another account's VPC")
