"""Coded forms of deploys: made once, announced in steps, gone on with wherever the work was broken off."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import brotli
import pytest

from cdn.cli.coding_process import coding_command
from cdn.control import precompression
from cdn.control.coding_pool import CodingPool, CodingProcessGone
from cdn.control.coding_work import CodingAnswer, CodingFault, CodingJob, work
from cdn.control.name_offices import NameOffices
from cdn.control.precompression import Outcome, Precompression
from cdn.control.precompression_desk import PrecompressionDesk
from cdn.control.upload_session import UploadSessions
from cdn.control.uploads import HOLD_S, Uploads
from cdn.errors import Conflict, Unavailable
from cdn.http.content_coding import CODINGS
from cdn.journal.record import TakenDown
from cdn.journal.tenure import MemoryOffices
from cdn.origin.layout import blob_key, variants_key
from cdn.origin.store import StoreUnavailable
from cdn.sites.manifest import FileEntry
from cdn.sites.variants import Variants, parse_variants
from tests.control.control_room import Control, ControlMaker, deploy, entry_of


def page(name: str, lines: int = 60) -> bytes:
    return b"".join(
        b"<p>%d: a paragraph of %s that goes on for a while</p>\n" % (n, name.encode()) for n in range(lines)
    )


class InlinePool(CodingPool):
    """Codes where it is called, so that a test needs no process; `before` may do something first."""

    def __init__(self, size: int = 1) -> None:
        super().__init__((), size)
        self.jobs: list[CodingJob] = []
        self.before: Callable[[CodingJob], Awaitable[None]] | None = None

    async def code(self, job: CodingJob) -> CodingAnswer:
        self.jobs.append(job)
        if self.before is not None:
            await self.before(job)
        return work(job)


class Room:
    """One control with a site and what codes its files."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.pool = InlinePool()
        self.restart()

    def restart(self) -> None:
        services = self.control.plane.services
        self.work = Precompression(
            services.store,
            services.state,
            services.catalog,
            services.takedowns,
            self.pool,
            uploads=services.uploads,
        )

    @property
    def site_id(self) -> str:
        site = self.control.plane.services.catalog.site_named("blog")
        assert site is not None
        return str(site.id)

    async def deployed(self, files: Mapping[str, bytes], **more: Any) -> str:
        """The digest of the manifest."""
        answer = await deploy(self.control.api, "blog", files, **more)
        found = self.control.plane.services.catalog.deploy(self.site_id, answer.document["deploy"]["id"])
        assert found is not None
        return str(found.manifest_digest)

    async def run(self, manifest: str, **more: Any) -> Outcome:
        return await self.work.run(self.site_id, manifest, **more)

    def named(self, manifest: str) -> str:
        return str(self.control.plane.services.catalog.variants(self.site_id, manifest))

    async def listed(self, manifest: str) -> Variants:
        return parse_variants(await self.control.store.get(variants_key(self.site_id, self.named(manifest))))

    async def forms(self, manifest: str, content: bytes) -> Mapping[str, FileEntry]:
        return (await self.listed(manifest)).coded[entry_of(content).digest]

    async def blob(self, entry: FileEntry) -> bytes:
        content: bytes = await self.control.store.get(blob_key(self.site_id, entry.digest))
        assert entry_of(content) == entry
        return content

    @property
    def sequence(self) -> int:
        return int(self.control.plane.state.position.sequence)


@pytest.fixture
async def room(make_control: ControlMaker) -> Room:
    control = await make_control()
    assert (await control.api.post("/v1/sites", {"name": "blog"})).status == 201
    return Room(control)


HOME, ABOUT, PHOTO = page("home"), page("about"), b"\x89PNG" + page("photo")
FILES = {"/index.html": HOME, "/about.html": ABOUT, "/photo.png": PHOTO}


async def test_every_file_that_gains_has_forms_in_the_store(room: Room) -> None:
    manifest = await room.deployed(FILES)
    assert await room.run(manifest) is Outcome.COMPLETE
    listed = await room.listed(manifest)
    assert set(listed.coded) == {entry_of(HOME).digest, entry_of(ABOUT).digest}
    for content in (HOME, ABOUT):
        forms = await room.forms(manifest, content)
        assert tuple(forms) == CODINGS
        assert brotli.decompress(await room.blob(forms["br"])) == content
        for form in forms.values():
            assert len(await room.blob(form)) < 0.9 * len(content)
    assert room.work.counters.announced == 1


