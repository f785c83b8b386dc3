"""Whom an answer is for: the network that a question speaks for (RFC 7871), or else the resolver that sent it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address


class AddressFamily(Enum):
    """Of a client's address; the value is the family's number in a client subnet (RFC 7871 6)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def bits(self) -> int:
        """Of a whole address."""
        return 32 if self is AddressFamily.IPV4 else 128


@dataclass(frozen=True, slots=True)
class Client:
    """`address` is the whole address as a number, the bits below `source_prefix` being 0.

    `source_prefix` None: it is the resolver's own address and nothing goes back about it. 0: whoever asks wants nothing
    to be known of the client, so everybody who asks so gets the same (RFC 7871 7.1.2, 7.2.1).
    """

    family: AddressFamily
    address: int
    source_prefix: int | None = None

    @property
    def is_private(self) -> bool:
        """Whether the client asks not to be placed."""
        return self.source_prefix == 0


def client_at(source: str) -> Client:
    """The resolver at this IP address, a scope (RFC 4007 11) left out. Raises ValueError for what is no address."""
    address = ip_address(source.partition("%")[0])
    return Client(AddressFamily.IPV4 if address.version == 4 else AddressFamily.IPV6, int(address))
