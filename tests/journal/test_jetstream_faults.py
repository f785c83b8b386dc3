"""Lost answers, late copies, partitions, trims while away: nothing is stored twice, nothing is skipped, all heals."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.msg import Msg

from cdn.fleet.position import Position
from cdn.journal import jetstream
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_api import MESSAGE_ID, JetStreamApi, Stored
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tail import _Consumer
from cdn.journal.journal import AppendUncertain, Conflicted, EpochEnded, JournalUnavailable, Trimmed
from cdn.journal.nats_link import NatsLink, NatsSilent
from cdn.journal.nats_settings import NatsSettings
from cdn.journal.record import RECORD_VERSION, Record, UnknownRecord
from tests.e2e.cut_proxy import CutProxy
from tests.journal.conftest import delete_streams, settings_for
from tests.journal.ledger import purge, told
from tests.servers.nats import NatsLayout


@pytest.fixture
async def settings(nats_single: NatsLayout) -> AsyncIterator[JetStreamSettings]:
    """A journal of one's own on the shared server, with short patience."""
    plain = settings_for(nats_single, f"t{secrets.token_hex(4)}")
    yield quick(plain, *plain.nats.servers)
    await delete_streams(nats_single, plain.name)


def quick(settings: JetStreamSettings, *servers: str, patience_s: float = 3.0) -> JetStreamSettings:
    nats = NatsSettings(
        servers, connect_timeout_s=0.4, request_timeout_s=0.4, ping_interval_s=0.3, patience_s=patience_s
    )
    return replace(settings, nats=nats)


def through(proxy: CutProxy) -> str:
    return proxy.url.replace("http://", "nats://")


async def records_of(settings: JetStreamSettings) -> list[str]:
    """What a fresh reader finds, from the first record on."""
    journal = await JetStreamJournal.open(settings)
    found = await journal.read(0, limit=1000)
    assert not isinstance(found, Trimmed)
    assert [record.sequence for record in found] == list(range(1, len(found) + 1))
    await journal.aclose()
    return [told(record) for record in found]


async def appended(journal: JetStreamJournal, value: str, **options: Any) -> int:
    outcome = await journal.append(purge(value, subject="s"), **{"expected_sequence": None, **options})
    assert isinstance(outcome, Record), outcome
    return outcome.sequence


