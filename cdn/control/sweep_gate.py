"""Between those who rely on what the store has of a site and the sweep, which removes what nobody names.

Who uploads is told what need not be sent; that must not be removed before the deploy names it. So:

- an upload first makes its session known (in memory, and in the store where there are several replicas: it pins what
  it announced), then passes this gate, and only then looks at what the store has;
- whose client cannot say what it announces (other vendors name content in their own ways) holds the whole site;
- a sweep closes the gate, then reads the sessions, then the journal, and removes what neither names.

Whichever of the two was first, the other sees it. A session that ends has its deploy in the journal by then, which is
why the journal is read last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from cdn.control.proofs import Proofs
from cdn.errors import Unavailable
from cdn.origin.store import ObjectMissing, ObjectStore

SWEEPS = "control/sweeps/"

CLOSED_S = 60.0
"""How long a gate may stay closed: a sweep removes some hundred objects at a time, and a store that takes longer is not
answering. A replica that died while it was closed keeps uploads of the site waiting for as long."""

CLOCKS_APART_S = 30.0
"""Replicas' clocks may differ by this much: a gate that was left closed counts as open only so long after its end."""

LAST_DELETE_S = 0.5 * CLOSED_S
"""Nothing is removed later than this after the gate was closed: a call under way must be over before it opens."""

LOOK_EVERY_S = 0.25
"""Between two looks at a gate that another replica has closed."""

MAX_WAIT_S = 20.0
"""How long an upload waits for a closed gate before it is told to come again."""

log = logging.getLogger(__name__)


class GateState(msgspec.Struct, frozen=True):
    """`generation` grows with every removal. `closed_until` is wall time in seconds, 0: open."""

    version: int = 1
    generation: int = 0
    closed_until: float = 0.0


def gate_key(site_id: str) -> str:
    """Where the state of a site's gate lies."""
    return f"{SWEEPS}{site_id}/gate"


class SweepGate:
    """One per replica; where there are several (`shared`), the state is in the store."""

    def __init__(self, store: ObjectStore, proofs: Proofs, clock: Callable[[], float], *, shared: bool) -> None:
        """`clock` is wall time."""
        self._store = store
        self._proofs = proofs
        self._clock = clock
        self._shared = shared
        self._seen: dict[str, int] = {}
        self._closed_here: dict[str, asyncio.Event] = {}

    async def enter(self, site_id: str) -> None:
        """Return once nothing of the site is being removed. What was believed to be there before the last removal is
        forgotten. Raises Unavailable when that takes long, StoreUnavailable."""
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._wait_open(site_id)
        except TimeoutError as exc:
            raise Unavailable(
                "What this site does not need any more is being removed from the store: try again.", retry_after_s=10
            ) from exc

    @asynccontextmanager
    async def closed(self, site_id: str) -> AsyncIterator[Callable[[], bool]]:
        """Nobody enters meanwhile; one sweep of a site at a time (its office sees to that). What it gives says whether
        something may still be removed. Raises StoreUnavailable."""
        event = self._closed_here[site_id] = asyncio.Event()
        before = self._clock()
        generation = 0
        try:
            generation = 1 + (await self._state(site_id)).generation
            await self._keep(site_id, GateState(generation=generation, closed_until=before + CLOSED_S))
            yield lambda: self._clock() < before + LAST_DELETE_S
        finally:
            try:
                if generation:
                    await self._keep(site_id, GateState(generation=generation))
            except Unavailable as exc:
                log.warning("uploads of site %s wait %g s: the store does not take that its sweep is over: %s",
                            site_id, CLOSED_S + CLOCKS_APART_S, exc)  # fmt: skip
            finally:
                self._seen[site_id] = generation
                self._proofs.forget_site(site_id)
                del self._closed_here[site_id]
                event.set()

    async def _wait_open(self, site_id: str) -> None:
        while (event := self._closed_here.get(site_id)) is not None:
            await event.wait()
        if not self._shared:
            return
        state = await self._state(site_id)
        while state.closed_until and self._clock() < state.closed_until + CLOCKS_APART_S:
            await asyncio.sleep(LOOK_EVERY_S)
            state = await self._state(site_id)
        if self._seen.get(site_id, 0) != state.generation:
            self._proofs.forget_site(site_id)
            self._seen[site_id] = state.generation

    async def _state(self, site_id: str) -> GateState:
        if not self._shared:
            return GateState(generation=self._seen.get(site_id, 0))
        try:
            return msgspec.json.decode(await self._store.get(gate_key(site_id)), type=GateState)
        except ObjectMissing:
            return GateState()
        except msgspec.MsgspecError as exc:
            raise Unavailable(f"The object {gate_key(site_id)} is damaged: remove it from the store.") from exc

    async def _keep(self, site_id: str, state: GateState) -> None:
        if self._shared:
            await self._store.put(gate_key(site_id), msgspec.json.encode(state))
