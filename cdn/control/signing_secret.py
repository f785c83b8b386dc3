"""What a token signs requests with (AWS Signature Version 4): unlike a bearer's secret, control has to know it.

It is sealed for control alone and stands so in the token's record; nothing else of it is kept.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from cdn.control.token_fold import Token
from cdn.errors import Conflict, InvalidInput
from cdn.tls.sealed import KeyRing, Purpose

SECRET_BYTES = 30
"""Octets of chance, which make 40 characters: as many as AWS gives, as some tools check that."""


def make_signing_secret() -> str:
    """A new one, to be shown once."""
    return secrets.token_urlsafe(SECRET_BYTES)


def seal_signing_secret(keys: KeyRing | None, token_id: str, secret: str) -> str:
    """How the record has it, in base64. Raises Conflict where control has no key."""
    if keys is None:
        raise Conflict(
            "This control has no key to seal the secret with: give it control_key_file in [control], a file with 32 "
            "random octets in base64 as `openssl rand -base64 32` prints them."
        )
    envelope = keys.sealed(secret.encode("ascii"), Purpose.SIGNING_SECRET, token_id)
    return base64.b64encode(envelope).decode("ascii")


def open_signing_secret(keys: KeyRing | None, token: Token) -> str:
    """What was sealed. Raises Conflict where control has no key, InvalidInput where it has not the right one."""
    if keys is None:
        raise Conflict("This control has no key to open what tokens sign with: give it control_key_file in [control].")
    try:
        envelope = base64.b64decode(token.sealed_secret, validate=True)
    except binascii.Error as exc:
        raise InvalidInput(f"signing-secret {token.token_id} is no base64") from exc
    return keys.opened(envelope, Purpose.SIGNING_SECRET, token.token_id).decode("ascii")
