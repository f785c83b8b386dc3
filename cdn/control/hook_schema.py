"""What the API takes and gives about hooks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cdn.control.hook_deliveries import DeliveryState
from cdn.control.schema import OptionalWallTime, PositionView, ReceiptView, WallTime
from cdn.control.webhook_queue import WebhookState
from cdn.purge.hook import InboundHook, OutboundHook


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


Secret = Annotated[
    str | None,
    Meta(description="What the sender made, where senders do; left out: one is made here. Only of hooks that receive."),
]


class CreateHook(_Content, frozen=True):
    """One of `inbound` (others call us) and `outbound` (we call others)."""

    inbound: InboundHook | None = None
    outbound: OutboundHook | None = None
    secret: Secret = None

    def __repr__(self) -> str:
        return "CreateHook(...)"  # secrets are in no log, whatever is logged


class ChangeHook(_Content, frozen=True):
    """All settings of the hook, in the place of those before; of the same kind."""

    inbound: InboundHook | None = None
    outbound: OutboundHook | None = None


class RotateHook(_Content, frozen=True):
    """Another secret; the one before counts for `keep_s` more: 0 ends it at once."""

    secret: Secret = None
    keep_s: Annotated[float, Meta(description="Seconds that the secret before still counts.")] = 86_400.0

    def __repr__(self) -> str:
        return "RotateHook(...)"


class HookView(_Content, frozen=True):
    """A hook, without its secret. `path` is where it receives, on control; empty where it sends."""

    id: str
    site: str
    created_at: WallTime
    path: str
    inbound: InboundHook | None = None
    outbound: OutboundHook | None = None


class HookCreatedView(_Content, frozen=True):
    """`secret` is shown this once. `position` is that of the record."""

    hook: HookView
    secret: str
    position: PositionView

    def __repr__(self) -> str:
        return f"HookCreatedView({self.hook!r}, ...)"


class HookChangedView(_Content, frozen=True):
    hook: HookView
    position: PositionView


class HookList(_Content, frozen=True):
    """Oldest first."""

    hooks: tuple[HookView, ...]


class HookRemovedView(_Content, frozen=True):
    hook: str
    position: PositionView


class HookAnswer(_Content, frozen=True):
    """What became of a message. `receipt` is of what came of it; null: nothing did, or it is too long ago. `repeated`:
    it came before, and nothing was done again."""

    delivery: str
    state: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in DeliveryState]})]
    says: str
    repeated: bool
    receipt: ReceiptView | None = None


class WebhookAttempt(_Content, frozen=True):
    """One try to send a message. `status` is the answer's, null: there was none."""

    at: WallTime
    status: int | None
    says: str


class DeliveryView(_Content, frozen=True):
    """A message that came or was sent. `named` is what its sender calls it, of ours the `webhook-id`. `sequence` is
    that of the record that came of it, or that it tells of; 0: none. Of those that are sent: the last `attempts`, and
    when the next is due."""

    id: str
    event: str
    state: Annotated[
        str,
        Meta(
            description="Of messages that came: done, ignored, failed, working. Of those that are sent: due, "
            "delivered, dead.",
            extra_json_schema={
                "enum": [*(each.value for each in DeliveryState), *(each.value for each in WebhookState)]
            },
        ),
    ]
    at: WallTime
    named: str
    says: str
    sequence: int
    attempts: tuple[WebhookAttempt, ...] = ()
    attempt_count: int = 0
    next_at: OptionalWallTime = None
    content: Annotated[Any, Meta(description="What is sent, once it is known; null of messages that came.")] = None


class RefusedView(_Content, frozen=True):
    """A message that no secret of the hook fits, or that cannot be read: nothing of it is kept."""

    at: WallTime
    peer: str
    reason: str
    says: str


class DeliveryList(_Content, frozen=True):
    """Newest first. `refused` are the last ones at the replica that was asked."""

    deliveries: tuple[DeliveryView, ...]
    refused: tuple[RefusedView, ...] = ()


class DeliveryReplayed(_Content, frozen=True):
    """It is sent again, in its order."""

    delivery: str
