"""Visitors in different cities, and where our name server sends them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.message
import dns.query
import dns.rcode

from examples.demo import DemoFailed

QUESTION_TIMEOUT_S = 5.0
PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Visitor:
    """`network` is a /24 that the table of places knows to be in `city`."""

    city: str
    network: str


class NameServer:
    """Where questions go; `edges` says which edge has which address."""

    def __init__(self, address: str, edges: Mapping[str, str]) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._edges = dict(edges)

    def sends(self, visitor: Visitor, name: str) -> tuple[str, ...]:
        """The edges that a visitor's resolver is told of, which says the visitor's network (RFC 7871)."""
        subnet = dns.edns.ECSOption(visitor.network, 24)
        query = dns.message.make_query(name, "A", use_edns=0, options=[subnet])
        try:
            answer = dns.query.udp(query, self._host, timeout=QUESTION_TIMEOUT_S, port=self._port)
        except dns.exception.Timeout:
            raise DemoFailed(f"the name server says nothing about {name}") from None
        if answer.rcode() != dns.rcode.NOERROR:
            raise DemoFailed(f"the name server answers {dns.rcode.to_text(answer.rcode())} to {name}")
        return tuple(sorted(self._edges[str(rdata)] for rrset in answer.answer for rdata in rrset))

    def wait_sends(self, visitor: Visitor, name: str, edges: tuple[str, ...], within_s: float) -> float:
        """The seconds until the visitor is sent to just these edges. Raises DemoFailed after `within_s`."""
        began = time.monotonic()
        while True:
            sent = self.sends(visitor, name)
            if sent == edges:
                return time.monotonic() - began
            if time.monotonic() - began > within_s:
                raise DemoFailed(f"a visitor in {visitor.city} is sent to {sent} still, not to {edges}")
            time.sleep(PAUSE_S)
