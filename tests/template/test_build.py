"""What the functions are built from and how, where the start of a cold function depends on it; and what a bundle says."""

import importlib.util
import json
import pathlib
import subprocess
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# Each brings a TLS stack, or a second cryptographic library, of its own.
OTHER_TLS_STACKS = {"ring", "native-tls", "openssl", "openssl-sys", "s2n-tls", "s2n-tls-tokio"}


def cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120).stdout


def crates_of_the_functions() -> list[tuple[str, str]]:
    """Names and versions of the crates that are linked into any function."""
    functions = [folder.parent.name for folder in ROOT.glob("functions/*/Cargo.toml")]
    assert functions
    packages = [word for function in functions for word in ("--package", function)]
    tree = cargo("tree", *packages, "--edges", "normal", "--prefix", "none", "--format", "{p}", "--no-dedupe")
    return sorted({tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()})


def test_the_functions_have_one_tls_stack():
    crates = crates_of_the_functions()
    names = [name for name, _ in crates]
    assert not OTHER_TLS_STACKS & set(names), "default-features = false keeps the SDK's second TLS stack out (SAM-4)"
    for name in ("rustls", "aws-lc-rs", "hyper"):
        assert names.count(name) == 1, [crate for crate in crates if crate[0] == name]


def test_the_random_generator_is_not_seeded_from_jitter():
    """docs/security.md, "Randomness": 25 ms of processor time less in each cold function."""
    settings = tomllib.loads((ROOT / ".cargo/config.toml").read_text())
    assert settings["env"]["AWS_LC_SYS_NO_JITTER_ENTROPY"] == "1"
    # And the version in use still reads that variable: another name would silently do nothing.
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    (source,) = [pathlib.Path(package["manifest_path"]).parent for package in packages if package["name"] == "aws-lc-sys"]
    builder = "".join(path.read_text() for path in source.glob("builder/*.rs"))
    assert "AWS_LC_SYS_NO_JITTER_ENTROPY" in builder
    assert 'env_crate_var_to_bool("NO_JITTER_ENTROPY")' in builder


@pytest.fixture(scope="module")
def bundle():
    spec = importlib.util.spec_from_file_location("bundle", ROOT / ".ci/bundle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_a_bundle_is_the_template_for_one_processor(bundle, architecture):
    """So that a change of the template which .ci/bundle.py can't follow is seen before everything is compiled."""
    lines = set(bundle.template(architecture).splitlines()) - set((ROOT / "template.yaml").read_text().splitlines())
    functions = {f"      CodeUri: functions/{name}.zip" for name in bundle.GUARDRAILS}
    one = {f"    {{ Type: String, Default: {architecture}, AllowedValues: [{architecture}],"}
    assert functions | one < lines and len(lines - functions - one) == 1, lines


def test_each_crate_of_a_bundle_has_a_licence_text(bundle):
    crates = bundle.linked("x86_64")
    assert len(crates) > 200 and all(bundle.texts(crate) for crate in crates)
