"""docs/policy.schema.json as an editor uses it: it takes every policy that is right and refuses what
is wrong.

The same documents go through the functions' parser in tests/policy-check, so the two agree.
"""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "tests/policy-check/tests"
SCHEMA = json.loads((ROOT / "docs/policy.schema.json").read_text())


def parsed(document):
    """YAML 1.2, as editors and the functions read it: `on` is a text there."""
    return YAML(typ="safe").load(document)


def complaints(document):
    errors = Draft7Validator(SCHEMA).iter_errors(parsed(document))
    return [f"{error.json_path}: {error.message}" for error in errors]


def examples():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE):
            if re.search(rf"^({'|'.join(SCHEMA['properties'])}):$", block, re.MULTILINE):
                yield pytest.param(block, id=f"{path.name}: {block.splitlines()[0]}")


EXAMPLES = list(examples())


def test_the_schema_says_which_draft_it_is_and_is_one():
    # Draft 7 is the newest that yaml-language-server, and with it VS Code, knows wholly.
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(SCHEMA)


def test_all_examples_are_found():
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize("document", EXAMPLES)
def test_it_takes_every_example(document):
    assert complaints(document) == []


@pytest.mark.parametrize(
    "path",
    [ROOT / "shared/default-policy.yaml", CHECK / "every-key.yaml", *sorted((ROOT / "docs/examples").glob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_it_takes_every_document(path):
    assert complaints(path.read_text()) == []


WRONG = parsed((CHECK / "wrong.yaml").read_text())


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case["mistake"])
def test_it_refuses_what_is_wrong_but_for_what_only_the_parser_knows(case):
    found = complaints(case["document"])
    assert bool(found) == {"refuses": True, "accepts": False}[case["schema"]], found


def test_it_wants_quotes_where_an_editors_yaml_reads_something_else_than_a_text():
    assert len(complaints("attach-ssm-role: { exclude: { tag: a, values: [true, 1.0] } }")) == 2
    assert complaints('attach-ssm-role: { exclude: { tag: a, values: ["true", "1.0"] } }') == []


def described(schema, path="$"):
    """Each property with its description, also behind a reference."""
    for name, definition in [("", schema), *schema.get("definitions", {}).items()]:
        for key, value in definition.get("properties", {}).items():
            yield f"{name}.{key}", value


def test_an_editor_can_show_what_each_key_means():
    assert [key for key, value in described(SCHEMA) if not value.get("description")] == []


def test_an_editor_can_fill_in_defaults():
    defaults = {key for key, value in described(SCHEMA) if "default" in value}
    assert {
        "SnapshotVolumes.mode",
        "SnapshotVolumes.brake",
        "Plan.timezone",
        "Plan.grace",
        "AttachSsmRole.online-within",
        "AttachSsmRole.repair-roles",
        "CancelRefresh.on-failure",
        "CancelRefresh.stalled-for",
        "QuarantineLaunch.mode",
        "QuarantineLaunch.launched-within",
        "Loop.within",
        "Steps.stop",
    } <= defaults
