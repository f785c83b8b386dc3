"""Which tokens work, from the records."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from cdn.control.token import DNS_SCOPE, NODE_SCOPE, SiteScope, parse_scope
from cdn.errors import InvalidInput
from cdn.journal.fold import Fold
from cdn.journal.record import Audience, Record, SiteCreated, SiteRemoved, TokenCreated, TokenRevoked

FORGET_EXPIRED_S = 30 * 86400.0
"""An expired token is listed for this long, so that its owner sees why it stopped working."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as recorded. Times are wall times in seconds. `sealed_secret`: what it signs requests with, encrypted for
    control alone, in base64; "": it does not sign."""

    token_id: str
    scopes: tuple[str, ...]
    secret_sha256: str
    created_at: float
    expires_at: float | None
    note: str
    sealed_secret: str = field(default="", repr=False)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


class TokenFold(Fold):
    """Tokens by id. A site's removal takes its scopes away, and tokens that have no other.

    A scope binds to the site that has the name when the token is recorded: a later site of that name is another one.
    """

    name = "tokens"
    audience = Audience.CONTROL

    def __init__(self) -> None:
        self.changes = 0
        """How many records have changed which tokens there are, or may have."""
        self._tokens: dict[str, Token] = {}
        self._site_names: dict[str, str] = {}  # by site id; of sites that exist
        self.withdrawals = 0
        """How often something was taken away from tokens: whoever goes by one asks again when it has risen."""

    def get(self, token_id: str) -> Token | None:
        return self._tokens.get(token_id)

    def tokens(self) -> tuple[Token, ...]:
        """All of them, oldest first, expired ones too."""
        return tuple(self._tokens.values())

    def of_site(self, site: str) -> tuple[Token, ...]:
        """Tokens that work for this site and for nothing else: those that its removal revokes."""
        return tuple(token for token in self._tokens.values() if all(_is_of(scope, site) for scope in token.scopes))

    def count_of_site(self, site: str) -> int:
        """How many tokens work for this site, whatever else they work for."""
        return sum(any(_is_of(scope, site) for scope in token.scopes) for token in self._tokens.values())

    def __len__(self) -> int:
        return len(self._tokens)

    def apply(self, record: Record) -> None:
        self.changes += isinstance(record.change, TokenCreated | TokenRevoked | SiteRemoved)
        match record.change:
            case SiteCreated(site_id=site_id, name=name):
                self._site_names[site_id] = name
            case SiteRemoved(site_id=site_id):
                site = self._site_names.pop(site_id, None)
                if site is not None:
                    self._withdraw(site)
            case TokenCreated() as created:
                self._create(created, record.at)
            case TokenRevoked(token_id=token_id):
                self._tokens.pop(token_id, None)
                self.withdrawals += 1
            case _:
                return

    def _create(self, created: TokenCreated, at: float) -> None:
        for token in tuple(self._tokens.values()):
            if token.expires_at is not None and token.expires_at + FORGET_EXPIRED_S < at:
                del self._tokens[token.token_id]
        names = set(self._site_names.values())
        scopes = tuple(scope for scope in created.scopes if _exists(scope, names))
        if scopes:
            self._tokens[created.token_id] = Token(
                created.token_id,
                scopes,
                created.secret_sha256,
                at,
                created.expires_at,
                created.note,
                created.sealed_secret,
            )

    def _withdraw(self, site: str) -> None:
        self.withdrawals += 1
        for token in tuple(self._tokens.values()):
            scopes = tuple(scope for scope in token.scopes if not _is_of(scope, site))
            if not scopes:
                del self._tokens[token.token_id]
            elif len(scopes) < len(token.scopes):
                self._tokens[token.token_id] = replace(token, scopes=scopes)

    def dump(self) -> Any:
        """`sealed` is there where there are tokens that sign: earlier programs do not know it."""
        tokens = [msgspec.to_builtins(token) for token in self._tokens.values()]
        sealed = {token["token_id"]: secret for token in tokens if (secret := token.pop("sealed_secret"))}
        return {"tokens": tokens, "sites": dict(self._site_names), **({"sealed": sealed} if sealed else {})}

    def load(self, section: Any) -> None:
        self.changes += 1
        self._tokens = {}
        self._site_names = {}
        self.withdrawals += 1
        if section is None:
            return
        self._site_names = dict(section["sites"])
        sealed = section.get("sealed", {})
        for each in section["tokens"]:
            token = msgspec.convert({**each, "sealed_secret": sealed.get(each["token_id"], "")}, Token)
            self._tokens[token.token_id] = token


def _is_of(scope: str, site: str) -> bool:
    verb, _, name = scope.partition(":")
    return name == site and verb not in {NODE_SCOPE, DNS_SCOPE}


def _exists(scope: str, names: set[str]) -> bool:
    try:
        parsed = parse_scope(scope)
    except InvalidInput:
        return False  # recorded by a program that knew other scopes: it allows nothing here
    return not isinstance(parsed, SiteScope) or parsed.site in names
