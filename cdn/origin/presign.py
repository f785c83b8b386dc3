"""Presigned PUT requests (AWS Signature Version 4, query parameters), many at once.

botocore signs about 2,000 a second, which would be most of the time of a large first deploy. Here what is the same for
all of them is computed once. Tests hold every result against botocore's own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from cdn.origin.store import PresignedPut, UploadTarget

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SIGNED_FIELDS = "content-length;host;if-none-match;x-amz-checksum-sha256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Who signs: what the credential chain gave."""

    access_key: str
    secret_key: str
    session_token: str | None


@dataclass(frozen=True, slots=True)
class PutSigner:
    """Signs PUT requests for one bucket at one moment."""

    base_url: str  # up to and without the key, e.g. "https://bucket.s3.eu-west-1.amazonaws.com/prefix/"
    region: str
    signing_key: SigningKey
    signed_at: str  # "20260101T000000Z"
    expires_s: int

    @classmethod
    def from_template(cls, url: str, key: str, signing_key: SigningKey, expires_s: int) -> PutSigner:
        """The signer that continues a URL which botocore presigned for `key`: same place, region and moment."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        return cls(
            base_url=f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(quote(key, safe='/~'))}",
            region=query["X-Amz-Credential"].split("/")[-3],
            signing_key=signing_key,
            signed_at=query["X-Amz-Date"],
            expires_s=expires_s,
        )

    def sign(self, targets: Sequence[UploadTarget]) -> list[PresignedPut]:
        """One presigned PUT per target. Signed are the length, the SHA-256 and `If-None-Match: *`."""
        parts = urlsplit(self.base_url)
        host = parts.netloc.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
        scope = f"{self.signed_at[:8]}/{self.region}/s3/aws4_request"
        derived_key = self._derived_key()
        query = self._query(scope)
        to_sign_prefix = f"AWS4-HMAC-SHA256\n{self.signed_at}\n{scope}\n"
        signed = []
        for target in targets:
            quoted_key = quote(target.key, safe="/~")
            fields = put_fields(target)
            canonical_request = (
                f"PUT\n{parts.path}{quoted_key}\n{query}\n"
                f"content-length:{target.size_bytes}\nhost:{host}\nif-none-match:*\n"
                f"x-amz-checksum-sha256:{fields['x-amz-checksum-sha256']}\n\n{_SIGNED_FIELDS}\nUNSIGNED-PAYLOAD"
            )
            to_sign = to_sign_prefix + hashlib.sha256(canonical_request.encode()).hexdigest()
            signature = hmac.digest(derived_key, to_sign.encode(), "sha256").hex()
            signed.append(PresignedPut(f"{self.base_url}{quoted_key}?{query}&X-Amz-Signature={signature}", fields))
        return signed

    def _derived_key(self) -> bytes:
        derived = f"AWS4{self.signing_key.secret_key}".encode()
        for part in (self.signed_at[:8], self.region, "s3", "aws4_request"):
            derived = hmac.digest(derived, part.encode(), "sha256")
        return derived

    def _query(self, scope: str) -> str:
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.signing_key.access_key}/{scope}",
            "X-Amz-Date": self.signed_at,
            "X-Amz-Expires": str(self.expires_s),
            "X-Amz-SignedHeaders": _SIGNED_FIELDS,
        }
        if self.signing_key.session_token is not None:
            parameters["X-Amz-Security-Token"] = self.signing_key.session_token
        return "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(parameters.items()))


def put_fields(target: UploadTarget) -> Mapping[str, str]:
    """The fields that have to be sent with a presigned PUT."""
    return {
        "content-length": str(target.size_bytes),
        "if-none-match": "*",
        "x-amz-checksum-sha256": checksum_of(target.digest),
    }


def checksum_of(digest: str) -> str:
    """A SHA-256 in hex as S3 writes it: base64."""
    return base64.b64encode(bytes.fromhex(digest)).decode()
