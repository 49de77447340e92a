"""What a shell ends with before it opens, by the preferences of Session Manager (SSM-17, SSM-18)."""

import json

import pytest
from conftest import ACCOUNT, REGION
from ec2_help import refused
from ssm_help import Vpc, allow, attach, launch, make_profile, retry

DOCUMENT = "SSM-SessionManagerRunShell"


@pytest.fixture
def prefer(emulator):
    """Sets the preferences."""

    def to(**inputs):
        ssm = emulator.client("ssm")
        content = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": inputs}
        ssm.create_document(Name=DOCUMENT, DocumentType="Session", Content=json.dumps(content))

    return to


def shell(emulator, instance_id):
    node = emulator.control("GET", "nodes", instance_id=instance_id)["nodes"][0]
    assert node["session_manager"] is True
    return node["shell"]


def managed(emulator, ec2, iam, **parameters):
    instance_id = launch(ec2, **parameters)
    attach(ec2, instance_id, make_profile(iam))
    assert retry(emulator, instance_id)["online"] is True
    return instance_id


def grant(iam, action, resource="*"):
    iam.put_role_policy(RoleName="managed", PolicyName=action.replace(":", "-"), PolicyDocument=allow(action, Resource=resource))


def test_without_preferences_a_shell_opens(emulator, ec2, iam, ssm):
    with refused("InvalidDocument"):
        ssm.get_document(Name=DOCUMENT)
    assert shell(emulator, managed(emulator, ec2, iam)) is None


def test_a_key_takes_kms_decrypt_and_to_be_enabled(emulator, ec2, iam, prefer):
    kms = emulator.client("kms")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/sessions", TargetKeyId=key["KeyId"])
    prefer(kmsKeyId="alias/sessions")
    instance_id = managed(emulator, ec2, iam)
    assert "kms:Decrypt" in shell(emulator, instance_id)
    grant(iam, "kms:Decrypt", key["Arn"])
    assert shell(emulator, instance_id) is None
    kms.disable_key(KeyId=key["KeyId"])
    assert "Fetching data key failed" in shell(emulator, instance_id)
    grant(iam, "kms:Decrypt", "*")
    kms.delete_alias(AliasName="alias/sessions")
    assert "Fetching data key failed" in shell(emulator, instance_id)


def test_a_group_that_must_be_encrypted_takes_the_right_to_look_at_all(emulator, ec2, iam, prefer):
    logs = emulator.client("logs")
    key = emulator.client("kms").create_key()["KeyMetadata"]["Arn"]
    logs.create_log_group(logGroupName="/sessions", kmsKeyId=key)
    prefer(cloudWatchLogGroupName="/sessions", cloudWatchEncryptionEnabled=True)
    instance_id = managed(emulator, ec2, iam)
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
    grant(iam, "logs:DescribeLogGroups", f"{group}:/sessions:*")
    assert "encryption is not set up" in shell(emulator, instance_id)
    grant(iam, "logs:DescribeLogGroups", f"{group}:*")
    assert shell(emulator, instance_id) is None
    logs.delete_log_group(logGroupName="/sessions")
    logs.create_log_group(logGroupName="/sessions")
    assert "encryption is not set up" in shell(emulator, instance_id)


def test_a_bucket_that_must_be_encrypted_takes_the_right_to_look(emulator, ec2, iam, prefer):
    prefer(s3BucketName="session-logs", s3EncryptionEnabled=True)
    instance_id = managed(emulator, ec2, iam)
    assert "Amazon S3 bucket" in shell(emulator, instance_id)
    grant(iam, "s3:GetEncryptionConfiguration", "arn:aws:s3:::session-logs")
    assert shell(emulator, instance_id) is None


def test_in_a_private_subnet_the_key_takes_an_endpoint(emulator, ec2, iam, prefer):
    prefer(kmsKeyId=emulator.client("kms").create_key()["KeyMetadata"]["Arn"])
    vpc = Vpc(ec2)
    vpc.endpoints()
    instance_id = managed(emulator, ec2, iam, SubnetId=vpc.private)
    grant(iam, "kms:Decrypt")
    assert "Handshake timed out" in shell(emulator, instance_id)
    vpc.endpoint("kms")
    assert shell(emulator, instance_id) is None