async def test_what_is_complete_is_not_done_again(room: Room) -> None:
    manifest = await room.deployed(FILES)
    await room.run(manifest)
    before, jobs = room.sequence, len(room.pool.jobs)
    room.restart()
    assert await room.run(manifest) is Outcome.COMPLETE
    assert (room.sequence, len(room.pool.jobs)) == (before, jobs)


async def test_a_deploy_without_text_leaves_no_record(room: Room) -> None:
    manifest = await room.deployed({"/photo.png": PHOTO, "/tiny.html": b"<p>"})
    before = room.sequence
    assert await room.run(manifest) is Outcome.COMPLETE
    assert (room.sequence, room.named(manifest)) == (before, "")


async def test_what_does_not_pay_is_listed_without_forms_and_not_tried_again(room: Room) -> None:
    noise = random.Random(1).randbytes(4000)
    manifest = await room.deployed({"/noise.txt": noise})
    await room.run(manifest)
    assert (await room.listed(manifest)).coded == {entry_of(noise).digest: {}}
    room.restart()
    await room.run(manifest)
    assert len(room.pool.jobs) == 1


# Steps, and being broken off


async def test_a_large_deploy_is_announced_in_steps(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precompression, "FIRST_STEP_S", 0.01)
    files = {f"/{n}.html": page(f"page {n}") for n in range(6)}
    manifest = await room.deployed(files)
    seen: list[int] = []

    async def until_announced(job: CodingJob) -> None:
        """Each content waits until those that are done are announced."""
        done = len(room.pool.jobs) - precompression.IN_FLIGHT
        while done > 0 and (not room.named(manifest) or len((await room.listed(manifest)).coded) < done):
            await asyncio.sleep(0.001)
        if room.named(manifest):
            seen.append(len((await room.listed(manifest)).coded))

    room.pool.before = until_announced
    assert await room.run(manifest) is Outcome.COMPLETE
    assert seen == sorted(seen)
    assert len(set(seen)) >= 2, "parts of it were usable long before all of it was"
    assert len((await room.listed(manifest)).coded) == 6


async def test_a_run_that_is_broken_off_is_gone_on_with_by_the_next(room: Room) -> None:
    files = {f"/{n}.html": page(f"page {n}") for n in range(9)}
    manifest = await room.deployed(files)
    assert await room.run(manifest, may_go_on=lambda: len(room.pool.jobs) < 3) is Outcome.BROKEN_OFF
    assert await room.run(manifest, may_go_on=lambda: False) is Outcome.BROKEN_OFF
    done = (await room.listed(manifest)).coded
    assert 0 < len(done) < 9
    room.restart()  # what was announced is all that a new process knows
    assert await room.run(manifest) is Outcome.COMPLETE
    assert len((await room.listed(manifest)).coded) == 9
    assert len({job.content for job in room.pool.jobs}) == len(room.pool.jobs), "nothing was coded twice"


async def test_a_store_that_fails_costs_only_what_was_not_announced(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"/{n}.html": page(f"page {n}") for n in range(4)}
    manifest = await room.deployed(files)
    put = room.control.store.put

    async def down(key: str, content: bytes, **more: Any) -> Any:
        if "/blobs/" in key and len(room.pool.jobs) >= 3:
            raise StoreUnavailable("down")
        return await put(key, content, **more)

    monkeypatch.setattr(room.control.store, "put", down)
    with pytest.raises(StoreUnavailable):
        await room.run(manifest)
    assert (await room.listed(manifest)).coded, "what was done was announced"
    monkeypatch.undo()
    assert await room.run(manifest) is Outcome.COMPLETE
    assert len((await room.listed(manifest)).coded) == 4


async def test_control_that_restarts_goes_on(room: Room) -> None:
    manifest = await room.deployed({f"/{n}.html": page(f"page {n}") for n in range(5)})
    assert await room.run(manifest, may_go_on=lambda: False) is Outcome.BROKEN_OFF
    await room.control.reopen()
    room.restart()
    assert await room.run(manifest) is Outcome.COMPLETE
    assert len(room.pool.jobs) == 5


