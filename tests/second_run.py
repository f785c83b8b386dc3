"""A second, quiet run for the few tests that failed beside all the others.

Tests that drive real processes share two cores with everything else that runs; what they wait for may then take longer
than they bear. When at most MAX_SECOND_RUNS of them failed, and each is in a folder where processes or servers are
real, they are run once more, alone. A test that passes then is named as unsteady, in the summary, and does not fail the
run; one that fails again does. Tests of everything else are never run twice.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MAX_SECOND_RUNS = 3
"""More than these did not fail because the machine was busy."""

REAL_PROCESSES = (
    "tests/e2e/",
    "tests/journal/test_jetstream",
    "tests/edge/test_worker",
    "tests/control/test_replica",
    "tests/tls/acme/test_pebble",
    "tests/dns/interop/",
)
"""Beginnings of the names of tests that drive real servers or processes."""

_IS_SECOND = "CDN_TESTS_SECOND_RUN"


class SecondRun:
    """Collects failures where the whole run is seen: not in a worker of pytest-xdist."""

    def __init__(self) -> None:
        self._failed: dict[str, None] = {}
        self._unsteady: list[str] = []

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        failed = list(self._failed)
        if exitstatus != pytest.ExitCode.TESTS_FAILED or not 1 <= len(failed) <= MAX_SECOND_RUNS:
            return
        if not all(name.startswith(REAL_PROCESSES) for name in failed):
            return
        again = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "not soak", *failed],
            check=False,
            cwd=session.config.rootpath,
            env={**os.environ, _IS_SECOND: "1"},
        )
        if again.returncode == 0:
            self._unsteady = failed
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self._unsteady:
            terminalreporter.write_line(f"UNSTEADY {name}: failed beside the others, passed alone; find out why")


def watch_run(config: pytest.Config) -> None:
    """Watch the run, unless it is a worker's or the second one itself."""
    if hasattr(config, "workerinput") or _IS_SECOND in os.environ:
        return
    config.pluginmanager.register(SecondRun(), "second run")
