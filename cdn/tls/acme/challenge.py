"""What a challenge wants to see (RFC 8555 8, RFC 8737 3)."""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

import msgspec

from cdn.tls.acme.base64url import base64url
from cdn.tls.acme.problem import Problem
from cdn.tls.issuer import ChallengeMethod


class OfferedChallenge(msgspec.Struct, frozen=True):
    """One way that an authority offers to look (RFC 8555 7.1.5). Others than this program's are passed over."""

    type: str
    url: str
    status: str = "pending"
    token: str = ""
    error: Problem | None = None

    @property
    def method(self) -> ChallengeMethod | None:
        """None: it is a way that this program does not know."""
        return next((method for method in ChallengeMethod if method.value == self.type), None)


def key_authorization(token: str, thumbprint: str) -> str:
    """Proof that who answers holds the account key (RFC 8555 8.1)."""
    return f"{token}.{thumbprint}"


def shown_value(method: ChallengeMethod, authorization: str) -> str:
    """What is shown of a key authorization: all of it for http-01 (RFC 8555 8.3), the base64url form of its SHA-256 for
    dns-01 (8.4), and for tls-alpn-01, where the certificate says the same 32 octets as they are (RFC 8737 3)."""
    match method:
        case ChallengeMethod.HTTP:
            return authorization
        case ChallengeMethod.DNS | ChallengeMethod.TLS_ALPN:
            return base64url(sha256(authorization.encode("ascii")).digest())
        case _:
            assert_never(method)