async def test_another_deploy_uses_the_forms_that_the_site_has(room: Room) -> None:
    await room.run(await room.deployed(FILES))
    new = page("new")
    manifest = await room.deployed({**FILES, "/new.html": new})
    room.pool.jobs.clear()
    assert await room.run(manifest) is Outcome.COMPLETE
    assert [job.content for job in room.pool.jobs] == [new]
    assert len((await room.listed(manifest)).coded) == 3
    assert room.work.counters.reused == 2


async def test_forms_of_one_site_are_no_others(room: Room) -> None:
    """The same content at another site is coded for it, from its own blob, into its own blobs (DESIGN I7)."""
    await room.run(await room.deployed(FILES))
    assert (await room.control.api.post("/v1/sites", {"name": "other"})).status == 201
    await deploy(room.control.api, "other", FILES)
    services = room.control.plane.services
    other = services.catalog.site_named("other")
    manifest = services.catalog.alias(other.id, "production").active.manifest_digest
    room.pool.jobs.clear()
    await room.work.run(other.id, manifest)
    assert len(room.pool.jobs) == 2
    listed = parse_variants(
        await room.control.store.get(variants_key(other.id, services.catalog.variants(other.id, manifest)))
    )
    for forms in listed.coded.values():
        for form in forms.values():
            assert await room.control.store.head(blob_key(other.id, form.digest)) is not None


# Forms that came along


async def test_a_right_form_beside_a_file_is_used(room: Room) -> None:
    ready = brotli.compress(HOME, quality=3)
    manifest = await room.deployed({"/app.js": HOME, "/app.js.br": ready})
    await room.run(manifest)
    forms = await room.forms(manifest, HOME)
    assert forms["br"] == entry_of(ready)
    assert set(forms) == set(CODINGS)
    assert (room.work.counters.ready_used, room.work.counters.ready_refused) == (1, 0)


WRONG = (brotli.compress(page("poison")), b"no brotli at all" * 30, brotli.compress(HOME)[:-3])


@pytest.mark.parametrize("ready", WRONG)
async def test_a_wrong_form_beside_a_file_is_not(room: Room, ready: bytes) -> None:
    manifest = await room.deployed({"/app.js": HOME, "/app.js.br": ready})
    await room.run(manifest)
    forms = await room.forms(manifest, HOME)
    assert len(ready) < len(HOME)
    assert forms["br"] != entry_of(ready)
    assert brotli.decompress(await room.blob(forms["br"])) == HOME
    assert room.work.counters.ready_refused == 1


# What goes meanwhile


async def test_a_site_that_is_removed_meanwhile_ends_the_run(room: Room) -> None:
    manifest = await room.deployed(FILES)
    site_id = room.site_id

    async def remove(job: CodingJob) -> None:
        if len(room.pool.jobs) == 1:
            assert (await room.control.api.delete("/v1/sites/blog")).status < 300

    room.pool.before = remove
    assert await room.work.run(site_id, manifest) is Outcome.GONE
    assert await room.work.run(site_id, manifest) is Outcome.GONE
    assert room.work.counters.announced == 0


async def test_what_was_taken_down_is_not_coded(room: Room) -> None:
    manifest = await room.deployed(FILES)
    change = TakenDown(digest=entry_of(HOME).digest, site_id=room.site_id)
    await room.control.plane.state.append_always("takedown", change, "test")
    await room.run(manifest)
    assert set((await room.listed(manifest)).coded) == {entry_of(ABOUT).digest}


async def test_lost_forms_are_made_anew(room: Room) -> None:
    manifest = await room.deployed(FILES)
    await room.run(manifest)
    lost, kept = (await room.forms(manifest, HOME))["br"], (await room.forms(manifest, ABOUT))["br"]
    await room.control.store.delete(blob_key(room.site_id, lost.digest))
    before, named = room.sequence, room.named(manifest)
    room.pool.jobs.clear()
    assert await room.run(manifest, lost=(lost.digest, kept.digest)) is Outcome.COMPLETE
    assert [job.content for job in room.pool.jobs] == [HOME], "what the store has is not made again"
    assert brotli.decompress(await room.blob(lost)) == HOME
    assert (room.sequence, room.named(manifest)) == (before, named), "the same octets again: nothing to tell"


