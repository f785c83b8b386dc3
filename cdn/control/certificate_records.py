"""Certificates as nodes get them: sealed for each group of nodes, in the store first, then as a record (DESIGN I11)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from cdn.control.node_directory import NodeDirectory
from cdn.control.state import ControlState
from cdn.errors import Conflict, InvalidInput, NotFound, Unavailable
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFacts, CertificateFold
from cdn.journal.record import SINCE, CertificateRemoved, CertificateSet, Change, Record
from cdn.origin.layout import certificate_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.tls.certificate import Certificate
from cdn.tls.sealed import KeyRing
from cdn.tls.sealed_certificate import CertificateObject, RingSet

UPLOAD = "upload"
"""The issuer of certificates that owners bring."""

SETTLE_S = 5.0
"""How long nodes may take to have a certificate before it counts as set all the same: they get it in any case."""

log = logging.getLogger(__name__)


class CertificateRecords:
    """What is recorded here every node that may serve the name has on its disk before it acknowledges the record."""

    def __init__(
        self,
        state: ControlState,
        catalog_fold: CatalogFold,
        certificates: CertificateFold,
        *,
        store: ObjectStore,
        rings: Mapping[str, KeyRing],
        directory: NodeDirectory,
    ) -> None:
        self._state = state
        self._catalog_fold = catalog_fold
        self._certificates = certificates
        self._store = store
        self._rings = RingSet(rings)
        self._directory = directory

    async def require_understood(self) -> None:
        """Raises Conflict while somebody would not understand that there is a certificate, Unavailable."""
        await self._state.require_understood(SINCE[CertificateSet])

    async def keep(
        self, name: str, certificate: Certificate, site_id: str, issuer: str, actor: str
    ) -> CertificateFacts:
        """The certificate is the name's from now on.

        Raises Conflict when the name is no longer the site's, or its owner brought a certificate while this one, which
        is not its owner's, was being got; Unavailable.
        """
        before = self._brought(name)
        groups = self.groups(site_id)
        if not groups:
            raise Conflict(f"No key is there for nodes that may serve {name}: see edge_key_file in [control].")
        stored = self._rings.seal(certificate, groups)
        await self._store.put(certificate_key(certificate.certificate_id), stored.to_bytes())

        def decide() -> Change:
            self._require_held(name, site_id)
            if issuer != UPLOAD and self._brought(name) != before:
                raise Conflict(f"The owner of {name} has brought a certificate meanwhile.")
            return CertificateSet(
                name=name,
                certificate_id=certificate.certificate_id,
                site_id=site_id,
                names=certificate.names,
                not_before=certificate.not_before,
                not_after=certificate.not_after,
                issuer=issuer,
                chain=certificate.chain,
                sealed_keys=stored.sealed_keys,
            )

        record = await self._state.append(f"certificate/{name}", decide, actor)
        await self._settle(record)
        facts = self._certificates.certificate(name)
        if facts is None:
            raise Conflict(f"{name} was removed meanwhile.")
        return facts

    def _brought(self, name: str) -> str | None:
        """The certificate of the name that its owner brought."""
        facts = self._certificates.certificate(name)
        return None if facts is None or facts.issuer != UPLOAD else facts.certificate_id

    async def _settle(self, record: Record) -> None:
        """Give nodes a while to have it: whoever hears that HTTPS works tries it at once."""
        try:
            await self._directory.wait_past(record.position, SETTLE_S)
        except Unavailable as error:
            log.info("whether nodes have the certificate %s is not waited for: %s", record.subject, error)

    def _require_held(self, name: str, site_id: str) -> None:
        """Raises Conflict."""
        if (self._catalog_fold.catalog.domain_owner(name) or "") != site_id:
            raise Conflict(f"{name} is no longer a domain of the site.")

    async def reseal(self, facts: CertificateFacts, actor: str) -> bool:
        """Seal the key for the nodes that may serve the name now, with the keys that seal now; whether that was to do.

        Raises InvalidInput where no key here opens it, Conflict when it was replaced meanwhile, Unavailable.
        """
        stored = await self._stored(facts.certificate_id)
        groups = self.groups(facts.site_id)
        anew = None if stored is None or not groups else self._rings.resealed(stored, groups)
        if anew is None:
            return False
        await self._store.put(certificate_key(facts.certificate_id), anew.to_bytes())

        def decide() -> Change:
            now = self._certificates.certificate(facts.name)
            if now is None or now.certificate_id != facts.certificate_id:
                raise Conflict(f"The certificate of {facts.name} was replaced meanwhile.")
            return CertificateSet(
                name=facts.name,
                certificate_id=facts.certificate_id,
                site_id=facts.site_id,
                names=facts.names,
                not_before=facts.not_before,
                not_after=facts.not_after,
                issuer=facts.issuer,
                chain=anew.chain,
                sealed_keys=anew.sealed_keys,
            )

        await self._state.append(f"certificate/{facts.name}", decide, actor)
        return True

    async def drop(self, certificate_ids: Iterable[str]) -> None:
        """Remove what the store has of certificates that nobody serves: one that its owner brought may be that of
        several names, and stays while any of them has it. Raises StoreUnavailable."""
        for certificate_id in certificate_ids:
            if not self._certificates.is_in_service(certificate_id):
                await self._store.delete(certificate_key(certificate_id))

    @property
    def has_regions(self) -> bool:
        """Whether nodes of some regions have keys of their own."""
        return len(self._rings) > 1

    async def remove(self, name: str, actor: str) -> None:
        """Raises NotFound, Unavailable."""

        def decide() -> Change:
            if self._certificates.certificate(name) is None:
                raise NotFound(f"There is no certificate for {name}.")
            return CertificateRemoved(name)

        await self._state.append(f"certificate/{name}", decide, actor)

    async def replaced_chain(self, name: str) -> str | None:
        """The chain of the certificate that the name has; None: it has none, or one that its owner brought."""
        facts = self._certificates.certificate(name)
        if facts is None or facts.issuer == UPLOAD:
            return None
        return await self.chain(facts.certificate_id)

    def left_s(self, name: str, now: float) -> float | None:
        """For how long the certificate of a name is good; None: it has none."""
        facts = self._certificates.certificate(name)
        return None if facts is None else facts.not_after - now

    async def chain(self, certificate_id: str) -> str | None:
        """In PEM form; None when the store has none that can be read. Raises StoreUnavailable."""
        stored = await self._stored(certificate_id)
        return None if stored is None else stored.chain

    async def _stored(self, certificate_id: str) -> CertificateObject | None:
        try:
            return CertificateObject.from_bytes(await self._store.get(certificate_key(certificate_id)), certificate_id)
        except ObjectMissing:
            return None
        except InvalidInput as error:
            log.warning("%s", error)
            return None

    def groups(self, site_id: str) -> tuple[str, ...]:
        """The groups of nodes that may serve the site: those of its regions; of the CDN's own zone, all."""
        site = self._catalog_fold.catalog.site(site_id) if site_id else None
        return self._rings.groups_of(() if site is None else site.settings.region)
