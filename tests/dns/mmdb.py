"""Databases in MaxMind's format, written as its specification says, for tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

Node = list[Any]


class U16(int):
    """Readers insist on the lengths of numbers in the metadata."""


class U64(int):
    """See U16."""


INT_KINDS = {U16: 5, U64: 9}


def mmdb(
    networks: Mapping[str, object],
    *,
    ip_version: int = 4,
    record_size: int = 24,
    aliases: tuple[str, ...] = (),
    description: str = "",
    database_type: str = "test",
) -> bytes:
    """A database with a record for each network. In one of version 6, networks of IPv4 stand below ::/96, and again
    below each of `aliases`."""
    root: Node = [None, None]
    for text, record in networks.items():
        _insert(root, _bits(text, ip_version), (record,))
    if aliases:
        ipv4 = root
        for _ in range(96):
            ipv4 = ipv4[0]
        for alias in aliases:
            _insert(root, _bits(alias, ip_version), ipv4)
    nodes: list[Node] = []
    numbers: dict[int, int] = {}
    _number(root, nodes, numbers)
    data, offsets = b"", {}
    for node in nodes:
        for side in node:
            if isinstance(side, tuple) and repr(side) not in offsets:
                offsets[repr(side)] = len(data)
                data += encoded(side[0])

    def record_of(side: Any) -> int:
        if side is None:
            return len(nodes)
        return len(nodes) + 16 + offsets[repr(side)] if isinstance(side, tuple) else numbers[id(side)]

    tree = b"".join(_node(record_of(left), record_of(right), record_size) for left, right in nodes)
    metadata = {
        "binary_format_major_version": U16(2),
        "binary_format_minor_version": U16(0),
        "build_epoch": U64(1_780_000_000),
        "database_type": database_type,
        "description": {"en": description} if description else {},
        "ip_version": U16(ip_version),
        "languages": [],
        "node_count": len(nodes),
        "record_size": U16(record_size),
    }
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encoded(metadata)


def encoded(value: object) -> bytes:
    """One value of the data section."""
    match value:
        case str():
            raw = value.encode()
            return _control(2, len(raw)) + raw
        case float():
            return _control(3, 8) + struct.pack(">d", value)
        case bool():
            return _control(14, int(value))
        case int():
            raw = value.to_bytes(8, "big").lstrip(b"\0")
            return _control(INT_KINDS.get(type(value), 6), len(raw)) + raw
        case dict():
            return _control(7, len(value)) + b"".join(encoded(key) + encoded(each) for key, each in value.items())
        case list():
            return _control(11, len(value)) + b"".join(map(encoded, value))
        case _:
            raise TypeError(value)


def _control(kind: int, size: int) -> bytes:
    extra = b"" if size < 29 else bytes((size - 29,))
    assert size < 285
    size = min(size, 29)
    return (bytes((size, kind - 7)) if kind > 7 else bytes((kind << 5 | size,))) + extra


def _bits(text: str, ip_version: int) -> str:
    network = ip_network(text)
    width = 32 if ip_version == 4 else 128
    length = network.prefixlen + (96 if isinstance(network, IPv4Network) and ip_version == 6 else 0)
    return f"{int(network.network_address):0{width}b}"[:length]


def _insert(node: Node, bits: str, leaf: Any) -> None:
    """Networks that hold others come first."""
    for bit in bits[:-1]:
        side = node[int(bit)]
        if not isinstance(side, list):
            node[int(bit)] = side = [side, side]
        node = side
    node[int(bits[-1])] = leaf


def _number(root: Node, nodes: list[Node], numbers: dict[int, int]) -> None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in numbers:
            continue
        numbers[id(node)] = len(nodes)
        nodes.append(node)
        waiting += [side for side in node if isinstance(side, list)]


def _node(left: int, right: int, record_size: int) -> bytes:
    match record_size:
        case 24:
            return left.to_bytes(3, "big") + right.to_bytes(3, "big")
        case 28:
            middle = (left >> 24) << 4 | right >> 24
            return (left & 0xFFFFFF).to_bytes(3, "big") + bytes((middle,)) + (right & 0xFFFFFF).to_bytes(3, "big")
        case _:
            return struct.pack(">II", left, right)
