"""JetStream journals over clusters that lose their leader and leaf nodes that lose their hub."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdn.journal import jetstream
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_api import JetStreamApi
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.journal import AppendUncertain, JournalUnavailable, Trimmed
from cdn.journal.record import Record
from tests.journal.conftest import delete_streams, settings_for
from tests.journal.ledger import purge, told
from tests.servers.nats import (
    NatsLayout,
    start_again,
    start_cluster,
    start_hub_and_leaf,
    start_single,
    stop_layout,
    stop_node,
)


def _hasty(settings: JetStreamSettings, patience_s: float) -> JetStreamSettings:
    nats = replace(
        settings.nats, connect_timeout_s=0.5, request_timeout_s=0.5, ping_interval_s=0.5, patience_s=patience_s
    )
    return replace(settings, nats=nats)


async def _appended(journal: JetStreamJournal, value: str, **options: Any) -> int:
    outcome = await journal.append(purge(value, subject="s"), **{"expected_sequence": None, **options})
    assert isinstance(outcome, Record), outcome
    return outcome.sequence


async def _all(journal: JetStreamJournal) -> list[Record]:
    found: list[Record] = []
    while len(found) < (await journal.position()).sequence:
        batch = await journal.read(len(found), limit=1000)
        assert not isinstance(batch, Trimmed)
        found.extend(batch)
    return found


async def _leader(journal: JetStreamJournal, settings: JetStreamSettings) -> str:
    info = await JetStreamApi(journal.link).info(f"{settings.name}-{journal.epoch}")
    assert info is not None
    return str(info.cluster["leader"])


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[NatsLayout]:
    """A cluster that may be harmed; whichever of its servers run at the end are ended."""
    layout = start_cluster(tmp_path / "nats")
    pids = {node.name: node.pid for node in layout.nodes}
    running.append(pids)
    try:
        yield layout
    finally:
        running.pop()
        for pid in pids.values():
            stop_node(pid)


running: list[dict[str, int]] = []
"""Process ids by name of the cluster that the test harms."""


class _Writer:
    """Appends without pause and remembers what was said of each value."""

    def __init__(self, journal: JetStreamJournal, name: str) -> None:
        self._journal = journal
        self._name = name
        self.acknowledged: dict[str, int] = {}
        self.uncertain: set[str] = set()
        self.refused: set[str] = set()
        self.is_stopped = False

    async def run(self) -> None:
        number = 0
        while not self.is_stopped:
            number += 1
            value = f"/{self._name}/{number}"
            try:
                self.acknowledged[value] = await _appended(self._journal, value)
            except AppendUncertain:
                self.uncertain.add(value)
            except JournalUnavailable:
                self.refused.add(value)


async def _all_go_on(writers: list[_Writer], count: int) -> None:
    """Return when each has appended so many more."""
    wanted = [len(writer.acknowledged) + count for writer in writers]
    async with asyncio.timeout(60):
        while any(len(writer.acknowledged) < one for writer, one in zip(writers, wanted, strict=True)):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("rounds", "how"),
    [
        (1, signal.SIGKILL),
        pytest.param(4, signal.SIGKILL, marks=pytest.mark.soak),
        pytest.param(3, signal.SIGSTOP, marks=pytest.mark.soak),
    ],
)
async def test_losing_the_leader_during_appends_loses_and_repeats_nothing(
    own_cluster: NatsLayout, rounds: int, how: signal.Signals
) -> None:
    settings = _hasty(settings_for(own_cluster, "journal"), patience_s=20)
    journals = [await JetStreamJournal.open(settings) for _ in range(2)]
    writers = [_Writer(journals[n % 2], str(n)) for n in range(4)]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    pids = running[-1]
    for _ in range(rounds):
        await _all_go_on(writers, 20)
        victim = own_cluster.named(await _leader(journals[0], settings))
        if how is signal.SIGKILL:
            stop_node(pids[victim.name])
        else:
            os.kill(pids[victim.name], how)
        await _all_go_on(writers, 1)
        if how is signal.SIGKILL:
            pids[victim.name] = start_again(victim).pid
        else:
            os.kill(pids[victim.name], signal.SIGCONT)
    for writer in writers:
        writer.is_stopped = True
    await asyncio.gather(*tasks)
    found = await _all(journals[1])
    assert [record.sequence for record in found] == list(range(1, len(found) + 1))
    values = [told(record).removeprefix("purged ") for record in found]
    assert len(set(values)) == len(values), "a record was stored twice"
    for writer in writers:
        for value, sequence in writer.acknowledged.items():
            assert values[sequence - 1] == value, "an acknowledged record was lost"
        assert not writer.refused & set(values), "nothing was appended, it was said"
    for journal in journals:
        await journal.aclose()


async def test_without_a_majority_it_refuses_in_time_and_heals_without_being_opened_again(
    own_cluster: NatsLayout,
) -> None:
    settings = _hasty(settings_for(own_cluster, "journal"), patience_s=2)
    journal = await JetStreamJournal.open(settings)
    await _appended(journal, "/1")
    await journal.wait_beyond(0)
    pids = running[-1]
    ended = own_cluster.nodes[:2]
    for node in ended:
        stop_node(pids[node.name])
    began = time.monotonic()
    with pytest.raises(JournalUnavailable):
        await _appended(journal, "/2")
    assert time.monotonic() - began < 10
    assert len(await journal.read(0, limit=10)) == 1  # type: ignore[arg-type]
    for node in ended:
        pids[node.name] = start_again(node).pid
    await _until_appended(journal, "/3")
    values = [told(record) for record in await _all(journal)]
    assert values[0] == "purged /1"
    assert values.count("purged /2") <= 1
    assert values[-1] == "purged /3"
    await journal.aclose()


async def _until_appended(journal: JetStreamJournal, value: str) -> int:
    """Append, again while it is refused; an append whose fate is unknown is looked for before it is repeated."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await _appended(journal, value)
            except AppendUncertain:
                found = [record for record in await _all(journal) if told(record) == f"purged {value}"]
                if found:
                    return found[0].sequence
            except JournalUnavailable:
                continue


