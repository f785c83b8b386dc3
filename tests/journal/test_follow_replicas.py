"""A node that knows several controls follows whichever is there."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from cdn.journal.follower import FollowerSettings
from tests.journal.ledger import purge
from tests.journal.plane import PATIENCE_S, node, plane


async def test_a_control_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with plane(tmp_path) as control:
            await control.append(purge("/1"))
            async with node(tmp_path, [gone, gone, f"{control.url}/"]) as edge:
                assert (await control.complete(edge)).position.sequence == 1


async def test_when_its_control_goes_it_follows_the_next_and_takes_its_word(tmp_path: Path) -> None:
    """Of another epoch here, to tell them apart; replicas have one."""
    async with plane(tmp_path) as first:
        url = first.url
        await first.append(purge("/1"))
        async with plane(tmp_path / "other") as other, node(tmp_path, [url, other.url]) as edge:
            await first.complete(edge)
            assert not other.directory.nodes()
            await first.hub.aclose()
            async with asyncio.timeout(PATIENCE_S):
                while not other.directory.nodes():
                    await asyncio.sleep(0.005)
            await other.append(purge("/2"))
            receipt = await other.complete(edge)
            assert receipt.position.epoch == other.journal.epoch


async def test_a_control_that_says_nothing_is_left(tmp_path: Path) -> None:
    impatient = FollowerSettings(connect_timeout_s=0.3, silence_s=5.0, first_pause_s=0.005, longest_pause_s=0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # the kernel takes the connection, and nobody answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with plane(tmp_path) as control, node(tmp_path, [url, control.url], settings=impatient) as edge:
            await control.append(purge("/1"))
            await control.complete(edge)
