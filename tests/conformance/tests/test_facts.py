"""Every probe holds on the local AWS, and every fact has a probe or a reason."""

from collections.abc import Callable, Iterator

import pytest

from conformance import report
from conformance.account import Account
from conformance.probe import PROBES, UNTRIED, Probe
from conformance.run import HOLDS, Result, try_one


@pytest.fixture(scope="module")
def run(new_run: Callable[[], Account]) -> Iterator[Account]:
    """One run for all probes, as `make conformance` makes it."""
    account = new_run()
    yield account
    assert account.remove_everything(seconds=60) == {}
    assert account.find("") == []


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{'+'.join(probe.facts)}-{probe.name}")
def test_it_holds(run: Account, probe: Probe) -> None:
    result: Result = try_one(run, probe)
    run.remove()
    assert result.outcome == HOLDS, f"{result.outcome}: {result.came}"


def test_every_fact_has_a_probe_or_a_reason() -> None:
    facts = report.all_facts()
    assert len(facts) > 50 and len(facts) == len(set(facts))
    spoken_of = {fact for probe in PROBES for fact in probe.facts} | {untried.fact for untried in UNTRIED}
    assert set(facts) - spoken_of == set(), "facts of docs/aws-facts.md without a probe or a reason why not"
    assert spoken_of - set(facts) == set(), "probes of facts that docs/aws-facts.md doesn't have"