async def test_a_lost_form_that_had_come_along_is_made_here(room: Room) -> None:
    ready = brotli.compress(HOME, quality=3)
    manifest = await room.deployed({"/app.js": HOME, "/app.js.br": ready})
    await room.run(manifest)
    await room.control.store.delete(blob_key(room.site_id, entry_of(ready).digest))
    assert await room.run(manifest, lost=(entry_of(ready).digest,)) is Outcome.COMPLETE
    form = (await room.forms(manifest, HOME))["br"]
    assert form != entry_of(ready)
    assert brotli.decompress(await room.blob(form)) == HOME


@pytest.mark.parametrize("damage", [None, b"cdn-variants 2\n", b""])
async def test_a_list_that_is_lost_or_damaged_is_made_anew(room: Room, damage: bytes | None) -> None:
    manifest = await room.deployed(FILES)
    await room.run(manifest)
    key, good = variants_key(room.site_id, room.named(manifest)), await room.listed(manifest)
    await room.control.store.delete(key)
    if damage is not None:
        await room.control.store.put(key, damage)
    await room.run(manifest)
    assert await room.listed(manifest) == good


@pytest.mark.parametrize("damage", [None, b"x", HOME.replace(b"0", b"1")])
async def test_a_source_that_is_damaged_is_tried_again_later(room: Room, damage: bytes | None) -> None:
    """What the store sends for it is coded under no digest but its own, so under none."""
    manifest = await room.deployed(FILES)
    await room.control.store.delete(blob_key(room.site_id, entry_of(HOME).digest))
    if damage is not None:
        await room.control.store.put(blob_key(room.site_id, entry_of(HOME).digest), damage)
    with pytest.raises(Unavailable, match="1 contents of manifest"):
        await room.run(manifest)
    assert set((await room.listed(manifest)).coded) == {entry_of(ABOUT).digest}
    await room.control.store.put(blob_key(room.site_id, entry_of(HOME).digest), HOME)
    assert await room.run(manifest) is Outcome.COMPLETE


async def test_content_over_which_processes_die_counts_as_not_worth_it(room: Room) -> None:
    manifest = await room.deployed(FILES)

    async def die(job: CodingJob) -> None:
        if job.content == HOME:
            raise CodingProcessGone("killed")

    room.pool.before = die
    assert await room.run(manifest) is Outcome.COMPLETE
    assert await room.forms(manifest, HOME) == {}
    assert [job.content for job in room.pool.jobs].count(HOME) == precompression.MAX_FAILURES


async def test_while_somebody_does_not_understand_the_record_nothing_is_coded(room: Room) -> None:
    manifest = await room.deployed(FILES)
    old = await room.control.node("old")
    await old.connect(record_version=3)
    with pytest.raises(Conflict):
        await room.run(manifest)
    assert not room.pool.jobs
    assert room.named(manifest) == ""


async def test_who_lost_the_office_announces_nothing(room: Room) -> None:
    manifest = await room.deployed(FILES)

    def lost() -> None:
        raise Unavailable("another may do it by now")

    with pytest.raises(Unavailable, match="another may"):
        await room.run(manifest, require_office=lost)
    assert room.named(manifest) == ""


