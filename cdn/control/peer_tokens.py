"""What nodes that others ask are told of the tokens of those: enough to know one again, too little to use it."""

from __future__ import annotations

import asyncio

from cdn.control.token import NODE_SCOPE, NodeScope, parse_scope
from cdn.control.token_fold import Token, TokenFold
from cdn.errors import InvalidInput
from cdn.fleet.peers import PeerToken, peer_token
from cdn.fleet.position import Position

MAX_PEERS = 15_000
"""Tokens that are told, the newest: 3.5 MB in one message at most, of the 4 MB that a node accepts."""


class PeerTokens:
    """The tokens of nodes as of now, and word of each change. An admin's token lets follow, but is no node's."""

    def __init__(self, tokens: TokenFold) -> None:
        self._tokens = tokens
        self._changes = -1
        self._current: tuple[PeerToken, ...] = ()
        self._changed = asyncio.Event()

    def current(self) -> tuple[PeerToken, ...]:
        """All of them, the oldest first."""
        self.look()
        return self._current

    def look(self, position: Position | None = None) -> None:
        """Records were applied: wake who waits, if tokens are among them."""
        if self._changes == self._tokens.changes:
            return
        self._changes = self._tokens.changes
        before, self._current = self._current, _told(self._tokens)
        if before != self._current:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def differs_from(self, told: tuple[PeerToken, ...]) -> None:
        """Return when the tokens are not those any more."""
        while self.current() == told:
            await self._changed.wait()


def _told(tokens: TokenFold) -> tuple[PeerToken, ...]:
    found = [told for token in tokens.tokens() for told in _of(token)]
    return tuple(found[-MAX_PEERS:])


def _of(token: Token) -> list[PeerToken]:
    """At most one: who may be several nodes is told as any."""
    nodes: set[str] = set()
    for text in token.scopes:
        try:
            scope = parse_scope(text)
        except InvalidInput:
            continue  # recorded by a program that knew other scopes: it allows nothing here
        if isinstance(scope, NodeScope):
            nodes.add(scope.node_id)
        elif scope == NODE_SCOPE:
            nodes.add("")
    if not nodes:
        return []
    node_id = nodes.pop() if len(nodes) == 1 else ""
    return [peer_token(token.token_id, node_id, token.secret_sha256, token.expires_at)]
