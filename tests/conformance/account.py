"""What a probe works on: an account and Region, through clients that keep to what the run itself made.

Each call passes `_before`. What makes something gets the run's tag and, where it has a name, must have the run's
prefix; it is noted before the call, or from its answer. What changes something must name a thing of this run, and no
resource that isn't: a mistake in a probe is refused here, before it reaches anybody's resources.
"""

from __future__ import annotations

import copy
import functools
import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import jmespath
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from conformance.made import COMES_ALONG, IAM_PATH, KINDS, MAKINGS, ORDER, PREFIX, TAG, is_gone
from conformance.probe import DENIED, NotTried

SERVICES = (
    "autoscaling", "dynamodb", "ec2", "ecr", "events", "iam", "scheduler", "sns", "sqs", "ssm", "sts",
)  # fmt: skip

NOBODYS = "23456789abcdef0"
"""The end of ids that nothing has, see `nobody`."""

READING = re.compile("Describe|Get|List|BatchGet|Query|Simulate")
EC2_ID = re.compile(r"\b(?:ami|eni|i|lt|sg|snap|subnet|vol|vpc)-[0-9a-f]{8,17}\b")
INSTANCE_TYPE = "t3.nano"
IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-x86_64"
REMOVAL_SECONDS = 600

Thing = tuple[str, str]
"""The kind of a thing, and its id or name."""


class NotOurs(Exception):
    """A call that would have changed what the run didn't make. It wasn't sent."""


