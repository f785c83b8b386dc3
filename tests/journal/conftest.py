"""The journals that the suite runs over: SQLite, and JetStream on real servers in three layouts."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_api import JetStreamApi
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.journal import Journal
from cdn.journal.nats_link import NatsLink
from cdn.journal.nats_settings import NatsSettings
from cdn.journal.sqlite import SqliteJournal
from tests.servers.nats import NatsLayout, shared_layout

OpenJournal = Callable[[str], Awaitable[Journal]]
"""Opens the journal of that name; the same name gives the same history again."""


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of a test run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def nats_single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsLayout]:
    """One NATS server: one per test run."""
    with shared_layout(_shared(tmp_path_factory), "single") as layout:
        yield layout


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsLayout]:
    """Three NATS servers that replicate: one cluster per test run."""
    with shared_layout(_shared(tmp_path_factory), "cluster") as layout:
        yield layout


@pytest.fixture(scope="session")
def nats_leaf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsLayout]:
    """A hub and a leaf node: one pair per test run."""
    with shared_layout(_shared(tmp_path_factory), "leaf") as layout:
        yield layout


def settings_for(layout: NatsLayout, name: str, *, near_leaf: bool = False) -> JetStreamSettings:
    """A journal on the layout's streams; `near_leaf` reads from the leaf's mirror and appends through it."""
    urls = (layout.leaf.url,) if near_leaf and layout.leaf is not None else layout.urls
    return JetStreamSettings(
        NatsSettings(urls),
        name,
        replicas=layout.replicas,
        domain=layout.domain,
        mirror_domain=layout.leaf_domain if near_leaf else "",
        max_bytes=64 * 1024 * 1024,
    )


async def delete_streams(layout: NatsLayout, prefix: str) -> None:
    """Remove what journals whose names begin with `prefix` left on the servers."""
    for node in layout.nodes[:1] if layout.leaf is None else layout.nodes:
        link = await NatsLink.open(NatsSettings((node.url,)), name="cleaner")
        api = JetStreamApi(link)
        for stream in await api.names():
            if stream.removeprefix("KV_").startswith(prefix):
                await api.delete(stream)
        await link.aclose()


_LAYOUT_OF = {"nats": "nats_single", "nats-cluster": "nats_cluster", "nats-leaf": "nats_leaf"}


QUICK_SEEDS = 3
"""Random runs of the suite over NATS outside the long form."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The suite's further random runs over NATS belong to the long form."""
    for item in items:
        call = getattr(item, "callspec", None)
        if call is None or item.path.parent != Path(__file__).parent:
            continue
        if call.params.get("open_journal", "sqlite") != "sqlite" and call.params.get("seed", 0) >= QUICK_SEEDS:
            item.add_marker(pytest.mark.soak)


@pytest.fixture(params=["sqlite", "nats", "nats-cluster", pytest.param("nats-leaf", marks=pytest.mark.soak)])
async def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenJournal]:
    opened: list[Journal] = []
    prefix = f"t{secrets.token_hex(4)}-"

    async def open_sqlite(name: str) -> Journal:
        journal = await SqliteJournal.open(tmp_path / f"{name}.db")
        opened.append(journal)
        return journal

    async def open_nats(name: str) -> Journal:
        near_leaf = layout.leaf is not None
        journal = await JetStreamJournal.open(settings_for(layout, prefix + name, near_leaf=near_leaf))
        opened.append(journal)
        return journal

    if request.param == "sqlite":
        yield open_sqlite
    else:
        layout: NatsLayout = request.getfixturevalue(_LAYOUT_OF[request.param])
        yield open_nats
    for journal in opened:
        await journal.aclose()
    if request.param != "sqlite":
        await delete_streams(layout, prefix)


@pytest.fixture
async def journal(open_journal: OpenJournal) -> Journal:
    return await open_journal("journal")
