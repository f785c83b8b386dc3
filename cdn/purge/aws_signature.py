"""AWS Signature Version 4 in the Authorization field, as whoever is called checks it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. What a signature covers is
the method, the path, the query, the named fields and the content, so none of them can be changed on the way.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from cdn.errors import Unauthorized

ALGORITHM = "AWS4-HMAC-SHA256"

MAX_SKEW_S = 300.0
"""How far the time of a request may be off, as AWS has it: for so long one can be sent again by who saw it."""

MAX_AUTHORIZATION_CHARS = 4_096
"""Of the field's value: a key id, a scope and the names of some fields."""

_CLAIM = re.compile(
    rf"{ALGORITHM}\s+Credential=(?P<key_id>[^/,\s]{{1,128}})/(?P<date>[0-9]{{8}})/(?P<region>[A-Za-z0-9-]{{1,64}})/"
    r"(?P<service>[a-z0-9-]{1,64})/aws4_request,\s*SignedHeaders=(?P<signed>[a-z0-9;_.-]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})\s*"
)

_TIME = "%Y%m%dT%H%M%SZ"


class BadSignature(Unauthorized):
    """The request is not signed as it has to be. `code` is AWS's word for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came: `raw_path` and `raw_query` are percent-encoded as they were sent, the names of `fields`
    are in lower case, and a field of several lines has one entry for each."""

    method: str
    raw_path: str
    raw_query: str
    fields: Sequence[tuple[str, str]]
    content: bytes

    def values(self, name: str) -> list[str]:
        """All lines of a field."""
        return [value for field, value in self.fields if field == name]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the Authorization field says: who signed, for which day, region and service, and which fields."""

    key_id: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str


def read_claim(fields: Sequence[tuple[str, str]], service: str) -> Claim:
    """The claim in a request's fields, to be believed only after `verify`. Raises BadSignature."""
    values = [value for name, value in fields if name == "authorization"]
    if not values:
        raise BadSignature("MissingAuthenticationToken", "The request is not signed.")
    matched = _CLAIM.fullmatch(values[0]) if len(values) == 1 and len(values[0]) <= MAX_AUTHORIZATION_CHARS else None
    if matched is None:
        raise BadSignature(
            "IncompleteSignature",
            f"The Authorization field is not of the form `{ALGORITHM} Credential=KEY/DATE/REGION/SERVICE/aws4_request, "
            "SignedHeaders=..., Signature=...`.",
        )
    signed = tuple(matched["signed"].split(";"))
    claim = Claim(
        matched["key_id"], matched["date"], matched["region"], matched["service"], signed, matched["signature"]
    )
    if claim.service != service:
        raise BadSignature("SignatureDoesNotMatch", f"The request is signed for {claim.service}, not for {service}.")
    names = {name for name, _ in fields}
    needed = {"host"} | {name for name in names if name.startswith("x-amz-")}
    if list(signed) != sorted(set(signed)) or not needed <= set(signed):
        raise BadSignature(
            "SignatureDoesNotMatch",
            "SignedHeaders has to name the field host and every field that begins with x-amz-, each once and in order.",
        )
    return claim


def verify(request: SignedRequest, claim: Claim, secret: str, now: float) -> None:
    """Return when whoever knows `secret` signed this request within MAX_SKEW_S of `now`, a wall time in seconds.

    Raises BadSignature. Takes the same time however wrong the signature is.
    """
    time = _time_of(request, claim)
    signed_at = datetime.strptime(time, _TIME).replace(tzinfo=UTC).timestamp()
    if abs(signed_at - now) > MAX_SKEW_S:
        raise BadSignature(
            "SignatureDoesNotMatch",
            f"The signature is {'expired' if signed_at < now else 'not yet current'}: the request was signed at {time} "
            f"and it is {datetime.fromtimestamp(now, UTC).strftime(_TIME)}, more than {MAX_SKEW_S / 60:g} min off. Set "
            "this machine's clock.",
        )
    digest = hashlib.sha256(request.content).hexdigest()
    if request.values("x-amz-content-sha256") not in ([], [digest]):
        raise BadSignature("SignatureDoesNotMatch", "x-amz-content-sha256 is not the digest of the content.")
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    canonical = _canonical(request, claim.signed, digest).encode("utf-8", "surrogateescape")
    to_sign = "\n".join((ALGORITHM, time, scope, hashlib.sha256(canonical).hexdigest()))
    expected = _keyed(_signing_key(secret, claim), to_sign).hex()
    if not hmac.compare_digest(expected, claim.signature):
        raise BadSignature(
            "SignatureDoesNotMatch",
            "The request's signature is not the one that we calculate: check the secret access key, and that nothing "
            "in between changes requests.",
        )


def _time_of(request: SignedRequest, claim: Claim) -> str:
    values = request.values("x-amz-date")
    if len(values) != 1 or re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", values[0]) is None:
        raise BadSignature("IncompleteSignature", "The request needs one field x-amz-date, like 20260101T120000Z.")
    try:
        datetime.strptime(values[0], _TIME)
    except ValueError as exc:
        raise BadSignature("IncompleteSignature", f"x-amz-date is {values[0]}, which is no time.") from exc
    if values[0][:8] != claim.date:
        raise BadSignature("SignatureDoesNotMatch", "The day in Credential is not that of x-amz-date.")
    return values[0]


def _canonical(request: SignedRequest, signed: Sequence[str], digest: str) -> str:
    """The one form in which both sides write the request down. The path is encoded once more: services other than S3
    have it so."""
    lines = {name: ",".join(" ".join(value.split()) for value in request.values(name)) for name in signed}
    return "\n".join(
        (
            request.method,
            quote(request.raw_path, safe="/-_.~", errors="surrogateescape"),
            _canonical_query(request.raw_query),
            *(f"{name}:{lines[name]}" for name in signed),
            "",
            ";".join(signed),
            digest,
        )
    )


def _canonical_query(raw_query: str) -> str:
    pairs = []
    for part in raw_query.split("&") if raw_query else ():
        name, _, value = part.partition("=")
        pairs.append((_encoded_anew(name), _encoded_anew(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded_anew(text: str) -> str:
    return quote(unquote(text, errors="surrogateescape"), safe="-_.~", errors="surrogateescape")


def _signing_key(secret: str, claim: Claim) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = _keyed(key, part)
    return key


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).digest()
