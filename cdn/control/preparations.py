"""Which nodes have loaded the manifests of which deploys, and who waits for them (DESIGN I4)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from cdn.control.receipt_waits import Room

MAX_DEPLOYS_TRACKED = 1024
"""Deploys whose preparation is remembered; the one heard of longest ago goes first."""

MAX_REASON_CHARS = 1000
"""What is kept of a reason that a node gives."""

Deploy = tuple[str, str]
"""Site and deploy, by their ids."""


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """Who has loaded a deploy's manifest. `failed` gives the node's reason; `late` are serving nodes not heard from."""

    prepared: tuple[str, ...]
    failed: Mapping[str, str]
    late: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Wait:
    """Someone waiting until every node in `pending` has spoken of a deploy, or until one of them detaches or leaves."""

    pending: set[str]
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Preparations:
    """What nodes say costs what waits for this deploy, not what waits for all."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._said: OrderedDict[Deploy, dict[str, str | None]] = OrderedDict()
        self._waits: dict[Deploy, set[_Wait]] = {}

    def note(self, node_id: str, deploy: Deploy, failure: str | None) -> None:
        """The node has loaded the deploy's manifest, or says why it could not."""
        self._said.setdefault(deploy, {})[node_id] = None if failure is None else failure[:MAX_REASON_CHARS]
        self._said.move_to_end(deploy)
        while len(self._said) > MAX_DEPLOYS_TRACKED:
            self._said.popitem(last=False)
        for wait in self._waits.get(deploy, ()):
            wait.pending.discard(node_id)
            if not wait.pending:
                wait.woken.set()

    def said(self, deploy: Deploy) -> Mapping[str, str | None]:
        """Who has spoken of the deploy: None, or why it could not be loaded."""
        return self._said.get(deploy, {})

    def report(self, deploy: Deploy, late: set[str]) -> PrepareReport:
        """What was said so far."""
        said = self.said(deploy)
        prepared = tuple(sorted(node_id for node_id, failure in said.items() if failure is None))
        failed = {node_id: failure for node_id, failure in sorted(said.items()) if failure is not None}
        return PrepareReport(prepared, failed, tuple(sorted(late)))

    def look_again(self, node_id: str) -> None:
        """The node is cut off, or gone: whoever waits for it looks again."""
        for waiting in self._waits.values():
            for wait in waiting:
                if node_id in wait.pending:
                    wait.woken.set()

    def forget(self, node_id: str) -> None:
        """The node is no longer known."""
        for of_deploy in self._said.values():
            of_deploy.pop(node_id, None)
        self.look_again(node_id)

    async def wait(self, deploy: Deploy, late: set[str], timeout_s: float) -> None:
        """Until all of `late` have spoken, one of them is cut off, or `timeout_s` is over. Raises Unavailable."""
        wait = _Wait(late)
        with self._room:
            self._waits.setdefault(deploy, set()).add(wait)
            try:
                async with asyncio.timeout(max(timeout_s, 0.0)):
                    await wait.woken.wait()
            except TimeoutError:
                return  # the caller looks again
            finally:
                waiting = self._waits[deploy]
                waiting.discard(wait)
                if not waiting:
                    del self._waits[deploy]
