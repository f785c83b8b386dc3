"""The network that a question speaks for, as the option in it says (RFC 7871 6)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from cdn.dns.client import AddressFamily, Client

SUBNET_OPTION = 8

_OPTION_HEAD = Struct("!HHHBB")
_HEAD = Struct("!HBB")
_NO_FAMILY = 0


@dataclass(frozen=True, slots=True)
class ClientSubnet:
    """As it was sent: `address` has the octets that `source_prefix` needs. `family` is 0 where there is no address."""

    family: int
    source_prefix: int
    address: bytes

    def client(self) -> Client:
        """Whom the answer is for."""
        family = AddressFamily.IPV6 if self.family == AddressFamily.IPV6.value else AddressFamily.IPV4
        number = int.from_bytes(self.address, "big") << family.bits - 8 * len(self.address)
        return Client(family, number, self.source_prefix)

    def option_head(self, scope_prefix: int) -> bytes:
        """The option of the response, up to its address. To nobody's address belongs no scope but 0 (7.2.1)."""
        scope_prefix = scope_prefix if self.source_prefix else 0
        return _OPTION_HEAD.pack(
            SUBNET_OPTION, _HEAD.size + len(self.address), self.family, self.source_prefix, scope_prefix
        )


def read_subnet(content: bytes) -> ClientSubnet | None:
    """What stands in the option; None: it is malformed (7.1.1 and 7.1.2): a scope in a query, octets that are too few,
    too many, or say more than the prefix, and families that nobody knows. No family is as good as any where there is
    no address: clients who want to stay unknown do say so."""
    if len(content) < _HEAD.size:
        return None
    family, source_prefix, scope_prefix = _HEAD.unpack_from(content)
    address = content[_HEAD.size :]
    most = {_NO_FAMILY: 0, AddressFamily.IPV4.value: 32, AddressFamily.IPV6.value: 128}.get(family, -1)
    if scope_prefix or source_prefix > most or len(address) != source_prefix + 7 >> 3:
        return None
    if source_prefix & 7 and address[-1] & 0xFF >> (source_prefix & 7):
        return None
    return ClientSubnet(family, source_prefix, address)