class _LossyApi:
    """Loses the answers to the first publishes; `stores` says whether the publish itself arrives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, losses: int, stores: bool) -> None:
        self.publishes = 0
        real = JetStreamApi.store

        async def store(
            api: JetStreamApi, subject: str, content: bytes, headers: Mapping[str, str], *, timeout_s: float
        ) -> Stored:
            self.publishes += 1
            is_lost = self.publishes <= losses
            if not is_lost or stores:
                stored = await real(api, subject, content, headers, timeout_s=timeout_s)
            if is_lost:
                raise NatsSilent("the answer was lost")
            return stored

        monkeypatch.setattr(JetStreamApi, "store", store)


@pytest.mark.parametrize("expected", [None, 1])
@pytest.mark.parametrize("stores", [True, False])
async def test_a_lost_answer_leads_to_one_record(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch, expected: int | None, stores: bool
) -> None:
    journal = await JetStreamJournal.open(settings)
    assert await appended(journal, "/1") == 1
    lossy = _LossyApi(monkeypatch, losses=2, stores=stores)
    assert await appended(journal, "/2", expected_sequence=expected) == 2
    assert lossy.publishes == 3
    assert await appended(journal, "/3", expected_sequence=2) == 3
    await journal.aclose()
    assert await records_of(settings) == ["purged /1", "purged /2", "purged /3"]


async def test_a_record_whose_answer_was_lost_is_found_behind_those_of_others(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, other = await JetStreamJournal.open(settings), await JetStreamJournal.open(settings)
    real = JetStreamApi.store
    is_first = True

    async def store(api: JetStreamApi, *args: Any, **options: Any) -> Stored:
        nonlocal is_first
        stored = await real(api, *args, **options)
        if is_first:
            is_first = False
            await appended(other, "/other")
            raise NatsSilent("the answer was lost")
        return stored

    monkeypatch.setattr(JetStreamApi, "store", store)
    assert await appended(journal, "/mine", expected_sequence=0) == 1
    await journal.aclose()
    await other.aclose()
    assert await records_of(settings) == ["purged /mine", "purged /other"]


async def test_when_no_answer_ever_comes_the_caller_is_told_that_it_is_not_known(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await JetStreamJournal.open(quick(settings, *settings.nats.servers, patience_s=0.5))
    with monkeypatch.context() as patched:
        _LossyApi(patched, losses=1000, stores=False)
        with pytest.raises(AppendUncertain, match="before you repeat"):
            await appended(journal, "/1")
    assert await appended(journal, "/2") == 1
    await journal.aclose()


@pytest.mark.parametrize("expected", [None, 1])
async def test_a_copy_that_arrives_after_the_duplicate_window_is_not_stored(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch, expected: int | None
) -> None:
    journal = await JetStreamJournal.open(settings)
    await appended(journal, "/1")
    held_back: list[tuple[str, bytes, dict[str, str]]] = []
    real = JetStreamApi.store

    async def store(
        api: JetStreamApi, subject: str, content: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> Stored:
        held_back.append((subject, content, dict(headers)))
        if len(held_back) == 1:
            raise NatsSilent("it lies in the socket of a server that was stopped")
        return await real(api, subject, content, headers, timeout_s=timeout_s)

    monkeypatch.setattr(JetStreamApi, "store", store)
    assert await appended(journal, "/2", expected_sequence=expected) == 2
    subject, content, headers = held_back[0]
    del headers[MESSAGE_ID]  # what JetStream no longer knows after the window
    for value in ("/3", "/4"):
        answer = await real(JetStreamApi(journal.link), subject, content, headers, timeout_s=2)
        assert answer.error is not None
        await appended(journal, value)
    await journal.aclose()
    assert await records_of(settings) == [f"purged /{n}" for n in range(1, 5)]


async def test_an_append_goes_on_over_another_server_when_its_own_hangs(settings: JetStreamSettings) -> None:
    slow, other = [await CutProxy.start(settings.nats.servers[0]) for _ in range(2)]
    other.cut()
    journal = await JetStreamJournal.open(quick(settings, through(slow), through(other), patience_s=20))
    await appended(journal, "/1")
    slow.silence()
    other.mend()
    assert await appended(journal, "/2") == 2
    assert journal.link.connections >= 2, "the first connection was silent"
    slow.mend()
    assert await appended(journal, "/3") == 3
    await journal.aclose()
    await slow.aclose()
    await other.aclose()
    assert await records_of(settings) == [f"purged /{n}" for n in range(1, 4)]


async def test_a_partitioned_client_is_refused_in_time_and_heals(settings: JetStreamSettings) -> None:
    proxy = await CutProxy.start(settings.nats.servers[0])
    away, here = await JetStreamJournal.open(quick(settings, through(proxy), patience_s=1)), None
    assert await appended(away, "/1") == 1
    await away.wait_beyond(0)
    waiting = asyncio.create_task(away.wait_beyond(1))
    proxy.silence()
    here = await JetStreamJournal.open(settings)
    assert await appended(here, "/2") == 2
    began = time.monotonic()
    with pytest.raises(JournalUnavailable, match="NATS at nats://"):
        await away.append(purge("/lost", subject="t"), expected_sequence=0)
    with pytest.raises(JournalUnavailable):
        await away.position()
    assert time.monotonic() - began < 10
    assert away.silent_s(time.monotonic()) > 0.4
    assert not waiting.done()
    assert [told(record) for record in await _read(away, 0)] == ["purged /1"], "what is known is still read"
    proxy.mend()
    await asyncio.wait_for(waiting, 20)
    assert told((await _read(away, 1))[0]) == "purged /2"
    end = (await away.position()).sequence
    assert await appended(away, "/4") == end + 1
    assert len(await records_of(settings)) == end + 1
    for journal in (away, here):
        await journal.aclose()
    await proxy.aclose()


async def test_a_reader_that_was_away_while_records_were_trimmed_is_told_to_load_a_snapshot(
    settings: JetStreamSettings,
) -> None:
    proxy = await CutProxy.start(settings.nats.servers[0])
    away, here = await JetStreamJournal.open(quick(settings, through(proxy))), await JetStreamJournal.open(settings)
    await appended(here, "/1")
    await away.wait_beyond(0)
    assert len(await _read(away, 0)) == 1
    proxy.cut()
    for n in range(2, 51):
        await appended(here, f"/{n}")
    await here.trim(40)
    proxy.mend()
    await asyncio.wait_for(away.wait_beyond(49), 20)
    assert await away.read(1, limit=10) == Trimmed(41)
    assert [record.sequence for record in await _read(away, 40)] == list(range(41, 51))
    assert [record.sequence for record in await _read(away, 48)] == [49, 50]
    for journal in (away, here):
        await journal.aclose()
    await proxy.aclose()


async def test_a_broken_tail_is_taken_up_where_it_stood(settings: JetStreamSettings) -> None:
    proxy = await CutProxy.start(settings.nats.servers[0])
    reader, writer = await JetStreamJournal.open(quick(settings, through(proxy))), await JetStreamJournal.open(settings)
    for n in range(1, 31):
        await appended(writer, f"/{n}")
        if n % 10 == 0:
            proxy.cut()
            proxy.mend()
    await asyncio.wait_for(reader.wait_beyond(29), 20)
    assert [told(record) for record in await _read(reader, 0)] == [f"purged /{n}" for n in range(1, 31)]
    for journal in (reader, writer):
        await journal.aclose()
    await proxy.aclose()


async def test_two_writers_on_one_subject_lose_nothing(settings: JetStreamSettings) -> None:
    writers = [await JetStreamJournal.open(settings) for _ in range(2)]
    sequences = await asyncio.gather(*(appended(writers[n % 2], f"/{n}") for n in range(100)))
    assert sorted(sequences) == list(range(1, 101))
    outcomes = await asyncio.gather(
        *(writers[n % 2].append(purge("/x", subject="s"), expected_sequence=100) for n in range(10))
    )
    assert sum(isinstance(outcome, Record) for outcome in outcomes) == 1
    assert {outcome for outcome in outcomes if isinstance(outcome, Conflicted)} == {Conflicted(101)}
    for writer in writers:
        await writer.aclose()


@pytest.mark.parametrize("lost", [2, 5])
async def test_a_message_lost_on_its_way_to_the_tail_is_noticed(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """In the middle the next message shows it, at the end the server's next heartbeat."""
    real, seen = _Consumer.take, 0

    async def take(consumer: _Consumer, message: Msg) -> None:
        nonlocal seen
        is_record = consumer._tail is reader._tail and message.data != b""
        seen += is_record
        if not is_record or seen != lost:
            await real(consumer, message)

    monkeypatch.setattr(_Consumer, "take", take)
    reader = await JetStreamJournal.open(settings)
    writer = await JetStreamJournal.open(settings)
    for n in range(1, 6):
        await appended(writer, f"/{n}")
    async with asyncio.timeout(10):
        while reader._tail.last < 5:
            await reader._moved.wait()
    assert seen > 5, "what was lost was asked for again"
    assert [told(record) for record in reader._recent.after(0, 10)] == [f"purged /{n}" for n in range(1, 6)]
    for journal in (reader, writer):
        await journal.aclose()


