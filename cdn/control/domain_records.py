"""Which DNS records a domain needs, in words that can be copied into any host's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

VERIFY_LABEL = "_cdn-verify"

MAX_ADDRESSES = 8
"""Addresses told for a name that can have no CNAME: hosts' forms take a handful, and more say nothing more."""

WILDCARD = "*."

WILDCARD_NOTE = "authorities sign a wildcard only where our name servers answer for the domain: cdn zone import"


class Purpose(Enum):
    """What a record is for."""

    OWNERSHIP = "ownership"  # shows that the name is the site's
    POINTING = "pointing"  # leads visitors here


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """One record, `name` and `value` without final dots. `instead`: it may be set in the place of the one before it of
    the same purpose. `note` says when it is the right one or what else it needs, "" where there is nothing to say."""

    purpose: Purpose
    type: str
    name: str
    value: str
    note: str = ""
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the records depend on beside the name. `target` is the site's own name in the CDN's zone. `addresses` are
    those of nodes that answer now; `zone` is the imported zone that the name lies in, "" for none; `is_apex`: the name
    is the first that can be registered, where no CNAME can stand."""

    target: str
    is_apex: bool
    zone: str = ""
    addresses: Sequence[str] = ()


def verification_name(domain: str) -> str:
    """Where the token of a claim is looked for. A wildcard's stands where that of the name above it stands."""
    return f"{VERIFY_LABEL}.{domain.removeprefix(WILDCARD)}"


def verification_value(token: str) -> str:
    """The TXT record that shows whose the domain is."""
    return f"cdn-verify={token}"


def wanted_records(domain: str, token: str | None, around: Surroundings) -> tuple[WantedRecord, ...]:
    """All of them, ownership first. `token` None: nothing has to be shown."""
    shown = () if token is None else (_ownership(domain, token, around),)
    return (*shown, *_pointing(domain, around))


def _ownership(domain: str, token: str, around: Surroundings) -> WantedRecord:
    note = f"in the zone {around.zone}, which is answered here" if around.zone else ""
    return WantedRecord(Purpose.OWNERSHIP, "TXT", verification_name(domain), verification_value(token), note)


def _pointing(domain: str, around: Surroundings) -> tuple[WantedRecord, ...]:
    if around.zone:
        note = f"in the zone {around.zone}, which is answered here: cdn zone import"
        return (WantedRecord(Purpose.POINTING, "ALIAS", domain, around.target, note),)
    if not around.is_apex:
        note = WILDCARD_NOTE if domain.startswith(WILDCARD) else ""
        return (WantedRecord(Purpose.POINTING, "CNAME", domain, around.target, note),)
    alias = WantedRecord(
        Purpose.POINTING,
        "ALIAS",
        domain,
        around.target,
        "if your DNS host knows ALIAS, ANAME or CNAME flattening: no CNAME can stand at the name of a zone",
    )
    addresses = tuple(
        WantedRecord(
            Purpose.POINTING,
            "AAAA" if ip_address(address).version == 6 else "A",
            domain,
            address,
            "if it does not; look again when nodes come and go" if index == 0 else "",
            instead=index == 0,
        )
        for index, address in enumerate(tuple(around.addresses)[:MAX_ADDRESSES])
    )
    return (alias, *addresses)