async def test_a_list_that_is_too_long_is_left_as_it_was(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = await room.deployed(FILES)
    monkeypatch.setattr("cdn.sites.variants.MAX_VARIANTS_BYTES", 50)
    assert await room.run(manifest) is Outcome.COMPLETE
    assert room.named(manifest) == ""


# The desk


@asynccontextmanager
async def desk_of(room: Room, offices: MemoryOffices | None = None, holder: str = "c1") -> Any:
    clock = asyncio.get_running_loop().time
    names = NameOffices(offices or MemoryOffices(60.0), holder, office_s=60.0, monotonic=clock)
    desk = PrecompressionDesk(room.work, room.pool, names, room.control.plane.services.catalog, monotonic=clock)
    desk.start()
    try:
        yield desk
    finally:
        await desk.aclose()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def test_what_is_activated_is_coded(room: Room) -> None:
    async with desk_of(room) as desk:
        manifest = await room.deployed(FILES)
        desk.want(room.site_id, manifest)
        await until(lambda: room.named(manifest) != "" and desk.waiting == 0)
        desk.want(room.site_id, manifest)
        assert desk.waiting == 0, "it is known to be complete"
        assert desk.counters["precompression_announced"] == 1


async def test_what_is_active_at_the_start_is_looked_at(room: Room) -> None:
    preview = await room.deployed({"/preview.html": ABOUT}, alias="next")
    manifest = await room.deployed(FILES)
    async with desk_of(room):
        await until(lambda: room.named(manifest) != "" and room.named(preview) != "")
    assert await room.forms(manifest, HOME)
    assert await room.forms(preview, ABOUT)


async def test_a_lost_form_is_made_anew_when_a_node_tells(room: Room) -> None:
    manifest = await room.deployed(FILES)
    async with desk_of(room) as desk:
        await until(lambda: room.named(manifest) != "" and desk.waiting == 0)
        form = (await room.forms(manifest, HOME))["gzip"]
        await room.control.store.delete(blob_key(room.site_id, form.digest))
        room.control.plane.services.repair.on_loss = desk.lost
        await room.control.plane.services.repair.check(room.site_id, form.digest, "edge-1")
        await until(lambda: desk.waiting == 0)
        assert entry_of(await room.blob(form)) == form
        desk.lost("nobody", form.digest)
        assert desk.waiting == 0


async def test_another_replica_that_has_the_office_is_left_to_it(room: Room) -> None:
    manifest = await room.deployed(FILES)
    offices = MemoryOffices(60.0)
    name = NameOffices(offices, "c2", office_s=60.0, monotonic=asyncio.get_running_loop().time)
    async with name.held(f"precompression {room.site_id} {manifest}") as office:
        assert office is not None
        async with desk_of(room, offices) as desk:
            desk.want(room.site_id, manifest)
            await until(lambda: any(wish.not_before > 0 for wish in desk._waiting.values()))
            assert not room.pool.jobs


async def test_a_failing_deploy_is_tried_later_and_others_are_coded(room: Room) -> None:
    async def fail(job: CodingJob) -> None:
        if job.content == HOME:
            raise RuntimeError("a fault of this program")
        if job.content == ABOUT:
            raise Unavailable("no process can be started")

    room.pool.before = fail
    await room.deployed({"/a.html": HOME}, alias="a")
    await room.deployed({"/b.html": ABOUT}, alias="b")
    good = await room.deployed({"/c.html": page("good")})
    async with desk_of(room) as desk:
        await until(lambda: room.named(good) != "" and desk.waiting == 1)
        (left,) = desk._waiting.values()
        assert left.attempts == 1


async def test_a_site_with_much_leaves_the_next_one_its_turn(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.control.precompression_desk.SLICE_S", 0.0)
    monkeypatch.setattr("cdn.control.precompression_desk.AT_ONCE", 1)
    large = await room.deployed({f"/{n}.html": page(f"page {n}") for n in range(8)})
    assert (await room.control.api.post("/v1/sites", {"name": "next"})).status == 201
    await deploy(room.control.api, "next", {"/index.html": HOME})
    catalog = room.control.plane.services.catalog
    other = catalog.site_named("next").id
    small = catalog.alias(other, "production").active.manifest_digest

    async def look(job: CodingJob) -> None:
        await asyncio.sleep(0)

    room.pool.before = look
    async with desk_of(room) as desk:
        desk.want(other, small)
        desk.want(room.site_id, large)
        await until(lambda: desk.waiting == 0)
    order = [job.content == HOME for job in room.pool.jobs]
    assert order.index(True) < len(order) - 1, "it did not wait for all of the large one"
    assert len((await room.listed(large)).coded) == 8


# Processes


async def test_processes_code_and_end_with_the_pool() -> None:
    pool = CodingPool(coding_command(), 1)
    answer = await pool.code(CodingJob(HOME, CODINGS))
    assert answer == work(CodingJob(HOME, CODINGS))
    (process,) = pool._idle
    assert await pool.code(CodingJob(ABOUT, ("gzip",))) == work(CodingJob(ABOUT, ("gzip",)))
    assert Path(f"/proc/{process.pid}/stat").read_text().split()[18] == "19", "it is nice to the others"
    await pool.aclose()
    assert process.returncode == -signal.SIGKILL


async def test_a_process_that_dies_costs_a_job_and_the_next_has_another() -> None:
    pool = CodingPool(coding_command(), 1)
    await pool.code(CodingJob(HOME, ("gzip",)))
    pool._idle[0].kill()
    with pytest.raises(CodingProcessGone):
        await pool.code(CodingJob(HOME, ("gzip",)))
    assert pool.died == 1
    assert (await pool.code(CodingJob(HOME, ("gzip",)))).forms
    await pool.aclose()


SAYS = "import sys; sys.stdin.buffer.read(9); sys.stdout.buffer.write({!r}); sys.stdout.flush(); sys.stdin.read()"


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"\xff\xff\xff\xff", CodingFault),
        (b"\0\0\0\1\xc1", CodingFault),
        (b"\0\0\0\x08" + b"\x91\x81\xa4lzma\xc0", CodingFault),
        (b"", CodingProcessGone),
    ],
)
async def test_what_a_process_says_is_judged(said: bytes, fault: type[Exception]) -> None:
    pool = CodingPool((sys.executable, "-c", SAYS.format(said)), 1, job_timeout_s=1.0)
    with pytest.raises(fault):
        await pool.code(CodingJob(HOME, ("gzip",)))
    assert not pool._idle, "it is not asked again"
    await pool.aclose()


