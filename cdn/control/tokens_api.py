"""Routes about tokens. An admin token sees all of them; a token with admin:SITE those that are for that site alone."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from cdn.control.auth import Caller
from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.schema import AwsKeyView, CreateToken, ReceiptOnly, TokenCreatedView, TokenList, TokenView
from cdn.control.services import Services
from cdn.control.signing_secret import make_signing_secret, seal_signing_secret
from cdn.control.token import MAX_NOTE_BYTES, MAX_SCOPES, SiteScope, make_token, parse_scope
from cdn.control.token_fold import Token
from cdn.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdn.journal.record import Change, TokenRevoked

MAX_TOKEN_S = 100 * 365 * 86400.0
"""Longest lifetime that can be asked for; leave it out for a token that works until it is revoked."""


class TokensApi:
    """Create, list and revoke."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, call: Call) -> web.Response:
        services = self._services
        wanted = await read_json(call.request, CreateToken, services.settings.max_request_bytes)
        _check(wanted)
        scopes = tuple(dict.fromkeys(wanted.scopes))
        self._check_scopes(call.caller, scopes)
        expires_at = None if wanted.expires_s is None else services.clock() + wanted.expires_s
        text, created = make_token(scopes, expires_at=expires_at, note=wanted.note)
        key: AwsKeyView | None = None
        if wanted.aws:
            key = AwsKeyView(created.token_id, make_signing_secret())
            sealed = seal_signing_secret(services.control_keys, key.access_key_id, key.secret_access_key)
            created = replace(created, sealed_secret=sealed)

        def decide() -> Change:
            self._check_scopes(call.caller, scopes)
            if len(services.tokens) >= services.settings.max_tokens:
                raise Conflict(f"There are {services.settings.max_tokens} tokens, the limit: revoke some first.")
            self._check_shares(scopes)
            return created

        await services.state.append(f"token/{created.token_id}", decide, call.caller.actor)
        recorded = services.tokens.get(created.token_id)
        if recorded is None or recorded.scopes != scopes:
            raise NotFound("A site that the token was for was removed meanwhile.")
        return json_response(TokenCreatedView(created.token_id, text, scopes, expires_at, wanted.note, key), 201)

    async def list(self, call: Call) -> web.Response:
        tokens = [token for token in self._services.tokens.tokens() if _may_see(call.caller, token)]
        if not tokens and not _is_some_admin(call.caller):
            raise Forbidden("Listing tokens needs the scope admin, or admin of a site.")
        return json_response(TokenList(tuple(_view(token) for token in tokens)))

    async def revoke(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        token_id = call.path["token_id"]

        def decide() -> Change:
            token = services.tokens.get(token_id)
            if not call.caller.is_admin and (token is None or not _may_see(call.caller, token)):
                raise Forbidden("This token may not revoke that one.")
            if token is None:
                raise NotFound(f"There is no token {token_id!r}.")
            return TokenRevoked(token_id)

        record = await services.state.append(f"token/{token_id}", decide, call.caller.actor)
        return json_response(ReceiptOnly(await services.receipt(record, wait_s)))

    def _check_scopes(self, caller: Caller, scopes: tuple[str, ...]) -> None:
        for text in scopes:
            scope = parse_scope(text)
            if not caller.may_grant(text):
                raise Forbidden(f"This token may not hand out the scope {text}.")
            if isinstance(scope, SiteScope) and self._services.catalog.site_named(scope.site) is None:
                raise InvalidInput(f"There is no site {scope.site!r} for the scope {text}.", field="scopes")

    def _check_shares(self, scopes: tuple[str, ...]) -> None:
        most = self._services.settings.max_tokens_per_site
        for site in sorted({scope.site for text in scopes if isinstance(scope := parse_scope(text), SiteScope)}):
            if self._services.tokens.count_of_site(site) >= most:
                raise Conflict(f"There are {most} tokens for the site {site!r}, the limit: revoke some first.")


def _check(wanted: CreateToken) -> None:
    if not 1 <= len(wanted.scopes) <= MAX_SCOPES:
        raise InvalidInput(f"A token has 1 to {MAX_SCOPES} scopes.", field="scopes")
    if wanted.expires_s is not None and not 0 < wanted.expires_s <= MAX_TOKEN_S:
        raise InvalidInput(f"expires_s is a number of seconds up to {MAX_TOKEN_S:.0f}.", field="expires_s")
    if len(wanted.note.encode("utf-8", "surrogatepass")) > MAX_NOTE_BYTES:
        raise InvalidInput(f"A note has at most {MAX_NOTE_BYTES} bytes.", field="note")


def _may_see(caller: Caller, token: Token) -> bool:
    return all(caller.may_grant(scope) for scope in token.scopes)


def _is_some_admin(caller: Caller) -> bool:
    return any(scope == "admin" or scope.startswith("admin:") for scope in caller.scopes)


def _view(token: Token) -> TokenView:
    aws = bool(token.sealed_secret)
    return TokenView(token.token_id, token.scopes, token.created_at, token.expires_at, token.note, aws)
