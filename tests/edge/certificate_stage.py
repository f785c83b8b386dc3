"""Certificates as control hands them to a node: records, sealed keys, objects in the store."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.clocks import Clocks
from cdn.edge.site_view import SiteView
from cdn.edge.tls_source import CertificateMaterial
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import RECORD_VERSION, Audience, CertificateSet, Change, DomainVerified, Record, SiteCreated
from cdn.origin.layout import certificate_key
from cdn.origin.store import ObjectStore
from cdn.purge.floors import Floors
from cdn.tls.sealed import KeyRing, Purpose, make_key_file
from tests.edge.tls_material import certificate_for

ZONE = "cdn.localhost"


def id_of(material: CertificateMaterial) -> str:
    """The certificate's id."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(material.chain.decode("ascii"))).hexdigest()


def sealed_for(material: CertificateMaterial, rings: dict[str, KeyRing]) -> dict[str, str]:
    """Its key, for each group."""
    return {
        group: base64.b64encode(ring.sealed(material.key, Purpose.CERTIFICATE_KEY, id_of(material))).decode()
        for group, ring in rings.items()
    }


def certificate_set(
    name: str, site_id: str, rings: dict[str, KeyRing], *, serial: int = 0, not_after: float = 4e9
) -> CertificateSet:
    """The record for a certificate of this name; each serial is another certificate."""
    material = certificate_for(name, *(f"{serial}.serial.example",) if serial else ())
    return CertificateSet(
        name,
        id_of(material),
        site_id,
        (name,),
        0.0,
        not_after,
        "test",
        material.chain.decode("ascii"),
        sealed_for(material, rings),
    )


async def put_object(store: ObjectStore, change: CertificateSet) -> None:
    """As control does before it records it."""
    document = {
        "certificate_id": change.certificate_id,
        "chain": change.chain,
        "sealed_keys": dict(change.sealed_keys),
    }
    await store.put(certificate_key(change.certificate_id), json.dumps(document).encode())


def new_ring(folder: Path, name: str = "edge-key") -> KeyRing:
    """A key file of its own, and what is in it."""
    make_key_file(folder / name)
    return KeyRing.read(folder / name)


@dataclass(slots=True)
class Clock:
    """Time that stands."""

    now: float = 1000.0

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.now)


@dataclass(slots=True)
class Known:
    """What a node knows: catalog and certificates, told by `tell`."""

    view: SiteView = field(default_factory=lambda: SiteView(CatalogFold(ZONE), Floors()))
    certificates: ArrivingCertificates = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.certificates = ArrivingCertificates(self.view.catalog)
        self.tell(SiteCreated("s1", "blog", {}))

    def tell(self, *changes: Change) -> None:
        """Records, as the follower hands them on."""
        for change in changes:
            self.sequence += 1
            record = Record(RECORD_VERSION, "e1", self.sequence, "x", 0.0, "a", Audience.ALL, change)
            self.view.catalog_fold.apply(record)
            self.certificates.apply(record)
            self.view.on_records((record,), record.position)

    def domain(self, name: str, site_id: str = "s1", **more: Any) -> None:
        self.tell(DomainVerified(name, site_id, **more))
