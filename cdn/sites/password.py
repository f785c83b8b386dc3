"""Hashes of passwords as text: `scrypt$ln=14,r=8,p=5$SALT$HASH` (RFC 7914), made by `cdn password`.

Verifying takes a fifth of a second of CPU and 16 MiB on purpose: never on an event loop.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from cdn.errors import InvalidInput

MAX_PASSWORD_BYTES = 1024
"""Longer ones are no passwords: each octet is hashed before anything is refused."""

MAX_MEMORY_BYTES = 64 * 1024 * 1024
"""Of one verification: visitors make nodes do it."""

MAX_WORK_BYTES = 256 * 1024 * 1024
"""Memory that one verification walks through altogether: about half a second."""

HASH_BYTES = 32

_LOG_COST, _BLOCK_SIZE, _LANES = 14, 8, 5
"""What OWASP recommends where memory is scarce ("Password Storage", scrypt)."""

_HASH = re.compile(
    r"scrypt\$ln=([1-9]\d?),r=([1-9]\d?),p=([1-9]\d?)\$([A-Za-z0-9+/]{11,86}={0,2})\$([A-Za-z0-9+/]{43}=?)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class _Parsed:
    log_cost: int
    block_size: int
    lanes: int
    salt: bytes
    digest: bytes


def hash_password(password: str, salt: bytes) -> str:
    """The text form of the hash of `password`. `salt`: 16 random octets. Raises InvalidInput for a password that is
    empty or too long."""
    octets = len(password.encode("utf-8", "surrogatepass"))
    if not 0 < octets <= MAX_PASSWORD_BYTES:
        raise InvalidInput(f"a password has 1 to {MAX_PASSWORD_BYTES} octets, this one has {octets}", field="password")
    digest = _digest(password, _Parsed(_LOG_COST, _BLOCK_SIZE, _LANES, salt, b""))
    return f"scrypt$ln={_LOG_COST},r={_BLOCK_SIZE},p={_LANES}${_text(salt)}${_text(digest)}"


def check_password_hash(text: str) -> str:
    """The hash, when it is one that `verify_password` takes. Raises InvalidInput that does not repeat it."""
    _parse(text)
    return text


def verify_password(password: str, text: str) -> bool:
    """Whether `password` is the one that was hashed; False for what is no hash. Compares in constant time."""
    try:
        parsed = _parse(text)
    except InvalidInput:
        return False
    if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        return False
    return hmac.compare_digest(_digest(password, parsed), parsed.digest)


def _parse(text: str) -> _Parsed:
    """Raises InvalidInput."""
    match = _HASH.fullmatch(text)
    if match is None:
        raise InvalidInput('this is no hash of a password: make one with "cdn password"')
    try:
        salt, digest = _octets(match[4]), _octets(match[5])
    except binascii.Error as exc:
        raise InvalidInput('this is no hash of a password: make one with "cdn password"') from exc
    parsed = _Parsed(int(match[1]), int(match[2]), int(match[3]), salt, digest)
    memory_bytes = 128 * parsed.block_size << parsed.log_cost
    if memory_bytes > MAX_MEMORY_BYTES or memory_bytes * parsed.lanes > MAX_WORK_BYTES:
        raise InvalidInput(
            f"verifying this hash would take {memory_bytes >> 20} MiB {parsed.lanes} times, at most "
            f"{MAX_MEMORY_BYTES >> 20} MiB and {MAX_WORK_BYTES >> 20} altogether are allowed: "
            'make it with "cdn password"'
        )
    return parsed


def _digest(password: str, parsed: _Parsed) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=parsed.salt,
        n=1 << parsed.log_cost,
        r=parsed.block_size,
        p=parsed.lanes,
        maxmem=2 * MAX_MEMORY_BYTES,
        dklen=HASH_BYTES,
    )


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
