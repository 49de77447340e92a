"""The report: what came of each fact, in a form that can be sent to somebody else."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conformance.account import EC2_ID
from conformance.probe import PROBES, UNTRIED, Probe
from conformance.run import DIFFERS, HOLDS, NOT_TRIED, Result

FACTS = Path(__file__).parents[2] / "docs" / "aws-facts.md"
_FACT = re.compile(r"^- \*\*([A-Z]+-\d+)\*\*", re.MULTILINE)

_ARN = re.compile(r"arn:(aws[a-z-]*):([a-z0-9-]*):[^\s\"',;)\]}]*")
_MASKS = (
    (_ARN, r"arn:\1:\2:***"),
    (re.compile(r"(?i)(encoded authorization failure message: )\S+"), r"\1***"),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA|AIPA|ANPA)[A-Z0-9]{12,}\b"), "***"),
    (re.compile(r"https?://\S+"), "https://***"),
    (re.compile(r"\b\d{12}\b"), "ACCOUNT"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "***@***"),
)


def masked(text: str, *private: str) -> str:
    """Without account ids, ARNs, credentials, addresses and ids of resources; `private` are words of this caller."""
    for word in private:
        if len(word) > 3:
            text = text.replace(word, "***")
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return EC2_ID.sub(lambda found: found[0].rsplit("-", 1)[0] + "-***", text)


def all_facts() -> list[str]:
    return _FACT.findall(FACTS.read_text())


def of_facts(facts: Sequence[str]) -> list[Probe]:
    return [probe for probe in PROBES if set(probe.facts) & set(facts)]


def compose(results: Sequence[Result], facts: Sequence[str], about: dict[str, Any], *private: str) -> dict[str, Any]:
    """The report as JSON: a fact holds if all its probes say so, and doesn't if one says that it doesn't."""
    found = {}
    for fact in facts:
        of_it = [result for result in results if fact in result.probe.facts]
        outcomes = {result.outcome for result in of_it}
        outcome = DIFFERS if DIFFERS in outcomes else HOLDS if outcomes == {HOLDS} else NOT_TRIED
        found[fact] = {
            "outcome": outcome,
            "probes": [
                {
                    "name": result.probe.name,
                    "does": result.probe.does,
                    "must come": result.probe.must,
                    "outcome": result.outcome,
                    "came": masked(result.came, *private),
                    "notes": [masked(note, *private) for note in result.notes],
                    "seconds": round(result.seconds, 1),
                }
                for result in of_it
            ],
            "not tried": [untried.why for untried in UNTRIED if untried.fact == fact],
        }
        if not of_it and not found[fact]["not tried"]:
            found[fact]["not tried"] = ["the run ended before"]
    return about | {"facts": found}


def as_text(report: dict[str, Any]) -> str:
    lines = [f"{key}: {value}" for key, value in report.items() if key != "facts"]
    lines.append("")
    for fact, found in report["facts"].items():
        lines.append(f"{fact}: {found['outcome']}")
        for result in found["probes"]:
            lines += _wrapped(f"{result['name']}: {result['outcome']}")
            if result["came"]:
                lines += _wrapped(f"must come: {result['must come']}", 4)
                lines += _wrapped(f"came: {result['came']}", 4)
            for note in result["notes"]:
                lines += _wrapped(f"note: {note}", 4)
        for why in found["not tried"]:
            lines += _wrapped(f"{'not tried of it' if found['probes'] else 'why'}: {why}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2))


def counted(report: dict[str, Any]) -> dict[str, int]:
    outcomes = [found["outcome"] for found in report["facts"].values()]
    return {outcome: outcomes.count(outcome) for outcome in (HOLDS, DIFFERS, NOT_TRIED)}


def write(report: dict[str, Any], folder: Path, name: str) -> Path:
    """The text's path; the JSON lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    text = folder / f"{name}.txt"
    text.write_text(as_text(report))
    return text
