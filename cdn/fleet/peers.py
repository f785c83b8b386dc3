"""Which nodes may ask another node: a proof that only the holder of a node's token can make, and a list of them.

Control knows of a token no more than the digest of its secret. From that digest a *proof* is derived: the node derives
it from its token and shows it to the other; control derives the same and tells the other only the proof's digest. So a
shield that is shown a proof cannot follow the journal with it, and whoever reads the list can show nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

PROOF_PURPOSE = b"cdn: a node asks another node"
"""What the proof is for. Another purpose gets another proof."""

MAX_SHOWN_LENGTH = 256
"""A longer text is no proof: it is not even hashed."""

_NOBODY = hashlib.sha256(b"nobody").hexdigest()


@dataclass(frozen=True, slots=True)
class PeerToken:
    """A node's token, as others may know it. `node_id` is empty when the token lets any node be.

    `proof_sha256` is hex. `expires_at` is wall time in seconds.
    """

    token_id: str
    node_id: str
    proof_sha256: str
    expires_at: float | None = None


def proof_of(secret_sha256: str) -> str:
    """The proof for the token whose secret has this digest, both hex."""
    return hmac.digest(secret_sha256.encode(), PROOF_PURPOSE, "sha256").hex()


def peer_token(token_id: str, node_id: str, secret_sha256: str, expires_at: float | None) -> PeerToken:
    """What another node is told of a token."""
    digest = hashlib.sha256(proof_of(secret_sha256).encode()).hexdigest()
    return PeerToken(token_id, node_id, digest, expires_at)


def shown_by(token: str) -> str:
    """What the holder of a node's token shows: the token's id and its proof. A text that is no token proves nothing."""
    _, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    secret_sha256 = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{token_id}.{proof_of(secret_sha256)}"


class PeerRoll:
    """The tokens that work now."""

    def __init__(self, tokens: Iterable[PeerToken] = ()) -> None:
        self._tokens = {token.token_id: token for token in tokens}

    def __len__(self) -> int:
        return len(self._tokens)

    def holder(self, shown: str, now: float) -> PeerToken | None:
        """The token whose proof is shown, unless it does not work (any more) at the wall time `now`.

        Takes the same time for a wrong proof as for a token that nobody knows.
        """
        if len(shown) > MAX_SHOWN_LENGTH:
            return None
        token_id, _, proof = shown.partition(".")
        token = self._tokens.get(token_id)
        expected = _NOBODY if token is None else token.proof_sha256
        digest = hashlib.sha256(proof.encode("utf-8", "surrogatepass")).hexdigest()
        is_same = hmac.compare_digest(expected, digest)
        if token is None or not is_same or (token.expires_at is not None and now >= token.expires_at):
            return None
        return token
