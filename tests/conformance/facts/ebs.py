"""Snapshots (EBS)."""

from conformance.account import Account, nobody, tags_of
from conformance.probe import accepted, expect, expect_that, probe, refused, untried

FILTERED = [{"Name": "volume-id", "Values": [nobody("vol")]}]


@probe("EBS-1", must="no member for a client token", seconds=1)
def creations_of_snapshots_take_no_client_token(aws: Account) -> None:
    """Reads AWS's own model of the API, as boto3 has it."""
    for operation in ("CreateSnapshot", "CreateSnapshots", "CopySnapshot", "DeleteSnapshot"):
        members = aws.ec2.meta.service_model.operation_model(operation).input_shape.members
        tokens = [name for name in members if "token" in name.lower()]
        # What signs a copy's source is no client token.
        expect(f"what {operation} takes as a token", tokens, [])
    token = aws.ec2.meta.service_model.operation_model("CreateVolume").input_shape.members
    expect_that("CreateVolume has one, by contrast", "ClientToken" in token, list(token))


untried("EBS-1", "an answer that is lost on AWS's side can't be brought about")


@probe(
    "EBS-2",
    must="the data volume alone, with the given and the copied tags, and no id of the set",
    usd=0.002,
    seconds=60,
)
def a_set_without_the_boot_volume(aws: Account) -> None:
    """Snapshots an instance's volumes but the root, copying tags."""
    instance = aws.described(aws.instance)
    devices = {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in instance["BlockDeviceMappings"]}
    data = devices["/dev/sdf"]
    aws.ec2.create_tags(Resources=[data], Tags=[{"Key": "from", "Value": "volume"}])
    answer = aws.ec2.create_snapshots(
        InstanceSpecification={"InstanceId": aws.instance, "ExcludeBootVolume": True},
        CopyTagsFromSource="volume",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "given", "Value": "yes"}]}],
    )
    expect("what the answer has", sorted(answer.keys() - {"ResponseMetadata"}), ["Snapshots"])
    expect("the snapshotted volumes", [s["VolumeId"] for s in answer["Snapshots"]], [data])
    expect("the snapshot's tags", tags_of(answer["Snapshots"][0]), {"from": "volume", "given": "yes"})


@probe("EBS-2", must="InvalidParameterValue", usd=0.002, seconds=5)
def the_root_is_no_data_volume(aws: Account) -> None:
    """Excludes the root of an instance as a data volume, and 41 volumes."""
    instance = aws.described(aws.instance)
    root = next(m["Ebs"]["VolumeId"] for m in instance["BlockDeviceMappings"] if m["DeviceName"] == "/dev/xvda")

    def exclude(*volumes: str) -> None:
        aws.ec2.create_snapshots(
            InstanceSpecification={"InstanceId": aws.instance, "ExcludeDataVolumeIds": list(volumes)}
        )

    with refused("InvalidParameterValue"):
        exclude(root)
    with refused() as refusal:
        exclude(*[nobody("vol", n) for n in range(41)])
    aws.note(f"41 volumes to exclude: {refusal.code}: {refusal.message}")


untried("EBS-2", "a member that fails takes a volume with a key of one's own, which becomes unusable")
untried("EBS-3", "about what other tools do; that one volume is shown with both instances takes Provisioned IOPS")


@probe("EBS-4", must="pending with no progress, then completed with 100%", usd=0.001, seconds=60)
def a_snapshot_is_pending_and_then_completed(aws: Account) -> None:
    """Snapshots an empty volume and waits."""
    made = aws.ec2.create_snapshot(VolumeId=aws.volume())
    expect("a new snapshot's state", made["State"], "pending")
    expect("a new snapshot's progress", made["Progress"], "")
    states = set()

    def look() -> dict | None:
        found = aws.shown(made["SnapshotId"])
        states.add(found["State"])
        return found if found["State"] != "pending" else None

    done = aws.eventually(look, "a completed snapshot", 300)
    expect("its last state", done["State"], "completed")
    expect("its last progress", done["Progress"], "100%")
    expect_that("no other state comes in between", states <= {"pending", "completed"}, states)


@probe("EBS-4", must="the answer is a snapshot, which ends in error, with a StateMessage", usd=0.001, seconds=120)
def a_key_that_cannot_be_used_fails_later(aws: Account) -> None:
    """Copies a snapshot with a key that doesn't exist."""
    source = aws.snapshot()
    key = f"arn:aws:kms:{aws.region}:{aws.account_id}:key/00000000-0000-0000-0000-000000000000"
    with accepted():
        copy = aws.ec2.copy_snapshot(SourceRegion=aws.region, SourceSnapshotId=source, Encrypted=True, KmsKeyId=key)

    def failed() -> dict | None:
        found = aws.shown(copy["SnapshotId"])
        return found if found["State"] != "pending" else None

    ended = aws.eventually(failed, "the copy's end", 300)
    expect("its state", ended["State"], "error")
    expect_that("StateMessage says why", ended.get("StateMessage"), ended.get("StateMessage"))
    aws.note(f"StateMessage: {ended.get('StateMessage')}")


