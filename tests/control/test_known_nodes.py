"""A node that control knows is let in even when nothing can be written; what it forgets it writes anew."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

from cdn.control.node_directory import NodeDirectory
from cdn.errors import Conflict
from cdn.fleet.node import NodeFacts

FACTS = NodeFacts("test", "eu", ("127.0.0.1:8080",))


async def connect(directory: NodeDirectory, facts: NodeFacts = FACTS) -> None:
    await directory.connected("n1", facts, None, lease_s=1.0, record_version=1)


def kept(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT node_id, region FROM node").fetchall()
    finally:
        connection.close()


async def test_a_node_that_comes_back_as_it_was_needs_no_write(tmp_path: Path) -> None:
    path = tmp_path / "nodes.db"
    for _ in range(2):
        directory = await NodeDirectory.open(path)
        await connect(directory)
        directory.disconnected("n1")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(2):  # well below the time that a lock is waited for
            await connect(directory)
        holder.execute("ROLLBACK")
        holder.close()
        await directory.aclose()
    assert kept(path) == [("n1", "eu")]


async def test_what_changed_is_written(tmp_path: Path) -> None:
    directory = await NodeDirectory.open(tmp_path / "nodes.db")
    await connect(directory)
    await connect(directory, replace(FACTS, region="us"))
    await directory.aclose()
    assert kept(tmp_path / "nodes.db") == [("n1", "us")]


async def test_a_node_that_returns_while_it_is_forgotten_is_kept(tmp_path: Path) -> None:
    directory = await NodeDirectory.open(tmp_path / "nodes.db")
    await connect(directory)
    directory.left("n1")
    forgetting = asyncio.create_task(directory.forget("n1"))
    await asyncio.sleep(0)  # the deletion is on its way
    await connect(directory)
    with contextlib.suppress(Conflict):  # or it was forgotten first and is new now: either way it is there
        await forgetting
    assert [node.node_id for node in directory.nodes()] == ["n1"]
    await directory.aclose()
    assert kept(tmp_path / "nodes.db") == [("n1", "eu")]


async def test_where_a_node_stands_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "nodes.db"
    directory = await NodeDirectory.open(path)
    here = replace(FACTS, location=(50.11, 8.68), bias=-20)
    await connect(directory, here)
    (kept_node,) = directory.kept()
    assert (kept_node.location, kept_node.bias) == (here.location, here.bias)
    await directory.aclose()
    directory = await NodeDirectory.open(path)
    facts = directory.node("n1").facts
    assert (facts.location, facts.bias) == (here.location, here.bias)
    directory.left("n1")
    await directory.forget("n1")
    await directory.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT * FROM place").fetchall() == []
    connection.close()


async def test_a_file_of_the_release_before_is_used(tmp_path: Path) -> None:
    path = tmp_path / "nodes.db"
    directory = await NodeDirectory.open(path)
    await connect(directory)
    await directory.aclose()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE place")  # as that release left it
    connection.commit()
    connection.close()
    directory = await NodeDirectory.open(path)
    facts = directory.node("n1").facts
    assert (facts.region, facts.location, facts.bias) == ("eu", None, 0)
    await directory.aclose()


async def test_how_busy_a_node_is_shows_in_steps(tmp_path: Path) -> None:
    directory = await NodeDirectory.open(tmp_path / "nodes.db")
    await connect(directory)
    told: list[float] = []
    directory.watch(lambda: told.append(directory.load("n1")))
    for load in (0.04, 0.5, 0.55, 0.58, 0.44, 0.0, 99.0, -1.0):
        directory.heard_load("n1", load)
    assert told == [0.5, 0.0, 10.0, 0.0]
    await directory.aclose()
