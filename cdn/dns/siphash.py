"""SipHash-2-4 with a result of 64 bits: what DNS cookies are made with (RFC 9018 4.4)."""

from __future__ import annotations

from struct import Struct

KEY_BYTES = 16

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_WORD = Struct("<Q")
_KEY = Struct("<QQ")


def siphash24(key: bytes, message: bytes) -> bytes:
    """Eight octets, little-endian as everybody writes them. `key` has KEY_BYTES."""
    k0, k1 = _KEY.unpack(key)
    v0, v1, v2, v3 = k0 ^ 0x736F_6D65_7073_6575, k1 ^ 0x646F_7261_6E64_6F6D, k0 ^ 0x6C79_6765_6E65_7261, k1
    v3 ^= 0x7465_6462_7974_6573
    whole = len(message) & ~7
    words = [each for (each,) in _WORD.iter_unpack(message[:whole])]
    words.append(int.from_bytes(message[whole:], "little") | (len(message) & 0xFF) << 56)
    for word in words:
        v3 ^= word
        v0, v1, v2, v3 = _two_rounds(v0, v1, v2, v3)
        v0 ^= word
    v0, v1, v2, v3 = _two_rounds(*_two_rounds(v0, v1, v2 ^ 0xFF, v3))
    return _WORD.pack(v0 ^ v1 ^ v2 ^ v3)


def _two_rounds(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(2):
        v0 = v0 + v1 & _MASK
        v1 = (v1 << 13 | v1 >> 51) & _MASK ^ v0
        v0 = (v0 << 32 | v0 >> 32) & _MASK
        v2 = v2 + v3 & _MASK
        v3 = (v3 << 16 | v3 >> 48) & _MASK ^ v2
        v0 = v0 + v3 & _MASK
        v3 = (v3 << 21 | v3 >> 43) & _MASK ^ v0
        v2 = v2 + v1 & _MASK
        v1 = (v1 << 17 | v1 >> 47) & _MASK ^ v2
        v2 = (v2 << 32 | v2 >> 32) & _MASK
    return v0, v1, v2, v3
