"""The disk tier's pulled responses against a plain dictionary, for any order of steps (DESIGN I1)."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pulled_responses import chunk_files, make_pulled, make_response, read_all, write_all

Place = tuple[str, str]
"""(path, variant)."""

PATHS = ["/a", "/b"]
PLACES = st.sampled_from([("/a", "00"), ("/a", "01"), ("/b", "00")])
SIZES = st.sampled_from([0, 70_000, CHUNK_BYTES + 3])

STEPS = st.one_of(
    st.tuples(st.sampled_from(["begin"]), PLACES, SIZES),
    st.tuples(st.sampled_from(["begin"]), PLACES, st.just(3)),
    st.tuples(st.sampled_from(["enter", "enter", "enter", "abandon"]), st.integers(0, 9), st.none()),
    st.tuples(st.sampled_from(["enter"]), st.just(-1), st.none()),
    st.tuples(st.sampled_from(["drop", "update", "update"]), PLACES, st.booleans()),
    st.tuples(st.sampled_from(["sweep", "forget", "forget", "flush", "restart"]), st.none(), st.none()),
)


@dataclass
class Begun:
    """Content that was begun when the node stood at `position`."""

    place: Place
    content: NewContent
    whole: bytes
    position: int


@dataclass
class Model:
    """What has to be stored; the node's position rises with every step, and sweeps leave a horizon."""

    stored: dict[Place, tuple[StoredResponse, bytes]] = field(default_factory=dict)
    begun: list[Begun] = field(default_factory=list)
    position: int = 1
    horizon: int = 0

    def expected(self, begun: Begun) -> StoreOutcome:
        there = self.stored.get(begun.place)
        if begun.position < self.horizon:
            return StoreOutcome.DETACHED
        if there is not None and there[0].incarnation > begun.content.incarnation:
            return StoreOutcome.SUPERSEDED
        return StoreOutcome.STORED

    def under(self, path: str) -> tuple[StoredResponse, ...]:
        found = [stored for (at, _), (stored, _) in self.stored.items() if at == path]
        return tuple(sorted(found, key=lambda stored: -stored.incarnation))


async def take(tier: DiskTier, folder: Path, model: Model, step: tuple[str, object, object]) -> DiskTier:
    model.position += 1
    match step:
        case ("begin", (str(path), str(variant)), int(size)):
            response = make_response(variant, path=path)
            whole = (b"%d " % model.position * size)[:size]
            begun = Begun((path, variant), tier.new_content(response.key), whole, model.position)
            assert await write_all(begun.content, begun.whole) is StoreOutcome.STORED
            model.begun.append(begun)
        case ("enter", int(at), _) if model.begun:
            begun = model.begun.pop(at % len(model.begun))
            offered = make_response(begun.place[1], path=begun.place[0], admitted=begun.position)
            expected = model.expected(begun)
            assert await begun.content.enter(offered) is expected
            if expected is StoreOutcome.STORED:
                model.stored[begun.place] = (begun.content.stored_with(offered), begun.whole)
            await begun.content.abandon()
        case ("abandon", int(at), _) if model.begun:
            await model.begun.pop(at % len(model.begun)).content.abandon()
        case ("drop", (str(path), str(variant)), _) if (path, variant) in model.stored:
            tier.drop(model.stored.pop((path, variant))[0])
        case ("update", (str(path), str(variant)), bool(is_floored)) if (path, variant) in model.stored:
            stored, whole = model.stored[path, variant]
            pulled = make_pulled(str(model.position), received_at=2000.0 + model.position)
            now, then = Position("e1", model.position), pulled.received_at
            again = replace(stored, pulled=pulled, names=(path,), tags=("u",), admitted=now, validated_at=then)
            hard = stored.admitted.sequence + 1 if is_floored else 0
            updated = await tier.update_head(stored, pulled, (path,), ("u",), now, then, hard)
            assert updated == (None if is_floored else again)
            if not is_floored:
                model.stored[path, variant] = (again, whole)
        case ("sweep", _, _):
            floor = model.position - 5
            model.horizon = model.position
            await tier.sweep("s1", Position("e1", model.position), lambda each: each.admitted.sequence < floor)
            model.stored = {at: kept for at, kept in model.stored.items() if kept[0].admitted.sequence >= floor}
        case ("forget", _, _):
            tier._pulled._families.clear()
        case ("flush", _, _):
            assert await tier.flush()
        case ("restart", _, _):
            model.begun.clear()
            model.horizon = 0
            await tier.aclose()
            return await DiskTier.open(folder, 1 << 30, reconciles=False)
        case _:
            pass
    return tier


async def walk(folder: Path, steps: list[tuple[str, object, object]]) -> None:
    model = Model()
    tier = await DiskTier.open(folder, 1 << 30, reconciles=False)
    try:
        for step in steps:
            tier = await take(tier, folder, model, step)
            for path in PATHS:
                assert await tier.find_all("s1", path) == model.under(path)
        for stored, whole in model.stored.values():
            assert await read_all(tier, stored) == whole
        for begun in model.begun:
            await begun.content.abandon()
        await tier.flush()
        facts = tier.facts()
        assert (facts.responses, facts.writing_bytes, facts.held_bytes) == (len(model.stored), 0, 0)
        assert facts.cost_bytes > 0 or not model.stored
        if all(step[0] != "restart" for step in steps):  # what was cut off is removed when it is old enough
            assert len(chunk_files(folder)) == facts.chunks
    finally:
        await tier.aclose()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=15, max_size=30))
def test_any_order_of_steps_leaves_what_a_dictionary_would_hold(steps: list[tuple[str, object, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(walk(Path(folder), steps))
