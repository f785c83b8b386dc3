"""Requests that an account signs: flattened JWS with ES256 (RFC 7515, RFC 7518 3.4, RFC 8555 6.2)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cdn.errors import InvalidInput
from cdn.tls.acme.base64url import base64url

_COORDINATE_BYTES = 32
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An account's key, on P-256."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls) -> AccountKey:
        """A new one."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, pem: str) -> AccountKey:
        """From PKCS #8 in PEM form. Raises InvalidInput."""
        try:
            key = serialization.load_pem_private_key(pem.encode("utf-8"), None)
        except (ValueError, TypeError) as exc:
            raise InvalidInput("the account's key is not readable") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidInput("the account's key is not one on P-256")
        return cls(key)

    def pem(self) -> str:
        """As `read` takes it, in clear."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")

    def jwk(self) -> dict[str, str]:
        """The public key (RFC 7517)."""
        numbers = self.private.public_key().public_numbers()
        x, y = (base64url(each.to_bytes(_COORDINATE_BYTES, "big")) for each in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def thumbprint(self) -> str:
        """Of the public key (RFC 7638)."""
        return base64url(sha256(_encode(self.jwk())).digest())

    def sign(self, content: bytes) -> bytes:
        """r and s, one after the other (RFC 7518 3.4)."""
        r, s = decode_dss_signature(self.private.sign(content, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def signed(key: AccountKey, payload: Any, *, url: str, nonce: str, account_url: str | None) -> bytes:
    """A request's content. `payload` None is what asks for a thing by POST (RFC 8555 6.3); `account_url` None: the key
    itself is named, as a new account does."""
    header: dict[str, Any] = {"alg": "ES256", "nonce": nonce, "url": url}
    if account_url is None:
        header["jwk"] = key.jwk()
    else:
        header["kid"] = account_url
    protected, content = base64url(_encode(header)), "" if payload is None else base64url(_encode(payload))
    signature = key.sign(f"{protected}.{content}".encode("ascii"))
    return _encode({"protected": protected, "payload": content, "signature": base64url(signature)})


def external_account_binding(key: AccountKey, *, key_id: str, mac_key: bytes, url: str) -> dict[str, str]:
    """By it an account that exists elsewhere takes this key (RFC 8555 7.3.4)."""
    protected = base64url(_encode({"alg": "HS256", "kid": key_id, "url": url}))
    payload = base64url(_encode(key.jwk()))
    mac = hmac.digest(mac_key, f"{protected}.{payload}".encode("ascii"), "sha256")
    return {"protected": protected, "payload": payload, "signature": base64url(mac)}
