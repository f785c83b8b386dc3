"""Tokens: their text, their scopes, and what a scope covers.

A token's text is `cdn_` + its id + `_` + a secret of 256 bits. Only the secret's SHA-256 is recorded: a secret with
that much chance in it needs no slow hash.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from cdn.errors import InvalidInput
from cdn.fleet.node import check_node_id
from cdn.journal.record import TokenCreated
from cdn.sites.name import check_site_name

PREFIX = "cdn"
MAX_SCOPES = 256
MAX_NOTE_BYTES = 1024
MAX_TOKEN_BYTES = 256
"""A text longer than this is no token: it is not even hashed."""


class Verb(Enum):
    """What a scope allows on a site."""

    READ = "read"
    PURGE = "purge"
    DEPLOY = "deploy"
    ADMIN = "admin"


ADMIN_SCOPE = "admin"
NODE_SCOPE = "node"
DNS_SCOPE = "dns"


@dataclass(frozen=True, slots=True)
class SiteScope:
    """A verb on one site."""

    verb: Verb
    site: str

    def __str__(self) -> str:
        return f"{self.verb.value}:{self.site}"


@dataclass(frozen=True, slots=True)
class NodeScope:
    """Following the journal as one node."""

    node_id: str

    def __str__(self) -> str:
        return f"{NODE_SCOPE}:{self.node_id}"


@dataclass(frozen=True, slots=True)
class DnsScope:
    """Following the journal as one DNS process."""

    dns_id: str

    def __str__(self) -> str:
        return f"{DNS_SCOPE}:{self.dns_id}"


def parse_scope(text: str) -> SiteScope | NodeScope | DnsScope | str:
    """`text` as a scope: ADMIN_SCOPE, NODE_SCOPE or DNS_SCOPE (for any of them), or one with a name.

    Raises InvalidInput naming it.
    """
    if text in (ADMIN_SCOPE, NODE_SCOPE, DNS_SCOPE):
        return text
    verb, colon, site = text.partition(":")
    if colon and verb in (NODE_SCOPE, DNS_SCOPE):
        try:
            return (NodeScope if verb == NODE_SCOPE else DnsScope)(check_node_id(site))
        except InvalidInput as error:
            raise InvalidInput(f"{text!r} is not a scope: {error.message}.", field="scopes") from error
    if not colon or verb not in {each.value for each in Verb}:
        raise InvalidInput(
            f"{text!r} is not a scope: use admin, node or dns, these two with a name like node:edge-1 or dns:ns-1, or "
            "one of admin, deploy, purge and read with a site, like deploy:blog.",
            field="scopes",
        )
    try:
        return SiteScope(Verb(verb), check_site_name(site))
    except InvalidInput as error:
        raise InvalidInput(f"{text!r} is not a scope: {error.message}.", field="scopes") from error


def covers(scopes: Collection[str], verb: Verb, site: str) -> bool:
    """Whether one of `scopes` allows `verb` on `site`. Who may deploy or purge may also read."""
    if ADMIN_SCOPE in scopes or f"{Verb.ADMIN.value}:{site}" in scopes or f"{verb.value}:{site}" in scopes:
        return True
    if verb is Verb.READ:
        return any(f"{other.value}:{site}" in scopes for other in (Verb.DEPLOY, Verb.PURGE))
    return False


def make_token(scopes: tuple[str, ...], *, expires_at: float | None = None, note: str = "") -> tuple[str, TokenCreated]:
    """A new token's text, to be shown once, and the record that makes it work."""
    token_id = secrets.token_hex(8)
    secret = secrets.token_hex(32)
    change = TokenCreated(
        token_id=token_id, scopes=scopes, secret_sha256=hash_secret(secret), expires_at=expires_at, note=note
    )
    return f"{PREFIX}_{token_id}_{secret}", change


def split_token(text: str) -> tuple[str, str] | None:
    """Id and secret in a token's text, None when it has another form."""
    if len(text) > MAX_TOKEN_BYTES:
        return None
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1] or not parts[2]:
        return None
    return parts[1], parts[2]


def hash_secret(secret: str) -> str:
    """What is recorded of a secret: hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
