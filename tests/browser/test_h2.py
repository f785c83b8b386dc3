"""A browser that is shown https speaks HTTP/2 with `cdn up`, for a page and everything on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.test_open_tabs import MAIN, deploy
from tests.e2e.running import RunningCdn
from tests.e2e.secure_visits import port_of, trusting, visit_once_there
from tests.servers.chromium import chromium

HOST = "app.cdn.localhost"

SPOKEN = (
    "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    ".map(entry => entry.nextHopProtocol)"
)
"""What each thing of the page came by (ALPN's names)."""


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_browser_speaks_h2(
    start_cdn: Callable[..., RunningCdn], builds: dict[str, Path], tmp_path: Path, workers: str
) -> None:
    cdn = await asyncio.to_thread(start_cdn, "--workers", workers, "--https", "127.0.0.1:0")
    await asyncio.to_thread(cdn.run, "site", "create", "app")
    await asyncio.to_thread(deploy, cdn, builds["one"])
    await asyncio.to_thread(visit_once_there, cdn.https_url, HOST, trusting(cdn.root_file))
    async with chromium(tmp_path) as browser:
        tab = await browser.tab()
        await tab.send("Security.setIgnoreCertificateErrors", ignore=True)  # its roots are not ours to change
        for _ in range(2):
            await tab.open(f"https://{HOST}:{port_of(cdn.https_url)}/")
            assert await tab.wait_for(MAIN) == "main one"
            spoken = await tab.ask(SPOKEN)
            assert len(spoken) > 1
            assert set(spoken) == {"h2"}
        assert tab.errors == []
