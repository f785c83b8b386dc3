"""Who signs certificates for a control plane, put together of its settings."""

from __future__ import annotations

import time

from cdn.cli.issuing_role import IssuingRole
from cdn.control.acme_memory import StoredAcmeMemory
from cdn.control.acme_settings import IssuingSettings
from cdn.control.issuing import Issuing
from cdn.journal.tenure import Offices
from cdn.origin.store import ObjectStore
from cdn.tls.acme.authority import Authority, ExternalAccount
from cdn.tls.acme.issuer import AcmeIssuer
from cdn.tls.acme.issuer_chain import IssuerChain
from cdn.tls.development_authority import DevelopmentAuthority
from cdn.tls.issuer import Issuer
from cdn.tls.local_names import LocalNames

ISSUING = IssuingSettings()
"""Limits of the work behind domains."""


def issuing_of(role: IssuingRole, store: ObjectStore, offices: Offices, holder: str) -> Issuing:
    """See `Issuing`. Connects to nothing yet. Raises InvalidInput for files that cannot be used."""
    memory = StoredAcmeMemory(store, role.control_ring)
    public = [AcmeIssuer(authority, memory) for authority in _authorities(role)]
    issuer: Issuer | None = IssuerChain(public) if public else None
    if role.development_dir is not None:
        development = DevelopmentAuthority.open(role.development_dir, time.time)
        issuer = development if issuer is None else LocalNames(role.development_zone, development, issuer)
    return Issuing(
        issuer,
        role.control_ring,
        role.rings,
        offices,
        holder,
        methods=role.acme.challenge_methods,
        own_zone=issuer is not None,
        settings=ISSUING,
    )


def _authorities(role: IssuingRole) -> list[Authority]:
    acme = role.acme
    external = None if role.eab_key is None else ExternalAccount.read(acme.eab_key_id, role.eab_key)
    return [
        Authority(
            url,
            contacts=acme.contacts,
            external_account=external if index == 0 else None,
            profile=acme.profile,
            ca_file=acme.ca_file,
        )
        for index, url in enumerate(acme.directories)
    ]
