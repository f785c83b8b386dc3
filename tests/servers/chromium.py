"""A headless Chromium, driven by its DevTools protocol: pages are opened, clicked, and asked what they show."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.02

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
)


class Tab:
    """One page. `errors` are exceptions, console errors and requests that failed or were answered 4xx or 5xx."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.errors: list[str] = []
        self.requested: list[str] = []
        self._listening = asyncio.create_task(self._listen())

    async def begin(self) -> None:
        """Have events told."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.send(f"{domain}.enable")

    async def send(self, method: str, **parameters: Any) -> Any:
        """One command's result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await answer

    async def open(self, url: str) -> None:
        """Go there; returns when the page has loaded."""
        self._loaded.clear()
        found = await self.send("Page.navigate", url=url)
        assert "errorText" not in found, f"{url}: {found['errorText']}"
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._loaded.wait()

    async def ask(self, expression: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait_for(self, expression: str) -> Any:
        """The first true value of an expression in the page."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not (value := await self.ask(expression)):
                await asyncio.sleep(LOOK_EVERY_S)
        return value

    async def close(self) -> None:
        """Hear no more of it."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._socket.close()

    async def _listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if not answer.done():
                    answer.set_result(told.get("result", {})) if "error" not in told else answer.set_exception(
                        AssertionError(told["error"])
                    )
                continue
            self._note(told["method"], told["params"])

    def _note(self, method: str, said: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requested.append(said["request"]["url"])
            case "Network.responseReceived" if said["response"]["status"] >= 400:
                self.errors.append(f"{said['response']['status']} {said['response']['url']}")
            case "Network.loadingFailed" if not said.get("canceled"):
                self.errors.append(f"failed: {said.get('errorText')}")
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(said["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if said["type"] == "error":
                self.errors.append(json.dumps(said["args"]))
            case "Log.entryAdded" if said["entry"]["level"] == "error":
                self.errors.append(said["entry"]["text"])


class Chromium:
    """Made by `chromium`."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port
        self._tabs: list[Tab] = []

    async def tab(self) -> Tab:
        """A new, empty page."""
        async with self._session.put(f"http://127.0.0.1:{self._port}/json/new?about:blank") as answer:
            url = (await answer.json())["webSocketDebuggerUrl"]
        tab = Tab(await self._session.ws_connect(url, max_msg_size=0))
        self._tabs.append(tab)
        await tab.begin()
        return tab

    async def aclose(self) -> None:
        """Close what it opened."""
        for tab in self._tabs:
            await tab.close()


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Chromium]:
    """A browser with a profile of its own, ended with the context. Names below `localhost` lead to this machine."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: sh scripts/need.sh chromium"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        port = await _port(folder / "profile" / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            browser = Chromium(session, port)
            try:
                yield browser
            finally:
                await browser.aclose()
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)


async def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if file.is_file() and (lines := file.read_text().split()):
                return int(lines[0])
            assert process.poll() is None, "chromium ended"
            await asyncio.sleep(LOOK_EVERY_S)