class Account:
    def __init__(self, session: boto3.Session, poll_seconds: float = 3.0) -> None:
        self.session, self.region = session, session.region_name
        self.run = secrets.token_hex(4)
        self.poll_seconds = poll_seconds
        self.calls: set[str] = set()
        """The IAM actions that were asked for."""
        self.notes: list[str] = []
        """What the probe at work has found out besides, for the report."""
        self.shared: dict[str, Any] = {}
        """What the probes of a module make once, inside `kept`."""
        self._asked_for: set[str] = set()
        """The kinds of thing that were asked for, so that some may be there."""
        self._ours: set[str] = set()
        self._made: list[Thing] = []
        self._kept: set[Thing] = set()
        self._keeping = False

    # ---- Clients ----

    @functools.cache  # noqa: B019 (one account in a process, but for tests)
    def client(self, service: str, **config: Any) -> Any:
        retries = {"mode": "standard", "total_max_attempts": 4}
        client = self.session.client(service, config=Config(retries=retries, **config))
        client.meta.events.register_first("before-parameter-build", self._before)
        client.meta.events.register_first("after-call", self._after)
        return client

    def __getattr__(self, service: str) -> Any:
        """aws.ec2 is aws.client("ec2")."""
        if service not in SERVICES:
            raise AttributeError(service)
        return self.client(service)

    def _before(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service, operation = model.service_model.service_name, model.name
        self.calls.add(f"{model.service_model.signing_name}:{operation}")
        if READING.match(operation):
            return
        leaves = list(_texts(params))
        strangers = {i for leaf in leaves for i in EC2_ID.findall(leaf) if i not in self._ours and NOBODYS not in i}
        if strangers:
            raise NotOurs(f"{operation} names {', '.join(sorted(strangers))}, which this run didn't make")
        making = MAKINGS.get((service, operation))
        if making is None:
            if not any(self.prefix in leaf or leaf in self._ours or NOBODYS in leaf for leaf in leaves):
                raise NotOurs(f"{operation} names nothing that this run made")
            return
        name = params[making.name] if making.name else ""
        if making.name and not name.lstrip("/").startswith(self.prefix):
            raise NotOurs(f"{operation} of {name}, which doesn't begin with {self.prefix}")
        self._asked_for |= {making.kind} | COMES_ALONG.get(making.kind, set())
        if not making.answer:
            self._note((making.kind, name))
        if not params.get("Overwrite"):
            params.update(copy.deepcopy(params))
            making.tag(params, self.run)

    def _after(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        making = MAKINGS.get((model.service_model.service_name, model.name))
        if making is not None and making.answer and "Error" not in parsed:
            found = jmespath.search(making.answer, parsed)
            for given in found if isinstance(found, list) else [found]:
                self._note((making.kind, given))

    def _note(self, thing: Thing) -> None:
        if thing not in self._made:
            self._made.append(thing)
        if self._keeping:
            self._kept.add(thing)
        self._ours.add(thing[1])

    # ---- For probes ----

    @property
    def prefix(self) -> str:
        return f"{PREFIX}-{self.run}"

    def name(self, suffix: str = "") -> str:
        """A name of this run that nothing has yet."""
        return "-".join([self.prefix, *([suffix] if suffix else []), secrets.token_hex(3)])

    def note(self, text: str) -> None:
        self.notes.append(text)

    def eventually(self, check: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """The first true answer of `check`; what EC2 doesn't know yet isn't an error."""
        until = time.monotonic() + seconds
        while True:
            try:
                if answer := check():
                    return answer
            except ClientError as error:
                if not is_gone(error):
                    raise
            if time.monotonic() > until:
                raise NotTried(f"{what}: not within {seconds:.0f} s")
            time.sleep(self.poll_seconds)

    @property
    def account_id(self) -> str:
        return self.identity["Account"]

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        return self.sts.get_caller_identity()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is made inside stays until the end of the run, for the probes that come later."""
        before, self._keeping = self._keeping, True
        try:
            yield
        finally:
            self._keeping = before

    @functools.cached_property
    def zone(self) -> str:
        """A zone that has the instance type."""
        offered = self.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [INSTANCE_TYPE]}]
        )["InstanceTypeOfferings"]
        if not offered:
            raise NotTried(f"no zone of {self.region} has {INSTANCE_TYPE}")
        return min(offer["Location"] for offer in offered)

    @functools.cached_property
    def vpc(self) -> str:
        """A VPC of both families with nothing in it: no gateway, no route, no charge."""
        with self.kept():
            vpc = self.ec2.create_vpc(CidrBlock="10.213.0.0/24", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]

        def is_dual() -> bool:
            (found,) = self.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
            states = [a["Ipv6CidrBlockState"]["State"] for a in found.get("Ipv6CidrBlockAssociationSet", [])]
            return states == ["associated"]

        self.eventually(is_dual, "the VPC's IPv6 block")
        return vpc

    @functools.cached_property
    def subnet(self) -> str:
        with self.kept():
            created = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.213.0.0/25", AvailabilityZone=self.zone)
        return created["Subnet"]["SubnetId"]

    @functools.cached_property
    def image(self) -> str:
        """AWS's newest minimal Amazon Linux."""
        image = self.ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
        self._ours.add(image)
        return image

    @functools.cached_property
    def instance(self) -> str:
        """A running instance with a root and a data volume, for all probes that don't change it."""
        with self.kept():
            data = {"VolumeSize": 1, "VolumeType": "gp3", "DeleteOnTermination": True}
            instance = self.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": data}])
        self.running(instance)
        return instance

    def launch(self, **parameters: Any) -> str:
        """An instance without a public address, pending."""
        interfaces = [{"DeviceIndex": 0, "SubnetId": self.subnet, "AssociatePublicIpAddress": False}]
        given = {"ImageId": self.image, "InstanceType": INSTANCE_TYPE, "NetworkInterfaces": interfaces} | parameters
        return self.ec2.run_instances(MinCount=1, MaxCount=1, **given)["Instances"][0]["InstanceId"]

    def described(self, instance_id: str) -> dict[str, Any]:
        """The instance; its volumes and interfaces are the run's too."""
        (reservation,) = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        (instance,) = reservation["Instances"]
        self._ours |= {m["Ebs"]["VolumeId"] for m in instance.get("BlockDeviceMappings", [])}
        self._ours |= {n["NetworkInterfaceId"] for n in instance.get("NetworkInterfaces", [])}
        return instance

    def members(self, group: str) -> dict[str, str]:
        """A group's instances and their states. They are the run's, since the group is."""
        (found,) = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
        self._ours |= {member["InstanceId"] for member in found["Instances"]}
        return {member["InstanceId"]: member["LifecycleState"] for member in found["Instances"]}

    def running(self, instance_id: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            instance = self.described(instance_id)
            return instance if instance["State"]["Name"] == "running" else None

        return self.eventually(found, f"{instance_id} running")

    def security_group(self) -> str:
        name = self.name("group")
        return self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]

    def volume(self, **parameters: Any) -> str:
        given = {"AvailabilityZone": self.zone, "Size": 1, "VolumeType": "gp3"} | parameters
        return self.ec2.create_volume(**given)["VolumeId"]

    def snapshot(self, **parameters: Any) -> str:
        """A completed snapshot of a new volume."""
        snapshot_id = self.ec2.create_snapshot(VolumeId=self.volume(), **parameters)["SnapshotId"]
        self.eventually(lambda: self.shown(snapshot_id)["State"] == "completed", "a completed snapshot", 300)
        return snapshot_id

    def shown(self, snapshot_id: str) -> dict[str, Any]:
        return self.ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]

    def own_image(self, snapshot_id: str) -> str:
        """An AMI of one snapshot. What is launched from it runs, though nothing boots."""
        mapping = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id, "DeleteOnTermination": True}}
        return self.ec2.register_image(
            Name=self.name("image"), Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda",
            EnaSupport=True, BlockDeviceMappings=[mapping],
        )["ImageId"]  # fmt: skip

    def role(self, service: str, *statements: dict[str, Any]) -> str:
        """A role that the service may assume, with these statements; its name."""
        name = self.name("role")
        trusted = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        self.iam.create_role(RoleName=name, Path=IAM_PATH, AssumeRolePolicyDocument=policy(trusted))
        if statements:
            self.iam.put_role_policy(RoleName=name, PolicyName="probe", PolicyDocument=policy(*statements))
            self.eventually(lambda: self.iam.list_role_policies(RoleName=name)["PolicyNames"], "the role's policy", 60)
        return name

    def arn_of_role(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account_id}:role{IAM_PATH}{name}"

    @property
    def partition(self) -> str:
        return self.identity["Arn"].split(":")[1]

    def simulated(self, role: str, action: str, resource: str, context: list[dict[str, Any]] | None = None) -> str:
        """What IAM's simulator decides about one action: allowed, implicitDeny or explicitDeny."""
        (result,) = self.iam.simulate_principal_policy(
            PolicySourceArn=self.arn_of_role(role), ActionNames=[action], ResourceArns=[resource],
            ContextEntries=context or [],
        )["EvaluationResults"]  # fmt: skip
        return result["EvalDecision"]

    def profile(self, role: str | None) -> str:
        """An instance profile with this role, or without any; its name."""
        name = self.name("profile")
        self.iam.create_instance_profile(InstanceProfileName=name, Path=IAM_PATH)
        if role:
            self.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
        return name

    def queue(self, *senders: str) -> str:
        """A queue that these services may send to; its address."""
        url = self.sqs.create_queue(QueueName=self.name("queue"))["QueueUrl"]
        if senders:
            services = [f"{sender}.amazonaws.com" for sender in senders]
            allowed = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sqs:SendMessage"}
            attributes = {"Policy": policy(allowed | {"Resource": self.arn_of_queue(url)})}
            self.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
        return url

    def arn_of_queue(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def listen(self, pattern: dict[str, Any]) -> str:
        """Events of the default bus that match come into this queue, once EventBridge goes by the new rule."""
        url, rule = self.queue("events"), self.name("rule")
        self.events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        self.events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": self.arn_of_queue(url)}])
        time.sleep(10 * self.poll_seconds)
        return url

    def received(
        self,
        url: str,
        what: str,
        wanted: Callable[[Any], object],
        seconds: float = 120,
        before: Callable[[], object] = lambda: None,
    ) -> dict[str, Any]:
        """The first message whose body, read as JSON, is wanted. `before` each look something may be done again."""

        def look() -> dict[str, Any] | None:
            before()
            found = self.sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=0
            )
            for message in found.get("Messages", []):
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                if wanted(json.loads(message["Body"])):
                    return message | {"Body": json.loads(message["Body"])}
            return None

        return self.eventually(look, what, seconds)

    # ---- Removing ----

    @property
    def left(self) -> list[Thing]:
        """What was made and isn't gone yet, in the order in which it can be removed."""
        return sorted(self._made, key=lambda thing: ORDER[thing[0]])

    def remains(self, thing: Thing) -> bool:
        """Asks for its removal; whether it is still there."""
        self.remove(only=thing)
        return thing in self._made

    def remove(
        self, *, only: Thing | None = None, kept: bool = False, problems: dict[Thing, str] | None = None
    ) -> None:
        """Ask once for the removal of all that is left; what AWS takes longer for stays noted."""
        for thing in self.left:
            if (only or thing) != thing or (not kept and thing in self._kept):
                continue
            kind = KINDS[ORDER[thing[0]]]
            try:
                gone = kind.remove(self, thing[1]) is not False
            except (ClientError, BotoCoreError, NotOurs) as error:
                gone = isinstance(error, ClientError) and is_gone(error)
                if not gone and problems is not None:
                    problems[thing] = str(error)
            if gone:
                self._made.remove(thing)

    def remove_everything(self, of_run: str | None = None, seconds: float = REMOVAL_SECONDS) -> dict[Thing, str]:
        """Removes what is noted, and what bears the tag or prefix of the run (`""`: of any run). What is left, and why.

        It looks after that, and twice: what was made by a call whose answer was lost may be shown late.
        """
        until, removed, looks = time.monotonic() + seconds, set[Thing](), 0
        while True:
            before, problems = set(self._made), dict[Thing, str]()
            self.remove(kept=True, problems=problems)
            removed |= before - set(self._made)
            if not self.left:
                try:
                    found = self.find(self.run, self._asked_for) if of_run is None else self.find(of_run)
                except (ClientError, BotoCoreError) as error:
                    problems["things", "that can't be looked for"] = str(error)
                else:
                    # AWS may go on showing what is gone.
                    new = set(found) - removed
                    looks = 0 if new else looks + 1
                    for thing in new:
                        self._note(thing)
            if looks == 2:
                return {}
            denied = sum(any(f"({code})" in why for code in DENIED) for why in problems.values())
            if time.monotonic() > until or (self.left and denied == len(self.left)):
                return problems | {thing: problems.get(thing, "AWS hasn't removed it yet") for thing in self.left}
            time.sleep(self.poll_seconds)

    def find(self, run: str, kinds: Collection[str] = ORDER) -> list[Thing]:
        """What is there of a run, or with `""` of any. What may not be listed wasn't made either."""
        found: list[Thing] = []
        for kind in (kind for kind in KINDS if kind.name in kinds):
            try:
                found += [(kind.name, given) for given in kind.find(self, run)]
            except ClientError as error:
                if error.response["Error"]["Code"] not in DENIED:
                    raise
        return found


def nobody(kind: str, number: int = 1) -> str:
    """An id that nothing has, for calls that must not find anything: nobody("vol") is vol-0123456789abcdef0."""
    return f"{kind}-{number:02x}{NOBODYS}"


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def tags_of(described: dict[str, Any]) -> dict[str, str]:
    """Without the run's own."""
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", []) if tag["Key"] != TAG}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