async def test_no_process_at_all_is_told() -> None:
    with pytest.raises(Unavailable, match="no coding process can be started"):
        await CodingPool(("/no/such/program",), 1).code(CodingJob(HOME, ("gzip",)))


async def test_idle_processes_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.control.coding_pool.IDLE_S", 0.01)
    pool = CodingPool(coding_command(), 1)
    await pool.code(CodingJob(HOME, ("gzip",)))
    (process,) = pool._idle
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    await pool.aclose()


async def test_a_form_that_lay_there_useless_is_not_swept_while_it_is_not_announced(room: Room) -> None:
    first = await room.deployed({"/index.html": HOME})
    await room.run(first)
    form = next(iter((await room.forms(first, HOME)).values()))
    key = blob_key(room.site_id, form.digest)
    content = await room.control.store.get(key)
    another = await room.control.api.post("/v1/sites", {"name": "other"})
    assert another.status == 201
    other = room.control.plane.services.catalog.site_named("other")
    assert other is not None
    useless = blob_key(other.id, form.digest)
    await room.control.store.put(useless, content)
    answer = await deploy(room.control.api, "other", {"/index.html": HOME, "/about.html": ABOUT})
    manifest = room.control.plane.services.catalog.deploy(other.id, answer.document["deploy"]["id"])
    assert manifest is not None
    swept = []

    async def sweep_meanwhile(job: CodingJob) -> None:
        if job.content == ABOUT:  # the forms of the other page are put, and not announced
            done = await room.control.api.post("/v1/sweeps", {"grace_s": 0})
            swept.append(done.document)

    room.pool.before = sweep_meanwhile
    assert await room.work.run(other.id, manifest.manifest_digest) is Outcome.COMPLETE
    assert [one["faults"] for one in swept] == [[]]
    assert await room.control.store.get(useless) == content
    assert room.control.plane.services.uploads._holds == {}, "nothing is held when it is recorded"


async def test_a_hold_goes_on_and_other_replicas_are_told_to_keep_everything(room: Room) -> None:
    uploads, clock = room.control.plane.services.uploads, room.control.clock
    uploads._shared = True
    other = Uploads(UploadSessions(room.control.plane.services.settings, clock), room.control.store, clock, shared=True)
    async with uploads.held_growing(room.site_id) as hold:
        assert (await uploads.pinned(room.site_id)).is_all, "until something is named"
        await hold.add(("a" * 64,))
        here = await uploads.pinned(room.site_id)
        assert (set(here.digests), here.is_all) == ({"a" * 64}, False)
        for _ in range(3):
            clock.now += HOLD_S * 0.6
            await hold.renew()
            assert (await other.pinned(room.site_id)).is_all, "it does not hear of each"
            assert set((await uploads.pinned(room.site_id)).digests) == {"a" * 64}
    await uploads.aclose()
    assert not (await other.pinned(room.site_id)).is_any
