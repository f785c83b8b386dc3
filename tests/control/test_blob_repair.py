"""What control does about blobs that nodes could not have: it looks for itself, and believes only what it read."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cdn.control import blob_repair
from cdn.control.blob_repair import BlobRepair, Verdict
from cdn.control.proofs import Proofs
from cdn.control.settings import ControlSettings
from cdn.control.upload_session import UploadSessions
from cdn.errors import Unavailable
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectFacts, StoreUnavailable
from tests.control.control_room import Clock, Control, deploy, deploy_request, upload

SITE = "s1"
CONTENT = os.urandom(3 * 1024 * 1024 + 5)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Shelf(DirectoryStore):
    """A directory store that counts readings, and can be made to fail, to flip bits on the way, or to wait."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.objects = root / "objects"
        self.readings = 0
        self.flips = 0
        self.is_down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.after_reading: Callable[[], None] | None = None

    def hold(self, content: bytes, digest: str = "") -> Path:
        path = self.objects / blob_key(SITE, digest or digest_of(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    async def head(self, key: str) -> ObjectFacts | None:
        await self.gate.wait()
        return await super().head(key)

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        if self.is_down:
            raise StoreUnavailable("down")
        part = await super().get_range(key, start, stop)
        assert len(part) <= blob_repair.RANGE_BYTES
        self.readings += start == 0
        if start == 0 and self.flips:
            self.flips -= 1
            part = bytes([part[0] ^ 1]) + part[1:]
        if self.after_reading is not None:
            self.after_reading()
        return part


class Room:
    """A repair with what it works on."""

    def __init__(self, root: Path, losses: Losses | None = None) -> None:
        self.clock = Clock(1000.0)
        self.store = Shelf(root / "store")
        self.proofs = Proofs(self.store, 10_000)
        self.sessions = UploadSessions(ControlSettings("cdn.localhost", root), self.clock)
        self.repair = BlobRepair(
            self.store,
            self.proofs,
            self.sessions,
            lambda site_id: site_id == SITE,
            monotonic=self.clock,
            losses=losses,
        )

    @property
    def counters(self) -> dict[str, int]:
        return {name: count for name, count in self.repair.counters.items() if count}

    async def check(self, content: bytes) -> Verdict:
        return await self.repair.check(SITE, digest_of(content), "edge-1")

    async def until(self, name: str, count: int) -> None:
        async with asyncio.timeout(10):
            while self.repair.counters[name] < count:
                await asyncio.sleep(0.001)


class Losses:
    """What replicas tell each other, in one process; takes nothing while it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.attempts = 0
        self.told: list[tuple[str, str]] = []
        self.takers: list[Callable[[str, str], None]] = []

    def start(self, take: Callable[[str, str], None]) -> None:
        self.takers.append(take)

    async def tell(self, site_id: str, digest: str) -> None:
        self.attempts += 1
        if self.is_away:
            raise Unavailable("nobody hears it")
        self.told.append((site_id, digest))
        for take in self.takers:
            take(site_id, digest)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path)
    yield room
    room.store.gate.set()
    await room.repair.aclose()
    await room.store.aclose()


async def _is_proven(room: Room, content: bytes) -> bool:
    return bool(await room.proofs.sizes(SITE, [digest_of(content)]))


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[: 1024 * 1024], CONTENT], ids=len)
async def test_a_sound_blob_is_read_and_left(room: Room, content: bytes) -> None:
    path = room.store.hold(content)
    before = path.stat()
    assert await room.check(content) is Verdict.SOUND
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert await _is_proven(room, content)


async def test_a_lost_blob_is_forgotten_everywhere(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    digest = digest_of(CONTENT)
    room.proofs.add(SITE, digest, len(CONTENT))
    room.proofs.add("s2", digest, len(CONTENT))
    session, other = (room.sessions.open(site_id, {digest: len(CONTENT)}) for site_id in (SITE, "s2"))
    for each in (session, other):
        each.proven[digest] = len(CONTENT)
    assert await room.check(CONTENT) is Verdict.MISSING
    assert not await _is_proven(room, CONTENT)
    assert session.proven == {}
    assert other.proven == {digest: len(CONTENT)}
    assert len(room.proofs) == 1, "another site's proof is its own"
    (line,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert f"blob {digest} of site {SITE} is missing from the store (told by node edge-1)" in line


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", bytes([CONTENT[0] ^ 1]) + CONTENT[1:]], ids=len)
async def test_a_damaged_blob_is_removed_and_forgotten(room: Room, content: bytes) -> None:
    path = room.store.hold(content, digest_of(CONTENT))
    room.proofs.add(SITE, digest_of(CONTENT), len(CONTENT))
    assert await room.check(CONTENT) is Verdict.DAMAGED
    assert not path.exists()
    assert not await _is_proven(room, CONTENT)


async def test_one_reading_does_not_condemn(room: Room) -> None:
    path = room.store.hold(CONTENT)
    room.store.flips = 1
    assert await room.check(CONTENT) is Verdict.SOUND
    assert room.store.readings == 2
    assert path.read_bytes() == CONTENT


async def test_what_was_put_in_its_place_meanwhile_stays(room: Room) -> None:
    path = room.store.hold(b"damaged", digest_of(CONTENT))

    def replace() -> None:
        if room.store.readings == 2:
            path.write_bytes(CONTENT)

    room.store.after_reading = replace
    assert await room.check(CONTENT) is Verdict.CHANGED
    assert path.read_bytes() == CONTENT


async def test_a_store_that_is_down_condemns_nothing(room: Room) -> None:
    path = room.store.hold(b"damaged", digest_of(CONTENT))
    room.store.is_down = True
    assert await room.check(CONTENT) is Verdict.UNCHECKED
    assert path.exists()
    room.store.is_down = False
    assert await room.check(CONTENT) is Verdict.DAMAGED


async def test_a_look_at_the_store_from_before_proves_nothing_after(room: Room) -> None:
    """It saw the object, which was gone when the answer came."""
    digest = digest_of(b"x")
    room.store.hold(b"x")
    room.store.gate.clear()
    looking = asyncio.create_task(room.proofs.sizes(SITE, [digest]))
    await asyncio.sleep(0)
    room.proofs.forget(SITE, digest)
    room.store.gate.set()
    assert await looking == {}
    assert len(room.proofs) == 0


async def test_hints_are_worked_off_one_at_a_time_and_each_blob_once(room: Room) -> None:
    contents = [b"%d" % number for number in range(20)]
    for content in contents:
        room.store.hold(b"damaged", digest_of(content))
    for _ in range(3):
        for content in contents:
            room.repair.suspect("edge-1", SITE, digest_of(content))
    room.repair.start()
    await room.until("blobs_damaged", 20)
    assert room.counters == {"blob_faults_told": 60, "blobs_damaged": 20}
    assert list(room.store.objects.rglob("*/blobs/*/*")) == []


async def test_what_no_site_has_and_what_is_no_digest_is_dropped(room: Room) -> None:
    for site_id, digest in ((SITE, "../../x"), (SITE, "A" * 64), (SITE, "a" * 65), ("s2", "a" * 64), ("", "a" * 64)):
        room.repair.suspect("edge-1", site_id, digest)
    assert room.counters == {"blob_faults_told": 5, "blob_faults_dropped": 5}


async def test_a_node_that_makes_faults_up_fills_only_its_share(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_repair, "MAX_WAITING_PER_NODE", 10)
    monkeypatch.setattr(blob_repair, "MAX_WAITING", 15)
    for number in range(100):
        room.repair.suspect("liar", SITE, digest_of(b"%d" % number))
    assert room.counters["blob_faults_dropped"] == 90
    for number in range(100, 110):
        room.repair.suspect("edge-1", SITE, digest_of(b"%d" % number))
    assert room.counters["blob_faults_dropped"] == 95
    room.repair.start()
    await room.until("blobs_missing", 15)
    room.repair.suspect("liar", SITE, digest_of(b"again"))
    await room.until("blobs_missing", 16)


async def test_a_sound_blob_is_not_read_again_soon(room: Room) -> None:
    room.store.hold(b"x")
    room.repair.start()
    for _ in range(3):
        room.repair.suspect("liar", SITE, digest_of(b"x"))
        await room.until("blobs_sound", 1)
    assert room.counters == {"blob_faults_told": 3, "blob_faults_dropped": 2, "blobs_sound": 1}
    room.clock.now += blob_repair.SOUND_FOR_S
    room.repair.suspect("edge-1", SITE, digest_of(b"x"))
    await room.until("blobs_sound", 2)


async def test_an_upload_that_counted_on_the_blob_is_told_to_send_it(control: Control) -> None:
    files = {"/index.html": b"home", "/a": b"a"}
    await control.api.post("/v1/sites", {"name": "blog"})
    await deploy(control.api, "blog", files)
    site_id = (await control.api.get("/v1/sites/blog")).document["id"]
    begun, missing = await upload(control.api, "blog", files)
    assert missing == []
    await control.store.delete(blob_key(site_id, digest_of(b"home")))
    await control.plane.services.repair.check(site_id, digest_of(b"home"), "edge-1")
    refused = await control.api.post("/v1/sites/blog/deploys", deploy_request(begun, files))
    assert refused.status == 422
    assert refused.document["details"] == [f"{digest_of(b'home')}: not uploaded to this site"]
    _, missing = await upload(control.api, "blog", files)
    assert missing == [digest_of(b"home")]


async def test_only_the_admin_sees_what_control_counted(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    reader = await control.api.token_for("read:blog")
    assert (await control.api.get("/v1/status")).document["counters"]["blobs_sound"] == 0
    assert (await reader.get("/v1/status")).document["counters"] == {}


async def test_every_replica_forgets_what_one_found_lost(tmp_path: Path) -> None:
    losses = Losses()
    rooms = [Room(tmp_path / name, losses) for name in ("a", "b")]
    digest = digest_of(CONTENT)
    for each in rooms:
        each.proofs.add(SITE, digest, len(CONTENT))
        each.repair.start()
    first, second = rooms
    opened = second.sessions.open(SITE, {digest: len(CONTENT)})
    opened.proven[digest] = len(CONTENT)
    first.repair.suspect("edge-1", SITE, digest)
    async with asyncio.timeout(10):
        while len(second.proofs):
            await asyncio.sleep(0.001)
    assert (len(first.proofs), opened.proven, losses.told) == (0, {}, [(SITE, digest)])
    for each in rooms:
        await each.repair.aclose()
        await each.store.aclose()


async def test_a_loss_that_could_not_be_told_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_repair, "RETELL_S", 0.001)
    losses = Losses()
    losses.is_away = True
    room = Room(tmp_path, losses)
    room.repair.start()
    damaged = room.store.hold(b"damaged", digest_of(b"sound"))
    room.repair.suspect("edge-1", SITE, digest_of(b"sound"))
    async with asyncio.timeout(10):
        while losses.attempts < 3:
            await asyncio.sleep(0.001)
        assert not damaged.exists()
        losses.is_away = False
        while not losses.told:
            await asyncio.sleep(0.001)
    assert losses.told == [(SITE, digest_of(b"sound"))]
    await room.repair.aclose()
    await room.store.aclose()
