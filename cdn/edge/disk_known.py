"""What the event loop knows of the disk index without asking it: recent responses, open maps, access times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from cdn.edge.disk_rows import Gone
from cdn.edge.stored import StoredKey, StoredResponse

MAX_KNOWN = 32_768
"""Responses remembered: about 1 KiB each, and a walk over all of them stays in the tens of milliseconds."""

MAX_KNOWN_CHUNKS = 1_000_000
"""Chunk digests those responses may hold together: about 120 MiB if every one were a large file."""

ChunkId = tuple[int, int]
"""(incarnation, number)."""


class KnownResponses:
    """Recently used responses by key; None for a key that is known to be absent. Bounded, least recently used first."""

    def __init__(self, max_responses: int = MAX_KNOWN, max_chunks: int = MAX_KNOWN_CHUNKS) -> None:
        self._max_responses = max_responses
        self._max_chunks = max_chunks
        self._by_key: OrderedDict[StoredKey, StoredResponse | None] = OrderedDict()
        self._chunks = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: StoredKey) -> bool:
        return key in self._by_key

    def get(self, key: StoredKey) -> StoredResponse | None:
        """The response, None when it is absent or not known."""
        found = self._by_key.get(key)
        if found is not None:
            self._by_key.move_to_end(key)
        return found

    def put(self, key: StoredKey, stored: StoredResponse | None) -> None:
        """Remember a response, or that there is none."""
        self.drop(key)
        self._by_key[key] = stored
        self._chunks += _weight(stored)
        while len(self._by_key) > self._max_responses or (self._chunks > self._max_chunks and len(self._by_key) > 1):
            _, dropped = self._by_key.popitem(last=False)
            self._chunks -= _weight(dropped)

    def drop(self, key: StoredKey) -> None:
        """Know nothing of a key any more."""
        self._chunks -= _weight(self._by_key.pop(key, None))

    def drop_gone(self, gone: Iterable[Gone]) -> None:
        """Forget responses that left the index, unless they were admitted anew since."""
        for each in gone:
            if each.key is not None:
                found = self._by_key.get(each.key)
                if found is not None and found.incarnation == each.incarnation:
                    self.drop(each.key)

    def drop_where(self, site_id: str, is_unusable: Callable[[StoredResponse], bool]) -> int:
        """Forget those of a site's responses that are unusable; how many there were."""
        unusable = [
            key
            for key, stored in self._by_key.items()
            if stored is not None and key.site_id == site_id and is_unusable(stored)
        ]
        for key in unusable:
            self.drop(key)
        return len(unusable)

    def clear(self) -> None:
        """Know nothing."""
        self._by_key.clear()
        self._chunks = 0


def _weight(stored: StoredResponse | None) -> int:
    return len(stored.entry.chunk_digests) if stored is not None else 0


class OpenMaps:
    """Mapped chunks, the least recently used let go first. A map lives on while someone still sends from it.

    Every map holds a file descriptor, so the bound is a share of the process's descriptors.
    """

    def __init__(self, max_maps: int) -> None:
        self._max_maps = max_maps
        self._by_chunk: OrderedDict[ChunkId, memoryview] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_chunk)

    def get(self, chunk: ChunkId) -> memoryview | None:
        """The map, when it is open."""
        found = self._by_chunk.get(chunk)
        if found is not None:
            self._by_chunk.move_to_end(chunk)
        return found

    def put(self, chunk: ChunkId, content: memoryview) -> None:
        """Keep a map open."""
        self._by_chunk[chunk] = content
        while len(self._by_chunk) > self._max_maps:
            self._by_chunk.popitem(last=False)

    def drop(self, chunk: ChunkId) -> None:
        """Let a map go."""
        self._by_chunk.pop(chunk, None)

    def clear(self) -> None:
        """Let all go."""
        self._by_chunk.clear()


class VerifiedChunks:
    """Chunks whose bytes this process has checked. Forgetting one only means checking it again."""

    def __init__(self, max_chunks: int) -> None:
        self._max_chunks = max_chunks
        self._chunks: OrderedDict[ChunkId, None] = OrderedDict()

    def __contains__(self, chunk: ChunkId) -> bool:
        return chunk in self._chunks

    def add(self, chunk: ChunkId) -> None:
        """It was checked."""
        self._chunks[chunk] = None
        self._chunks.move_to_end(chunk)
        if len(self._chunks) > self._max_chunks:
            self._chunks.popitem(last=False)

    def drop(self, chunk: ChunkId) -> None:
        """It has to be checked again."""
        self._chunks.pop(chunk, None)
