"""Keeps the node's disk at what the records say: writes what came, fetches what is missing, removes what went.

What came with records is on the disk before the node acknowledges them. A snapshot names certificates without their
content; that is fetched from the store, a few at a time, and at once what a handshake asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Iterable

import msgspec

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.certificate_shelf import CertificateShelf, ShelvedCertificate
from cdn.edge.clocks import Clocks
from cdn.edge.fault_log import FaultLog
from cdn.errors import CdnError, Unavailable
from cdn.origin.layout import certificate_key
from cdn.origin.store import ObjectMissing, ObjectStore

MAX_FETCHES = 16
"""Certificates fetched at one time: 100,000 of them take some minutes from S3, and visitors' fetches go on beside."""

FETCH_BATCH = 128
"""Fetched certificates that are written in one transaction."""

RETRY_S = 5.0
"""After a fetch that failed; doubles as long as something is missing."""

LONGEST_RETRY_S = 300.0
"""Never longer: a store that is back should be of use soon."""

SWEEP_S = 600.0
"""How often certificates that nobody names are looked for."""

MAX_URGENT = 1024
"""Certificates that handshakes asked for and that are on their way; those beyond it wait for the round."""

PATIENCE_S = 30.0
"""How long an acknowledgement waits for certificates of a snapshot; then the node goes on and serves what it has."""


class _Stored(msgspec.Struct):
    """What of an object in the store matters here."""

    chain: str
    sealed_keys: dict[str, str]


class CertificateKeeper:
    """One per node, in the process that follows the journal."""

    def __init__(
        self,
        certificates: ArrivingCertificates,
        shelf: CertificateShelf,
        store: ObjectStore,
        clocks: Clocks,
        *,
        patience_s: float = PATIENCE_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._certificates = certificates
        self._shelf = shelf
        self._store = store
        self._monotonic = clocks.monotonic
        self._faults = FaultLog(clocks.monotonic)
        self._patience_s = patience_s
        self._retry_s = retry_s
        self._writing = asyncio.Lock()
        self._wakes = asyncio.Event()
        self._is_complete = asyncio.Event()
        self._is_complete.set()
        self._waits_until = 0.0
        self._knows = False
        """Whether the fold says what there is; before that nothing is named, and nothing is swept for it."""
        self._urgent: dict[str, asyncio.Task[None]] = {}
        self.fetched = 0
        """Certificates that came from the store."""
        self.fetch_failed = 0

    def snapshot_loaded(self) -> None:
        """The fold was replaced, or is as the node's own copy says: what is missing on the disk is fetched now."""
        self._knows = True
        self._waits_until = self._monotonic() + self._patience_s
        self._is_complete.clear()
        self._wakes.set()

    def want(self, certificate_id: str) -> None:
        """A handshake needs it: fetch it at once, unless that is being done or has just failed."""
        if certificate_id in self._urgent or len(self._urgent) >= MAX_URGENT:
            return
        task = asyncio.create_task(self._hurry(certificate_id), name=f"certificate {certificate_id}")
        self._urgent[certificate_id] = task
        task.add_done_callback(lambda _: self._urgent.pop(certificate_id, None))

    async def durable(self) -> tuple[str, ...]:
        """Return when all that came with records so far is on the disk: the ids of what was written now.

        Waits for what a snapshot named as well, for PATIENCE_S from when it was loaded. Raises Unavailable when the
        disk cannot be written; then nothing is forgotten.
        """
        async with self._writing:
            arrived = self._certificates.arrived()
            await self._shelf.put(arrived)
            self._certificates.shelved(arrived)
        if not self._is_complete.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._waits_until - self._monotonic())):
                    await self._is_complete.wait()
        return tuple(each.certificate_id for each in arrived)

    async def run(self) -> None:
        """Fetch and remove, until cancelled. Raises Unavailable when the disk cannot be read or written."""
        pause_s = self._retry_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S if self._is_complete.is_set() else pause_s):
                    await self._wakes.wait()
            pause_s = self._retry_s if self._wakes.is_set() else min(2 * pause_s, LONGEST_RETRY_S)
            self._wakes.clear()
            if self._knows:
                await self.complete()
                await self.sweep()

    async def complete(self) -> bool:
        """Fetch what is missing; whether nothing is any more. Raises Unavailable when the disk cannot be written."""
        here = await self._shelf.ids()
        missing = [name for name in self._certificates.named() if name not in here]
        is_whole = True
        for first in range(0, len(missing), FETCH_BATCH):
            batch = missing[first : first + FETCH_BATCH]
            found = await self._fetch_all(batch)
            is_whole = is_whole and len(found) == len(batch)
            await self._keep(found)
        if is_whole and not self._wakes.is_set():
            self._is_complete.set()
        return is_whole

    async def sweep(self) -> int:
        """Remove what nobody names any more; how many. Raises Unavailable."""
        async with self._writing:  # what comes meanwhile, under the same id once more, is written after this
            here = await self._shelf.ids()
            gone = here - self._certificates.named()
            await self._shelf.remove(gone)
        return len(gone)

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = tuple(self._urgent.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hurry(self, certificate_id: str) -> None:
        found = await self._fetched(certificate_id)
        if found is None:
            await asyncio.sleep(self._retry_s)  # handshakes that ask for it meanwhile do not ask the store again
            return
        try:
            await self._keep((found,))
        except Unavailable as exc:
            self._faults.tell("disk", exc.message)

    async def _keep(self, found: Iterable[ShelvedCertificate]) -> None:
        """Unless a record has brought, or removed, it meanwhile."""
        async with self._writing:
            named, newer = self._certificates.named(), {each.certificate_id for each in self._certificates.arrived()}
            await self._shelf.put(
                each for each in found if each.certificate_id in named and each.certificate_id not in newer
            )

    async def _fetch_all(self, certificate_ids: list[str]) -> list[ShelvedCertificate]:
        turns = asyncio.Semaphore(MAX_FETCHES)

        async def fetched(certificate_id: str) -> ShelvedCertificate | None:
            async with turns:
                return await self._fetched(certificate_id)

        found = await asyncio.gather(*(fetched(each) for each in certificate_ids))
        return [each for each in found if each is not None]

    async def _fetched(self, certificate_id: str) -> ShelvedCertificate | None:
        """None, said in the log, when the store does not give it."""
        try:
            raw = await self._store.get(certificate_key(certificate_id))
            stored = msgspec.json.decode(raw, type=_Stored)
            if certificate_id not in _ids_of(stored.chain):
                raise Unavailable("what lies there is another certificate")
        except (ObjectMissing, msgspec.MsgspecError, ValueError, CdnError) as exc:
            self.fetch_failed += 1
            self._faults.tell("fetch", f"certificate {certificate_id} cannot be had from the store: {exc}")
            return None
        self.fetched += 1
        return ShelvedCertificate(certificate_id, stored.chain, stored.sealed_keys)


_END = "-----END CERTIFICATE-----"


def _ids_of(chain: str) -> tuple[str, str]:
    """The SHA-256 of all its certificates, and of the first alone, which was the id at first. Raises ValueError."""
    each = [ssl.PEM_cert_to_DER_cert(text.strip() + _END) for text in chain.split(_END)[:-1]]
    return hashlib.sha256(b"".join(each)).hexdigest(), hashlib.sha256(b"".join(each[:1])).hexdigest()
