"""Responses of pull sites: from what is stored, and from what is just arriving."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from cdn.edge.clocks import Clocks
from cdn.edge.content import ChunkStream
from cdn.edge.detached import DETACHED_RECALL_S
from cdn.edge.disk_holds import Hold
from cdn.edge.disk_tier import DiskTier
from cdn.edge.held_stream import HeldStream
from cdn.edge.https_rules import with_hsts
from cdn.edge.part_stream import PartStream
from cdn.edge.peer_fields import ANSWERS, VERSION, without_peer_fields
from cdn.edge.prepared import Prepared, Validators
from cdn.edge.pull_coder import PullCoder
from cdn.edge.pull_content import ArrivingContent, ContentLost
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_shelf import Held, PullShelf
from cdn.edge.pull_visit import PullVisit
from cdn.edge.recall import DEBUG_FIELD
from cdn.edge.response import ContentStream, Response, Unsent
from cdn.edge.selection import NOT_IN_REFUSAL, Part, Selected, select_from
from cdn.edge.site_view import SiteView
from cdn.edge.stored import Content, StoredResponse
from cdn.http.cache_status import CacheStatus
from cdn.http.content_coding import CODINGS, MIN_CODED_BYTES, coded_head, may_be_coded, preferred_coding, varied_head
from cdn.http.fields import FieldLines, Fields
from cdn.http.forwarded_request import SET_FIELDS
from cdn.http.head_update import DESCRIBES_CONTENT
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.http.vary import selecting
from cdn.sites.manifest import CHUNK_BYTES
from cdn.sites.representation import given_fields

FOR_THIS_CACHE = frozenset(("surrogate-control", "surrogate-key", "cache-tag", "content-length"))
"""Fields that the upstream sends to its caches, and Content-Length, which the engine says. CDN-Cache-Control is for
every cache that is a CDN's, also one behind this (RFC 9213 section 3.1)."""

SHIELD_SUFFIX = "-shield"
"""After the cache's name in Cache-Status where it answers another node: the member that follows is that one's."""

NEVER_PREPARED = (SET_FIELDS - {"accept-encoding"}) | {DEBUG_FIELD}
"""Selecting fields whose value is not the client's: a request does not tell it."""


OF_CONDITIONS = NOT_IN_REFUSAL | {"accept-ranges", "etag", "last-modified", "date"}
"""Fields that are compared with preconditions, or that their outcomes leave out."""

_IN_PARTS = frozenset((200, 206, 416))


@dataclass(frozen=True, slots=True)
class _Form:
    """A representation to be sent: its head, where its content lies, and whether Accept-Encoding chose it.

    Not final is the identity form that stands in for a coded one which is still being made.
    """

    head: ResponseHead
    stored: StoredResponse
    is_negotiated: bool
    is_final: bool = True


