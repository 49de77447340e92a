"""CloudTrail: whose call it was, on the bus and in the event history (AMI-1)."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from asg_help import Web
from conftest import ACCOUNT, REGION, invoke
from ec2_help import amazon_linux, eventually, launch, refused, specification


@pytest.fixture
def heard(listener):
    """The launches that a rule sends to a function."""
    pattern = {"source": ["aws.ec2"], "detail-type": ["AWS API Call via CloudTrail"]}
    return listener(pattern | {"detail": {"eventSource": ["ec2.amazonaws.com"], "eventName": ["RunInstances"]}})


def as_principal(emulator, service, **who):
    credentials = emulator.control("POST", "principals", **who)
    return boto3.client(
        service,
        endpoint_url=emulator.endpoint,
        region_name=REGION,
        aws_access_key_id=credentials["access_key_id"],
        aws_secret_access_key=credentials["secret_access_key"],
        aws_session_token=credentials.get("session_token"),
    )


def launched(events):
    return [i["instanceId"] for e in events for i in e["detail"]["responseElements"]["instancesSet"]["items"]]


def look_up(client, key=None, value=None, **options):
    attributes = [{"AttributeKey": key, "AttributeValue": value}] if key else []
    return client("cloudtrail").lookup_events(LookupAttributes=attributes, **options)["Events"]


def test_a_launch_by_a_person(emulator, client, ec2, heard):
    terraform = as_principal(emulator, "ec2", user="admin-02", user_agent="terraform")
    tags = specification("instance", {"Name": "ecs-node"})
    ids = launch(terraform, 2, TagSpecifications=tags)
    (event,) = eventually(heard)
    detail = event["detail"]
    assert (event["source"], event["detail-type"]) == ("aws.ec2", "AWS API Call via CloudTrail")
    identity = detail["userIdentity"]
    assert (identity["type"], identity["userName"]) == ("IAMUser", "admin-02")
    assert identity["arn"] == f"arn:aws:iam::{ACCOUNT}:user/admin-02"
    assert detail["userAgent"] == "terraform"
    assert "errorCode" not in detail
    requested = detail["requestParameters"]
    assert requested["instancesSet"]["items"][0]["imageId"] == amazon_linux(ec2)
    assert requested["tagSpecificationSet"]["items"][0]["tags"] == [{"key": "Name", "value": "ecs-node"}]
    items = detail["responseElements"]["instancesSet"]["items"]
    assert [i["instanceId"] for i in items] == ids
    described = ec2.describe_instances(InstanceIds=ids[:1])["Reservations"][0]["Instances"][0]
    assert items[0]["imageId"] == described["ImageId"]
    assert items[0]["instanceState"] == {"code": 0, "name": "pending"}
    (interface,) = items[0]["networkInterfaceSet"]["items"]
    assert interface["networkInterfaceId"] == described["NetworkInterfaces"][0]["NetworkInterfaceId"]
    assert interface["groupSet"]["items"][0]["groupId"] == described["SecurityGroups"][0]["GroupId"]
    assert items[0]["tagSet"]["items"] == [{"key": "Name", "value": "ecs-node"}]
    assert items[0]["operator"] == {"managed": False}
    (found,) = look_up(client, "ResourceName", ids[1])
    assert (found["EventName"], found["Username"]) == ("RunInstances", "admin-02")
    assert json.loads(found["CloudTrailEvent"])["eventID"] == detail["eventID"] == found["EventId"]


def test_a_launch_by_a_role(emulator, client):
    pipeline = as_principal(emulator, "ec2", role="ci", session="build-7")
    (instance_id,) = launch(pipeline)
    (found,) = look_up(client, "ResourceName", instance_id)
    identity = json.loads(found["CloudTrailEvent"])["userIdentity"]
    assert identity["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/build-7"
    assert identity["sessionContext"]["sessionIssuer"]["arn"] == f"arn:aws:iam::{ACCOUNT}:role/ci"
    assert found["Username"] == "build-7"


def test_a_launch_by_a_group_and_who_changed_it(emulator, client, heard):
    web = Web(emulator, 1)
    event = eventually(heard)[0]
    detail = event["detail"]
    assert detail["userIdentity"]["invokedBy"] == "autoscaling.amazonaws.com"
    assert "imageId" not in detail["requestParameters"]["instancesSet"]["items"][0]
    assert detail["requestParameters"]["launchTemplate"]["launchTemplateId"] == web.template
    (item,) = detail["responseElements"]["instancesSet"]["items"]
    tags = {tag["key"]: tag["value"] for tag in item["tagSet"]["items"]}
    assert tags["aws:autoscaling:groupName"] == "web"
    assert item["imageId"] == web.good
    careless = as_principal(emulator, "ec2", user="admin-02")
    careless.create_launch_template_version(
        LaunchTemplateName="web", SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"}
    )
    as_principal(emulator, "autoscaling", user="admin-03").update_auto_scaling_group(
        AutoScalingGroupName="web", MaxSize=5
    )
    changed = look_up(client, "ResourceName", web.template)
    assert [(e["EventName"], e["Username"]) for e in changed] == [
        ("CreateLaunchTemplateVersion", "admin-02"),
        ("CreateLaunchTemplate", "admin"),
    ]
    request = json.loads(changed[0]["CloudTrailEvent"])["requestParameters"]["CreateLaunchTemplateVersionRequest"]
    assert request["LaunchTemplateName"] == "web"
    of_group = look_up(client, "ResourceName", "web")
    assert ("UpdateAutoScalingGroup", "admin-03") in [(e["EventName"], e["Username"]) for e in of_group]


def test_a_launch_that_failed(client, ec2, heard):
    with refused("InvalidAMIID.NotFound"):
        launch(ec2, ImageId="ami-00000000000000000")
    (event,) = eventually(heard)
    assert event["detail"]["errorCode"] == "Client.InvalidAMIID.NotFound"
    assert "ami-00000000000000000" in event["detail"]["errorMessage"]
    assert event["detail"]["responseElements"] is None


def test_launches_by_fleets(emulator, ec2, heard):
    image = amazon_linux(ec2)
    first = emulator.control("POST", "launches", by="fleet", image_id=image, count=2)
    again = emulator.control("POST", "launches", by="fleet", image_id=image, request_id=first["request_id"])
    spot = emulator.control("POST", "launches", by="spot", image_id=image)
    events = eventually(lambda: len(found := heard()) == 3 and found)
    by = {e["detail"]["responseElements"]["instancesSet"]["items"][0]["instanceId"]: e["detail"] for e in events}
    fleet = by[first["instance_ids"][0]]
    assert fleet["userIdentity"]["invokedBy"] == "ec2fleet.amazonaws.com"
    assert by[spot["instance_ids"][0]]["userIdentity"]["invokedBy"] == "spotfleet.amazonaws.com"
    filters = [{"Name": "tag:aws:ec2:fleet-id", "Values": [first["request_id"]]}]
    found = ec2.describe_instances(Filters=filters)["Reservations"]
    ids = {i["InstanceId"] for r in found for i in r["Instances"]}
    assert ids == {*first["instance_ids"], *again["instance_ids"]}
    described = ec2.describe_instances(InstanceIds=spot["instance_ids"])["Reservations"][0]["Instances"][0]
    assert described["InstanceLifecycle"] == "spot"


def test_events_and_history_come_late_or_not(emulator, client, ec2, heard):
    emulator.control("PATCH", "settings", cloudtrail_event_delay_seconds=3600, cloudtrail_lookup_delay_seconds=3600)
    (never,) = launch(ec2)
    assert look_up(client, "ResourceName", never) == []
    emulator.control("PATCH", "settings", cloudtrail_event_delay_seconds=0.3, cloudtrail_lookup_delay_seconds=0.3)
    (late,) = launch(ec2)
    assert launched(eventually(heard)) == [late]
    eventually(lambda: look_up(client, "ResourceName", late))
    emulator.control("PATCH", "settings", cloudtrail_events=False, cloudtrail_event_delay_seconds=0)
    (untold,) = launch(ec2)
    eventually(lambda: look_up(client, "ResourceName", untold))
    emulator.control("PATCH", "settings", cloudtrail_events=True)
    (told,) = launch(ec2)
    eventually(lambda: len(heard()) > 1)
    assert launched(heard()) == [late, told]


def test_either_event_of_a_launch_may_come_first(emulator, ec2, listener):
    kinds = ["AWS API Call via CloudTrail", "EC2 Instance State-change Notification"]
    both = listener({"source": ["aws.ec2"], "detail-type": kinds})
    emulator.control("PATCH", "settings", instance_event_delay_seconds=0.3)
    launch(ec2)
    eventually(lambda: len(both()) == 3)
    assert both()[0]["detail-type"] == kinds[0]


def test_looking_up_by_the_services_short_name(emulator, client, ec2):
    """As the SDK for Rust calls it."""
    launch(ec2)
    trail = emulator.client("cloudtrail")
    full = trail.meta.service_model.metadata["targetPrefix"]
    trail.meta.service_model.metadata["targetPrefix"] = full.rpartition(".")[2]
    try:
        assert len(trail.lookup_events()["Events"]) == 1
    finally:
        trail.meta.service_model.metadata["targetPrefix"] = full


def test_looking_up(emulator, client, ec2):
    ids = [launch(ec2)[0] for _ in range(3)]
    names = [
        json.loads(e["CloudTrailEvent"])["responseElements"]["instancesSet"]["items"][0]["instanceId"]
        for e in look_up(client, "EventName", "RunInstances")
    ]
    assert names == ids[::-1]  # newest first
    assert len(look_up(client, "Username", "admin")) == 3
    pages = client("cloudtrail").get_paginator("lookup_events").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["Events"]) for page in pages] == [2, 1]
    hour = timedelta(hours=1)
    assert look_up(client, StartTime=datetime.now(UTC) - hour)
    assert look_up(client, EndTime=datetime.now(UTC) - hour) == []
    with refused("InvalidTimeRangeException"):
        look_up(client, StartTime=datetime.now(UTC), EndTime=datetime.now(UTC) - hour)
    with refused("InvalidLookupAttributesException"):
        client("cloudtrail").lookup_events(
            LookupAttributes=[{"AttributeKey": k, "AttributeValue": "x"} for k in ("EventName", "Username")]
        )
    emulator.control("PATCH", "settings", lookup_events_per_second=2)
    look_up(client)
    look_up(client)
    with refused("ThrottlingException"):
        look_up(client)


def test_a_functions_call_is_its_roles(emulator, client, function, ec2):
    function("worker")
    invoke(emulator, "worker", {"call": "StopInstances&InstanceId.1=i-00000000000000000"})
    (found,) = look_up(client, "EventName", "StopInstances")
    event = json.loads(found["CloudTrailEvent"])
    assert event["userIdentity"]["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/worker-role/worker"
    assert event["errorCode"] == "Client.InvalidInstanceID.NotFound"
    assert event["requestParameters"]["instancesSet"]["items"] == [{"instanceId": "i-00000000000000000"}]
