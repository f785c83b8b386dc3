"""Names of zones as callers give them, and which of them may be imported beside the CDN's own zone."""

from __future__ import annotations

from collections.abc import Iterable

from cdn.errors import InvalidInput
from cdn.journal.record import ZoneRecords

MAX_NAME_OCTETS = 253
"""A name in presentation form without the final dot (RFC 1035 2.3.4)."""

MAX_LABEL_OCTETS = 63

_ESCAPED = frozenset(' \\"();@$')
"""What stands in names that the journal has only with a backslash before it, so that nobody could ask for them here."""

_A, _NS, _AAAA, _DS = 1, 2, 28, 43


def normalise_name(text: str, *, field: str) -> str:
    """The name in lower case and without the final dot; it may have underscores, and slashes as reverse zones do.

    Raises InvalidInput.
    """
    name = text.removesuffix(".").lower()
    if not name.isascii() or not name.isprintable() or not _ESCAPED.isdisjoint(name):
        raise InvalidInput(
            f"{text[:MAX_NAME_OCTETS]!r} is not a domain name: give it in ASCII, its xn-- form, without spaces and "
            "escapes.",
            field=field,
        )
    if len(name) > MAX_NAME_OCTETS:
        raise InvalidInput(f"The name has {len(name)} octets, at most {MAX_NAME_OCTETS} are possible.", field=field)
    labels = name.split(".")
    if not all(1 <= len(label) <= MAX_LABEL_OCTETS for label in labels):
        raise InvalidInput(
            f"{name!r} is not a domain name: between its dots there are 1 to {MAX_LABEL_OCTETS} octets.", field=field
        )
    return name


def is_within(name: str, zone: str) -> bool:
    """Whether `name` is the zone's own or below it."""
    return name == zone or name.endswith(f".{zone}")


def check_beside(zone: str, rrsets: Iterable[ZoneRecords], own_zone: str) -> None:
    """Raises InvalidInput where a zone would take the place of the CDN's own, or of a part of it."""
    if zone == own_zone:
        raise InvalidInput(
            f"{zone} is the CDN's own zone, whose names are those of sites: nothing is imported there. Import a zone "
            "of another name.",
            field="zone",
        )
    if is_within(zone, own_zone):
        raise InvalidInput(
            f"{zone} lies in the CDN's own zone {own_zone}, whose names are those of sites: import a zone of another "
            "name.",
            field="zone",
        )
    if is_within(own_zone, zone):
        _check_delegates(zone, rrsets, own_zone)


def _check_delegates(zone: str, rrsets: Iterable[ZoneRecords], own_zone: str) -> None:
    """A zone above the CDN's own has to say so, as any server that holds only the one of them would be asked."""
    inner = [(each.name, each.type) for each in rrsets if is_within(each.name, own_zone)]
    foreign = sorted({name for name, rrtype in inner if not _is_of_delegation(name, rrtype, own_zone)})
    if (own_zone, _NS) in inner and not foreign:
        return
    what = f" (there are others at {', '.join(foreign[:5])})" if foreign else ""
    raise InvalidInput(
        f"{zone} contains the CDN's own zone {own_zone}, which is answered by policy: delegate it with NS records at "
        f"{own_zone}, with DS records and addresses of these name servers where needed, and put no other records at or "
        f"below that name{what}.",
        field="zone",
    )


def _is_of_delegation(name: str, rrtype: int, own_zone: str) -> bool:
    return rrtype in (_A, _AAAA) if name != own_zone else rrtype in (_NS, _DS)
