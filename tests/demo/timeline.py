"""What the demo prints: a timeline of who did what, and checks that each statement holds."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable
from datetime import datetime

WIDTH = 100
_WHO_WIDTH = 16
_COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
_CODES = {"title": "1;36", "who": "32", "time": "2", "wrong": "1;31"}

statements = 0
"""How many statements were read back from the local AWS."""


_incidents: dict[int, str] = {}
_outcomes: dict[tuple[int, bool], str] = {}
_shown_whole: set[str] = set()


class DoesNotHold(Exception):
    """Something that the demo was about to say isn't so."""


def holds(fact: object, statement: str) -> None:
    """Fail unless what was read back is as the demo is about to say."""
    global statements
    if not fact:
        raise DoesNotHold(statement)
    statements += 1


def title(text: str) -> None:
    print(f"\n{_coloured('title', text)}\n{_coloured('title', '-' * len(text))}", flush=True)


def without(number: int, name: str) -> None:
    """The title of an incident as it went without the guardrails."""
    _incidents[number] = name
    title(f"Incident {number}, without: {name}")


def guarded(number: int) -> None:
    """The title of the same incident with them, and what came of it before."""
    title(f"Incident {number}, with ec2-guardrails: {_incidents[number]}")
    text(f"Without: {_outcomes[number, False]}.")


def outcome(number: int, what: str, *, guarded: bool) -> None:
    """What came of an incident, in words that have been found to hold; for the summary."""
    _outcomes[number, guarded] = what


def summary() -> None:
    title("What came of each")
    for number, name in sorted(_incidents.items()):
        print(f"{number}. {name}")
        for how, was in (("without", False), ("with", True)):
            lines = _wrapped(_outcomes[number, was], WIDTH - 12)
            print(f"   {_coloured('wrong' if not was else 'who', how.ljust(9))}{lines[0]}")
            for line in lines[1:]:
                print(" " * 12 + line)
    sys.stdout.flush()


def text(words: str) -> None:
    print("\n".join(_wrapped(words, WIDTH)), flush=True)


def _wrapped(words: str, width: int) -> list[str]:
    """Never within an id, a date or a link."""
    return textwrap.wrap(" ".join(words.split()), width, break_on_hyphens=False, break_long_words=False) or [""]


def event(who: str, what: str, at: datetime | float | None = None) -> None:
    """One line of the timeline: local wall-clock time, who, what."""
    if isinstance(at, float):
        at = datetime.fromtimestamp(at)
    moment = (at.astimezone() if at else datetime.now()).strftime("%H:%M:%S")
    indent = " " * (len(moment) + 2 + _WHO_WIDTH)
    lines = _wrapped(what, WIDTH - len(indent))
    print(f"{_coloured('time', moment)}  {_coloured('who', who.ljust(_WHO_WIDTH))}{lines[0]}")
    for line in lines[1:]:
        print(indent + line)
    sys.stdout.flush()


def details(rows: Iterable[tuple[str, str]]) -> None:
    """Facts below an event."""
    indent = " " * (10 + _WHO_WIDTH)
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{indent}{name.ljust(width)}  {value}")
    sys.stdout.flush()


def block(content: str) -> None:
    """A text as it is, but for its longest lines."""
    frame = "    | "
    for line in content.rstrip().split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        fits = len(line) <= WIDTH - len(frame)
        for part in [line] if fits else [indent + part for part in _wrapped(line, WIDTH - len(frame) - len(indent))]:
            print(frame + part)
    sys.stdout.flush()


def notice(sent: dict[str, str]) -> None:
    """The first notice as it was sent, the first of each other guardrail shortened, of further ones the subject."""
    guardrail = sent["subject"].split("]")[0]
    paragraphs = sent["message"].rstrip().split("\n\n")
    if _shown_whole and guardrail in _shown_whole:
        paragraphs = []
    elif _shown_whole:
        # Its findings without their underlined titles, which are the subject, and the first advice.
        split = [paragraph.split("\n") for paragraph in paragraphs]
        findings = ["\n".join(lines[2:]) for lines in split if len(lines) > 2 and not lines[1].strip("-")]
        advice = next(paragraph for paragraph in paragraphs if paragraph.startswith("What to do"))
        paragraphs = [*findings, advice.split(". ")[0] + ". …"]
    _shown_whole.add(guardrail)
    block("\n\n".join([f"Subject: {sent['subject']}", *paragraphs]))


def wrong(message: str) -> None:
    sys.stdout.flush()
    print(f"\n{_coloured('wrong', 'error')}: {message}", file=sys.stderr)


def _coloured(kind: str, content: str) -> str:
    return f"\x1b[{_CODES[kind]}m{content}\x1b[0m" if _COLOURED else content
