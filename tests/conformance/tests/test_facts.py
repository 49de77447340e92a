"""Every probe holds on the local AWS, and every fact has a probe or a reason."""

import re
from collections.abc import Callable, Iterator

import pytest

from conformance import report
from conformance.account import Account
from conformance.made import BESIDES
from conformance.probe import PROBES, UNTRIED, Probe
from conformance.run import HOLDS, Result, try_one

PAGE = report.FACTS.parent / "conformance.md"
TRIED: list[str] = []


@pytest.fixture(scope="module")
def run(new_run: Callable[[], Account]) -> Iterator[Account]:
    """One run for all probes, as `make conformance` makes it."""
    account = new_run()
    yield account
    assert account.remove_everything(seconds=60) == {}


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{'+'.join(probe.facts)}-{probe.name}")
def test_it_holds(run: Account, probe: Probe) -> None:
    result: Result = try_one(run, probe)
    run.remove()
    TRIED.append(result.outcome)
    assert result.outcome == HOLDS, f"{result.outcome}: {result.came}"


def test_the_permissions_are_documented(run: Account) -> None:
    """After the probes and their removal; those that were left out, or ended early, need less."""
    assert run.remove_everything(seconds=60) == {}
    assert run.find("") == []
    needed = (run.calls | BESIDES) - {"sts:GetCallerIdentity"}
    documented = {
        f"{service}:{action}"
        for service, actions in re.findall(r"^- `([a-z0-9]+)`: (.*)$", PAGE.read_text(), re.MULTILINE)
        for action in re.findall(r"`(\w+)`", actions)
    }
    assert needed - documented == set(), "needed, and docs/conformance.md doesn't say so"
    if len(TRIED) == len(PROBES) and set(TRIED) == {HOLDS}:
        assert documented - needed == set(), "docs/conformance.md asks for more than is needed"


def test_every_fact_has_a_probe_or_a_reason() -> None:
    facts = report.all_facts()
    assert len(facts) > 50 and len(facts) == len(set(facts))
    spoken_of = {fact for probe in PROBES for fact in probe.facts} | {untried.fact for untried in UNTRIED}
    assert set(facts) - spoken_of == set(), "facts of docs/aws-facts.md without a probe or a reason why not"
    assert spoken_of - set(facts) == set(), "probes of facts that docs/aws-facts.md doesn't have"
