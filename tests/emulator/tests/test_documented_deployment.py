"""The commands of docs/operations.md for stack sets, as they are written there, by the real SAM and AWS CLIs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REGION

ROOT = Path(__file__).resolve().parents[3]
BUCKET = f"guardrails-code-{REGION}"
# A stack set calls its stacks so.
STACK_SET = "StackSet-ec2-guardrails-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def documented() -> list[str]:
    """The commands of the block after "StackSets.", each as one text."""
    (block,) = re.findall(r"\*\*StackSets\.\*\*.*?```sh\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    text = re.sub(r"^#.*\n", "", block, flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


@pytest.fixture
def built(tmp_path):
    """A checkout as `sam build` leaves it; what a function does is of no matter here."""
    shutil.copy(ROOT / "samconfig.toml", tmp_path)
    folder = tmp_path / ".aws-sam/build"
    (folder / "shared/monitoring").mkdir(parents=True)
    shutil.copy(ROOT / "template.yaml", folder)
    shutil.copy(ROOT / "shared/monitoring/template.yaml", folder / "shared/monitoring")
    for manifest in (ROOT / "functions").glob("*/Cargo.toml"):
        function = folder / "functions" / manifest.parent.name
        function.mkdir(parents=True)
        (function / "bootstrap").write_text(f"#!/bin/sh\n# {manifest.parent.name}\n")
        (function / "bootstrap").chmod(0o755)
    return tmp_path


def test_what_is_documented_for_stack_sets_can_be_deployed_to_an_account(emulator, client, built):
    client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    build, *commands = documented()
    assert build == "sam build", "which would take minutes; `built` has what it leaves"
    here, then = commands[:-2], commands[-2:]
    # The local AWS has no stack sets: what they are given is deployed below as they do it.
    assert [re.match(r"aws cloudformation (\S+)", command)[1] for command in then] == ["create-stack-set", "create-stack-instances"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SAM_CLI_POLL_DELAY": "0.1",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(built / "home"),
        "AWS_DEFAULT_REGION": REGION,
        "REGION": REGION,
    }
    script = "set -eu\n" + "\n".join(here)
    ran = subprocess.run(["bash", "-c", script], cwd=built, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr

    processed = json.loads((built / "processed.json").read_text())
    types = [resource["Type"] for resource in processed["Resources"].values()]
    assert "Transform" not in processed and "AWS::CloudFormation::Stack" not in types
    assert not [kind for kind in types if kind.startswith("AWS::Serverless::")]
    functions = [r["Properties"] for r in processed["Resources"].values() if r["Type"] == "AWS::Lambda::Function"]
    assert {function["Code"]["S3Bucket"] for function in functions} == {BUCKET} and len(functions) == 4

    # As a stack set does it, in an account that has a stack of another prefix already: the one that transformed it.
    (create,) = (command for command in then if "create-stack-set " in command)
    (url,) = re.findall(r"--template-url (\S+)", create)
    assert "--capabilities CAPABILITY_IAM " in create

    def deploy(name: str, prefix: str) -> str:
        cloudformation = client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateURL=url.replace("$REGION", REGION),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": "Prefix", "ParameterValue": prefix}],
        )
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]

    assert deploy(STACK_SET, "second") == "CREATE_COMPLETE"
    names = {function["FunctionName"] for function in client("lambda").list_functions()["Functions"]}
    assert {"ec2-guardrails-snapshot-volumes", "second-snapshot-volumes"} < names and len(names) == 8
    # One prefix twice is what can't be.
    assert deploy("third", "second") == "ROLLBACK_COMPLETE"
    assert deploy("fourth", "fourth") == "CREATE_COMPLETE", "and nothing of it stayed"
