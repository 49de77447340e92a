"""How the crates are built: no ring of modules, nothing public without need, pure parts without AWS, labels never read."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted(path.parent for path in ROOT.glob("functions/*/Cargo.toml"))
CRATES = [ROOT / "shared", *FUNCTIONS]
# What a function's lib.rs may show: the policy, for whoever checks a document, and the guardrail.
PUBLIC = {"policy"}
PURE = {"facts", "evaluate", "decide", "report"}


def name_of(crate: Path) -> str:
    return crate.name


def modules(crate: Path) -> dict[str, Path]:
    """A crate's modules with their files; without tests. The crate itself is ''."""
    source, found = crate / "src", {}
    for path in sorted(source.rglob("*.rs")):
        parts = list(path.relative_to(source).with_suffix("").parts)
        if "tests" in parts or path.name == "main.rs":
            continue
        found["::".join([] if parts == ["lib"] else parts)] = path
    return found


def production(path: Path) -> str:
    """A file without comments and without what is compiled for tests only, which stands last."""
    text = re.sub(r"^\s*//.*$|\bpub\([^)]*\)", "", path.read_text(), flags=re.MULTILINE)
    return re.split(r"^\s*#\[cfg\((?:test|any\(test\b)[^\n]*\n(?:#\[[^\n]*\n)*(?:pub )?\s*mod tests", text, flags=re.MULTILINE)[0]


def paths(text: str) -> Iterator[tuple[str, ...]]:
    """The paths that begin with `crate`, `super` or `self`, those in braces one by one."""
    for found in re.finditer(r"\b(?:crate|super|self)(?:::\w+)*(?:::\{)?", text):
        path = found.group()
        if not path.endswith("::{"):
            yield tuple(path.split("::"))
            continue
        before, depth, item = tuple(path[:-3].split("::")), 0, ""
        for character in text[found.end() :]:
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth < 0 or (depth == 0 and character == ","):
                yield (*before, *re.match(r"\s*([\w:]*)", item).group(1).split("::"))
                item = ""
                if depth < 0:
                    break
            else:
                item += character


def arrows(crate: Path) -> dict[str, set[str]]:
    """For each module those whose items it names. A module made of files below it is one with its own name."""
    known = modules(crate)
    found: dict[str, set[str]] = {module: set() for module in known}
    for module, path in known.items():
        text = production(path)
        for steps in paths(text):
            at = module.split("::") if module else []
            rest = list(steps)
            while rest and rest[0] in ("crate", "super", "self"):
                first = rest.pop(0)
                at = [] if first == "crate" else at[:-1] if first == "super" else at
            while rest and "::".join([*at, rest[0]]) in known:
                at.append(rest.pop(0))
            to = "::".join(at)
            # `mod x;` and what is named of a module by its parent.
            if to in known and to != module and (rest or to):
                found[module].add(to)
        for child in re.findall(r"\bmod (\w+);", text):
            below = f"{module}::{child}" if module else child
            # A parent calls its children by their names alone: `notice::compose`.
            if below in known and re.search(rf"(?<![:\w]){child}::", text):
                found[module].add(below)
    return found


def ring(graph: dict[str, set[str]]) -> list[str]:
    """A ring of modules, if there is one."""
    state: dict[str, int] = {}
    way: list[str] = []

    def visit(module: str) -> list[str]:
        state[module] = 1
        way.append(module)
        for other in sorted(graph[module]):
            if state.get(other) == 1:
                return [*way[way.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        state[module] = 2
        way.pop()
        return []

    for module in graph:
        if module not in state and (found := visit(module)):
            return found
    return []


def test_a_ring_is_found() -> None:
    assert ring({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert ring({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert set(paths("use crate::a::{b::C, d}; super::e(); self::f::G")) == {
        ("crate", "a", "b", "C"),
        ("crate", "a", "d"),
        ("super", "e"),
        ("self", "f", "G"),
    }


@pytest.mark.parametrize("crate", CRATES, ids=name_of)
def test_modules_have_no_ring(crate: Path) -> None:
    assert " -> ".join(ring(arrows(crate))) == ""


@pytest.mark.parametrize("crate", FUNCTIONS, ids=name_of)
def test_modules_of_a_function_are_private(crate: Path) -> None:
    public = re.findall(r"^pub mod (\w+);", (crate / "src/lib.rs").read_text(), flags=re.MULTILINE)
    assert set(public) <= PUBLIC


@pytest.mark.parametrize("crate", FUNCTIONS, ids=name_of)
def test_what_is_pure_names_no_client_and_no_type_of_the_sdk(crate: Path) -> None:
    for module, path in modules(crate).items():
        if module.split("::")[0] in PURE:
            named = re.findall(r"\baws_(?:sdk|smithy|config)\w*|\bClients?\b|\basync\b", production(path))
            assert not named, f"{path}: {named}"


@pytest.mark.parametrize("crate", FUNCTIONS, ids=name_of)
def test_functions_know_nothing_of_each_other(crate: Path) -> None:
    others = [other.name for other in FUNCTIONS if other != crate]
    dependencies = (crate / "Cargo.toml").read_text()
    assert not [other for other in others if re.search(rf"^{other}\b", dependencies, flags=re.MULTILINE)]


def test_functions_build_the_sdk_with_one_set_of_features() -> None:
    """Or `sam build`, which builds them one by one, would compile aws-sdk-ec2 anew for one of them."""

    def tree(package: str) -> set[str]:
        command = ["cargo", "tree", "--locked", "--edges=normal,build", "--prefix=none", "--format={p} {f}", "--package", package]
        lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
        return {line.removesuffix(" (*)") for line in lines if line}

    below = {line.split()[0] for line in tree("aws-sdk-ec2")}
    assert "aws-smithy-http" in below
    built = {crate.name: {line for line in tree(crate.name) if line.split()[0] in below} for crate in FUNCTIONS}
    several = set.union(*built.values()) - set.intersection(*built.values())
    assert not several, f"name the features in shared/Cargo.toml: {sorted(several)}"


def test_tags_of_ours_are_named_in_one_place() -> None:
    for crate in FUNCTIONS:
        for path in modules(crate).values():
            assert '"ec2-guardrails:' not in production(path), path


def test_labels_are_written_and_never_read() -> None:
    """Anybody may write a tag: what is ours to remember stands in the table. The module `label` of `tags` has the keys
    that people see; only what writes tags, in `act`, and the command that a person orders to go by them, name it."""
    for crate in FUNCTIONS:
        for module, path in modules(crate).items():
            if module.split("::")[0] not in ("act", "labels") and "label::" in production(path).replace("ec2::label", ""):
                raise AssertionError(f"{path} names a label")