async def test_a_server_that_was_killed_and_started_again_has_every_record(tmp_path: Path) -> None:
    layout = start_single(tmp_path / "nats")
    node = layout.nodes[0]
    try:
        journal = await JetStreamJournal.open(_hasty(settings_for(layout, "journal"), patience_s=1))
        for n in range(1, 21):
            assert await _appended(journal, f"/{n}") == n
        stop_node(node.pid)
        with pytest.raises(JournalUnavailable, match="NATS at nats://127"):
            await _appended(journal, "/gone")
        node = start_again(node)
        end = await _until_appended(journal, "/back")
        assert [record.sequence for record in await _all(journal)] == list(range(1, end + 1))
        await journal.wait_beyond(end - 1)
        await journal.aclose()
    finally:
        stop_node(node.pid)


@pytest.fixture
async def leaf(nats_leaf: NatsLayout) -> AsyncIterator[tuple[JetStreamSettings, JetStreamSettings]]:
    """Settings of one journal at the hub and near the leaf."""
    name = f"t{secrets.token_hex(4)}"
    yield settings_for(nats_leaf, name), settings_for(nats_leaf, name, near_leaf=True)
    await delete_streams(nats_leaf, name)


async def test_what_the_hub_appends_is_read_at_the_leaf_and_the_other_way_round(
    leaf: tuple[JetStreamSettings, JetStreamSettings],
) -> None:
    hub, near = [await JetStreamJournal.open(settings) for settings in leaf]
    assert hub.epoch == near.epoch
    first = await hub.append(purge("/hub"), expected_sequence=0)
    await near.wait_beyond(0)
    assert await near.read(0, limit=10) == (first,)
    second = await near.append(purge("/leaf"), expected_sequence=1)
    await hub.wait_beyond(1)
    assert await hub.read(0, limit=10) == (first, second)
    for journal in (hub, near):
        await journal.aclose()


async def test_a_mirror_is_trimmed_after_its_origin_and_a_new_one_begins_behind_the_trim(
    leaf: tuple[JetStreamSettings, JetStreamSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "FACTS_INTERVAL_S", 0.05)
    at_hub, at_leaf = leaf
    hub, near = [await JetStreamJournal.open(settings) for settings in leaf]
    stream = f"{at_hub.name}-{hub.epoch}"
    for n in range(10):
        await _appended(hub, f"/{n}")
    await near.wait_beyond(9)
    assert len(await near.read(0, limit=100)) == 10  # type: ignore[arg-type]
    await hub.trim(6)
    mirror = JetStreamApi(near.link, at_leaf.mirror_domain)
    async with asyncio.timeout(10):
        while True:
            info = await mirror.info(stream)
            assert info is not None
            if info.state.first_seq == 7:
                break
            await asyncio.sleep(0.02)
    assert await near.read(5, limit=1) == Trimmed(7)
    await near.aclose()
    link = hub.link
    assert await JetStreamApi(link, at_hub.domain).info(stream) is not None
    await _delete_mirror(at_leaf, stream)
    near = await JetStreamJournal.open(at_leaf)
    assert await near.read(5, limit=1) == Trimmed(7)
    assert [record.sequence for record in await near.read(6, limit=100)] == [7, 8, 9, 10]  # type: ignore[union-attr]
    for journal in (hub, near):
        await journal.aclose()


async def _delete_mirror(settings: JetStreamSettings, stream: str) -> None:
    journal = await JetStreamJournal.open(settings)
    link = journal.link
    await JetStreamApi(link, settings.mirror_domain).delete(stream)
    await journal.aclose()


@pytest.mark.soak
async def test_with_the_hub_gone_the_leaf_reads_on_and_heals(tmp_path: Path) -> None:
    layout = start_hub_and_leaf(tmp_path / "nats")
    hub = layout.nodes[0]
    try:
        settings = _hasty(settings_for(layout, "journal", near_leaf=True), patience_s=2)
        near = await JetStreamJournal.open(settings)
        for n in range(1, 6):
            await _appended(near, f"/{n}")
        assert len(await near.read(0, limit=10)) == 5  # type: ignore[arg-type]
        stop_node(hub.pid)
        assert len(await near.read(2, limit=10)) == 3  # type: ignore[arg-type]
        late = await JetStreamJournal.open(settings)
        assert late.epoch == near.epoch
        assert [record.sequence for record in await late.read(0, limit=10)] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
        with pytest.raises(JournalUnavailable):
            await _appended(near, "/gone")
        with pytest.raises(JournalUnavailable):
            await near.position()
        hub = start_again(hub)
        end = await _until_appended(near, "/back")
        await asyncio.wait_for(late.wait_beyond(end - 1), 60)  # servers look for a lost origin every 10 s or so
        assert told((await late.read(end - 1, limit=1))[0]) == "purged /back"  # type: ignore[index]
        for journal in (near, late):
            await journal.aclose()
    finally:
        stop_node(hub.pid)
        stop_layout(layout)
