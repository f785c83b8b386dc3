"""The scripted client: one connection, one block of the scenario."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.scenarios.command import (
    Ask,
    Await,
    ClientCommand,
    ClientScript,
    Close,
    Down,
    Expect,
    Keep,
    Operator,
    Purge,
    Raw,
    Receive,
    Reset,
    Settle,
    Signal,
    Subject,
    Up,
)
from tests.scenarios.expectation import fault_of
from tests.scenarios.message import Message
from tests.scenarios.stage import ScenarioFault, Stage
from tests.scenarios.upstream import MARKER, ScriptedUpstream, reset

READ_LIMIT_BYTES = 64 * 1024
SETTLE_ROUNDS = 2
_MARKERS = itertools.count()
RETRY_PAUSE_S = 0.02
"""Between two tries of `eventually`: nothing tells a client when work behind its back is done."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where clients connect, and how they purge."""

    host: str
    port: int
    purge: Callable[[dict[str, Any]], Awaitable[None]]


class ScriptedClient:
    """Plays a block against the edge."""

    def __init__(self, script: ClientScript, stage: Stage, edge: Edge, upstream: ScriptedUpstream) -> None:
        self._script = script
        self._stage = stage
        self._edge = edge
        self._upstream = upstream
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._message: Message | None = None
        self._seen_interim = 0
        self._connections = 0

    async def play(self) -> None:
        """To its end; a fault goes to the stage."""
        commands = self._script.commands
        at = 0
        try:
            while at < len(commands):
                command = commands[at]
                at += 1
                if isinstance(command, Ask) and command.is_repeated:
                    end = at
                    while end < len(commands) and isinstance(commands[end], Expect):
                        end += 1
                    await self._repeat(command, commands[at:end])
                    at = end
                else:
                    await self._do(command)
            if self._message is not None:
                await self._stage.patiently(self._script.line, self._message.finish(), "the response ends")
        except ScenarioFault as fault:
            self._stage.fail(fault)
        finally:
            self._leave()

    async def _repeat(self, ask: Ask, expects: tuple[ClientCommand, ...]) -> None:
        """Until all of `expects` hold. Raises the fault of the last try."""
        until = asyncio.get_running_loop().time() + self._stage.patience_s
        while True:
            try:
                await self._do(ask)
                for expect in expects:
                    await self._do(expect)
            except ScenarioFault:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                return

    async def _do(self, command: ClientCommand) -> None:
        match command:
            case Ask():
                await self._ask(command)
            case Raw(text=text):
                await self._send(command, self._stage.fill(text).encode("latin-1"), "GET")
            case Expect():
                await self._expect(command)
            case Receive(line=line, size_bytes=size):
                message = self._current(command)
                await self._stage.patiently(line, message.receive(size), f"{size} octets")
                if len(message.content) < size:
                    raise ScenarioFault(line, f"{size} octets", f"{len(message.content)}, and the end")
            case Signal(name=name):
                await self._stage.signal(name)
            case Await():
                await self._stage.await_signal(command)
            case Keep():
                await self._stage.patiently(command.line, self._current(command).read_head(), "a response")
                self._stage.keep(command, self._current(command))
            case Purge(line=line, request=request):
                await self._stage.patiently(line, self._edge.purge(request), "a complete receipt")
            case Down():
                await self._upstream.down()
            case Up():
                await self._upstream.up()
            case Settle():
                await self._settle(command)
            case Close():
                self._leave()
            case Reset():
                if self._writer is not None:
                    reset(self._writer)
                self._leave()

    async def _ask(self, command: Ask) -> None:
        fields = list(self._stage.fill_fields(command.fields))
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", self._edge.host))
        if command.content is not None and not names & {"content-length", "transfer-encoding"}:
            fields.append(("Content-Length", str(len(command.content))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"{command.method} {self._stage.fill(command.target)} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        await self._send(command, head + (command.content or b""), command.method)

    async def _send(self, command: Ask | Raw, data: bytes, method: str) -> None:
        if self._message is not None:
            await self._stage.patiently(command.line, self._message.finish(), "the response before it ends")
            head = self._message.head
            if self._message.is_broken or (head and head.value("connection") == "close"):
                self._leave()
        if self._writer is None or self._reader is None or self._reader.at_eof():
            self._leave()
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._edge.port, limit=READ_LIMIT_BYTES
            )
            self._connections += 1
        self._message = Message(self._reader, method)
        self._seen_interim = 0
        self._writer.write(data)

    async def _expect(self, command: Expect) -> None:
        message = self._current(command)
        expected = command.line.text.strip()
        match command.subject:
            case Subject.INTERIM:
                await self._expect_interim(command, message)
                return
            case Subject.CLOSED:
                await self._stage.patiently(command.line, message.finish(), expected)
                rest = await self._stage.patiently(command.line, message.reader.read(1), "the connection is closed")
                seen = "more octets" if rest else None
            case Subject.CONTENT | Subject.SIZE | Subject.BROKEN | Subject.FAILED | Subject.TRAILER:
                await self._stage.patiently(command.line, message.finish(), "the response ends")
                seen = fault_of(command, message, self._stage.fill, self._connections)
                if command.subject is Subject.CONTENT and seen is None and message.is_broken:
                    seen = "so far the same, but the response broke off"
            case _:
                await self._stage.patiently(command.line, message.read_head(), "a response")
                seen = fault_of(command, message, self._stage.fill, self._connections)
        if seen is not None:
            raise ScenarioFault(command.line, expected, f"{seen}\n  of the response\n{_shown(message)}")

    async def _expect_interim(self, command: Expect, message: Message) -> None:
        head = await self._stage.patiently(command.line, message.read_interim(self._seen_interim), "a response")
        self._seen_interim += 1
        seen = head.raw.decode("latin-1") if head else f"the final response\n{_shown(message)}"
        if head is None or head.first.split(" ")[1] != command.value:
            raise ScenarioFault(command.line, f"an interim response {command.value!r}", seen)
        for name, value in self._stage.fill_fields(command.fields):
            if head.value(name.lower()) != value:
                raise ScenarioFault(command.line, f"{name}: {value}", seen)

    async def _settle(self, command: Settle) -> None:
        """Something of the harness's own is asked for until it is stored: by then so is what came before it."""
        target = f"{MARKER}{next(_MARKERS)}"
        ask = Ask(command.line, "GET", target, (), None, is_repeated=False)
        is_stored = Ask(command.line, "GET", target, (("Cache-Control", "only-if-cached"),), None, is_repeated=True)
        settler = ScriptedClient(self._script, self._stage, self._edge, self._upstream)
        try:
            for _ in range(SETTLE_ROUNDS):
                await settler._ask(ask)
                await settler._repeat(is_stored, (Expect(command.line, Subject.STATUS, Operator.IS, value="200"),))
        finally:
            settler._leave()

    def _current(self, command: ClientCommand) -> Message:
        if self._message is None:
            raise ScenarioFault(command.line, "a request before it", "none")
        return self._message

    def _leave(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = self._message = None


def _shown(message: Message) -> str:
    head = message.head.raw.decode("latin-1").rstrip() if message.head else "no head came"
    return f"{head}{' (broken off)' if message.is_broken else ''}"
