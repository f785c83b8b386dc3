"""A line between two processes of this machine that the demonstration can cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.e2e.cut_proxy import CutProxy


class CuttableLine:
    """Leads to one URL."""

    def __init__(self, proxy: CutProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.url = proxy.url
        self._proxy = proxy
        self._loop = loop

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def mend(self) -> None:
        """Take connections again."""
        self._loop.call_soon_threadsafe(self._proxy.mend)


@contextlib.contextmanager
def line_to(url: str) -> Iterator[CuttableLine]:
    """A line that is there until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="line", daemon=True)
    thread.start()
    proxy = asyncio.run_coroutine_threadsafe(CutProxy.start(url), loop).result()
    try:
        yield CuttableLine(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
