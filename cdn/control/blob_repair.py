"""Makes room for a blob that the store has lost or damaged, so that the next deploy uploads it again (DESIGN I5, I7).

Nodes tell which blobs they could not have. That is a hint: control reads the object itself before it believes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from cdn.control.proofs import Proofs
from cdn.control.upload_session import UploadSessions
from cdn.errors import CdnError, Unavailable
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectMissing, ObjectStore

MAX_WAITING = 1024
"""Blobs that wait to be looked at; a node tells again what a visitor asks for again."""

MAX_WAITING_PER_NODE = 256
"""A node's share of them: one that makes faults up leaves the others theirs. As many as a node tells at once."""

RANGE_BYTES = 1024 * 1024
"""An object is read in ranges of this size: what one look holds in memory."""

READ_BYTES_PER_S = 64 * 1024 * 1024
"""No faster, so that made-up faults do not take the store's line from visitors and uploads."""

PAUSE_S = 0.02
"""Between two blobs: bounds the calls and the log lines that made-up faults cost."""

SOUND_FOR_S = 60.0
"""A blob that was found sound is not read again within so long, whatever nodes say."""

MAX_SOUND = 4096
"""Blobs remembered as sound."""

RETELL_S = 1.0
"""Before a loss that the other replicas could not be told of is looked at, and told, again."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


class Verdict(Enum):
    """What control found. Values double as names of counters."""

    SOUND = "blobs_sound"  # the node is wrong, or its line is
    MISSING = "blobs_missing"  # forgotten: the next deploy uploads it again
    DAMAGED = "blobs_damaged"  # removed and forgotten
    CHANGED = "blobs_changed"  # another object has the key since: the node will see
    UNCHECKED = "blobs_unchecked"  # the store did not let control look


class BlobLosses(Protocol):
    """What replicas of control tell each other of blobs. Its methods may raise Unavailable."""

    def start(self, take: Callable[[str, str], None]) -> None:
        """Call `take` with site and digest whenever some replica told of a loss."""
        ...

    async def tell(self, site_id: str, digest: str) -> None:
        """Have every replica hear of it."""
        ...


class BlobRepair:
    """Looks at one suspected blob at a time; `counters` say what became of them.

    What is not sound has no proof any more: neither memory nor an open upload session says that it need not be sent, at
    no replica of control.
    """

    def __init__(
        self,
        store: ObjectStore,
        proofs: Proofs,
        sessions: UploadSessions,
        has_site: Callable[[str], bool],
        *,
        monotonic: Callable[[], float],
        losses: BlobLosses | None = None,
    ) -> None:
        """`losses` reaches the other replicas; None: there are none."""
        self.on_loss: Callable[[str, str], None] = lambda site_id, digest: None
        """Called with site and digest for every blob that is lost, whichever replica found out."""
        self._losses = losses
        self._store = store
        self._proofs = proofs
        self._sessions = sessions
        self._has_site = has_site
        self._monotonic = monotonic
        self._waiting: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._waiting_of: Counter[str] = Counter()
        self._has_waiting = asyncio.Event()
        self._sound: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        names = ("blob_faults_told", "blob_faults_dropped", *(each.value for each in Verdict))
        self.counters: dict[str, int] = dict.fromkeys(names, 0)

    def suspect(self, node_id: str, site_id: str, digest: str) -> None:
        """A node says that the store's copy of this blob is damaged or gone. Never waits."""
        self.counters["blob_faults_told"] += 1
        blob = (site_id, digest)
        if blob in self._waiting:
            return
        is_full = len(self._waiting) >= MAX_WAITING or self._waiting_of[node_id] >= MAX_WAITING_PER_NODE
        is_blob = self._has_site(site_id) and _DIGEST.fullmatch(digest) is not None
        if is_full or not is_blob or self._is_known_sound(blob):
            self.counters["blob_faults_dropped"] += 1
            return
        self._waiting[blob] = node_id
        self._waiting_of[node_id] += 1
        self._has_waiting.set()

    def start(self) -> None:
        """Begin to look, and to listen to other replicas."""
        if self._losses is not None:
            self._losses.start(self._forget)
        self._task = asyncio.create_task(self._run(), name="control-blob-repair")

    async def aclose(self) -> None:
        """End a look that is under way; what waits is told again by nodes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check(self, site_id: str, digest: str, node_id: str) -> Verdict:
        """Look at the object, and undo what says that it is there when it is not as its digest says."""
        try:
            verdict = await self._look(blob_key(site_id, digest), digest)
        except CdnError as exc:
            _log.warning("blob %s of site %s, which node %s could not have, cannot be looked at: %s",
                         digest, site_id, node_id, exc)  # fmt: skip
            verdict = Verdict.UNCHECKED
        self.counters[verdict.value] += 1
        match verdict:
            case Verdict.SOUND:
                self._remember_sound((site_id, digest))
                _log.info("node %s took blob %s of site %s for damaged; it is sound", node_id, digest, site_id)
            case Verdict.MISSING | Verdict.DAMAGED:
                self._forget(site_id, digest)
                found = "is missing from the store" if verdict is Verdict.MISSING else "was damaged and is removed"
                _log.warning("blob %s of site %s %s (told by node %s): the next deploy that has it uploads it again",
                             digest, site_id, found, node_id)  # fmt: skip
            case Verdict.CHANGED | Verdict.UNCHECKED:
                pass
        return verdict

    async def _run(self) -> None:
        while True:
            await self._has_waiting.wait()
            (site_id, digest), node_id = next(iter(self._waiting.items()))
            is_untold = False
            try:
                if await self.check(site_id, digest, node_id) in {Verdict.MISSING, Verdict.DAMAGED}:
                    is_untold = not await self._tell(site_id, digest)
            except Exception:  # noqa: BLE001 - a fault of this program with one blob; the others are looked at all the same
                _log.exception("looking at blob %s of site %s failed", digest, site_id)
            self._done((site_id, digest), node_id)
            if is_untold:
                self.suspect(node_id, site_id, digest)
            await asyncio.sleep(RETELL_S if is_untold else PAUSE_S)

    def _forget(self, site_id: str, digest: str) -> None:
        self._proofs.forget(site_id, digest)
        self._sessions.forget(site_id, digest)
        self.on_loss(site_id, digest)

    async def _tell(self, site_id: str, digest: str) -> bool:
        """Whether the other replicas hear of the loss."""
        if self._losses is None:
            return True
        try:
            await self._losses.tell(site_id, digest)
        except Unavailable as exc:
            _log.warning("other replicas are told later that blob %s of site %s is lost: %s", digest, site_id, exc)
            return False
        return True

    def _done(self, blob: tuple[str, str], node_id: str) -> None:
        del self._waiting[blob]
        self._waiting_of[node_id] -= 1
        if not self._waiting_of[node_id]:
            del self._waiting_of[node_id]
        if not self._waiting:
            self._has_waiting.clear()

    async def _look(self, key: str, digest: str) -> Verdict:
        """Raises StoreUnavailable."""
        facts = await self._store.head(key)
        if facts is None:
            return Verdict.MISSING
        try:
            # The line may have been at fault, so one reading does not condemn what cannot be had again.
            for _ in range(2):
                if await self._digest(key, facts.size_bytes) == digest:
                    return Verdict.SOUND
        except ObjectMissing:
            return Verdict.MISSING
        if await self._store.head(key) != facts:
            return Verdict.CHANGED
        await self._store.delete(key)
        return Verdict.DAMAGED

    async def _digest(self, key: str, size_bytes: int) -> str:
        sha256 = hashlib.sha256()
        for start in range(0, size_bytes, RANGE_BYTES):
            part = await self._store.get_range(key, start, min(start + RANGE_BYTES, size_bytes))
            await asyncio.to_thread(sha256.update, part)
            await asyncio.sleep(len(part) / READ_BYTES_PER_S)
        return sha256.hexdigest()

    def _is_known_sound(self, blob: tuple[str, str]) -> bool:
        found_at = self._sound.get(blob)
        return found_at is not None and self._monotonic() - found_at < SOUND_FOR_S

    def _remember_sound(self, blob: tuple[str, str]) -> None:
        self._sound[blob] = self._monotonic()
        self._sound.move_to_end(blob)
        if len(self._sound) > MAX_SOUND:
            self._sound.popitem(last=False)
