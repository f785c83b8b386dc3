"""Faults one after another, or several at once, over a fleet in a storm; after each the fleet has to heal by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import aiohttp

from tests.e2e.fault_field import EDGES, NAMER, CallFailed, Field, Size
from tests.e2e.fault_storm import CALL_FAULTS, Storm
from tests.e2e.faults import Fault, Need

HEAL_WITHIN_S = 60.0
"""Elections, connections that are tried again ever more rarely and a machine with other work: all of them together."""

SEEN_WITHIN_S = 40.0
GOES_ON_WITHIN_S = 60.0
"""For a change of each site while something fails that need not stop them: NATS may elect a leader meanwhile."""


def possible(field: Field, faults: Iterable[Fault]) -> list[Fault]:
    """Those that this fleet has the parts for."""
    return [fault for fault in faults if all(_has(field, fault, need) for need in fault.needs)]


def _has(field: Field, fault: Fault, need: Need) -> bool:
    match need:
        case Need.CLUSTER:
            return field.size is Size.FULL
        case Need.STORE:
            return field.store is not None
        case Need.DISK:
            return fault.touches <= set(field.disks)
        case Need.CLOCK:
            return fault.touches <= set(field.clocks)


async def suffer(storm: Storm, *faults: Fault, storm_s: float = 0.0) -> None:
    """All of `faults` at once, for `storm_s` at least; then they end, and the fleet heals. Raises AssertionError."""
    name = ", ".join(fault.name for fault in faults)
    began = time.monotonic()
    try:
        await _suffer(storm, faults, storm_s)
    except (AssertionError, TimeoutError, CallFailed) as failure:
        refused = "\n".join(storm.refused[-5:])
        raise AssertionError(f"{name}: {failure or type(failure).__name__}\nrefused last:\n{refused}") from failure
    print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)


async def _suffer(storm: Storm, faults: tuple[Fault, ...], storm_s: float) -> None:
    field = storm.fleet
    for fault in faults:
        storm.hurt |= fault.hurts
        for node in fault.freezes:
            storm.froze(node)
    for fault in faults:
        await fault.inject(field)
        for control in fault.hangs:
            storm.give_up(control)
    try:
        await _hold(storm, faults, storm_s)
    finally:
        await asyncio.gather(*(fault.heal(field) for fault in faults))  # some can only once others have
    for node in {node for fault in faults for node in fault.freezes}:
        storm.went_on(node)
    await healed(storm)
    storm.hurt.clear()
    storm.check()


async def _hold(storm: Storm, faults: tuple[Fault, ...], storm_s: float) -> None:
    """Until everything has been seen that a fault promises."""
    ends_at = time.monotonic() + max(storm_s, *(fault.holds_s for fault in faults))
    detached = {node for fault in faults for node in fault.detaches}
    silent = {node for fault in faults for node in fault.freezes}
    touched = {part for fault in faults for part in fault.touches}
    stops_writes = any(fault.stops_writes for fault in faults) or touched >= set(storm.fleet.controls)
    seen = [storm.until_detached(node, SEEN_WITHIN_S) for node in detached - silent]
    seen += [storm.until_refused(node, SEEN_WITHIN_S) for fault in faults for node in fault.refuses]
    if not stops_writes:
        seen += [storm.until_excused(node, SEEN_WITHIN_S) for node in detached] or [
            storm.until_done(1, GOES_ON_WITHIN_S)
        ]
    await asyncio.gather(*seen)
    while time.monotonic() < ends_at:
        storm.check()
        await asyncio.sleep(0.05)


async def healed(storm: Storm) -> None:
    """Until all parts are well and all nodes have everything; nobody helps. Raises AssertionError."""
    field, last = storm.fleet, "nothing was looked at"
    try:
        async with asyncio.timeout(HEAL_WITHIN_S):
            while (unwell := await _unwell(field)) is not None:
                last = unwell
                storm.check()
                await asyncio.sleep(0.1)
            await storm.until_done(1, HEAL_WITHIN_S)
    except TimeoutError:
        raise AssertionError(f"not well after {HEAL_WITHIN_S:g} s: {last}") from None


async def _unwell(field: Field) -> str | None:
    """What is not well; None: all is."""
    try:
        for control in field.controls:
            if not await field.is_ready(control):
                return f"{control} is not ready"
        if not await field.is_ready(NAMER):
            return f"{NAMER} is not ready"
        for edge in EDGES:
            metrics = await field.metrics(edge)
            if not metrics["cdn_edge_attached"]:
                return f"{edge} has no lease"
        for control in field.controls:
            path = "/v1/sites/shop/purges?wait=5"
            receipt = await field.call(control, "POST", path, {"urls": ["http://shop.cdn.localhost/never"]})
            outcomes = {line["node"]: line["outcome"] for line in receipt["nodes"]}
            if outcomes != dict.fromkeys(EDGES, "applied"):
                return f"a receipt of {control} says {outcomes}"
    except (*CALL_FAULTS, KeyError, aiohttp.ClientError) as fault:
        return repr(fault)
    return None