untried("EBS-4", "recoverable and recovering take the Recycle Bin or a tier that bills for 90 days")


@probe("EBS-5", must="SnapshotCreationPerVolumeRateExceeded", usd=0.001, seconds=5)
def two_snapshots_of_a_volume_within_15_seconds(aws: Account) -> None:
    """Snapshots a volume, and at once again; deleting the first changes nothing."""
    volume = aws.volume()
    first = aws.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        aws.ec2.create_snapshot(VolumeId=volume)
    aws.ec2.delete_snapshot(SnapshotId=first)
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        aws.ec2.create_snapshot(VolumeId=volume)


untried("EBS-5", "the limits of pending ones: small snapshots complete faster than new ones may be made")
untried("EBS-6", "it would throttle the whole account")


@probe("EBS-7", must="below 5 refused, above the limit cut", seconds=5)
def max_results_is_cut_above_its_limit(aws: Account) -> None:
    """Describes snapshots and volumes with too small and too large a page."""
    for call, extra in ((aws.ec2.describe_volumes, {}), (aws.ec2.describe_snapshots, {"OwnerIds": ["self"]})):
        with refused("InvalidParameterValue", saying="maxResults"):
            call(MaxResults=4, **extra)
        for size in (5, 1000, 1001):
            with accepted():
                found = call(MaxResults=size, Filters=FILTERED, **extra)
            expect_that(f"at most {size} come", len(found.get("Volumes", found.get("Snapshots", []))) <= size, found)


@probe("EBS-7", must="InvalidParameterCombination", usd=0.001, seconds=60)
def max_results_is_not_for_given_ids(aws: Account) -> None:
    """Describes a volume, a snapshot and an instance by id, with a page."""
    with refused("InvalidParameterCombination"):
        aws.ec2.describe_volumes(VolumeIds=[aws.volume()], MaxResults=5)
    with refused("InvalidParameterCombination"):
        aws.ec2.describe_snapshots(SnapshotIds=[aws.snapshot()], MaxResults=5)
    with refused("InvalidParameterCombination"):
        aws.ec2.describe_instances(InstanceIds=[aws.instance], MaxResults=5)


@probe("EBS-7", must="FilterLimitExceeded from 201 on", seconds=5)
def at_most_200_filter_values(aws: Account) -> None:
    """Describes with 200 and with 201 values of a filter."""
    values = [f"value-{n}" for n in range(201)]
    for call in (aws.ec2.describe_volumes, aws.ec2.describe_snapshots, aws.ec2.describe_instances):
        with accepted():
            call(Filters=[{"Name": "tag-key", "Values": values[:200]}])
        with refused("FilterLimitExceeded", saying="200"):
            call(Filters=[{"Name": "tag-key", "Values": values}])


@probe("EBS-7", must="snapshots of other owners", seconds=20)
def without_owners_strangers_snapshots_come_too(aws: Account) -> None:
    """Describes snapshots with and without OwnerIds, up to the first that isn't one's own."""

    def owners(**parameters: object) -> set[str]:
        found: set[str] = set()
        pages = aws.ec2.get_paginator("describe_snapshots").paginate(PaginationConfig={"PageSize": 1000}, **parameters)
        for number, page in enumerate(pages):
            found |= {snapshot["OwnerId"] for snapshot in page["Snapshots"]}
            if found - {aws.account_id} or number == 20:
                break
        return found

    expect_that("without OwnerIds others' come", owners() - {aws.account_id}, "only one's own")
    expect_that("with self only one's own come", owners(OwnerIds=["self"]) <= {aws.account_id}, "others' too")


untried("EBS-7", "a short page comes when AWS likes")


@probe("EBS-8", must="InvalidSnapshot.InUse, also when the AMI is disabled", usd=0.001, seconds=60)
def a_snapshot_of_an_image_is_in_use(aws: Account) -> None:
    """Registers an AMI of a snapshot and deletes the snapshot; disables the AMI, and again; deregisters it."""
    snapshot_id = aws.snapshot()
    image_id = aws.own_image(snapshot_id)
    with refused("InvalidSnapshot.InUse", saying=("in use", image_id)):
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    aws.ec2.disable_image(ImageId=image_id)
    with refused("InvalidSnapshot.InUse"):
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    aws.ec2.deregister_image(ImageId=image_id)
    aws.eventually(lambda: not aws.remains(("snapshot", snapshot_id)), "the deletion once the AMI is gone", 60)