class PullResponder:
    """Makes responses; decides nothing but which form and part is sent."""

    def __init__(
        self,
        *,
        cache_name: str,
        node_id: str,
        disk: DiskTier,
        shelf: PullShelf,
        coder: PullCoder,
        memory: PullMemory,
        view: SiteView,
        clocks: Clocks,
        is_attached: Callable[[], bool],
        lease_left_s: Callable[[], float],
        max_in_memory_bytes: int,
    ) -> None:
        self._cache_name = cache_name
        self._node_id = node_id
        self._disk = disk
        self._shelf = shelf
        self._coder = coder
        self._memory = memory
        self._view = view
        self._clocks = clocks
        self._is_attached = is_attached
        self._lease_left_s = lease_left_s
        self._max_in_memory_bytes = max_in_memory_bytes

    # From what is stored

    async def held(
        self, visit: PullVisit, held: Held, status: CacheStatus, looked_at: int | None = None
    ) -> Response | None:
        """The stored response; None when its content has gone meanwhile.

        `looked_at` is there when it is fresh: then the next hit is prepared, unless what was prepared for its key has
        been forgotten since (`PullMemory.mark`).
        """
        # A coded form may have to be waited for; when there is none, the identity form still has to be here.
        with closing(self._disk.hold(held.stored)):
            return await self._held(visit, held, status, looked_at)

    async def _held(self, visit: PullVisit, held: Held, status: CacheStatus, looked_at: int | None) -> Response | None:
        form = await self._form(visit, held)
        size_bytes = form.stored.entry.size_bytes
        # Nobody looks for what another node asks for, nor for a rewrite's answer, among what is prepared.
        looked_at = looked_at if visit.peer is None and visit.sent_target is None else None
        selected = select_from(visit.request, form.head, size_bytes, self._clocks.wall())
        content: bytes | ContentStream | Unsent = b""
        if selected.part is not Part.NOTHING:
            is_prepared = (
                looked_at is not None and selected.part is Part.ALL and size_bytes <= self._max_in_memory_bytes
            )
            if visit.request.method == "HEAD" and not is_prepared:
                content = Unsent(size_bytes)
            else:
                opened = await self._open(form.stored, selected, 0)
                if opened is None:
                    return None
                content = opened
            if is_prepared and looked_at is not None and isinstance(content, bytes):
                self._prepare(visit, held, form, selected, content, looked_at)
        now = self._clocks.monotonic()
        age_s = max(0, int(now - self._shelf.age_zero_at(held.stored, held.terms, now)))
        lines = _lines(visit, selected, form.head)
        fields = self._fields(visit, lines, status, age_s=age_s, has_ranges=selected.status in _IN_PARTS)
        return Response(selected.status, fields, content)

    async def part(self, visit: PullVisit, held: Held, status: CacheStatus) -> Response | None:
        """A range out of a stored part; None when the part does not hold it."""
        pulled = held.pulled
        assert pulled.complete_length is not None, "a stored part says of how much it is one"
        without = tuple(line for line in pulled.head.fields if line[0] != "content-range")
        whole = ResponseHead(200, Fields(without))
        selected = select_from(visit.request, whole, pulled.complete_length, self._clocks.wall())
        content: bytes | ContentStream = b""
        match selected.part:
            case Part.NOTHING:
                pass
            case Part.RANGE if (
                selected.start >= pulled.part_start
                and selected.stop <= pulled.part_start + held.stored.entry.size_bytes
            ):
                opened = await self._open(held.stored, selected, pulled.part_start)
                if opened is None:
                    return None
                content = opened
            case _:
                return None
        now = self._clocks.monotonic()
        age_s = max(0, int(now - self._shelf.age_zero_at(held.stored, held.terms, now)))
        fields = self._fields(visit, selected.fields, status, age_s=age_s, has_ranges=selected.status in _IN_PARTS)
        return Response(selected.status, fields, content)

    async def _form(self, visit: PullVisit, held: Held) -> _Form:
        """The coded form that the client prefers, where there is one, else the identity form."""
        head, stored = held.pulled.head, held.stored
        is_coded = visit.peer is None and visit.site.settings.compresses
        if not is_coded or not may_be_coded(head, stored.entry.size_bytes):
            return _Form(head, stored, False)
        coding = preferred_coding(visit.request.fields.get("accept-encoding"), CODINGS)
        coded = None if coding is None else await self._coder.coded(held, coding)
        if coding is None or coded is None:
            is_final = coding is None or self._coder.is_useless(held, coding)
            return _Form(varied_head(head), stored, True, is_final)
        return _Form(coded_head(head, coding), coded, True)

    async def _open(self, stored: StoredResponse, selected: Selected, offset: int) -> bytes | ContentStream | None:
        """The selected bytes, of content that begins at `offset` of the representation; None when it is gone."""
        if stored.entry.size_bytes == 0:
            return b""
        start, stop = selected.start - offset, selected.stop - offset
        is_small = stored.entry.size_bytes <= self._max_in_memory_bytes
        hold = None if is_small else self._disk.hold(stored)
        first = await self._first_chunk(stored, start // CHUNK_BYTES, hold)
        if first is None:
            return None
        if hold is None:
            return bytes(first)[start:stop] if selected.layout is None else selected.content_of(bytes(first))
        source = partial(self._chunk, stored)
        if selected.layout is not None:
            return HeldStream(PartStream(source, selected.layout, first), hold)
        return HeldStream(ChunkStream(source, start, stop, first, partial(self._disk.mapped_chunk, stored)), hold)

    async def _first_chunk(self, stored: StoredResponse, number: int, hold: Hold | None) -> Content | None:
        """The first chunk that is sent; when there is none, nobody comes to close the hold."""
        first: Content | None = None
        try:
            first = await self._disk.read_chunk(stored, number)
        finally:
            if first is None and hold is not None:
                hold.close()
        return first

    async def _chunk(self, stored: StoredResponse, number: int) -> Content:
        chunk = await self._disk.read_chunk(stored, number)
        if chunk is None:
            raise ContentLost(f"chunk {number} of a response left the disk tier while it was sent: ask again")
        return chunk

    def _prepare(  # noqa: PLR0917 - a hit, part by part
        self, visit: PullVisit, held: Held, form: _Form, selected: Selected, content: bytes, looked_at: int
    ) -> None:
        """Encode the hit that the next request like this will be."""
        names = tuple(name for name, _ in held.pulled.selecting)
        if held.key != visit.key or DEBUG_FIELD in visit.request.fields or not NEVER_PREPARED.isdisjoint(names):
            return
        if not form.is_final:
            return
        if selecting(names, visit.request.fields) != visit.selecting(names):
            return  # upstream saw, and chose by, something else than what the next request would be found by
        now = self._clocks.monotonic()
        age_zero_at = self._shelf.age_zero_at(held.stored, held.terms, now)
        hit = CacheStatus(self._cache_name, hit=True, detail=self._detached())
        lines = self._fields(visit, selected.fields, hit, age_s=0, has_ranges=selected.status in _IN_PARTS)
        # Age and the last member of Cache-Status, with its ttl, are renewed whenever it is sent.
        fields = tuple(line for line in lines[:-1] if line[0] != "age")
        prepared = Prepared(
            status=selected.status,
            fields=with_hsts(fields, visit.request, visit.site),
            content=content,
            base_age_at=age_zero_at,
            site=self._view.runtime(visit.site.id),
            generation=visit.generation,
            fresh_until=age_zero_at + held.terms.lifetime.seconds,
            usable_until=self._usable_until(visit, now),
            wall_clock=self._clocks.wall,
            hit=hit.serialise(),
            on_use=partial(self._disk.touch, form.stored.key),
            validators=self._validators(visit),
        )
        self._memory.put(visit.key, names, form.is_negotiated, visit.request.fields, prepared, looked_at)

    def _validators(self, visit: PullVisit) -> Validators:
        """Where the site's rules say anything of what a precondition is about, the upstream's own fields count."""
        given = given_fields(visit.request.target.decoded_path, visit.site.settings)
        return Validators.ALL if OF_CONDITIONS.isdisjoint(given) else Validators.NONE

    def _usable_until(self, visit: PullVisit, now: float) -> float:
        """Until when a hit needs no look at the lease."""
        if visit.site.settings.validates_on_detach:
            return now + self._lease_left_s()
        return inf if self._is_attached() else now + DETACHED_RECALL_S

    # From what is arriving

    def arriving(
        self,
        visit: PullVisit,
        head: ResponseHead,
        content: ArrivingContent,
        status: CacheStatus,
        *,
        evaluates: bool,
        age_s: int | None = None,
    ) -> Response:
        """An answer on its way in, whose content the caller holds a share of.

        `evaluates`: the upstream was asked for the whole, so the client's conditions and ranges are judged here.
        `age_s` is given for what was not received for this request; else Age is as the upstream said.
        """
        if visit.request.method == "HEAD":
            content.let_go()
            return Response(head.status, self._fields(visit, head.fields.lines, status, age_s=age_s), _unsent(head))
        size_bytes = content.received_bytes if content.is_whole else content.size_bytes
        is_coded = visit.peer is None and visit.site.settings.compresses
        if is_coded and may_be_coded(head, MIN_CODED_BYTES if size_bytes is None else size_bytes):
            head = varied_head(head)
        selected = self._select(visit, head, content, size_bytes) if evaluates else _everything(head, size_bytes)
        has_ranges = evaluates and content.is_storing and size_bytes is not None and selected.status in _IN_PARTS
        fields = self._fields(visit, _lines(visit, selected, head), status, age_s=age_s, has_ranges=has_ranges)
        if selected.part is Part.NOTHING:
            content.let_go()
            return Response(selected.status, fields)
        whole = None if content.trailers else content.whole_in_memory
        if whole is not None and len(whole) <= self._max_in_memory_bytes:
            content.let_go()
            return Response(selected.status, fields, selected.content_of(whole) if evaluates else whole)
        if selected.part is Part.RANGE:
            return Response(selected.status, fields, content.reader(selected.start, selected.stop))
        return Response(selected.status, fields, content.reader())

    def _select(
        self, visit: PullVisit, head: ResponseHead, content: ArrivingContent, size_bytes: int | None
    ) -> Selected:
        selected = select_from(visit.request, head, size_bytes, self._clocks.wall())
        if selected.part is Part.RANGES and content.whole_in_memory is None:
            # Several ranges would be sent in an order that a stream does not have: the whole answers as well.
            return select_from(_without_range(visit.request), head, size_bytes, self._clocks.wall())
        return selected

    # Fields

    def _fields(
        self,
        visit: PullVisit,
        lines: FieldLines,
        status: CacheStatus,
        *,
        age_s: int | None,
        has_ranges: bool = False,
    ) -> FieldLines:
        if visit.peer is not None:
            return _as_given(lines, status, age_s)
        given = given_fields(visit.request.target.decoded_path, visit.site.settings)
        kept = tuple(
            line
            for line in lines
            if line[0] not in FOR_THIS_CACHE and line[0] not in given and (age_s is None or line[0] != "age")
        )
        # Whatever is whole and of known size can be asked for in parts here, whether or not upstream can do that.
        ranges: FieldLines = ()
        if has_ranges:
            kept = tuple(line for line in kept if line[0] != "accept-ranges")
            ranges = (("accept-ranges", "bytes"),)
        rules = tuple((name, value) for name, values in given.items() for value in values)
        age: FieldLines = () if age_s is None else (("age", str(age_s)),)
        return (*kept, *ranges, *rules, *age, ("cache-status", status.serialise()), *self._told(visit))

    def _told(self, visit: PullVisit) -> FieldLines:
        if DEBUG_FIELD not in visit.request.fields:
            return ()
        return (("cdn-position", str(self._view.position)), ("cdn-node", self._node_id))

    def _detached(self) -> str | None:
        return None if self._is_attached() else "detached"


def _lines(visit: PullVisit, selected: Selected, head: ResponseHead) -> FieldLines:
    """The fields to send. A 304 tells another node all that it would tell of a 200: that one updates what it stores."""
    if visit.peer is None or selected.status != 304:
        return selected.fields
    return tuple(line for line in head.fields if line[0] not in DESCRIBES_CONTENT)


def _as_given(lines: FieldLines, status: CacheStatus, age_s: int | None) -> FieldLines:
    """For another node: what the upstream says to caches, all of it, and nothing of what the site says to visitors."""
    kept = tuple(
        line
        for line in without_peer_fields(lines)
        if line[0] != "content-length" and (age_s is None or line[0] != "age")
    )
    age: FieldLines = () if age_s is None else (("age", str(age_s)),)
    named = replace(status, cache=f"{status.cache}{SHIELD_SUFFIX}")
    return (*kept, *age, ("cache-status", named.serialise()), (ANSWERS, VERSION))


def _unsent(head: ResponseHead) -> Unsent:
    """What GET would send, as far as the upstream said it."""
    text = head.fields.get("content-length")
    return Unsent(int(text) if text is not None and text.isascii() and text.isdigit() else None)


def _everything(head: ResponseHead, size_bytes: int | None) -> Selected:
    return Selected(head.status, Part.ALL, 0, size_bytes or 0, head.fields.lines)


def _without_range(request: Request) -> Request:
    fields = Fields(tuple(line for line in request.fields if line[0] != "range"))
    return Request(request.method, request.target, request.host, request.port, fields, request.scheme)
