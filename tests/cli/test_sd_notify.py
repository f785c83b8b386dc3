"""What the service manager hears: a socket of the test stands for systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from pathlib import Path

import pytest

from cdn.cli.sd_notify import ServiceManager


def manager_socket(address: str) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(address)
    end.settimeout(10)
    return end


@pytest.mark.parametrize("is_abstract", [False, True])
def test_it_is_told_of_start_and_stop(tmp_path: Path, is_abstract: bool) -> None:
    name = f"cdn-{secrets.token_hex(8)}"
    shown = f"@{name}" if is_abstract else str(tmp_path / "notify")
    with manager_socket(f"\0{name}" if is_abstract else shown) as end:
        environ = {"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "1000", "PATH": "/bin"}
        manager = ServiceManager.from_environ(environ)
        assert environ == {"PATH": "/bin"}, "children are none of its service's"
        manager.ready()
        assert end.recv(100) == b"READY=1"
        manager.stopping()
        assert end.recv(100) == b"STOPPING=1"


async def heard(end: socket.socket) -> bytes:
    return await asyncio.to_thread(end.recv, 100)


async def test_signs_of_life_come_at_half_of_the_time_and_stop_with_the_loop(tmp_path: Path) -> None:
    with manager_socket(str(tmp_path / "notify")) as end:
        manager = ServiceManager(str(tmp_path / "notify"), watchdog_s=0.2)
        async with manager.watching():
            begun = time.monotonic()
            for _ in range(4):
                assert await heard(end) == b"WATCHDOG=1"
            assert time.monotonic() - begun >= 0.29
            end.setblocking(False)
            time.sleep(0.3)  # the loop hangs
            with pytest.raises(BlockingIOError):
                end.recv(100)
        await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            end.recv(100)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "1000"},
        {"WATCHDOG_USEC": "1000"},
    ],
)
async def test_without_a_manager_nothing_is_said(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager.from_environ(environ)
    async with manager.watching():
        manager.ready()
        manager.stopping()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("more", "is_watched"),
    [
        ({"WATCHDOG_USEC": "1000"}, True),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
async def test_only_who_is_watched_shows_life(tmp_path: Path, more: dict[str, str], is_watched: bool) -> None:
    with manager_socket(str(tmp_path / "notify")) as end:
        end.setblocking(False)
        manager = ServiceManager.from_environ({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more})
        async with manager.watching():
            await asyncio.sleep(0)
            if is_watched:
                assert end.recv(100) == b"WATCHDOG=1"
            else:
                with pytest.raises(BlockingIOError):
                    end.recv(100)


def test_a_manager_that_is_gone_costs_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ServiceManager(str(tmp_path / "nowhere")).ready()
    assert "the service manager was not told READY=1" in caplog.text
