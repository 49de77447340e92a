"""AWS::SSM::Parameter; AWS::S3::Bucket and BucketPolicy (SAM's own bucket for packages is a stack of these)."""

from __future__ import annotations

import json
from typing import Any

from emulator.cloudformation.resources import Handler, Put, ResourceContext, boolean, chosen, client, handles
from emulator.context import context


@handles
class Parameter(Handler):
    type = "AWS::SSM::Parameter"
    properties = frozenset({"AllowedPattern", "DataType", "Description", "Name", "Tags", "Tier", "Type", "Value"})
    required = frozenset({"Type", "Value"})
    replaced_by = frozenset({"Name"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("Name") or f"CFN-{ctx.physical_name(1000)}"
        tags = ctx.tag_list(properties)
        client("ssm").put_parameter(Name=name, Tags=tags, **self._request(properties))
        return name, self._attributes(properties)

    def update(
        self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        client("ssm").put_parameter(Name=physical_id, Overwrite=True, **self._request(new))
        if tags := ctx.tag_list(new):
            client("ssm").add_tags_to_resource(ResourceType="Parameter", ResourceId=physical_id, Tags=tags)
        return self._attributes(new)

    @staticmethod
    def _request(properties: dict[str, Any]) -> dict[str, Any]:
        return chosen(properties, "AllowedPattern", "DataType", "Description", "Tier", "Type", "Value")

    @staticmethod
    def _attributes(properties: dict[str, Any]) -> dict[str, Any]:
        return chosen(properties, "Type", "Value")

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("ssm").delete_parameter(Name=physical_id)


@handles
class Bucket(Handler):
    type = "AWS::S3::Bucket"
    properties = frozenset(
        {
            "BucketEncryption",
            "BucketName",
            "LifecycleConfiguration",
            "OwnershipControls",
            "PublicAccessBlockConfiguration",
            "Tags",
            "VersioningConfiguration",
        }
    )
    replaced_by = frozenset({"BucketName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("BucketName") or ctx.physical_name(63).lower()
        location = {} if context.region == "us-east-1" else {"LocationConstraint": context.region}
        client("s3").create_bucket(Bucket=name, **({"CreateBucketConfiguration": location} if location else {}))
        self.update(ctx, name, {}, properties)
        domain = f"{name}.s3.{context.region}.amazonaws.com"
        return name, {
            "Arn": f"arn:aws:s3:::{name}",
            "DomainName": f"{name}.s3.amazonaws.com",
            "RegionalDomainName": domain,
        }

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        s3 = client("s3")
        if "VersioningConfiguration" in new:
            s3.put_bucket_versioning(Bucket=physical_id, VersioningConfiguration=new["VersioningConfiguration"])
        if "PublicAccessBlockConfiguration" in new:
            block = {k: boolean(v) for k, v in new["PublicAccessBlockConfiguration"].items()}
            s3.put_public_access_block(Bucket=physical_id, PublicAccessBlockConfiguration=block)
        if "BucketEncryption" in new:
            rules = [
                {
                    "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                    **chosen(rule, "BucketKeyEnabled"),
                }
                for rule in new["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            ]
            s3.put_bucket_encryption(Bucket=physical_id, ServerSideEncryptionConfiguration={"Rules": rules})
        if "OwnershipControls" in new:
            s3.put_bucket_ownership_controls(Bucket=physical_id, OwnershipControls=new["OwnershipControls"])
        if tags := ctx.tag_list(new):
            s3.put_bucket_tagging(Bucket=physical_id, Tagging={"TagSet": tags})
        # A life cycle's expiry takes days; nothing here lives that long, so it isn't carried out.

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("s3").delete_bucket(Bucket=physical_id)


@handles
class BucketPolicy(Put):
    type = "AWS::S3::BucketPolicy"
    properties = frozenset({"Bucket", "PolicyDocument"})
    required = properties
    replaced_by = frozenset({"Bucket"})

    def put(self, properties: dict[str, Any]) -> None:
        policy = json.dumps(properties["PolicyDocument"])
        client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("s3").delete_bucket_policy(Bucket=properties["Bucket"])
