"""Who signs certificates for a control plane, put together of its settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cdn.cli.issuing_role import IssuingRole
from cdn.control.acme_memory import StoredAcmeMemory
from cdn.control.control_surroundings import ControlSurroundings
from cdn.control.dns_sight import DnsSight, nobody_looks
from cdn.control.issuing import Issuing
from cdn.control.settings import ControlSettings
from cdn.journal.tenure import Offices
from cdn.origin.store import ObjectStore
from cdn.tls.acme.authority import Authority, ExternalAccount
from cdn.tls.acme.issuer import AcmeIssuer
from cdn.tls.acme.issuer_chain import IssuerChain
from cdn.tls.development_authority import DevelopmentAuthority
from cdn.tls.issuer import Issuer
from cdn.tls.local_names import LocalNames


@dataclass(frozen=True, slots=True)
class IssuingPart:
    """What a control plane is handed. `surroundings` are to be attached to it before it starts."""

    issuing: Issuing
    sight: DnsSight
    surroundings: ControlSurroundings


def issuing_part(
    role: IssuingRole, settings: ControlSettings, store: ObjectStore, offices: Offices, holder: str
) -> IssuingPart:
    """Connects to nothing yet. Raises InvalidInput for files that cannot be used."""
    memory = StoredAcmeMemory(store, role.control_ring)
    public = [AcmeIssuer(authority, memory) for authority in _authorities(role)]

    async def identities() -> tuple[str, ...]:
        named = [await each.caa_identities() for each in public]
        # Of an authority that does not say what it is called, nobody knows which records forbid it.
        return tuple(name for names in named for name in names) if all(named) else ()

    surroundings = ControlSurroundings(settings)
    sight = DnsSight(role.lookups, surroundings, identities if public else nobody_looks)
    return IssuingPart(_issuing(role, public, offices, holder), sight, surroundings)


def _issuing(role: IssuingRole, public: Sequence[AcmeIssuer], offices: Offices, holder: str) -> Issuing:
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
        own_zone=issuer is not None and role.own_zone,
        local_zone="" if role.development_dir is None else role.development_zone,
        settings=role.limits,
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
