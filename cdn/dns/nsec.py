"""NSEC records that deny one name and tell of no other (RFC 4034 4, RFC 4470)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cdn.dns.name import MAX_LABEL_OCTETS, MAX_NAME_OCTETS, Labels, wire_of

MAX_KNOWN_BITMAPS = 1024
"""Sets of types whose form on the wire is remembered: zones have a few dozen."""

_HIGHEST = b"\xff"
_BEFORE_CAPITALS, _AFTER_CAPITALS = 0x40, 0x5B


def around(name: Labels, apex: Labels) -> tuple[Labels, Labels] | None:
    """The owner and the next name of an NSEC record that denies `name` and all names below it, and nothing that is.

    `name` is below `apex` and does not exist; only names with the octet 255 in a label could be denied with it. The
    owner is below the parent of `name`, which is how resolvers see that the parent exists. None: there is no such
    owner, because `name` is as long as names may be, or the very first one below its parent.
    """
    owner = _before(name)
    return None if owner is None else (owner, _after(name, apex))


def after(name: Labels, apex: Labels) -> Labels:
    """The next name of an NSEC record whose owner is `name`, in the zone `apex`: the very next that there could be."""
    first_below = (b"\0", *name)
    return first_below if _fits(first_below) else _after(name, apex)


@lru_cache(maxsize=MAX_KNOWN_BITMAPS)
def type_bitmap(types: frozenset[int]) -> bytes:
    """Which types a name has (RFC 4034 4.1.2)."""
    windows: dict[int, bytearray] = {}
    for each in sorted(types):
        bitmap = windows.setdefault(each >> 8, bytearray())
        bitmap.extend(bytes((each >> 3 & 31) + 1 - len(bitmap)))
        bitmap[each >> 3 & 31] |= 0x80 >> (each & 7)
    return b"".join(bytes((window, len(bitmap))) + bitmap for window, bitmap in windows.items())


def nsec_rdata(next_name: Labels, types: Iterable[int]) -> bytes:
    """The record's content; names in it are never compressed (RFC 4034 4.1.1)."""
    return wire_of(next_name) + type_bitmap(frozenset(types))


def _before(name: Labels) -> Labels | None:
    """A name shortly before `name` in canonical order (RFC 4034 6.1), behind everything before it that there may be."""
    label, parent = name[0], name[1:]
    if label[-1]:
        shorter = label[:-1] + bytes((_lower(label[-1]),))
        owner = (shorter + _HIGHEST, *parent) if len(shorter) < MAX_LABEL_OCTETS else (_HIGHEST, shorter, *parent)
    elif len(label) > 1:
        owner = (_HIGHEST, label[:-1], *parent)  # behind what is below the shorter label, which may exist
    else:
        return None
    return owner if _fits(owner) else None


def _after(name: Labels, apex: Labels) -> Labels:
    """The first name that there could be behind `name` and everything below it; `apex` where there is none, since the
    last NSEC record of a zone points to its first name."""
    if name == apex:
        return apex
    label, parent = name[0], name[1:]
    longer = (label + b"\0", *parent)
    if len(label) < MAX_LABEL_OCTETS and _fits(longer):
        return longer
    # No longer label is possible, so the next one differs in the last octet that can be raised.
    raised = label.rstrip(_HIGHEST)
    if not raised:
        return _after(parent, apex)
    return (raised[:-1] + bytes((_higher(raised[-1]),)), *parent)


def _lower(octet: int) -> int:
    """The octet before it among those of canonical names, which have no capital letters."""
    return _BEFORE_CAPITALS if octet == _AFTER_CAPITALS else octet - 1


def _higher(octet: int) -> int:
    return _AFTER_CAPITALS if octet == _BEFORE_CAPITALS else octet + 1


def _fits(name: Labels) -> bool:
    return sum(map(len, name)) + len(name) + 1 <= MAX_NAME_OCTETS
