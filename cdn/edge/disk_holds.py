"""Files that somebody is still reading stay a while longer than their response: nobody's transfer breaks off because
what they read was replaced, evicted or purged meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cdn.edge.disk_files import ChunkName, ContentFolder


class Hold:
    """Somebody reads the content of a response; `close` it at the end, once or more often."""

    __slots__ = ("_let_go",)

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go: Callable[[], None] | None = let_go

    def close(self) -> None:
        """The reader needs no more."""
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()


class HeldFiles:
    """Removes files, now or when the last who holds their response lets go. Safe in several threads.

    What waits for that counts in `deferred_bytes`, at most `max_bytes`: beyond it files go at once. A kill leaves them
    to be found after the next start.
    """

    def __init__(self, files: ContentFolder, max_bytes: int) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._holders: dict[int, int] = {}
        self._deferred: dict[int, dict[ChunkName, int]] = {}
        self.deferred_bytes = 0

    def hold(self, incarnation: int) -> None:
        """One more reads this response."""
        with self._lock:
            self._holders[incarnation] = self._holders.get(incarnation, 0) + 1

    def let_go(self, incarnation: int) -> list[ChunkName]:
        """One reads it no more; the files that are to be removed now, off the event loop."""
        with self._lock:
            left = self._holders[incarnation] - 1
            if left:
                self._holders[incarnation] = left
                return []
            del self._holders[incarnation]
            deferred = self._deferred.pop(incarnation, {})
            self.deferred_bytes -= sum(deferred.values())
            return list(deferred)

    def remove(self, name: ChunkName) -> bool:
        """Remove a file; False when it was not there, or stays a while. Blocks."""
        if name.incarnation in self._holders:
            held_bytes = self._files.held_bytes(name)
            with self._lock:
                is_held = name.incarnation in self._holders
                if is_held and self.deferred_bytes + held_bytes <= self._max_bytes:
                    deferred = self._deferred.setdefault(name.incarnation, {})
                    self.deferred_bytes += held_bytes - deferred.get(name, 0)
                    deferred[name] = held_bytes
                    return False
        return self._files.remove(name)
