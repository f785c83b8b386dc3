"""Names of records' subjects on NATS."""

from __future__ import annotations

import hashlib

MAX_TOKEN_OCTETS = 200
"""Longer subjects are named by their digest: NATS takes a whole subject of about 4,000 octets at most."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/")


def subject_token(subject: str) -> str:
    """One token of a NATS subject for a record's subject, never the same for two.

    Letters, digits, `-`, `_` and `/` stay; any other octet of its UTF-8 form becomes `=XX`.
    """
    token = "".join(chr(octet) if octet in _PLAIN else f"={octet:02X}" for octet in _octets(subject))
    if token and len(token) <= MAX_TOKEN_OCTETS:
        return token
    return f"=={hashlib.sha256(_octets(subject)).hexdigest()}"


def _octets(subject: str) -> bytes:
    return subject.encode("utf-8", "surrogatepass")
