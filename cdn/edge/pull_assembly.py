"""Stored responses made of stored ones: parts that belong together, and a variant that suits one request more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_key import PullKey
from cdn.edge.pull_shelf import PullShelf, is_whole
from cdn.edge.pull_tags import joined_tags
from cdn.edge.pull_variant import variant_id
from cdn.edge.stored import PulledHead, StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.http.entity_tag import parse_entity_tag
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead
from cdn.http.vary import Selecting
from cdn.sites.manifest import CHUNK_BYTES

MAX_ASSEMBLED_BYTES = 16 * 1024 * 1024
"""Larger content is not put together: all of it is in memory for a moment."""

MayStore = Callable[[Position], bool]


class PullAssembly:
    """Copies content that is on the disk already. What does not work out is left as it was."""

    def __init__(self, disk: DiskTier, shelf: PullShelf) -> None:
        self._disk = disk
        self._shelf = shelf

    async def combine(self, key: PullKey, newest: StoredResponse, may_store: MayStore) -> None:
        """Put a part that was just stored together with the others that have its strong validator.

        RFC 9111 section 3.4: the head is the newest's, and what the parts leave no gap in becomes one part, or the
        whole. The result was admitted when the oldest of them was, and goes with the tags of each (DESIGN I1).
        """
        parts = [newest]
        parts += [
            each
            for each in await self._shelf.under(key)
            if each.incarnation != newest.incarnation
            and _belongs_to(each, newest)
            and each.admitted.epoch == newest.admitted.epoch
            and not self._shelf.is_given_up(key, each)
        ]
        run = _run_with(newest, parts)
        if len(run) < 2 or _span(run)[1] - _span(run)[0] > MAX_ASSEMBLED_BYTES:
            return
        content = await self._joined(run)
        if content is None or newest.pulled is None:
            return
        start, stop = _span(run)
        pulled = _head_of_span(newest.pulled, start, stop)
        admitted = min((each.admitted for each in run), key=lambda position: position.sequence)
        tags = joined_tags(tag for each in (newest, *run) for tag in each.tags)
        like = replace(newest, pulled=pulled, admitted=admitted, tags=tags)
        made = await self._enter(key, like, content, self._while_usable(key, run, may_store))
        if made is None:
            return
        for each in run:
            if each.key.digest != made.key.digest:
                self._disk.drop(each)

    async def copy(
        self, key: PullKey, stored: StoredResponse, selecting: Selecting, may_store: MayStore
    ) -> StoredResponse | None:
        """The same response, for requests that select it by other fields: upstream said that it suits them too."""
        content = await self._content(stored)
        if stored.pulled is None or content is None or len(content) > MAX_ASSEMBLED_BYTES:
            return None
        pulled = replace(stored.pulled, selecting=selecting)
        may_copy = self._while_usable(key, (stored,), may_store)
        return await self._enter(key, replace(stored, pulled=pulled), content, may_copy)

    def _while_usable(self, key: PullKey, made_of: Sequence[StoredResponse], may_store: MayStore) -> MayStore:
        """What is made has a later incarnation than what it is made of: marks that cover that would not cover it."""
        return lambda admitted: may_store(admitted) and not any(self._shelf.is_given_up(key, each) for each in made_of)

    async def _enter(
        self, key: PullKey, like: StoredResponse, content: bytes, may_store: MayStore
    ) -> StoredResponse | None:
        assert like.pulled is not None, "only pulled responses are put together"
        sink = self._disk.new_content(StoredKey(key.site_id, key.path, variant_id(like.pulled)))
        try:
            for number, start in enumerate(range(0, len(content), CHUNK_BYTES)):
                if await sink.write(number, content[start : start + CHUNK_BYTES]) is not StoreOutcome.STORED:
                    return None
            made = sink.stored_with(like)
            if await sink.enter(made, may_store) is not StoreOutcome.STORED:
                return None
            if may_store(made.admitted):
                return made
            self._disk.drop(made)  # it was invalidated in the very moment in which it was entered
            return None
        finally:
            await sink.abandon()

    async def _joined(self, run: Sequence[StoredResponse]) -> bytes | None:
        content = bytearray()
        at = _span(run)[0]
        for each in run:
            start, stop = _part(each)
            if stop <= at:
                continue
            held = await self._content(each)
            if held is None:
                return None
            content += held[at - start :]
            at = stop
        return bytes(content)

    async def _content(self, stored: StoredResponse) -> bytes | None:
        chunks = [await self._disk.read_chunk(stored, number) for number in range(stored.file_count)]
        if any(chunk is None for chunk in chunks):
            return None
        return b"".join(chunk for chunk in chunks if chunk is not None)


def _belongs_to(stored: StoredResponse, newest: StoredResponse) -> bool:
    """Whether both are parts of the same representation: one strong entity tag, one length, the same request fields."""
    one, other = stored.pulled, newest.pulled
    if one is None or other is None or is_whole(stored) or one.selecting != other.selecting:
        return False
    tag = parse_entity_tag(other.head.fields.get("etag") or "")
    return (
        tag is not None
        and not tag.is_weak
        and one.head.fields.get("etag") == other.head.fields.get("etag")
        and one.head.fields.get("content-encoding") == other.head.fields.get("content-encoding")
        and one.complete_length == other.complete_length
    )


def _part(stored: StoredResponse) -> tuple[int, int]:
    assert stored.pulled is not None, "only pulled responses are parts"
    return stored.pulled.part_start, stored.pulled.part_start + stored.entry.size_bytes


def _span(run: Sequence[StoredResponse]) -> tuple[int, int]:
    return _part(run[0])[0], max(_part(each)[1] for each in run)


def _run_with(newest: StoredResponse, parts: Sequence[StoredResponse]) -> list[StoredResponse]:
    """The parts that touch or overlap each other without a gap, around the newest, in the order of their starts."""
    runs: list[list[StoredResponse]] = []
    for each in sorted(parts, key=_part):
        if runs and _part(each)[0] <= _span(runs[-1])[1]:
            runs[-1].append(each)
        else:
            runs.append([each])
    return next(run for run in runs if newest in run)


def _head_of_span(pulled: PulledHead, start: int, stop: int) -> PulledHead:
    lines = tuple(line for line in pulled.head.fields if line[0] != "content-range")
    if start == 0 and stop == pulled.complete_length:
        return replace(pulled, head=ResponseHead(200, Fields(lines)), part_start=0)
    content_range = ("content-range", f"bytes {start}-{stop - 1}/{pulled.complete_length}")
    return replace(pulled, head=ResponseHead(206, Fields((*lines, content_range))), part_start=start)
