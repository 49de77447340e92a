"""Finds in Rust sources which AWS operations are called and which environment variables are read.

The sources are parsed, not searched: tests, comments and texts don't count. An operation is called
as the SDK's fluent clients are, `.describe_volumes()`, with no arguments; or by a macro of the same
file that calls what it is given, `.$call()`. Whose operation it is, the crates say that the file
mentions; where it mentions none that has it, those of the whole function, if only one has it.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_rust
from botocore import xform_name
from botocore.loaders import Loader
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_rust.language()))

# Crate of the SDK -> (botocore's name of the service, prefix of its IAM actions).
SERVICES = {
    "aws_sdk_autoscaling": ("autoscaling", "autoscaling"),
    "aws_sdk_cloudformation": ("cloudformation", "cloudformation"),
    "aws_sdk_cloudtrail": ("cloudtrail", "cloudtrail"),
    "aws_sdk_cloudwatch": ("cloudwatch", "cloudwatch"),
    "aws_sdk_cloudwatchlogs": ("logs", "logs"),
    "aws_sdk_dynamodb": ("dynamodb", "dynamodb"),
    "aws_sdk_ebs": ("ebs", "ebs"),
    "aws_sdk_ec2": ("ec2", "ec2"),
    "aws_sdk_ecr": ("ecr", "ecr"),
    "aws_sdk_elasticloadbalancingv2": ("elbv2", "elasticloadbalancing"),
    "aws_sdk_eventbridge": ("events", "events"),
    "aws_sdk_iam": ("iam", "iam"),
    "aws_sdk_kms": ("kms", "kms"),
    "aws_sdk_sns": ("sns", "sns"),
    "aws_sdk_ssm": ("ssm", "ssm"),
}
_ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


@dataclass
class Scan:
    """What some sources do."""

    actions: set[str] = field(default_factory=set)
    """IAM actions of the operations called, such as `ec2:DescribeVolumes`."""
    environment: set[str] = field(default_factory=set)
    """Environment variables named in files that read the environment, or take it as read."""
    named_actions: set[str] = field(default_factory=set)
    """IAM actions that texts name, for the messages about their errors."""
    crates: set[str] = field(default_factory=set)
    """SDK crates mentioned."""
    unknown: set[str] = field(default_factory=set)
    """Methods called that aren't operations of the crates that their file mentions."""

    def __ior__(self, other: "Scan") -> "Scan":
        self.actions |= other.actions
        self.environment |= other.environment
        self.named_actions |= other.named_actions
        self.crates |= other.crates
        self.unknown |= other.unknown
        return self


def scan_folders(*folders: Path) -> Scan:
    """Scans every Rust file below `folders`."""
    total = Scan()
    for folder in folders:
        for path in sorted(folder.rglob("*.rs")):
            if path.name != "tests.rs" and "tests" not in path.relative_to(folder).parts[:-1]:
                total |= scan(path.read_bytes())
    # Clients are often made in one file and used in another.
    for name in total.unknown:
        candidates = {
            operations[name] for crate in total.crates & SERVICES.keys() if name in (operations := _operations(crate))
        }
        if len(candidates) == 1:
            total.actions |= candidates
    return total


def scan(source: bytes) -> Scan:
    """Scans one file."""
    tree = _PARSER.parse(source)
    assert not tree.root_node.has_error, "not parsed as Rust"
    found = Scan()
    called: set[str] = set()
    texts: set[str] = set()
    reads_environment = False
    nodes = list(_production_code(tree.root_node))
    callers = {_macro_name(node) for node in nodes if node.type == "macro_definition" and _calls_its_argument(node)}
    for node in nodes:
        if node.type == "identifier" and (text := _text(node)).startswith("aws_sdk_"):
            found.crates.add(text)
        elif node.type == "call_expression":
            if name := _method_without_arguments(node):
                called.add(name)
        elif node.type == "macro_invocation" and _text(node.child_by_field_name("macro")) in callers:
            called |= set(_arguments_in_macro(node))
        elif node.type == "token_tree":
            called |= set(_methods_in_macro(node))
        elif node.type == "string_content":
            texts.add(_text(node))
        elif node.type == "scoped_identifier" and re.search(r"\benv::vars?(_os)?$", _text(node)):
            reads_environment = True
        elif node.type == "type_identifier" and _text(node) == "Environment":
            reads_environment = True
    known = {name: action for crate in found.crates & SERVICES.keys() for name, action in _operations(crate).items()}
    found.actions = {
        action
        for crate in found.crates & SERVICES.keys()
        for name, action in _operations(crate).items()
        if name in called
    }
    found.unknown = called - known.keys()
    if reads_environment:
        found.environment = {text for text in texts if _ENVIRONMENT_NAME.fullmatch(text)}
    prefixes = "|".join(prefix for _, prefix in SERVICES.values())
    found.named_actions = {text for text in texts if re.fullmatch(rf"({prefixes}):[A-Z]\w+", text)}
    return found


@functools.cache
def _operations(crate: str) -> dict[str, str]:
    """The fluent client's method of each operation of a service, with the IAM action it needs."""
    service, prefix = SERVICES[crate]
    model = Loader().load_service_model(service, "service-2")
    return {xform_name(operation): f"{prefix}:{operation}" for operation in model["operations"]}


def _text(node: Node) -> str:
    return node.text.decode()


def _production_code(node: Node) -> Iterator[Node]:
    """All nodes but those of items under `#[cfg(test)]` and `#[test]`."""
    yield node
    skip = False
    for child in node.children:
        if child.type == "attribute_item":
            skip = skip or re.search(r"\bcfg\s*\(\s*test\s*\)|^#\[(\w+::)*test\b", _text(child)) is not None
            continue
        if child.type in ("line_comment", "block_comment"):
            continue
        if not skip:
            yield from _production_code(child)
        skip = False


def _method_without_arguments(call: Node) -> str | None:
    function, arguments = call.child_by_field_name("function"), call.child_by_field_name("arguments")
    if function.type != "field_expression" or arguments.named_child_count > 0:
        return None
    return _text(function.child_by_field_name("field"))


def _macro_name(definition: Node) -> str:
    return _text(definition.child_by_field_name("name"))


def _calls_its_argument(definition: Node) -> bool:
    """Whether a macro has `.$name()`: then what it calls stands where it is used."""
    return re.search(rb"\.\s*\$\w+\s*\(\s*\)", definition.text) is not None


def _arguments_in_macro(invocation: Node) -> Iterator[str]:
    """The arguments of a macro that are one name each."""
    (tokens,) = (child for child in invocation.children if child.type == "token_tree")
    for before, name, after in zip(tokens.children, tokens.children[1:], tokens.children[2:]):
        if name.type == "identifier" and _text(before) in "(," and _text(after) in ",)":
            yield _text(name)


def _methods_in_macro(tokens: Node) -> Iterator[str]:
    """`.name()` inside a macro call, which isn't parsed further than into tokens."""
    children = tokens.children
    for dot, name, arguments in zip(children, children[1:], children[2:]):
        if _text(dot) == "." and name.type == "identifier" and _text(arguments).replace(" ", "") == "()":
            yield _text(name)
