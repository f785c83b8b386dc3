"""The process that the tests of HTTP/2 talk to: a listener with TLS and one without, over one small application.

`python -m tests.h2.served FOLDER` prints its ports as JSON and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.visitor import Visitor
from cdn.http.request import Request
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.tls_material import SignedSource, write_root
from tests.edge.tls_stage import keys

BIG_BYTES = 1 << 20
MANY_FIELDS_BYTES = 60_000


def pattern(size: int) -> bytes:
    """Content in which every octet's place can be told."""
    return b"".join(b"%07d\n" % at for at in range(0, size, 8))[:size]


BIG = pattern(BIG_BYTES)


class MadeWhileSent(Stream):
    """Each part is made when it is asked for: what a test sees in memory is what the listener keeps of it."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, BIG_BYTES, 16_384):
            yield BIG[at : at + 16_384]


@dataclass
class SceneApplication(EchoApplication):
    """What tests ask for by path; the rest is EchoApplication's."""

    held: dict[str, asyncio.Event] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    draining: list[asyncio.Task[None]] = field(default_factory=list)
    read_bytes: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        kind, *rest = request.target.path.removeprefix("/").split("/")
        name = "/".join(rest)
        match kind:
            case "state":
                return Response(200, TEXT, json.dumps(self.state()).encode())
            case "release":
                self.held.setdefault(name, asyncio.Event()).set()
                return Response(200, TEXT, b"released")
            case "drain":
                self.draining = [asyncio.create_task(listener.drain(20)) for listener in self.listeners]
                return Response(200, TEXT, b"draining")
            case "head":
                lines = [[name, value] for name, value in request.fields.lines]
                about = {"method": request.method, "host": request.host, "scheme": request.scheme, "fields": lines}
                return Response(200, TEXT, json.dumps(about).encode())
            case "stream":
                return Response(200, TEXT, MadeWhileSent((), None))
            case "sized":
                return Response(200, TEXT, Stream((BIG,), BIG_BYTES))
            case "trailers":
                return Response(200, TEXT, Stream((b"a", b"b"), None, trailers=(("x-sum", "ab"),)))
            case "breaks":
                return Response(200, TEXT, Stream((b"a", b"b"), None, fails=True))
            case "interim":
                visitor.send_interim(103, (("link", "</a>; rel=preload"),))
                return Response(200, TEXT, b"final")
            case "fields":
                return Response(
                    200, (*TEXT, *((f"x-{at}", "v" * 1000) for at in range(MANY_FIELDS_BYTES // 1000))), b"many"
                )
            case "hop":
                return Response(200, (*TEXT, ("x-kept", "yes")), b"hop")
            case "bytes":
                return Response(200, TEXT, pattern(int(name)))
            case "held":
                return await self._hold(request.target.path, name)
            case "counted":
                async for part in content:
                    self.read_bytes[name] += len(part)
                return Response(200, TEXT, b"%d" % self.read_bytes[name])
            case "read-held":
                await self._hold(request.target.path, name)
                async for part in content:
                    self.read_bytes[name] += len(part)
                return Response(200, TEXT, b"%d" % self.read_bytes[name])
            case _:
                self.visitors.clear()  # they lead to their connections
                self.recalled.clear()
                return await super().answer(request, content, visitor)

    def state(self) -> dict[str, object]:
        """What a test may want to know of the process."""
        return {
            "connections": sum(listener.open_connections for listener in self.listeners),
            "tasks": len(asyncio.all_tasks()),
            "cancelled": list(self.cancelled),
            "answered": len(self.answered),
            "read": dict(self.read_bytes),
        }

    async def _hold(self, path: str, name: str) -> Response:
        self.answered.append(path)
        try:
            await self.held.setdefault(name, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise
        return Response(200, TEXT, b"held")


async def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    application = SceneApplication()
    application.remember("/a", b"hello")
    application.remember("/16k", pattern(16_384))
    application.remember("/big", BIG)
    application.remember("/empty", b"")
    tls = TlsContexts(SignedSource("a.example", default="a.example"), protocols=("h2", "http/1.1"), ticket_keys=keys(1))
    limits = HttpLimits()
    plain = await Listener.start("127.0.0.1", 0, application, limits)
    secure = await Listener.start("127.0.0.1", 0, application, limits, tls=tls)
    application.listeners += [plain, secure]
    print(json.dumps({"plain": plain.port, "tls": secure.port, "root": str(write_root(folder))}), flush=True)
    gc.freeze()
    await asyncio.to_thread(sys.stdin.read)
    await plain.aclose()
    await secure.aclose()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))