async def test_writers_without_pause_on_one_subject_all_come_to_append(nats_cluster: NatsLayout) -> None:
    settings = settings_for(nats_cluster, f"t{secrets.token_hex(4)}")
    writers = [await JetStreamJournal.open(settings) for _ in range(3)]
    counts = [0, 0, 0]

    async def write(number: int) -> None:
        while min(counts) < 30:
            await appended(writers[number], "/x")
            counts[number] += 1

    # How evenly is the machine's affair; that none of them gives up, or never gets its turn, is ours.
    async with asyncio.timeout(60):
        await asyncio.gather(*(write(number) for number in range(3)))
    assert min(counts) >= 30
    for writer in writers:
        await writer.aclose()
    await delete_streams(nats_cluster, settings.name)


async def test_one_writer_sees_what_another_trimmed(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "FACTS_INTERVAL_S", 0.05)
    first, second = await JetStreamJournal.open(settings), await JetStreamJournal.open(settings)
    for n in range(1, 11):
        await appended(first, f"/{n}")
    await first.trim(6)
    async with asyncio.timeout(10):
        while await second.read(5, limit=1) != Trimmed(7):
            await asyncio.sleep(0.01)
    await second.trim(3)
    assert await first.read(5, limit=1) == Trimmed(7), "trimming never goes back"
    fresh = await JetStreamJournal.open(settings)
    assert await fresh.read(5, limit=1) == Trimmed(7)
    for journal in (first, second, fresh):
        await journal.aclose()


