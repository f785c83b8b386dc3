"""Whether a message is its sender's own. Nothing that comes is compared in a time that says how much of it is right."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from cdn.purge.hook import InboundHook, Scheme

STANDARD_PREFIX = "whsec_"
"""Begins secrets of Standard Webhooks; the rest is the key in base64."""

MIN_SECRET_CHARS, MAX_SECRET_CHARS = 16, 256
"""Of a secret that a sender made: shorter ones are guessed, longer ones are something else."""

MAX_SIGNATURES = 8
"""In one message: a sender that rotates sends two."""

_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{1,12}")
_ID = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Message:
    """What came: `fields` with names in lower case, each once; `content` octet for octet; `token` is the query's."""

    fields: Mapping[str, str]
    content: bytes
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Genuine:
    """It is the sender's. `delivery` names the message where the sender does ("": it does not), so that it is the same
    when it comes twice; `is_timed`: its signature covers a time that was compared, so it cannot come again later."""

    delivery: str = ""
    is_timed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not, or nobody can say. `reason` is a label for metrics, `says` a sentence for its sender."""

    reason: str
    says: str


Judgement = Genuine | Refused

_UNSIGNED = "unsigned"
_WRONG = Refused("wrong-signature", "The signature is not that of this content with a secret of this hook.")


def judge(hook: InboundHook, secrets: Sequence[str], message: Message, now: float) -> Judgement:
    """Whether `message` is from whoever shares one of `secrets`. `now` is wall time."""
    match hook.scheme:
        case Scheme.GITHUB:
            return _of_content(message, secrets, "x-hub-signature-256", "x-github-delivery")
        case Scheme.BITBUCKET:
            return _of_content(message, secrets, "x-hub-signature", "x-request-uuid")
        case Scheme.GITLAB if "webhook-signature" not in message.fields:
            told = Genuine(_named(message, "idempotency-key") or _named(message, "x-gitlab-event-uuid"))
            return _of_token(message.fields.get("x-gitlab-token"), secrets, "X-Gitlab-Token", told)
        case Scheme.GITLAB | Scheme.STANDARD:
            return _of_standard(message, secrets, hook.tolerance_s, now)
        case Scheme.STRIPE:
            return _of_stripe(message, secrets, hook.tolerance_s, now)
        case Scheme.TOKEN:
            token, place = _token_of(hook, message)
            named = _named(message, "idempotency-key") or _named(message, "x-amz-sns-message-id")
            return _of_token(token, secrets, place, Genuine(named))
        case _:
            assert_never(hook.scheme)


def standard_signature(secret: str, message_id: str, timestamp: int, content: bytes) -> str:
    """One signature of Standard Webhooks: "v1," and HMAC-SHA256 of id, time and content, in base64."""
    signed = b"%b.%d.%b" % (message_id.encode("ascii"), timestamp, content)
    return f"v1,{base64.b64encode(hmac.digest(standard_key(secret), signed, 'sha256')).decode('ascii')}"


def standard_key(secret: str) -> bytes:
    """The key that a secret of Standard Webhooks stands for; of another secret its own octets."""
    if secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            pass  # made by hand: what stands there is what both sides have
    return secret.encode("utf-8")


def _of_content(message: Message, secrets: Sequence[str], field: str, delivery_field: str) -> Judgement:
    sent = message.fields.get(field, "")
    method, _, signature = sent.partition("=")
    if not sent:
        return Refused(
            _UNSIGNED, f"The field {field} with the signature is missing: give the sender the hook's secret."
        )
    if method != "sha256" or _HEX.fullmatch(signature) is None:
        return Refused("malformed-signature", f"The field {field} is not sha256= and 64 hex digits.")
    expected = [hmac.digest(secret.encode("utf-8"), message.content, "sha256").hex() for secret in secrets]
    return Genuine(_named(message, delivery_field)) if _any_is(expected, signature) else _WRONG


def _of_stripe(message: Message, secrets: Sequence[str], tolerance_s: int, now: float) -> Judgement:
    sent = message.fields.get("stripe-signature", "")
    if not sent:
        return Refused(_UNSIGNED, "The field Stripe-Signature is missing.")
    parts = [part.strip().partition("=") for part in sent.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "v1"][:MAX_SIGNATURES]
    if len(times) != 1 or _TIME.fullmatch(times[0]) is None or not signatures:
        return Refused("malformed-signature", "The field Stripe-Signature is not t=TIME and v1=SIGNATURE.")
    signed = b"%b.%b" % (times[0].encode("ascii"), message.content)
    expected = [hmac.digest(secret.encode("utf-8"), signed, "sha256").hex() for secret in secrets]
    if not any(_any_is(expected, signature) for signature in signatures):
        return _WRONG
    return _late(float(times[0]), tolerance_s, now) or Genuine(is_timed=True)


def _of_standard(message: Message, secrets: Sequence[str], tolerance_s: int, now: float) -> Judgement:
    sent = message.fields.get("webhook-signature", "")
    message_id, timestamp = message.fields.get("webhook-id", ""), message.fields.get("webhook-timestamp", "")
    if not sent:
        return Refused(_UNSIGNED, "The field webhook-signature is missing.")
    if _ID.fullmatch(message_id) is None or _TIME.fullmatch(timestamp) is None:
        return Refused("malformed-signature", "webhook-id or webhook-timestamp is missing, or not as described.")
    signatures = [each for each in sent.split(" ") if each.startswith("v1,")][:MAX_SIGNATURES]
    signed = b"%b.%b.%b" % (message_id.encode("ascii"), timestamp.encode("ascii"), message.content)
    digests = [hmac.digest(standard_key(secret), signed, "sha256") for secret in secrets]
    expected = [f"v1,{base64.b64encode(digest).decode('ascii')}" for digest in digests]
    if not any(_any_is(expected, signature) for signature in signatures):
        return _WRONG
    return _late(float(timestamp), tolerance_s, now) or Genuine(message_id, is_timed=True)


def _of_token(token: str | None, secrets: Sequence[str], place: str, told: Genuine) -> Judgement:
    if not token:
        return Refused(_UNSIGNED, f"The hook's secret is missing: send it in {place}.")
    return (
        told
        if _any_is(secrets, token)
        else Refused("wrong-token", f"What was sent in {place} is no secret of this hook.")
    )


def _token_of(hook: InboundHook, message: Message) -> tuple[str | None, str]:
    """What was sent as the token, and where it belongs. In the query only where the hook says so."""
    if hook.in_query and message.token is not None:
        return message.token, "the query parameter token"
    if hook.field and hook.field.lower() != "authorization":
        return message.fields.get(hook.field.lower()), f"the field {hook.field}"
    scheme, _, token = message.fields.get("authorization", "").partition(" ")
    return (token.strip() if scheme.lower() == "bearer" else None), "Authorization, as a bearer token"


def _late(at: float, tolerance_s: int, now: float) -> Refused | None:
    if abs(now - at) <= tolerance_s:
        return None
    return Refused("wrong-time", f"The message was signed {now - at:.0f} s ago; {tolerance_s} s are allowed.")


def _named(message: Message, field: str) -> str:
    """What a field names a delivery; "" for what is no name."""
    name = message.fields.get(field, "")
    return name if _ID.fullmatch(name) is not None else ""


def _any_is(expected: Sequence[str], given: str) -> bool:
    octets = given.encode("utf-8", "surrogatepass")
    return any(hmac.compare_digest(each.encode("utf-8"), octets) for each in expected)
