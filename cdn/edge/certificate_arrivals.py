"""The fold of certificates as an edge keeps it: what a record carries beside the facts waits here for the disk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cdn.edge.certificate_shelf import ShelvedCertificate
from cdn.journal.certificate_fold import Answer, CertificateFacts, CertificateFold
from cdn.journal.record import CertificateSet, Record
from cdn.sites.catalog import Catalog

MAX_ARRIVED = 10_000
"""Certificates that may wait for the disk at one time, 50 MB. Those beyond it, the oldest, are fetched from the store
like any that are not here; a node that follows has written each before the next batch comes."""


class ArrivingCertificates(CertificateFold):
    """A CertificateFold that remembers chains and sealed keys of the records it took, until they are `shelved`."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._arrived: dict[str, ShelvedCertificate] = {}

    def apply(self, record: Record) -> None:
        """See `Fold.apply`."""
        super().apply(record)
        change = record.change
        if isinstance(change, CertificateSet):
            self._arrived.pop(change.certificate_id, None)
            self._arrived[change.certificate_id] = ShelvedCertificate(
                change.certificate_id, change.chain, change.sealed_keys
            )
            while len(self._arrived) > MAX_ARRIVED:
                del self._arrived[next(iter(self._arrived))]

    def load(self, section: Any) -> None:
        """See `Fold.load`."""
        super().load(section)
        self._keep_named()

    def brief(self) -> Any:
        """What a handshake goes by, as builtins: a third of what `dump` gives, because each worker holds it."""
        own: dict[str, str] = {}
        zones: dict[str, str] = {}
        for name, facts in self._certificates.items():
            (own if facts.site_id else zones)[name] = facts.certificate_id
        return {"own": own, "zones": zones, "answers": [msgspec.structs.astuple(each) for each in self.answers()]}

    def load_brief(self, brief: Any) -> None:
        """Become what `brief` gave; None is the empty state. The catalog has been loaded. What a handshake does not go
        by (times, issuer, other names) is empty then."""
        owners = self._catalog.domains()
        given = brief or {"own": {}, "zones": {}, "answers": ()}
        # The catalog's own strings, held once: there are as many as there are domains.
        self._certificates = {
            name: CertificateFacts(name, given["own"][name], site_id, (), 0.0, 0.0, "", 0)
            for name, site_id in owners.items()
            if name in given["own"]
        }
        for name, certificate_id in given["zones"].items():
            self._certificates[name] = CertificateFacts(name, certificate_id, "", (), 0.0, 0.0, "", 0)
        self._answers = {tuple(each[:3]): Answer(*each) for each in given["answers"]}
        self.changes += 1
        self._keep_named()

    def named(self) -> set[str]:
        """The ids of all certificates that there are."""
        return {facts.certificate_id for facts in self._certificates.values()}

    def _keep_named(self) -> None:
        if self._arrived:
            named = self.named()
            self._arrived = {name: each for name, each in self._arrived.items() if name in named}

    def arrived(self) -> tuple[ShelvedCertificate, ...]:
        """What waits for the disk."""
        return tuple(self._arrived.values())

    def arrival(self, certificate_id: str) -> ShelvedCertificate | None:
        """What came with a record and is not known to be on the disk."""
        return self._arrived.get(certificate_id)

    def shelved(self, certificates: Iterable[ShelvedCertificate]) -> None:
        """These are on the disk."""
        for each in certificates:
            if self._arrived.get(each.certificate_id) is each:
                del self._arrived[each.certificate_id]

    def forget(self, certificate_ids: Iterable[str]) -> None:
        """These were written by the node's process."""
        for name in certificate_ids:
            self._arrived.pop(name, None)
