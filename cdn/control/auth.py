"""Who calls, and what they may do."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from cdn.control.token import (
    ADMIN_SCOPE,
    DNS_SCOPE,
    NODE_SCOPE,
    DnsScope,
    NodeScope,
    SiteScope,
    Verb,
    covers,
    hash_secret,
    parse_scope,
    split_token,
)
from cdn.control.token_fold import TokenFold
from cdn.errors import Forbidden, Unauthorized

_NOBODY = hash_secret("nobody")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request, with the scopes of the token."""

    token_id: str
    scopes: tuple[str, ...]

    @property
    def is_admin(self) -> bool:
        return ADMIN_SCOPE in self.scopes

    @property
    def actor(self) -> str:
        """How records name the caller."""
        return f"token:{self.token_id}" if self.token_id else "anonymous"

    def may(self, verb: Verb, site: str) -> bool:
        return covers(self.scopes, verb, site)

    def may_grant(self, scope: str) -> bool:
        """Whether the caller may hand out, see and revoke tokens with `scope`."""
        if self.is_admin:
            return True
        parsed = parse_scope(scope)
        return isinstance(parsed, SiteScope) and self.may(Verb.ADMIN, parsed.site)

    def require(self, verb: Verb, site: str) -> None:
        """Raises Forbidden, in the same words whether the site exists or not (DESIGN I7)."""
        if not self.may(verb, site):
            raise Forbidden(f"This token does not have the scope {verb.value}:{site}.")

    def require_admin(self) -> None:
        """Raises Forbidden."""
        if not self.is_admin:
            raise Forbidden("Only a token with the scope admin may do this.")

    @property
    def is_node(self) -> bool:
        """Whether the token lets a node follow the journal."""
        return self.is_admin or any(scope.partition(":")[0] == NODE_SCOPE for scope in self.scopes)

    def may_be_node(self, node_id: str) -> bool:
        """Whether the token lets this node follow: its own does, and one that names no node."""
        return self.is_admin or NODE_SCOPE in self.scopes or str(NodeScope(node_id)) in self.scopes

    @property
    def is_dns(self) -> bool:
        """Whether the token lets a DNS process follow the journal."""
        return self.is_admin or any(scope.partition(":")[0] == DNS_SCOPE for scope in self.scopes)

    def may_be_dns(self, dns_id: str) -> bool:
        """Whether the token lets this DNS process follow: its own does, and one that names none."""
        return self.is_admin or DNS_SCOPE in self.scopes or str(DnsScope(dns_id)) in self.scopes

    def require_follower(self) -> None:
        """Raises Forbidden."""
        if not self.is_node and not self.is_dns:
            raise Forbidden("Only a token with the scope node or dns lets anybody follow the journal.")

    def require_dns(self) -> None:
        """Raises Forbidden."""
        if not self.is_dns:
            raise Forbidden("Only a token with the scope dns, that of a name server, may do this.")


ANONYMOUS = Caller(token_id="", scopes=())


class Authenticator:
    """Turns an Authorization field into a Caller."""

    def __init__(self, tokens: TokenFold, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock

    def caller(self, authorization: str | None) -> Caller:
        """Who sent this field (RFC 6750 2.1). Raises Unauthorized, in one sentence for every bad token."""
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthorized("This needs a token: send it as `Authorization: Bearer TOKEN`.")
        caller = self.verify(text.strip())
        if caller is None:
            raise Unauthorized("The token is unknown, revoked or expired.")
        return caller

    def verify(self, text: str) -> Caller | None:
        """Who holds this token, None when it does not work (any more)."""
        parts = split_token(text)
        if parts is None:
            return None
        token_id, secret = parts
        token = self._tokens.get(token_id)
        expected = token.secret_sha256 if token is not None else _NOBODY
        is_same = hmac.compare_digest(expected, hash_secret(secret))
        if token is None or not is_same or token.is_expired(self._clock()):
            return None
        return Caller(token.token_id, token.scopes)

    def is_node(self, text: str, node_id: str | None = None) -> bool:
        """Whether this token lets the node follow the journal; without `node_id`: lets some node."""
        caller = self.verify(text)
        if caller is None:
            return False
        return caller.is_node if node_id is None else caller.may_be_node(node_id)

    def is_dns(self, text: str, dns_id: str | None = None) -> bool:
        """Whether this token lets the DNS process follow the journal; without `dns_id`: lets some."""
        caller = self.verify(text)
        if caller is None:
            return False
        return caller.is_dns if dns_id is None else caller.may_be_dns(dns_id)
