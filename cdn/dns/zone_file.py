"""A zone in the standard text form (RFC 1035 5), read and checked, as the records that the journal keeps."""

from __future__ import annotations

from cdn.journal.record import ZoneSet

ALIAS = 65401
"""The type of `ALIAS` lines (a private one, RFC 6895 3.1, which others use for this too). No question gets it: the name
answers A and AAAA with the nodes of the site that it names."""


def read_zone_file(text: str, *, file: str, cdn_zone: str, name: str | None = None) -> ZoneSet:
    """The zone that `text` describes, with rdata in canonical form and order (RFC 4034 6).

    `file` is what faults call the text. `cdn_zone` is the CDN's own zone, where the targets of ALIAS lines are. `name`
    is the zone's; None: the owner of its SOA record. Beside what RFC 1035 5.1 has, `$TTL` (RFC 2308 4) and `$GENERATE`
    are understood; `$INCLUDE` is not.

    Raises InvalidInput: `message` says the first fault, `details` every one, each with its file and line; TooLarge when
    it has more records than MAX_ZONE_RECORDS.
    """
    raise NotImplementedError(text, file, cdn_zone, name)
