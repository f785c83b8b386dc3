"""The seam to zone files: control records zones, and leaves reading them to whoever answers for them."""

from __future__ import annotations

from typing import Protocol

from cdn.journal.record import ZoneSet


class ZoneReader(Protocol):
    """Reads and checks a zone in the standard text form (RFC 1035 5). Slow, and touches nothing: called on a thread."""

    def __call__(self, text: str, *, file: str, cdn_zone: str, name: str | None = None) -> ZoneSet:
        """`file` is what faults call the text, `cdn_zone` the CDN's own zone, `name` the zone's.

        Raises InvalidInput whose details name file and line of every fault, TooLarge.
        """
        ...
