"""The secrets of a hook: made, sealed for control alone, and several at a time while one takes another's place."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence

import msgspec

from cdn.errors import Conflict, InvalidInput, Unavailable
from cdn.journal.hook_fold import Hook
from cdn.purge.hook import Direction, HookSettings, OutboundHook, Scheme
from cdn.purge.hook_signature import MAX_SECRET_CHARS, MIN_SECRET_CHARS, STANDARD_PREFIX
from cdn.tls.sealed import KeyRing, Purpose

KEY_BYTES = 32
"""Of a secret that is made here: as many as HMAC-SHA256 gives."""

MAX_SECRETS = 4
"""Of one hook at one time: the current one, the one before, and some of who rotates again at once."""


class KeptSecret(msgspec.Struct, frozen=True):
    """`until` is the wall time after which it no longer counts; None: it is the current one."""

    secret: str
    until: float | None = None

    def __repr__(self) -> str:
        return f"KeptSecret(until={self.until})"  # secrets are in no log, whatever is logged


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[KeptSecret, ...])


class HookSecrets:
    """Seals and opens them. `ring` None: this control has no key, and makes no hooks."""

    def __init__(self, ring: KeyRing | None) -> None:
        self._ring = ring

    def sealed(self, hook_id: str, kept: Sequence[KeptSecret]) -> str:
        """As they stand in the hook's record. Raises Conflict when there is no key."""
        envelope = self._needed().sealed(_encoder.encode(tuple(kept)), Purpose.HOOK_SECRET, hook_id)
        return base64.b64encode(envelope).decode("ascii")

    def opened(self, hook: Hook) -> tuple[KeptSecret, ...]:
        """All that the record has, the current one first. Raises Unavailable where this control lacks the key: that is
        the operator's to mend, and nothing that its caller did."""
        try:
            envelope = base64.b64decode(hook.sealed_secret)
            return _decoder.decode(self._needed().opened(envelope, Purpose.HOOK_SECRET, hook.id))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unavailable(f"The secret of hook {hook.id} is none that this program knows.") from error
        except (InvalidInput, Conflict) as error:
            raise Unavailable(f"This control cannot open the secret of hook {hook.id}: {error.message}") from error

    def is_sealed_with_another_key(self, hook: Hook) -> bool:
        """Whether it should be sealed anew before that key goes. False where this control has no key."""
        return self._ring is not None and not self._ring.is_current(base64.b64decode(hook.sealed_secret))

    def counting(self, hook: Hook, now: float) -> tuple[str, ...]:
        """Those that count at wall time `now`, the current one first. Raises as `opened`."""
        return tuple(kept.secret for kept in self.opened(hook) if kept.until is None or kept.until > now)

    def rotated(self, hook: Hook, secret: str, now: float, keep_s: float) -> str:
        """Sealed with `secret` as the current one; those before it count for `keep_s` more. Raises as `opened`."""
        former = [
            KeptSecret(kept.secret, now + keep_s if kept.until is None else min(kept.until, now + keep_s))
            for kept in self.opened(hook)
            if kept.secret != secret and (kept.until is None or kept.until > now)
        ]
        if keep_s <= 0:
            former = []
        return self.sealed(hook.id, (KeptSecret(secret), *former[: MAX_SECRETS - 1]))

    def _needed(self) -> KeyRing:
        if self._ring is None:
            raise Conflict(
                "This control has no key to seal the secrets of hooks with: give it control_key_file in [control]."
            )
        return self._ring


def make_secret(settings: HookSettings) -> str:
    """A new one, in the form that the other side takes."""
    key = secrets.token_bytes(KEY_BYTES)
    if isinstance(settings, OutboundHook) or settings.scheme in (Scheme.STANDARD, Scheme.GITLAB):
        return f"{STANDARD_PREFIX}{base64.b64encode(key).decode('ascii')}"
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode("ascii")


def check_secret(text: str, direction: Direction) -> str:
    """A secret that the caller brings, as some senders make it themselves. Raises InvalidInput, without the secret."""
    if direction is Direction.OUT:
        raise InvalidInput("The secret of messages that we send is made here: leave it out.", field="secret")
    if not MIN_SECRET_CHARS <= len(text) <= MAX_SECRET_CHARS or not text.isascii() or not text.isprintable():
        raise InvalidInput(
            f"A secret has {MIN_SECRET_CHARS} to {MAX_SECRET_CHARS} printable ASCII letters; left out, one is made.",
            field="secret",
        )
    if text.strip() != text:
        raise InvalidInput("The secret begins or ends with a space: was it copied whole?", field="secret")
    return text
