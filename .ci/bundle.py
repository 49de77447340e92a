#!/usr/bin/env python3
"""Puts the bundle together, after `make package`: all that the SAM CLI alone needs to deploy the stack.

    .aws-sam/bundle/ec2-guardrails-VERSION-ARCHITECTURE/, the same as .tar.gz, and the archive's checksum

The same build gives the same archive, byte for byte: no times, users or orders of this machine are in it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / ".aws-sam/bundle"
GUARDRAILS = sorted(path.parent.name for path in ROOT.glob("functions/*/Cargo.toml"))
MACHINES = {"x86_64": 62, "arm64": 183}
"""What ELF has for Lambda's words."""
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


class Unusable(Exception):
    """What was built can't become a bundle, and why."""


def program(path: Path, architecture: str) -> bytes:
    """A program that was built, for this processor and no other."""
    make = f"run `make bundle ARCHITECTURE={architecture}`, which builds it"
    if not path.is_file():
        raise Unusable(f"{path} isn't there: {make}")
    content = path.read_bytes()
    if content[:4] != b"\x7fELF" or int.from_bytes(content[18:20], "little") != MACHINES[architecture]:
        raise Unusable(f"{path} isn't a program for {architecture}: {make}")
    return content


def zipped(path: Path, bootstrap: bytes) -> None:
    """A function's code as Lambda takes it. Zipped here, the program stays executable wherever the archive is unpacked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    entry.create_system = 3  # Unix, also where this runs elsewhere: else the mode doesn't count
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, bootstrap, zipfile.ZIP_DEFLATED, 9)


def replaced(pattern: str, by: str, text: str, times: int) -> str:
    text, count = re.subn(pattern, by, text, flags=re.MULTILINE | re.DOTALL)
    if count != times:
        raise Unusable(f"template.yaml has {count} times what .ci/bundle.py looks for, not {times}: {pattern}")
    return text


def template(architecture: str) -> str:
    """The template with its comments. It names the zips, says nothing of how they were built, and takes one processor."""
    text = (ROOT / "template.yaml").read_text()
    text = replaced(r"^    Metadata: \{ BuildMethod: \S+ \}\n", "", text, len(GUARDRAILS))
    text = replaced(r"^(      CodeUri: functions/[a-z-]+)/$", r"\1.zip", text, len(GUARDRAILS))
    return replaced(
        r"(^  Architecture:\n    \{ Type: String, )Default: .*?(?=^  \w)",
        rf"\1Default: {architecture}, AllowedValues: [{architecture}],\n"
        '      Description: "Processor that the functions of this bundle are built for; another bundle has the other." }\n',
        text,
        1,
    )


def samconfig() -> str:
    """Without what is for the local AWS of the tests."""
    return (ROOT / "samconfig.toml").read_text().split("\n# The local AWS", 1)[0]


def cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(architecture: str) -> list[dict[str, Any]]:
    """The crates of others that any of the programs is linked with, as Cargo knows them."""
    programs = [word for crate in (*GUARDRAILS, "policy-check") for word in ("--package", crate)]
    lines = ["--prefix", "none", "--no-dedupe", "--format", "{p}", "--edges", "normal,no-proc-macro"]
    tree = {tuple(line.split()[:2]) for line in cargo("tree", *programs, *lines, "--target", TARGETS[architecture]).splitlines()}
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    others = [p for p in packages if p["source"] and (p["name"], f"v{p['version']}") in tree]
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def texts(package: dict[str, Any]) -> list[str]:
    """The licence texts that come with a crate; where none does, those of its licence."""
    folder = Path(package["manifest_path"]).parent
    wanted = re.compile(r"licen[cs]e|copying|copyright|notice|unlicense", re.IGNORECASE)
    files = sorted(path for path in folder.iterdir() if path.is_file() and wanted.match(path.name))
    if files:
        return [path.read_text(errors="replace") for path in files]
    licence = package["license"] or ""
    if "Apache-2.0" in licence:
        return [(ROOT / "LICENSE").read_text()]
    if "MIT" in licence:
        return [f"Copyright (c) the authors of {package['name']}, {package['repository']}\n\n{MIT}"]
    raise Unusable(f"{package['name']} {package['version']} ({licence or 'no licence'}) has no licence text to hand on")


def notices(architecture: str) -> str:
    """Each licence text once, after the crates that have it; `make audit` says which licences may be there."""
    crates = linked(architecture)
    of: dict[str, list[str]] = defaultdict(list)
    first: dict[str, str] = {}
    for package in crates:
        for text in texts(package):
            # Copies of one text differ in how its lines are broken.
            same = " ".join(text.split())
            first.setdefault(same, text.strip())
            if (name := f"{package['name']} {package['version']}") not in of[same]:
                of[same].append(name)
    head = "The programs of this bundle are linked with Rust's standard library (MIT OR Apache-2.0) and these crates:\n\n"
    head += "".join(f"  {p['name']} {p['version']}: {p['license']}, {p['repository'] or 'no repository'}\n" for p in crates)
    rule = "\n" + "-" * 100 + "\n"
    return head + "".join(f"{rule}{', '.join(of[same])}\n\n{first[same]}\n" for same in of)


def archive(folder: Path) -> Path:
    path = folder.with_name(f"{folder.name}.tar.gz")
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
                entry.size = file.stat().st_size
                entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
                with file.open("rb") as content:
                    tar.addfile(entry, content)
    return path


def checksum(path: Path, name: str) -> str:
    """A line as `sha256sum -c` reads it."""
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"


def bundle(architecture: str, policy_check: Path) -> Path:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    folder = OUT / f"ec2-guardrails-{version}-{architecture}"
    shutil.rmtree(folder, ignore_errors=True)
    for guardrail in GUARDRAILS:
        # As `sam build` calls it, after the function's name in the template.
        built = "".join(word.capitalize() for word in guardrail.split("-")) + "Function"
        bootstrap = program(ROOT / ".aws-sam/build" / built / "bootstrap", architecture)
        zipped(folder / f"functions/{guardrail}.zip", bootstrap)
    (folder / "policy-check").write_bytes(program(policy_check, architecture))
    (folder / "policy-check").chmod(0o755)
    (folder / "template.yaml").write_text(template(architecture))
    (folder / "samconfig.toml").write_text(samconfig())
    (folder / "THIRD-PARTY-NOTICES.txt").write_text(notices(architecture))
    (folder / "shared/monitoring").mkdir(parents=True)
    for name in ("LICENSE", "README.md", "shared/default-policy.yaml", "shared/monitoring/template.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [checksum(path, path.relative_to(folder).as_posix()) for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))
    packed = archive(folder)
    packed.with_name(f"{packed.name}.sha256").write_text(checksum(packed, packed.name))
    return packed


def main() -> int:
    parser = argparse.ArgumentParser(description="Puts the bundle together, after `make package`.")
    parser.add_argument("--architecture", required=True, choices=sorted(MACHINES))
    parser.add_argument("--policy-check", required=True, type=Path, help="the program, built for this processor")
    arguments = parser.parse_args()
    try:
        packed = bundle(arguments.architecture, arguments.policy_check)
    except (OSError, Unusable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{packed.relative_to(ROOT)}, {packed.stat().st_size / 1e6:.1f} MB, and the same as a folder beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
