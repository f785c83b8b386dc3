"""Concurrent callers of the API, each with a site of its own and one that all share, until the program is killed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.calls import Calls, OutcomeUnknown
from tests.e2e.promises import KEPT, TAG, Activations, Known, OwnSite
from tests.e2e.running import RunningCdn

CALLERS = 3
STALL_S = 30.0
"""A storm that does not come to the chosen moment within this time has stalled."""


@dataclass(slots=True)
class Caller:
    """One thread's random operations. What it was promised outlives the program."""

    number: int
    own: OwnSite
    shared: Activations
    sites: dict[str, Known] = field(default_factory=dict)
    count: int = 0

    def step(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        """One operation."""
        self.count += 1
        works: tuple[tuple[int, Callable[[random.Random, RunningCdn, Calls], None]], ...] = (
            (5, self._deploy),
            (4, self._activate),
            (6, self._purge),
            (6, self._visit),
            (2, self._domain),
            (2, self._token),
            (2, self._site),
            (1, self._setting),
        )
        (work,) = rng.choices([work for _, work in works], [weight for weight, _ in works])
        work(rng, running, calls)

    def check(self, running: RunningCdn, calls: Calls) -> None:
        """After a restart."""
        self.own.check(running, calls)
        names = {site["name"] for site in calls.call("GET", "/v1/sites")["sites"]}
        for name, exists in self.sites.items():
            exists.settle(name in names, f"site {name}")

    def _deploy(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        target = rng.choice((self.own.activations, self.own.activations, self.shared))
        target.deploy(calls, f"deploy {self.number}.{self.count}")

    def _activate(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        target = rng.choice((self.own.activations, self.shared))
        target.activate(calls, rng.choice(list(target.deploys)))

    def _purge(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        if rng.random() < 0.2:
            calls.purge(self.shared.site, everything=True)
            return
        what = rng.choice(({"urls": [KEPT]}, {"prefixes": ["/"]}, {"tags": [TAG]}, {"everything": True}))
        self.own.purge(calls, **what)

    def _visit(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        self.own.visit(running)

    def _domain(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        present = [name for name, claim in self.own.domains.items() if claim.value]
        base = f"/v1/sites/{self.own.name}/domains"
        if present and rng.random() < 0.4:
            name = rng.choice(present)
            with self.own.domains[name].becoming(False):
                calls.call("DELETE", f"{base}/{name}?wait=10")
            return
        name = f"d{self.number}-{self.count}.example"
        claim = self.own.domains[name] = Known(False)
        with claim.becoming(True):
            calls.call("POST", f"{base}?wait=10", {"domain": name, "verified": True})

    def _token(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        working = [token_id for token_id, (_, works) in self.own.tokens.items() if works.value]
        if working and rng.random() < 0.4:
            token_id = rng.choice(working)
            with self.own.tokens[token_id][1].becoming(False):
                calls.call("DELETE", f"/v1/tokens/{token_id}?wait=10")
            return
        made = calls.call("POST", "/v1/tokens", {"scopes": [f"read:{self.own.name}"]})
        self.own.tokens[made["id"]] = (made["token"], Known(True))

    def _site(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        present = [name for name, exists in self.sites.items() if exists.value]
        if present and rng.random() < 0.4:
            name = rng.choice(present)
            with self.sites[name].becoming(False):
                calls.call("DELETE", f"/v1/sites/{name}?wait=10")
            return
        name = f"s{self.number}-{self.count}"
        exists = self.sites[name] = Known(False)
        with exists.becoming(True):
            calls.create_site(name)

    def _setting(self, rng: random.Random, running: RunningCdn, calls: Calls) -> None:
        value = 3600 + self.count
        with self.own.edge_ttl_s.becoming(value):
            calls.call("PATCH", f"/v1/sites/{self.own.name}", {"settings": {"edge_ttl_s": value}})


class Storm:
    """All callers at once, ended by `kill -9` at a moment that the seed chose."""

    def __init__(self, running: RunningCdn, callers: list[Caller]) -> None:
        self._running = running
        self._callers = callers
        self._begun = 0
        self._is_over = False
        self._changed = threading.Condition()
        self._failures: list[BaseException] = []

    def rage(self, rng: random.Random) -> int:
        """Until the kill; how many operations had begun. Raises what a caller met that no kill explains."""
        threads = [
            threading.Thread(target=self._call, args=(caller, random.Random(rng.randrange(2**32))))
            for caller in self._callers
        ]
        operations, pause_s = rng.randrange(1, 60), rng.uniform(0.0, 0.03)
        for thread in threads:
            thread.start()
        with self._changed:
            reached = self._changed.wait_for(lambda: self._begun >= operations or self._failures, STALL_S)
        threading.Event().wait(pause_s)  # the moment itself is what is random
        self._is_over = True
        self._running.kill()
        for thread in threads:
            thread.join(STALL_S)
        if self._failures:
            raise self._failures[0]
        assert reached, f"only {self._begun} of {operations} operations began within {STALL_S:g} s"
        return self._begun

    def _call(self, caller: Caller, rng: random.Random) -> None:
        try:
            with Calls.of(self._running.control_url, self._running.folder) as calls:
                while True:
                    with self._changed:
                        self._begun += 1
                        self._changed.notify_all()
                    caller.step(rng, self._running, calls)
        except OutcomeUnknown as unknown:
            if not self._is_over:
                self._fail(AssertionError(f"the connection ended before the kill: {unknown}"))
        except BaseException as failure:
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        with self._changed:
            self._failures.append(failure)
            self._changed.notify_all()