async def test_a_new_epoch_ends_the_former_for_everyone(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "FACTS_INTERVAL_S", 0.05)
    old = await JetStreamJournal.open(settings)
    await appended(old, "/1")
    waiting = asyncio.create_task(old.wait_beyond(1))
    epoch = await JetStreamJournal.begin_epoch(settings, instead_of=old.epoch, after=500)
    with pytest.raises(JournalUnavailable):
        await old.append(purge("/2"), expected_sequence=None)
    with pytest.raises(EpochEnded, match=epoch):
        await waiting
    with pytest.raises(EpochEnded):
        await old.read(0, limit=1)
    new = await JetStreamJournal.open(settings)
    assert await new.position() == Position(epoch, 500)
    assert await new.read(0, limit=1) == Trimmed(501)
    assert await new.read(500, limit=1) == ()
    assert await appended(new, "/2") == 501
    for journal in (old, new):
        await journal.aclose()


async def test_a_stream_that_is_gone_is_never_made_anew_by_itself(settings: JetStreamSettings) -> None:
    journal = await JetStreamJournal.open(settings)
    await appended(journal, "/1")
    await JetStreamApi(journal.link).delete(f"{settings.name}-{journal.epoch}")
    with pytest.raises(JournalUnavailable, match="nothing was appended"):
        await appended(journal, "/2")
    with pytest.raises(JournalUnavailable, match="restore"):
        await JetStreamJournal.open(settings)
    await journal.aclose()


@pytest.mark.parametrize("preloaded", [1000, 0])
async def test_a_record_of_a_newer_program_stops_the_reader_there(
    settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch, preloaded: int
) -> None:
    monkeypatch.setattr(jetstream, "PRELOADED_RECORDS", preloaded)
    journal = await JetStreamJournal.open(settings)
    await appended(journal, "/1")
    await journal.aclose()
    link = await NatsLink.open(settings.nats, name="newer")
    content = f'{{"version":{RECORD_VERSION + 1},"sequence":0,"strange":true}}'.encode()
    await link.request(f"{settings.name}.{journal.epoch}.s", content, timeout_s=2)
    await link.aclose()
    journal = await JetStreamJournal.open(settings)
    await appended(journal, "/3")
    assert [record.sequence for record in await _read(journal, 0)] == [1]
    with pytest.raises(UnknownRecord, match="sequence 2"):
        await journal.read(1, limit=10)
    assert [record.sequence for record in await _read(journal, 2)] == [3]
    await journal.aclose()


async def test_appends_that_wait_are_bounded(settings: JetStreamSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetstream, "MAX_WAITING_APPENDS", 5)
    monkeypatch.setattr(jetstream, "MAX_WAITING_BYTES", 5000)
    journal = await JetStreamJournal.open(settings)
    outcomes = await asyncio.gather(*(appended(journal, "/x") for _ in range(9)), return_exceptions=True)
    assert [isinstance(outcome, JournalUnavailable) for outcome in outcomes] == [False] * 5 + [True] * 4
    outcomes = await asyncio.gather(*(appended(journal, "x" * 3000) for _ in range(2)), return_exceptions=True)
    assert [isinstance(outcome, JournalUnavailable) for outcome in outcomes] == [False, True]
    assert await appended(journal, "/later") == 7
    await journal.aclose()


async def test_a_full_stream_refuses_and_takes_records_again_once_trimmed(settings: JetStreamSettings) -> None:
    journal = await JetStreamJournal.open(replace(settings, max_bytes=100_000))
    outcomes = await asyncio.gather(*(appended(journal, "x" * 10_000) for _ in range(20)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, JournalUnavailable)]
    count = len(outcomes) - len(refused)
    assert 5 < count < 12
    assert all("refuses records" in str(one) for one in refused)
    assert (await journal.position()).sequence == count
    await journal.trim(count)
    assert await appended(journal, "/small") == count + 1
    await journal.aclose()


async def _read(journal: JetStreamJournal, after: int) -> tuple[Record, ...]:
    found = await journal.read(after, limit=1000)
    assert not isinstance(found, Trimmed)
    return found
