"""The bundle as `make bundle` leaves it, unpacked somewhere else and deployed to the local AWS with the SAM CLI alone.

That what is in it runs, tests/package has tried: here it has to arrive.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.local_aws import CREDENTIALS, REGION, STACK, TESTS, LocalAws

HERE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest bundle, alone in a folder with its checksum."""
    archives = sorted((TESTS.parent / ".aws-sam/bundle").glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
    assert archives, "there is no bundle: run `make bundle`"
    folder = tmp_path_factory.mktemp("downloaded")
    for path in (archives[-1], archives[-1].with_name(f"{archives[-1].name}.sha256")):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def bundle(downloaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = downloaded.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    assert path.name == f"{unpacked.name}.tar.gz"
    return unpacked


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    aws = LocalAws()
    try:
        aws.control("PATCH", "settings", schedules_fire=False)
        yield aws
    finally:
        aws.stop()


def environment(folder: Path, aws: LocalAws) -> dict[str, str]:
    """A machine with the SAM CLI and no Rust."""
    programs, home = folder / "bin", folder / "home"
    programs.mkdir()
    home.mkdir()
    for name in ("sha256sum", "tar", "gzip"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "sam").symlink_to(Path(sys.executable).with_name("sam"))
    assert not [name for name in ("cargo", "rustc", "cargo-lambda", "make") if shutil.which(name, path=str(programs))]
    # SAM asks the Internet for a newer version of itself, unless it did so lately.
    (home / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
    return CREDENTIALS | {
        "PATH": str(programs),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_POLL_DELAY": "0.1",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def documented(architecture: str) -> str:
    """The commands with which README.md begins its deployment, for this processor."""
    (commands,) = re.findall(r"^## Deploy it\n.*?```sh\n(.*?)```", (TESTS.parent / "README.md").read_text(), re.M | re.S)
    return f"set -eu\n{commands.replace('-arm64', f'-{architecture}')}"


def test_each_file_is_the_one_that_its_checksum_is_of(bundle: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    named = {line.split("  ", 1)[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    assert {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()} == named | {"SHA256SUMS"}


def test_what_the_readme_links_to_is_there(bundle: Path) -> None:
    links = re.findall(r"\]\((?!https:)([^)#]+)", (bundle / "README.md").read_text())
    assert len(links) > 10
    assert not [link for link in links if not (bundle / link).exists()]
    assert (bundle / "docs/uninstall_check.py").is_file()


def test_the_notices_name_each_crate_with_a_text(bundle: Path) -> None:
    head, *texts = re.split(r"\n-{100}\n", (bundle / "THIRD-PARTY-NOTICES.txt").read_text())
    crates = re.findall(r"^  (\S+ \S+): (.+), \S+", head, re.MULTILINE)
    names = {name for name, _ in crates}
    assert {"tokio", "rustls", "aws-lc-sys", "aws-sdk-ec2", "clap"} < {name.split()[0] for name in names}
    assert not [crate for crate in crates if crate[1] == "None"]
    of = [set(text.split("\n", 1)[0].split(", ")) for text in texts]
    assert set().union(*of) == names


def test_policy_check_comes_as_a_program(bundle: Path) -> None:
    if not bundle.name.endswith(HERE):
        pytest.skip(f"the bundle is {bundle.name}, this machine is {HERE}")
    checked = subprocess.run(
        [bundle / "policy-check", "--strict", "shared/default-policy.yaml"], cwd=bundle, env={}, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "shared/default-policy.yaml: valid\n"), checked


def test_the_documented_commands_deploy_it_with_the_sam_cli_alone(
    downloaded: Path, bundle: Path, aws: LocalAws, tmp_path: Path
) -> None:
    template = (bundle / "template.yaml").read_text()
    (block,) = re.findall(r"^Parameters:\n(.*?)^\w", template, re.M | re.S)
    parameters = re.findall(r"^  (\w+):$", block, re.M)
    # Enter for the stack, the Region and each parameter; no look at the changes; then Enter again.
    answers = "\n" * (2 + len(parameters)) + "n\n" + "\n" * 5
    run = subprocess.run(
        [shutil.which("bash") or "bash", "-c", documented(bundle.name.rsplit("-", 1)[1])],
        cwd=downloaded,
        env=environment(tmp_path, aws),
        input=answers,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    (stack,) = aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE", said
    given = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
    assert set(given) == set(parameters) and bundle.name.endswith(given["Architecture"])

    functions = aws.client("lambda").list_functions()["Functions"]
    assert {f["FunctionName"] for f in functions} == {f"{STACK}-{path.stem}" for path in bundle.glob("functions/*.zip")}
    assert {tuple(f["Architectures"]) for f in functions} == {(given["Architecture"],)}
    if given["Architecture"] == HERE:
        aws.client("lambda").invoke(FunctionName=f"{STACK}-snapshot-volumes", Payload=b'{"trigger": "sweep"}')
        (run,) = aws.runs("snapshot-volumes")
        assert run["outcome"] == "success", run
