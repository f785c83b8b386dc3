"""The sweep removes what no deploy names, and nothing else: whatever uploads and deploys do at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.control.sweep_gate import CLOCKS_APART_S, CLOSED_S, GateState, SweepGate, gate_key
from cdn.errors import Unavailable
from cdn.journal.record import AliasRemoved, TakenDown, VariantsSet
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import blob_key, variants_key
from cdn.sites.variants import Variants
from tests.control.control_room import Clock, Control, deploy, deploy_request, entry_of, upload

DAY_S = 86_400.0


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    control = await Control(tmp_path).open()
    await control.api.post("/v1/sites", {"name": "blog", "settings": {"prepare_timeout_s": 0.1}})
    yield control
    await control.close()


async def keys(control: Control, prefix: str = "sites/") -> set[str]:
    return {facts.key async for facts in control.store.scan(prefix)}


def site_id(control: Control) -> str:
    site = control.plane.services.catalog.site_named("blog")
    assert site is not None
    return str(site.id)


def key_of(control: Control, content: bytes) -> str:
    return blob_key(site_id(control), entry_of(content).digest)


async def sweep(control: Control, **wanted: Any) -> dict[str, Any]:
    answer = await control.api.post("/v1/sweeps", wanted)
    assert answer.status == 200, answer
    assert answer.document["faults"] == []
    return dict(answer.document)


async def orphan(control: Control, content: bytes) -> str:
    """A blob that was uploaded and never deployed, its upload over."""
    upload_id, _ = await upload(control.api, "blog", {"/x": content})
    control.plane.services.uploads.close(site_id(control), upload_id)
    return key_of(control, content)


async def test_what_a_deploy_names_stays_and_the_rest_goes_after_a_day(control: Control) -> None:
    await deploy(control.api, "blog", {"/index.html": b"one"})
    useless = await orphan(control, b"never deployed")
    kept = await keys(control) - {useless}
    assert (await sweep(control))["waiting"] == 1
    control.clock.now += DAY_S - 1
    assert (await sweep(control))["removed"] == 0
    control.clock.now += 2
    assert (await sweep(control, dry_run=True))["removed"] == 1
    assert useless in await keys(control), "a dry run removes nothing"
    done = await sweep(control)
    assert (done["removed"], done["removed_bytes"]) == (1, len(b"never deployed"))
    assert await keys(control) == kept


async def test_what_was_useless_and_is_named_again_begins_anew(control: Control) -> None:
    useless = await orphan(control, b"content")
    await sweep(control)
    await deploy(control.api, "blog", {"/a": b"content"})
    control.clock.now += 2 * DAY_S
    assert (await sweep(control))["removed"] == 0
    assert useless in await keys(control)


async def test_an_upload_pins_what_it_was_told_is_there(control: Control) -> None:
    useless = await orphan(control, b"content")
    await sweep(control)
    control.clock.now += 2 * DAY_S
    upload_id, missing = await upload(control.api, "blog", {"/a": b"content"})
    assert missing == []
    assert (await sweep(control))["pinned"] == 1
    answer = await control.api.post("/v1/sites/blog/deploys", deploy_request(upload_id, {"/a": b"content"}))
    assert answer.status == 201
    await sweep(control, grace_s=0)
    assert useless in await keys(control)


async def _raced(root: Path, step: int, content: bytes, call: Callable[[Control], Coroutine[Any, Any, None]]) -> bool:
    """`call`, made when the sweep is about to make its call number `step` to the store; whether it made so many."""
    control = await Control(root / str(step)).open()
    try:
        await control.api.post("/v1/sites", {"name": "blog", "settings": {"prepare_timeout_s": 0.05}})
        await orphan(control, content)
        slow = _SlowStore(control.store, step)
        control.plane.sweeps._sweep._store = slow
        sweeping = asyncio.create_task(sweep(control, grace_s=0))
        await slow.reached_or(sweeping)
        calling = asyncio.create_task(call(control))
        await asyncio.wait([calling], timeout=0.02)
        slow.go_on.set()
        await sweeping
        await calling
        return slow.count > step
    finally:
        await control.close()


async def test_an_upload_that_comes_while_a_blob_goes_is_told_that_it_is_missing(tmp_path: Path) -> None:
    """Raced at every step of the sweep: its calls to the store are held one after the other."""

    async def deploys(control: Control) -> None:
        upload_id, _ = await upload(control.api, "blog", {"/a": b"content"})
        answer = await control.api.post("/v1/sites/blog/deploys", deploy_request(upload_id, {"/a": b"content"}))
        assert answer.status == 201
        assert key_of(control, b"content") in await keys(control)

    step = 0
    while await _raced(tmp_path, step, b"content", deploys):
        step += 1
    assert step >= 3, "it scans, reads, and removes"


async def test_a_deploy_without_an_upload_is_recorded_whole_or_refused(tmp_path: Path) -> None:
    statuses = set[int]()

    async def deploys(control: Control) -> None:
        answer = await control.api.post("/v1/sites/blog/deploys", deploy_request(None, {"/a": b"content"}))
        assert (answer.status == 201) == (key_of(control, b"content") in await keys(control)), answer
        statuses.add(answer.status)

    step = 0
    while await _raced(tmp_path, step, b"content", deploys):
        step += 1
    assert statuses == {201, 422}, "before it goes, and after"


async def test_a_removed_site_leaves_nothing_behind(control: Control) -> None:
    await deploy(control.api, "blog", {"/index.html": b"one"})
    assert (await control.api.delete("/v1/sites/blog")).status == 200
    assert await keys(control)
    await sweep(control)
    control.clock.now += DAY_S + 1
    assert (await sweep(control))["removed"] >= 2
    assert await keys(control) == set()
    await sweep(control)
    assert await keys(control, "control/sweeps/") == set()


async def test_what_was_taken_down_goes_at_once_in_every_form(control: Control) -> None:
    await deploy(control.api, "blog", {"/a.txt": b"secret", "/b.txt": b"fine"})
    services, of = control.plane.services, site_id(control)
    coded, digest = entry_of(b"coded"), entry_of(b"secret").digest
    await control.store.put(blob_key(of, coded.digest), b"coded")
    listed = Variants({digest: {"br": coded}}).to_bytes()
    variants = entry_of(listed).digest
    await control.store.put(variants_key(of, variants), listed)
    (made,) = services.catalog.deploys(of)
    await services.state.append_always(f"variants/{of}", VariantsSet(of, made.manifest_digest, variants), "test")
    await sweep(control, grace_s=0)
    assert blob_key(of, coded.digest) in await keys(control), "a list names it"
    await services.state.append_always(f"takedown/{of}", TakenDown(digest, of), "test")
    await control.plane.sweeps.remove_now(of, [digest])
    left = await keys(control)
    assert key_of(control, b"secret") not in left
    assert blob_key(of, coded.digest) not in left
    assert key_of(control, b"fine") in left


async def test_what_was_taken_down_needs_no_grace(control: Control) -> None:
    """Control may have died between the record and the store."""
    await deploy(control.api, "blog", {"/a.txt": b"secret", "/b.txt": b"fine"})
    taken = TakenDown(entry_of(b"secret").digest, site_id(control))
    await control.plane.services.state.append_always("takedown", taken, "test")
    assert (await sweep(control))["removed"] == 1
    assert key_of(control, b"secret") not in await keys(control)


async def test_what_is_taken_down_waits_for_no_sweep(control: Control) -> None:
    await deploy(control.api, "blog", {"/a.txt": b"secret", "/b.txt": b"fine"})
    sweeper = control.plane.sweeps._sweep
    begun, goes_on, noted = asyncio.Event(), asyncio.Event(), sweeper._noted

    async def slow(of: str) -> dict[str, float]:
        begun.set()
        await goes_on.wait()
        return dict(await noted(of))

    sweeper._noted = slow
    sweeping = asyncio.create_task(sweep(control))
    await begun.wait()
    async with asyncio.timeout(10):
        wanted = {"digest": entry_of(b"secret").digest, "site": "blog"}
        answer = await control.api.post("/v1/takedowns", wanted)
    assert (answer.status, answer.document["removed"]) == (201, 1)
    assert key_of(control, b"secret") not in await keys(control)
    goes_on.set()
    assert (await sweeping)["objects"] > 0
    assert control.plane.sweeps._tenure is None, "the office is left with the last who needs it"


@pytest.mark.parametrize("by_sweep", [False, True])
async def test_no_open_upload_holds_what_was_taken_down(control: Control, by_sweep: bool) -> None:
    await deploy(control.api, "blog", {"/a.txt": b"secret"})
    await upload(control.api, "blog", {"/a.txt": b"secret", "/b.txt": b"fine"})
    digest = entry_of(b"secret").digest
    if by_sweep:
        taken = TakenDown(digest, site_id(control))
        await control.plane.services.state.append_always("takedown", taken, "test")
        assert (await sweep(control, grace_s=0))["removed"] == 1
    else:
        done = await control.api.post("/v1/takedowns", {"digest": digest, "site": "blog"})
        assert (done.status, done.document["removed"]) == (201, 1)
    left = await keys(control)
    assert key_of(control, b"secret") not in left
    assert key_of(control, b"fine") in left, "the upload holds the rest"


async def test_what_other_vendors_call_a_blob_goes_with_it(control: Control) -> None:
    await deploy(control.api, "blog", {"/a.txt": b"kept"})
    rows = [
        f"sites/{site_id(control)}/digests/sha1/ab/ab12ab12.{entry_of(content).digest}.{len(content)}"
        for content in (b"kept", b"gone")
    ]
    for row in rows:
        await control.store.put(row, b"")
    await sweep(control, grace_s=0)
    assert [row in await keys(control) for row in rows] == [True, False]


async def test_a_site_whose_manifest_cannot_be_read_is_left_alone(control: Control) -> None:
    answer = await deploy(control.api, "blog", {"/index.html": b"one"})
    assert answer.status == 201
    useless = await orphan(control, b"x")
    (manifest,) = [key for key in await keys(control) if "/manifests/" in key]
    await control.store.delete(manifest)
    swept = await control.api.post("/v1/sweeps", {"grace_s": 0})
    assert "not in the store" in swept.document["faults"][0]
    assert useless in await keys(control)


async def test_an_alias_that_is_removed_keeps_its_deploys(control: Control) -> None:
    await deploy(control.api, "blog", {"/index.html": b"preview"}, alias="next")
    await control.plane.services.state.append_always("alias", AliasRemoved(site_id(control), "next"), "test")
    assert (await sweep(control, grace_s=0))["removed"] == 0, "the deploy is in the list: it can be activated"


async def test_only_administrators_sweep(control: Control) -> None:
    caller = await control.api.token_for("admin:blog")
    assert (await caller.post("/v1/sweeps", {})).status == 403
    assert (await control.api.post("/v1/sweeps", {"grace_s": -1})).status == 400


class TestGate:
    """Between replicas: the state is in the store."""

    async def test_an_upload_waits_for_another_replicas_removal_and_believes_nothing_from_before(
        self, tmp_path: Path
    ) -> None:
        store, clock = DirectoryStore(tmp_path), Clock()
        proofs = _Forgetful()
        here = SweepGate(store, proofs, clock, shared=True)  # type: ignore[arg-type]
        there = SweepGate(store, _Forgetful(), clock, shared=True)  # type: ignore[arg-type]
        await here.enter("s1")
        assert proofs.forgotten == []
        async with there.closed("s1") as may_remove:
            assert may_remove()
            entering = asyncio.create_task(here.enter("s1"))
            await asyncio.wait([entering], timeout=0.05)
            assert not entering.done()
            await here.enter("s2")
        await entering
        assert proofs.forgotten == ["s1"]
        await here.enter("s1")
        assert proofs.forgotten == ["s1"], "known already"
        await store.aclose()

    async def test_a_gate_that_a_dead_replica_left_closed_opens_by_itself(self, tmp_path: Path) -> None:
        store, clock = DirectoryStore(tmp_path), Clock()
        gate = SweepGate(store, _Forgetful(), clock, shared=True)  # type: ignore[arg-type]
        state = GateState(generation=3, closed_until=clock.now + CLOSED_S)
        await store.put(gate_key("s1"), b'{"version":1,"generation":3,"closed_until":%d}' % state.closed_until)
        clock.now += CLOSED_S + CLOCKS_APART_S + 1
        await gate.enter("s1")
        await store.aclose()

    async def test_nothing_is_removed_late(self, tmp_path: Path) -> None:
        store, clock = DirectoryStore(tmp_path), Clock()
        gate = SweepGate(store, _Forgetful(), clock, shared=True)  # type: ignore[arg-type]
        async with gate.closed("s1") as may_remove:
            clock.now += CLOSED_S
            assert not may_remove()
        await store.aclose()

    async def test_a_damaged_state_is_told(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path)
        gate = SweepGate(store, _Forgetful(), Clock(), shared=True)  # type: ignore[arg-type]
        await store.put(gate_key("s1"), b"?")
        with pytest.raises(Unavailable, match="damaged"):
            await gate.enter("s1")
        await store.aclose()


class _Forgetful:
    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget_site(self, site_id: str) -> None:
        self.forgotten.append(site_id)


class _SlowStore:
    """The store as the sweep sees it: its call number `at` waits before it is made."""

    def __init__(self, store: Any, at: int) -> None:
        self._store = store
        self._at = at
        self.count = 0
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def reached_or(self, done: asyncio.Task[Any]) -> None:
        reached = asyncio.create_task(self.reached.wait())
        await asyncio.wait([reached, done], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()

    async def _wait(self) -> None:
        self.count += 1
        if self.count - 1 == self._at:
            self.reached.set()
            await self.go_on.wait()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "scan":
            return self._scan

        async def call(*args: Any, **more: Any) -> Any:
            await self._wait()
            return await found(*args, **more)

        return call

    async def _scan(self, prefix: str) -> AsyncIterator[Any]:
        await self._wait()
        async for facts in self._store.scan(prefix):
            yield facts


STEP = st.one_of(
    st.tuples(st.just("deploy"), st.frozensets(st.sampled_from("abcdef"), min_size=1)),
    st.tuples(st.just("upload"), st.frozensets(st.sampled_from("abcdef"), min_size=1)),
    st.tuples(st.just("end"), st.just(frozenset[str]())),
    st.tuples(st.just("sweep"), st.just(frozenset[str]())),
    st.tuples(st.just("later"), st.just(frozenset[str]())),
)


@given(st.lists(STEP, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_every_deploy_has_all_of_its_blobs(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, frozenset[str]]]
) -> None:
    asyncio.run(_walk(tmp_path_factory.mktemp("sweep"), steps))


async def _walk(root: Path, steps: list[tuple[str, frozenset[str]]]) -> None:
    control = await Control(root).open()
    try:
        await control.api.post("/v1/sites", {"name": "blog", "settings": {"prepare_timeout_s": 0.1}})
        deployed, uploads = set[str](), list[tuple[str, Mapping[str, bytes]]]()
        for kind, letters in steps:
            files = {f"/{letter}": letter.encode() for letter in sorted(letters)}
            if kind == "deploy":
                await deploy(control.api, "blog", files)
                deployed |= letters
            elif kind == "upload":
                upload_id, _ = await upload(control.api, "blog", files)
                uploads.append((upload_id, files))
            elif kind == "end" and uploads:
                upload_id, announced = uploads.pop()
                request = deploy_request(upload_id, announced)
                if (await control.api.post("/v1/sites/blog/deploys", request)).status == 201:
                    deployed |= {path[1:] for path in announced}
            elif kind == "sweep":
                await sweep(control, grace_s=0)
            elif kind == "later":
                control.clock.now += 600
            there = await keys(control)
            needed = deployed | {path[1:] for _, files in uploads for path in files}
            if not any(kind == "later" for kind, _ in steps):
                assert {key_of(control, letter.encode()) for letter in needed} <= there
            assert {key_of(control, letter.encode()) for letter in deployed} <= there
    finally:
        await control.close()
