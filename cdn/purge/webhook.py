"""Messages of ours: their form, signatures and ids (Standard Webhooks 1.0), and when one is tried again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from cdn.purge.hook_signature import standard_signature

MAX_CONTENT_BYTES = 20_000
"""The specification's advice: receivers take that much without thinking."""

BACKOFF_S = (5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Pauses after each failed try; the last one again and again."""

LONGEST_PAUSE_S = 3600.0
"""However long a receiver asks to be left alone."""

GIVE_UP_S = 86_400.0
"""A message that was tried for so long is dead: it stays to be seen, and can be sent again by hand."""

MAX_REFUSALS = 5
"""How often a receiver may say that a message is wrong (400 to 499) before it is believed: those behind it wait."""

_TRY_AGAIN = frozenset((408, 409, 423, 425, 429))
"""What a receiver answers that it cannot now, of 400 to 499."""

GONE = 410
"""The receiver wants no messages any more."""

_encoder = msgspec.json.Encoder(order="deterministic")


def content_of(kind: str, at: float, data: Mapping[str, Any]) -> bytes:
    """A message. `at` is the wall time at which it happened."""
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _encoder.encode({"type": kind, "timestamp": when, "data": data})


def message_id(hook_id: str, *names: object) -> str:
    """The same for the same event and hook, however often it is sent."""
    text = "\0".join((hook_id, *map(str, names)))
    return f"msg_{hashlib.sha256(text.encode('utf-8')).hexdigest()[:32]}"


def signed_fields(secrets: Sequence[str], name: str, now: float, content: bytes) -> tuple[tuple[str, str], ...]:
    """What is sent with `content`: a signature with each of the secrets, the current one first."""
    timestamp = int(now)
    signatures = " ".join(standard_signature(secret, name, timestamp, content) for secret in secrets)
    return (
        ("webhook-id", name),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signatures),
        ("content-type", "application/json"),
    )


def is_delivered(status: int | None) -> bool:
    """Whether an answer says that the message was taken."""
    return status is not None and 200 <= status < 300


def is_refusal(status: int | None) -> bool:
    """Whether an answer says that the message is wrong, so that another try may not help; redirects are not followed,
    so that one is wrong too."""
    return status is not None and 300 <= status < 500 and status not in _TRY_AGAIN


def pause_s(failures: int, asked_s: float | None, spread: float) -> float:
    """How long to wait after so many failed tries, at least `asked_s`. `spread` in [0, 1) keeps receivers that came
    back from being asked by everybody at once."""
    pause = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1] * (0.9 + 0.2 * spread)
    return min(max(pause, asked_s or 0.0), LONGEST_PAUSE_S * 1.1)
