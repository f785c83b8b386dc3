"""The token with which Pages' client uploads files: a JWT (RFC 7519) of ours that names a site and lasts minutes.

It is signed with a key that only control can derive from the caller's own token, so every replica verifies it, none
keeps anything, and revoking that token ends it at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from cdn.control.auth import Caller
from cdn.control.token import Verb
from cdn.control.token_fold import Token, TokenFold
from cdn.errors import Unauthorized
from cdn.sites.catalog import Catalog
from cdn.sites.site import Site

LIFETIME_S = 300
"""Clients fetch another when it is over."""

MAX_JWT_BYTES = 2048
"""Ours has a fifth of it: longer ones are not even decoded."""

_HEADER = {"alg": "HS256", "typ": "JWT"}
_PURPOSE = b"cdn pages upload token\0"


@dataclass(frozen=True, slots=True)
class Uploader:
    """Who may upload files to which site."""

    caller: Caller
    site: Site


def make_upload_token(token: Token, site: Site, *, now: float, max_files: int) -> str:
    """An upload token of whoever has `token`. `now` is wall time in seconds."""
    claims = {
        "sub": token.token_id,
        "site": site.id,
        "iat": int(now),
        "exp": int(now) + LIFETIME_S,
        "max_file_count_allowed": max_files,
    }
    signed = f"{_encode(_json(_HEADER))}.{_encode(_json(claims))}"
    return f"{signed}.{_encode(_signature(token, signed))}"


def verify_upload_token(text: str, tokens: TokenFold, catalog: Catalog, *, now: float) -> Uploader:
    """Whose it is. Raises Unauthorized, in one sentence for every one that is not good (any more)."""
    uploader = _uploader(text, tokens, catalog, now)
    if uploader is None:
        raise Unauthorized("The upload token is not valid or has expired: get another one.")
    return uploader


def _uploader(text: str, tokens: TokenFold, catalog: Catalog, now: float) -> Uploader | None:
    if len(text) > MAX_JWT_BYTES or text.count(".") != 2:
        return None
    signed, _, signature = text.rpartition(".")
    header, _, claims = signed.partition(".")
    given, head = _claims_of(claims), _claims_of(header)
    token = tokens.get(str(given.get("sub")))
    if token is None or head != _HEADER or not hmac.compare_digest(_decode(signature), _signature(token, signed)):
        return None
    # It is ours, so what stands in it is what we wrote.
    site = catalog.site(given["site"])
    caller = Caller(token.token_id, token.scopes)
    if given["exp"] <= now or token.is_expired(now) or site is None or not caller.may(Verb.DEPLOY, site.name):
        return None
    return Uploader(caller, site)


def _signature(token: Token, signed: str) -> bytes:
    key = hmac.digest(token.secret_sha256.encode(), _PURPOSE, hashlib.sha256)
    return hmac.digest(key, signed.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _claims_of(part: str) -> dict[str, Any]:
    try:
        claims = json.loads(_decode(part))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """What `text` encodes; nothing when it is no base64."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
