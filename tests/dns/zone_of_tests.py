"""A zone for tests, with sites that a table names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdn.dns.answer import Answerer
from cdn.dns.answers import Absence, Records
from cdn.dns.name import Labels, labels_of, mailbox_labels
from cdn.dns.zone import SoaTimes, Zone, name_server

ZONE = "cdn.example.net"
SERVERS = ("ns1.cdn.example.net 192.0.2.53 2001:db8::53", "b.ns.cdn.example.net 198.51.100.53", "ns.example.org")
SITES: Mapping[str, Records | Absence] = {
    "blog": Records(30, (b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02")),
    "empty": Records(30),
    "many": Records(30, tuple(bytes((10, 0, 0, number)) for number in range(1, 90))),
    "early": Absence.NOT_KNOWN_YET,
    "nobody": Absence.NO_NODE,
}


@dataclass(slots=True)
class Sites:
    """Everything is an A record."""

    serial: int = 7
    asked: list[tuple[Labels, int, str]] = field(default_factory=list)

    def find(self, labels: Labels, qtype: int, source: str) -> Records | Absence:
        self.asked.append((labels, qtype, source))
        if len(labels) != 1:
            return Absence.NO_SUCH_NAME
        found = SITES.get(labels[0].decode("latin-1"), Absence.NO_SUCH_NAME)
        if isinstance(found, Records) and qtype != 1:
            return Records(found.ttl_s)
        return found


def zone() -> Zone:
    servers = [name_server(text, ZONE) for text in SERVERS]
    return Zone(labels_of(ZONE), servers, mailbox_labels("dns.people@example.net"), SoaTimes(negative_ttl_s=10))


def answerer(sites: Sites | None = None) -> Answerer:
    return Answerer(zone(), sites or Sites())
