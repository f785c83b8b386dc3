"""A small Application: prepared files, and an echo that reads content."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from cdn.edge.prepared import Prepared, SiteRuntime, Validators
from cdn.edge.prepared_forms import form_for
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.errors import TooLarge
from cdn.http.fields import FieldLines
from cdn.http.request import Request

TEXT = (("content-type", "text/plain"),)


@dataclass
class Stream:
    """A ContentStream of given parts that remembers how it was used. `gate` is awaited before every part.

    With `fails` it breaks off behind the last one.
    """

    parts: tuple[bytes, ...]
    size_bytes: int | None
    gate: asyncio.Event | None = None
    given: int = 0
    closed: int = 0
    trailers: FieldLines = ()
    fails: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if self.gate is not None:
                await self.gate.wait()
            self.given += 1
            yield part
        if self.fails:
            raise RuntimeError("the stream fails on purpose")

    async def aclose(self) -> None:
        self.closed += 1


def prepared_of(
    content: bytes,
    *,
    site: SiteRuntime,
    fresh_until: float = math.inf,
    base_age_at: float = 0.0,
    status: int = 200,
    validators: Validators = Validators.NONE,
) -> Prepared:
    return Prepared(
        status=status,
        fields=TEXT,
        content=content,
        base_age_at=base_age_at,
        site=site,
        generation=site.generation,
        fresh_until=fresh_until,
        wall_clock=lambda: 1_700_000_000.0,
        validators=validators,
    )


@dataclass
class EchoApplication:
    """Recalls what is in `memory`; answers with what `streams` and `responses` hold, `/unread` without reading, all
    else by echo. What `interim` holds for a path is sent before, and after `gate` once more."""

    site: SiteRuntime = field(default_factory=lambda: SiteRuntime("site", 1))
    memory: dict[str, Prepared] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    responses: dict[str, Response] = field(default_factory=dict)
    interim: dict[str, list[tuple[int, FieldLines]]] = field(default_factory=dict)
    visitors: list[Visitor] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    max_content_bytes: int = 1 << 20

    def remember(self, path: str, content: bytes) -> Prepared:
        self.memory[path] = prepared_of(content, site=self.site)
        return self.memory[path]

    def recall(self, request: Request, now: float) -> Prepared | None:
        self.recalled.append(request.target.path)
        prepared = self.memory.get(request.target.path)
        return None if prepared is None else form_for(prepared, request)

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        path = request.target.path
        self.answered.append(path)
        self.visitors.append(visitor)
        try:
            for status, fields in self.interim.get(path, ()):
                visitor.send_interim(status, fields)
            if self.gate is not None:
                await self.gate.wait()
            if path in self.responses:
                return self.responses[path]
            if path in self.streams:
                return Response(200, TEXT, self.streams[path])
            if path == "/unread":
                return Response(405, TEXT, b"not read")
            if path == "/fails":
                raise RuntimeError("on purpose")
            if path == "/splits":
                return Response(302, (("location", "/a\r\nset-cookie: b"),), b"")
            if path == "/nothing":
                return Response(204, ())
            if path == "/same":
                return Response(304, (("etag", '"a"'),), b"must not be sent")
            sent = await read_whole(content, self.max_content_bytes)
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise
        text = f"{request.method} {request.host} {path} {request.target.query} ".encode() + sent
        return Response(200, TEXT, text)


async def read_whole(content: RequestContent, max_bytes: int) -> bytes:
    """All of `content`, as an application would read it that takes less than the listener."""
    parts: list[bytes] = []
    async for part in content:
        parts.append(part)
        if sum(map(len, parts)) > max_bytes:
            raise TooLarge(f"The content is larger than {max_bytes} bytes.", field="content")
    return b"".join(parts)