@probe("EBS-8", must="a refusal, whichever; its word is noted", usd=0.001, seconds=60)
def a_locked_snapshot_is_not_deleted(aws: Account) -> None:
    """Locks a snapshot in governance mode for a day, if it may be unlocked, deletes it, and unlocks it."""
    snapshot_id = aws.snapshot()
    # Whoever may lock and not unlock would keep it for a day: any refusal but one for lack of permission will do.
    with refused():
        aws.ec2.unlock_snapshot(SnapshotId=snapshot_id, DryRun=True)
    aws.ec2.lock_snapshot(SnapshotId=snapshot_id, LockMode="governance", LockDuration=1)
    with refused() as refusal:
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    aws.note(f"DeleteSnapshot of a locked one: {refusal.code}: {refusal.message}")
    aws.ec2.unlock_snapshot(SnapshotId=snapshot_id)
    with accepted():
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)


untried("EBS-8", "AWS Backup takes a vault and a plan; fast snapshot restore bills an hour at least (0.75 USD)")


@probe("EBS-9", must="another volume id than the source's", usd=0.001, seconds=90)
def a_copy_carries_an_arbitrary_volume_id(aws: Account) -> None:
    """Copies a snapshot within the Region."""
    source = aws.snapshot()
    copy = aws.ec2.copy_snapshot(SourceRegion=aws.region, SourceSnapshotId=source)["SnapshotId"]
    volume = aws.eventually(lambda: aws.shown(copy), "the copy")["VolumeId"]
    expect_that("the copy names another volume", volume != aws.shown(source)["VolumeId"], volume)
    aws.note(f"a copy's volume id is {'all f' if set(volume[4:]) == {'f'} else 'made up'}")


@probe("EBS-10", must="the snapshot's id after the last / of snapshot_id, and result in text", usd=0.001, seconds=90)
def the_event_of_a_snapshot(aws: Account) -> None:
    """Listens to EBS Snapshot Notification and snapshots a volume."""
    queue = aws.listen({"source": ["aws.ec2"], "detail-type": ["EBS Snapshot Notification"]})
    made = aws.ec2.create_snapshot(VolumeId=aws.volume())["SnapshotId"]
    message = aws.received(queue, "the event", lambda event: made in str(event), 300)
    detail = message["Body"]["detail"]
    expect("what follows the last /", detail["snapshot_id"].rsplit("/", 1)[-1], made)
    expect("event and result", (detail["event"], detail["result"]), ("createSnapshot", "succeeded"))
    booleans = {key: value for key, value in detail.items() if isinstance(value, bool)}
    expect("the booleans that aren't text", booleans, {})
    usual = detail["snapshot_id"].split(":")[3]
    aws.note(f"in snapshot_id the Region stands {'in its usual place' if usual else 'where the account belongs'}")


untried("EBS-10", "that an event doesn't come can't be brought about")


@probe("EBS-11", must="256 characters refused, 255 taken; no member of ModifySnapshotAttribute for it", usd=0.001)
def a_description_is_given_once(aws: Account) -> None:
    """Snapshots a volume with too long a description, and reads the model of ModifySnapshotAttribute."""
    volume = aws.volume()
    with refused("InvalidParameterValue", saying="255"):
        aws.ec2.create_snapshot(VolumeId=volume, Description="d" * 256)
    with accepted():
        aws.ec2.create_snapshot(VolumeId=volume, Description="d" * 255)
    members = aws.ec2.meta.service_model.operation_model("ModifySnapshotAttribute").input_shape.members
    about = [name for name in members if "descri" in name.lower()]
    expect("members of ModifySnapshotAttribute about a description", about, [])


untried("EBS-12", "about other tools")
untried("EBS-13", "an archived snapshot bills for 90 days")
untried("EBS-14", "it takes an Outpost or a Local Zone")
untried("EBS-15", "so many pending snapshots would be in the account's way")
untried("EBS-16", "a probe stays in one Region; within it, EBS-9's copies one, with its own tags")
untried("EBS-17", "the SDK for Python, which the probes use, signs the request by itself")
untried("EBS-18", "so many copies would be in the account's way, and small ones complete too fast")
untried("EBS-19", "whether a copy was incremental only its event tells, to a rule in the destination's Region")
untried("EBS-21", "a snapshot holds no block before something was written to its volume, which takes an instance")
untried("EBS-22", "as EBS-21; what IAM asks for takes a role that may do less")
untried("EBS-23", "as EBS-20")


@probe("EBS-24", must="the same volume for the same token, and IdempotentParameterMismatch for another size", usd=0.001, seconds=20)
def a_client_token_makes_one_volume(aws: Account) -> None:
    """Creates a volume twice by one token."""
    token = aws.name("token")
    made = aws.volume(ClientToken=token)
    expect("the volume of the same request", aws.volume(ClientToken=token), made)
    with refused("IdempotentParameterMismatch"):
        aws.volume(ClientToken=token, Size=2)


untried("EBS-25", "as EBS-20")
untried("EBS-26", "when a check has run is AWS's own matter")
untried("EBS-20", "a key of one's own bills for a month at least, and is deleted after a week at the earliest")
