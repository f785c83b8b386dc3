"""No broken tabs (DESIGN I4): a page from before a deploy, or after a rollback, finds its chunks; nothing else stays.

Seen as a browser sees it, with what a real bundler made of one application twice.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.running import RunningCdn, write_bundle
from tests.servers.chromium import Tab, chromium

HOST = "app.cdn.localhost"

MAIN = "document.querySelector('#main').textContent"
PAGE = "document.querySelector('#page').textContent"
COLOUR = "getComputedStyle(document.querySelector('#main')).color"
PURPLE = "rgb(102, 51, 153)"


def deploy(cdn: RunningCdn, folder: Path, *options: str) -> str:
    done = cdn.run("deploy", str(folder), "--site", "app", *options)
    assert done["receipt"]["complete"]
    return str(done["deploy"]["id"])


def url_of(cdn: RunningCdn, host: str = HOST, path: str = "/") -> str:
    return f"http://{host}:{urlsplit(cdn.http_url).port}{path}"


async def click_more(tab: Tab) -> str:
    """What the part of the page says that is loaded only now."""
    await tab.ask("document.querySelector('#more').click()")
    return str(await tab.wait_for(PAGE))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_tab_from_before_a_deploy_finds_its_chunks(
    start_cdn: Callable[..., RunningCdn], builds: dict[str, Path], tmp_path: Path, workers: str
) -> None:
    cdn = await asyncio.to_thread(start_cdn, "--workers", workers)
    await asyncio.to_thread(cdn.run, "site", "create", "app")
    first = await asyncio.to_thread(deploy, cdn, builds["one"])
    async with chromium(tmp_path) as browser:
        before = await browser.tab()
        await before.open(url_of(cdn))
        assert await before.wait_for(MAIN) == "main one"
        assert await before.wait_for(COLOUR) == PURPLE

        await asyncio.to_thread(deploy, cdn, builds["two"])
        assert await click_more(before) == "page one 1", "its own chunks, not those of the deploy that is active"
        after = await browser.tab()
        await after.open(url_of(cdn))
        assert await after.wait_for(MAIN) == "main two"

        done = await asyncio.to_thread(cdn.run, "rollback", "--site", "app")
        assert done["deploy"]["id"] == first
        assert await click_more(after) == "page two 2", "a rollback breaks no tab either"
        again = await browser.tab()
        await again.open(url_of(cdn))
        assert await again.wait_for(MAIN) == "main one"
        assert await click_more(again) == "page one 1"
        assert [tab.errors for tab in (before, after, again)] == [[], [], []]


async def test_every_page_is_of_one_build_while_deploys_go_on(
    start_cdn: Callable[..., RunningCdn], builds: dict[str, Path], tmp_path: Path
) -> None:
    cdn = await asyncio.to_thread(start_cdn)
    await asyncio.to_thread(cdn.run, "site", "create", "app")
    await asyncio.to_thread(deploy, cdn, builds["one"])
    is_over = asyncio.Event()

    async def deploy_again_and_again() -> None:
        build = "two"
        while not is_over.is_set():
            await asyncio.to_thread(deploy, cdn, builds[build])
            build = "one" if build == "two" else "two"

    deploying = asyncio.create_task(deploy_again_and_again())
    seen = set[str]()
    try:
        async with chromium(tmp_path) as browser:
            tab = await browser.tab()
            for _ in range(40):
                await tab.open(url_of(cdn))
                build = str(await tab.wait_for(MAIN)).removeprefix("main ")
                assert await click_more(tab) == {"one": "page one 1", "two": "page two 2"}[build]
                seen.add(build)
            assert tab.errors == []
    finally:
        is_over.set()
        await deploying
    assert seen == {"one", "two"}, "both were met"


async def test_what_a_deploy_leaves_out_is_gone(
    start_cdn: Callable[..., RunningCdn], builds: dict[str, Path], tmp_path: Path
) -> None:
    """Secrets, pages, service workers, files of previews: only what carries a fingerprint outlives its deploy."""
    cdn = await asyncio.to_thread(start_cdn)
    await asyncio.to_thread(cdn.run, "site", "create", "app")
    with_more = shutil.copytree(builds["one"], tmp_path / "more")
    write_bundle(with_more, {"/old.html": b"<p>old", "/sw.js": b"self", "/.env": b"KEY=1", "/data.json": b"{}"})
    gone = ("/old.html", "/old", "/sw.js", "/.env", "/data.json")
    await asyncio.to_thread(deploy, cdn, with_more)
    served = [cdn.visit(HOST, path).status for path in gone]
    assert served[:3] == [200, 200, 200]
    preview = shutil.copytree(builds["two"], tmp_path / "preview")
    write_bundle(preview, {"/preview-only.html": b"<p>soon"})
    await asyncio.to_thread(deploy, cdn, preview, "--alias", "next")
    assert cdn.visit("next--" + HOST, "/preview-only").status == 200

    await asyncio.to_thread(deploy, cdn, builds["two"])
    async with chromium(tmp_path) as browser:
        tab = await browser.tab()
        await tab.open(url_of(cdn))
        for path in (*gone, "/preview-only", "/preview-only.html"):
            status = await tab.ask(f"fetch({path!r}).then(answer => answer.status)")
            assert status == 404, path
            assert cdn.visit(HOST, path).status == 404, path
