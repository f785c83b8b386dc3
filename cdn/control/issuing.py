"""What a control plane is handed so that it looks after domains and gets certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdn.control.acme_settings import IssuingSettings
from cdn.journal.tenure import Offices
from cdn.tls.issuer import ChallengeMethod, Issuer
from cdn.tls.sealed import KeyRing


@dataclass(frozen=True, slots=True)
class Issuing:
    """Put together by the composition root; the plane closes `issuer`.

    `control_ring`: what only control may read is sealed with it: accounts with authorities, keys of orders that are
    under way. `rings`: the keys with which private keys of certificates are sealed, by group of nodes: a region, "" for
    nodes of no region (and of every region that has none of its own). `offices` are shared with the other replicas
    (`MemoryOffices(settings.office_s)` where there are none) and `holder` names this process in them. `issuer` None:
    nobody signs, and only certificates that users bring are served. `own_zone`: whether a certificate for the CDN's own
    zone and for `*.ZONE` is got too. `methods`: how an authority may validate, the best first. `local_zone`: its names
    are signed by the development authority although there is a real one (see `LocalNames`); "": there are none such.
    """

    issuer: Issuer | None
    control_ring: KeyRing
    rings: Mapping[str, KeyRing]
    offices: Offices
    holder: str
    methods: tuple[ChallengeMethod, ...] = (ChallengeMethod.HTTP, ChallengeMethod.TLS_ALPN, ChallengeMethod.DNS)
    own_zone: bool = True
    local_zone: str = ""
    settings: IssuingSettings = field(default_factory=IssuingSettings)
