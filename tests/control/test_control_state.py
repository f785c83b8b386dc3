"""The state behind the API: order, compare-and-set, snapshots, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cdn.control.archive_layout import SNAPSHOTS
from cdn.control.state import ControlState, StateStuck
from cdn.control.token import make_token
from cdn.control.token_fold import TokenFold
from cdn.errors import Conflict, NotFound, Unavailable
from cdn.journal.journal import Conflicted, JournalUnavailable, Trimmed
from cdn.journal.record import (
    EVERY_AUDIENCE,
    Audience,
    Draft,
    Purged,
    PurgeScope,
    Record,
    SiteCreated,
    UnknownRecord,
)
from cdn.journal.snapshot import encode, load_into
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.store import StoreUnavailable
from cdn.purge.floors import Floors
from tests.control.control_room import Control, ControlMaker, deploy

EVERYTHING = Purged("s", (PurgeScope("everything", ""),), False)


class Seen:
    """A fold that remembers the sequences, and can break."""

    name = "seen"
    audience = Audience.ALL

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.subjects: list[str] = []
        self.breaks_at = 0

    def apply(self, record: Record) -> None:
        if record.sequence == self.breaks_at:
            raise ValueError("a record that cannot be applied")
        self.sequences.append(record.sequence)
        self.subjects.append(record.subject)

    def dump(self) -> Any:
        return self.sequences

    def load(self, section: Any) -> None:
        self.sequences = list(section or [])


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(tmp_path / "journal.sqlite", busy_timeout_s=0.05)
    yield journal
    await journal.aclose()


@pytest.fixture
async def seen(journal: SqliteJournal) -> AsyncIterator[tuple[ControlState, Seen]]:
    fold = Seen()
    state = ControlState(journal, (fold,))
    await state.start()
    yield state, fold
    await state.aclose()


async def test_concurrent_appends_are_applied_in_order_each_once(seen: tuple[ControlState, Seen]) -> None:
    state, fold = seen

    async def append(number: int) -> None:
        record = await state.append_always("s", EVERYTHING, "a")
        assert record.sequence in fold.sequences
        named = await state.append(f"n/{number}", lambda: EVERYTHING, "a")
        assert named.sequence in fold.sequences

    await asyncio.gather(*(append(number) for number in range(50)))
    assert fold.sequences == list(range(1, 101))
    assert state.position.sequence == 100


async def test_records_of_other_writers_are_applied_without_asking(
    journal: SqliteJournal, seen: tuple[ControlState, Seen]
) -> None:
    state, fold = seen
    arrived = asyncio.Event()
    state.watch(lambda position: arrived.set() if position.sequence == 3 else None)
    for _ in range(3):
        await journal.append(Draft("other", EVERYTHING, "other"), expected_sequence=None)
    await asyncio.wait_for(arrived.wait(), 5)
    assert fold.sequences == [1, 2, 3]


async def test_a_decision_is_taken_again_when_another_append_went_first(
    journal: SqliteJournal, seen: tuple[ControlState, Seen]
) -> None:
    state, fold = seen

    def decide() -> Purged:
        if "taken" in fold.subjects:
            raise Conflict("taken")
        return EVERYTHING

    await journal.append(Draft("taken", EVERYTHING, "other"), expected_sequence=None)
    with pytest.raises(Conflict):
        await state.append("taken", decide, "me")
    assert (await journal.position()).sequence == 1


async def test_only_one_of_many_that_want_the_same_gets_it(seen: tuple[ControlState, Seen]) -> None:
    state, fold = seen

    def decide() -> Purged:
        if "name" in fold.subjects:
            raise Conflict("taken")
        return EVERYTHING

    outcomes = await asyncio.gather(*(state.append("name", decide, "a") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, Record) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19


async def test_endless_races_end_in_a_conflict(
    seen: tuple[ControlState, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, _ = seen

    async def always_lost(draft: Draft, *, expected_sequence: int | None) -> Conflicted:
        return Conflicted(0)

    monkeypatch.setattr(state.journal, "append", always_lost)
    with pytest.raises(Conflict, match="too fast"):
        await state.append("x", lambda: EVERYTHING, "a")
    with pytest.raises(JournalUnavailable):
        await state.append_always("x", EVERYTHING, "a")


async def test_a_record_that_cannot_be_applied_stops_everything_after_it(
    journal: SqliteJournal, seen: tuple[ControlState, Seen]
) -> None:
    state, fold = seen
    fold.breaks_at = 2
    await state.append_always("s", EVERYTHING, "a")
    with pytest.raises(StateStuck):
        await state.append_always("s", EVERYTHING, "a")
    with pytest.raises(StateStuck) as stuck:
        await state.append_always("s", EVERYTHING, "a")
    assert stuck.value.retry_after_s == 60
    assert fold.sequences == [1]
    assert (await journal.position()).sequence == 2


async def test_a_record_of_a_newer_program_stops_everything_and_says_so(
    journal: SqliteJournal, seen: tuple[ControlState, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, fold = seen
    await state.append_always("s", EVERYTHING, "a")

    async def newer(after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        raise UnknownRecord("record 2 has version 2, this program reads up to 1: upgrade this node")

    monkeypatch.setattr(journal, "read", newer)
    await journal.append(Draft("other", EVERYTHING, "other"), expected_sequence=None)
    with pytest.raises(StateStuck, match="version 2"):
        await state.catch_up(2)
    with pytest.raises(StateStuck, match="version 2"):
        await state.append("s", lambda: EVERYTHING, "a")
    assert fold.sequences == [1]


async def test_the_tail_outlives_a_journal_that_does_not_answer(
    journal: SqliteJournal, seen: tuple[ControlState, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, fold = seen
    read, failures, arrived = journal.read, 2, asyncio.Event()

    async def moody(after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        nonlocal failures
        if failures:
            failures -= 1
            raise JournalUnavailable("not now")
        return await read(after, limit=limit)

    monkeypatch.setattr(journal, "read", moody)
    state.watch(lambda position: arrived.set())
    await journal.append(Draft("other", EVERYTHING, "other"), expected_sequence=None)
    await asyncio.wait_for(arrived.wait(), 5)
    assert fold.sequences == [1]


async def test_a_start_without_the_records_it_needs_says_so(journal: SqliteJournal) -> None:
    for _ in range(5):
        await journal.append(Draft("s", EVERYTHING, "a"), expected_sequence=None)
    await journal.trim(3)
    state = ControlState(journal, (Seen(),))
    with pytest.raises(StateStuck, match="no longer keeps"):
        await state.start()
    with pytest.raises(StateStuck, match="lost records"):
        await ControlState(journal, (Seen(),)).start(loaded=9)


# ---- snapshots


async def snapshots_of(control: Control) -> list[str]:
    return [facts.key async for facts in control.store.scan(SNAPSHOTS)]


async def purge(control: Control, times: int) -> None:
    for _ in range(times):
        answer = await control.api.post("/v1/sites/blog/purges", {"tags": ["t"]})
        assert answer.status == 200


async def saved(control: Control, at_least: int) -> None:
    while control.plane.snapshots.saved < at_least:
        await asyncio.sleep(0.001)


async def test_a_restart_replays_a_bounded_number_of_records(make_control: ControlMaker) -> None:
    control = await make_control(snapshot_every_records=10, keep_records=5)
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    made = (await deploy(control.api, "blog", {"/index.html": b"x"})).document["deploy"]
    reader = await control.api.token_for("read:blog")
    before = (await control.api.get("/v1/sites/blog")).document
    await purge(control, 60)
    await saved(control, 50)
    everything = control.plane.snapshots.take(EVERY_AUDIENCE)
    first = await control.journal.read(0, limit=1)
    assert isinstance(first, Trimmed)
    assert 1 < len(await snapshots_of(control)) <= 3

    asked: list[int] = []
    read = SqliteJournal.read

    async def counted(self: SqliteJournal, after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        records = await read(self, after, limit=limit)
        assert not isinstance(records, Trimmed)
        asked.append(len(records))
        return records

    await control.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteJournal, "read", counted)
        await control.open()
    assert sum(asked) < 20
    assert control.plane.snapshots.take(EVERY_AUDIENCE) == everything
    assert (await control.api.get("/v1/sites/blog")).document == before
    assert before["active"] == made["id"]
    assert (await control.api.as_(reader.token or "").get("/v1/sites/blog")).status == 200
    assert (await control.api.post("/v1/sites", {"name": "blog"})).status == 409


async def test_a_node_never_sees_a_secret_in_its_snapshot(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    snapshot = control.plane.snapshots.take(frozenset({Audience.ALL}))
    assert set(snapshot.sections) == {"catalog", "floors", "certificates", "takedowns"}
    assert snapshot.position == control.plane.state.position


async def test_a_nodes_snapshot_keeps_every_floor(control: Control) -> None:
    site_id = (await control.api.post("/v1/sites", {"name": "blog"})).document["id"]
    answer = await control.api.post("/v1/sites/blog/purges", {"tags": ["news"]})
    sequence = answer.document["position"]["sequence"]
    floors = Floors()
    load_into(control.plane.snapshots.take(frozenset({Audience.ALL})), (floors,))
    assert floors.of(site_id).required(("/a",), ("news",)).hard == sequence
    assert floors.of(site_id).required(("/a",), ("other",)).hard == 0


async def test_a_damaged_snapshot_is_passed_over_for_the_one_before(make_control: ControlMaker) -> None:
    control = await make_control(snapshot_every_records=1_000_000, keep_records=0)
    await control.api.post("/v1/sites", {"name": "blog"})
    for _ in range(3):
        await purge(control, 3)
        await control.plane.snapshots.save()
    keys = await snapshots_of(control)
    assert len(keys) == 2
    await control.store.put(keys[-1], b"damaged")
    await control.reopen()
    assert (await control.api.get("/v1/sites/blog")).status == 200
    assert control.plane.snapshots.saved == int(keys[0].rsplit("/", 1)[1])


async def test_a_snapshot_that_a_fold_does_not_understand_is_passed_over_for_the_one_before(
    make_control: ControlMaker,
) -> None:
    control = await make_control(snapshot_every_records=1_000_000, keep_records=0)
    await control.api.post("/v1/sites", {"name": "blog"})
    for _ in range(2):
        await purge(control, 3)
        await control.plane.snapshots.save()
    keys = await snapshots_of(control)
    strange = control.plane.snapshots.take(EVERY_AUDIENCE)
    strange.sections["tokens"] = {"sites": {}, "tokens": [{"strange": 1}]}
    await control.store.put(keys[-1], encode(strange))
    await control.reopen()
    assert (await control.api.get("/v1/sites/blog")).status == 200
    assert control.plane.snapshots.saved == int(keys[0].rsplit("/", 1)[1])


async def test_a_snapshot_beyond_the_journals_end_is_a_clear_error(make_control: ControlMaker) -> None:
    """The journal was put back as it once was: going on in its epoch would give two records one position."""
    control = await make_control(snapshot_every_records=1_000_000)
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.plane.snapshots.save()
    await control.close()
    before = (control.root / "journal.sqlite").read_bytes()
    await control.open()
    await purge(control, 5)
    await control.plane.snapshots.save()
    await control.close()
    (control.root / "journal.sqlite").write_bytes(before)
    with pytest.raises(StateStuck, match="lost records"):
        await control.open()


async def test_a_fault_of_the_program_does_not_end_the_keeping_of_snapshots(
    make_control: ControlMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = await make_control(snapshot_every_records=5, keep_records=0)
    put, failed = control.store.put, asyncio.Event()

    async def fail(*_: object, **__: object) -> None:
        failed.set()
        raise ValueError("a fault")

    control.store.put = fail
    await control.api.post("/v1/sites", {"name": "blog"})
    await purge(control, 10)
    await asyncio.wait_for(failed.wait(), 5)
    control.store.put = put
    await asyncio.wait_for(saved(control, 5), 5)


async def test_without_the_store_nothing_is_trimmed_and_snapshots_go_on_later(
    make_control: ControlMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = await make_control(snapshot_every_records=5, keep_records=0)
    put = control.store.put
    refused = asyncio.Event()

    async def refuse(*_: object, **__: object) -> None:
        refused.set()
        raise StoreUnavailable("The store does not answer.")

    control.store.put = refuse
    await control.api.post("/v1/sites", {"name": "blog"})
    await purge(control, 10)
    await asyncio.wait_for(refused.wait(), 5)
    assert not isinstance(await control.journal.read(0, limit=1), Trimmed)
    control.store.put = put
    await asyncio.wait_for(saved(control, 5), 5)


async def test_a_lost_snapshot_of_a_trimmed_journal_is_a_clear_error(make_control: ControlMaker) -> None:
    control = await make_control(snapshot_every_records=1_000_000, keep_records=0)
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.plane.snapshots.save()
    for key in await snapshots_of(control):
        await control.store.delete(key)
    with pytest.raises(Unavailable, match="no snapshot reaches"):
        await control.reopen()


# ---- tokens as a fold


def test_a_scope_of_a_site_that_is_not_there_allows_nothing() -> None:
    fold = TokenFold()
    fold.apply(_record(1, SiteCreated("s1", "blog", {})))
    _, both = make_token(("read:blog", "read:later", "unknown:blog"))
    _, nothing = make_token(("read:later",))
    fold.apply(_record(2, both))
    fold.apply(_record(3, nothing))
    fold.apply(_record(4, SiteCreated("s2", "later", {})))
    token = fold.get(both.token_id)
    assert token is not None
    assert token.scopes == ("read:blog",)
    assert fold.get(nothing.token_id) is None
    again = TokenFold()
    again.load(fold.dump())
    assert again.tokens() == fold.tokens()
    assert again.dump() == fold.dump()


def test_tokens_that_expired_long_ago_are_forgotten() -> None:
    fold = TokenFold()
    _, short = make_token(("admin",), expires_at=10.0)
    fold.apply(_record(1, short, at=0.0))
    _, other = make_token(("admin",))
    fold.apply(_record(2, other, at=20.0))
    assert len(fold) == 2
    _, last = make_token(("admin",))
    fold.apply(_record(3, last, at=10.0 + 31 * 86400))
    assert fold.get(short.token_id) is None
    assert len(fold) == 2


def _record(sequence: int, change: Any, at: float = 0.0) -> Record:
    return Record(1, "e", sequence, "x", at, "a", Audience.CONTROL, change)


async def test_the_first_token_and_what_it_can_do(control: Control) -> None:
    plane = control.plane
    assert plane.has_scope(control.admin_token, "admin")
    assert not plane.has_scope(control.admin_token, "node")
    assert not plane.has_scope("cdn_a_b", "admin")
    node = await plane.create_token(("node",), note="edge-1")
    assert plane.has_scope(node, "node")
    await control.reopen()
    assert control.plane.has_scope(node, "node")
    with pytest.raises(NotFound):
        control.plane.services.site_named("nosuch")
