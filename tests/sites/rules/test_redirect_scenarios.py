"""The scenario files of redirects hold: Netlify's and Cloudflare's documented examples, and what we refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sites.rules.redirect_scenarios import Scenario, run, scenarios_in

FILES = sorted(Path(__file__).parent.glob("*.redirects.txt"))
SCENARIOS = [
    pytest.param(one, id=f"{path.name.partition('.')[0]}: {one.name}")
    for path in FILES
    for one in scenarios_in(path.read_text())
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_rules_answer_as_written_down(scenario: Scenario) -> None:
    outcome = run(scenario)
    assert outcome.answers == list(scenario.asked)
    assert [fault.line for fault in outcome.faults] == [line for line, _ in scenario.faults], "\n".join(
        map(str, outcome.faults)
    )
    for fault, (_, words) in zip(outcome.faults, scenario.faults, strict=True):
        assert words in str(fault)
    assert [warning.line for warning in outcome.warnings] == [line for line, _ in scenario.warnings], "\n".join(
        map(str, outcome.warnings)
    )
    for warning, (_, words) in zip(outcome.warnings, scenario.warnings, strict=True):
        assert words in str(warning)


def test_there_are_scenarios_of_both_readings() -> None:
    assert len(FILES) >= 2
    assert len(SCENARIOS) >= 20
