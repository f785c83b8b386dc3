"""Keeps the node's disk at what the records say: writes what came, fetches what is missing, removes what went.

What came with records is on the disk before the node acknowledges them. A snapshot names certificates without their
content; that is fetched from the store, a few at a time, and at once what a handshake asks for.
"""

from __future__ import annotations

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.certificate_shelf import CertificateShelf
from cdn.edge.clocks import Clocks
from cdn.edge.fault_log import FaultLog
from cdn.origin.store import ObjectStore

MAX_FETCHES = 16
"""Certificates fetched at one time: 100,000 of them take some minutes from S3, and visitors' fetches go on beside."""

FETCH_BATCH = 128
"""Fetched certificates that are written in one transaction."""

RETRY_S = 5.0
"""After a round in which something could not be fetched."""

MAX_URGENT = 1024
"""Certificates that handshakes asked for and that are on their way; those beyond it wait for the round."""

PATIENCE_S = 30.0
"""How long an acknowledgement waits for certificates of a snapshot; then the node goes on and serves what it has."""


class CertificateKeeper:
    """One per node, in its own process. `forget_missing(certificate_id)` ... see `want`."""

    def __init__(
        self, certificates: ArrivingCertificates, shelf: CertificateShelf, store: ObjectStore, clocks: Clocks
    ) -> None:
        self._certificates = certificates
        self._shelf = shelf
        self._store = store
        self._faults = FaultLog(clocks.monotonic)

    def snapshot_loaded(self) -> None:
        """The fold was replaced: what is missing now is fetched."""
        raise NotImplementedError

    def want(self, certificate_id: str) -> None:
        """A handshake needs it: fetch it next."""
        raise NotImplementedError

    async def durable(self) -> None:
        """Return when all that came with records so far is on the disk, and what a snapshot named is too, or took
        longer than PATIENCE_S. Raises Unavailable when the disk cannot be written."""
        raise NotImplementedError

    async def run(self) -> None:
        """Fetch and remove, until cancelled."""
        raise NotImplementedError
