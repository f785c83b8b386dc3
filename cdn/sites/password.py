"""Hashes of passwords as text: `scrypt$ln=14,r=8,p=5$SALT$HASH` (RFC 7914), made by `cdn password`.

Verifying takes a fifth of a second of CPU and 16 MiB on purpose: never on an event loop.
"""

from __future__ import annotations


def hash_password(password: str, salt: bytes) -> str:
    """The text form of the hash of `password`. `salt`: 16 random octets."""
    raise NotImplementedError


def check_password_hash(text: str) -> str:
    """The hash, when it is one that `verify_password` takes. Raises InvalidInput that does not repeat it."""
    raise NotImplementedError


def verify_password(password: str, text: str) -> bool:
    """Whether `password` is the one that was hashed; False for what is no hash. Compares in constant time."""
    raise NotImplementedError
