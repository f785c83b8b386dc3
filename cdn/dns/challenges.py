"""TXT records that prove to a certificate authority who holds a name (RFC 8555 8.4), for as long as they count."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from cdn.dns.code import Rrtype
from cdn.dns.name import Labels
from cdn.dns.zone_answer import Rrset
from cdn.dns.zone_records import labels_from_text
from cdn.errors import InvalidInput
from cdn.journal.zone_fold import Challenge

CHALLENGE_TTL_S = 10
"""An authority that asked too early asks again in about so long."""

_MAX_STRING_OCTETS = 255


class Challenges:
    """Frozen once made.

    `between` are the names above those of challenges. Where nothing else makes such a name exist it exists (RFC 8020),
    but does not stop a wildcard from standing for it: a site behind `*.example.com` answers on while it gets its
    certificate.
    """

    def __init__(self, challenges: Iterable[Challenge] = (), wall_s: float = 0.0) -> None:
        """Those that are over at `wall_s` are left out, and those whose name is none."""
        counting = [each for each in challenges if each.expires_at > wall_s]
        values: dict[Labels, set[bytes]] = {}
        for each in counting:
            with suppress(InvalidInput):
                values.setdefault(labels_from_text(each.name), set()).add(_text(each.value.encode()))
        self.until = min((each.expires_at for each in counting), default=None)
        """The wall time at which the first of them is over; None when there is none."""
        self.texts = {
            labels: Rrset(labels, Rrtype.TXT, CHALLENGE_TTL_S, tuple(sorted(rdatas)))
            for labels, rdatas in values.items()
        }
        self.between = frozenset(labels[start:] for labels in values for start in range(1, len(labels)))

    def has(self, labels: Labels) -> bool:
        """Whether the name exists by a challenge that is there or below."""
        return labels in self.texts or labels in self.between

    def beside(self, labels: Labels, text: Rrset | None) -> Rrset | None:
        """The TXT records at a name where the zone has `text`."""
        own = self.texts.get(labels)
        if own is None or text is None:
            return own or text
        others = tuple(rdata for rdata in own.rdatas if rdata not in text.rdatas)
        return Rrset(labels, Rrtype.TXT, min(own.ttl_s, text.ttl_s), text.rdatas + others)


def _text(value: bytes) -> bytes:
    parts = [value[start : start + _MAX_STRING_OCTETS] for start in range(0, len(value), _MAX_STRING_OCTETS)] or [b""]
    return b"".join(bytes((len(part),)) + part for part in parts)
