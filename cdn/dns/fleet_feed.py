"""Asking control for the fleet, without end, and keeping its last word on disk for a start without control."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp

from cdn.dns.fleet_nodes import MAX_VIEW_BYTES, SeenFleet, UnreadableView, read_view
from cdn.errors import CdnError, Unavailable

VIEW_PATH = "/v1/fleet/view"

WAIT_S = 1.0
"""How long control keeps the question when nothing has changed: its answer is the sign that it is there."""

GATHER_S = 0.2
"""Between an answer and the next question: while shares rise, every look at the fleet is another one."""

NODES_PER_S = 10_000
"""Of larger fleets the views come less often, so that neither side does little else: at 16,384 nodes every 1.8 s."""

PATIENCE_S = 3.0
"""For an answer, beyond which another control is asked: the view freezes after five seconds without one."""

PAUSE_S = 0.5
"""Before the next question when the last one failed; up to twice as long, so that not all ask in step."""

KEEP_EVERY_S = 5.0
"""Between two copies on disk: what is lost of it costs nothing as soon as control is there."""

_log = logging.getLogger(__name__)


class FleetFeed:
    """Follows the view of whichever control answers."""

    def __init__(
        self,
        control_urls: Sequence[str],
        token: str,
        path: Path,
        hear: Callable[[SeenFleet], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`hear` is called with every view, also one that is as before: that it came is news. `path` is the copy."""
        self.fault: str | None = None
        """Why the last question was not answered, None when it was."""
        self._urls = tuple(url.rstrip("/") + VIEW_PATH for url in control_urls)
        self._turn = 0
        self._headers = {"Authorization": f"Bearer {token}"}
        self._path = path
        self._hear = hear
        self._ssl: ssl.SSLContext | bool = True if tls is None else tls
        self._newest = b""
        self._has_unkept = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as client:
            number = -1
            while True:
                try:
                    content = await self._ask(client, number)
                    seen = await asyncio.to_thread(read_view, content)
                except (aiohttp.ClientError, OSError, TimeoutError, CdnError) as exc:
                    self._failed(str(exc) or type(exc).__name__)
                    await asyncio.sleep(PAUSE_S * random.uniform(1.0, 2.0))  # noqa: S311 - jitter, not a secret
                    number = -1
                    continue
                self.fault = None
                self._hear(seen)
                # A view that control itself calls frozen is no word of the journal: what was kept before is better.
                if seen.number != number and not (seen.is_frozen and self._path.exists()):
                    self._newest = content
                    self._has_unkept.set()
                number = seen.number
                await asyncio.sleep(GATHER_S + len(seen.nodes) / NODES_PER_S)

    async def keep(self) -> None:
        """Write the newest view to disk now and then. Until cancelled."""
        while True:
            await self._has_unkept.wait()
            self._has_unkept.clear()
            try:
                await asyncio.to_thread(_replace, self._path, self._newest)
            except OSError as exc:
                _log.warning("the view of the fleet was not kept in %s: %s", self._path, exc)
            await asyncio.sleep(KEEP_EVERY_S)

    async def _ask(self, client: aiohttp.ClientSession, number: int) -> bytes:
        """Raises Unavailable, UnreadableView, ClientError, OSError, TimeoutError."""
        query = {} if number < 0 else {"beyond": str(number), "wait": f"{WAIT_S:g}"}
        url = self._urls[self._turn % len(self._urls)]
        async with client.get(url, params=query, allow_redirects=False, ssl=self._ssl) as response:
            if response.status != 200:
                raise Unavailable(f"control answers {response.status} when asked for the fleet")
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > MAX_VIEW_BYTES:
                    raise UnreadableView(f"control's view of the fleet is longer than {MAX_VIEW_BYTES} bytes")
        return bytes(content)

    def _failed(self, fault: str) -> None:
        if fault != self.fault:
            _log.warning("%s does not say how the fleet is: %s", self._urls[self._turn % len(self._urls)], fault)
        self.fault = fault
        self._turn += 1


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
