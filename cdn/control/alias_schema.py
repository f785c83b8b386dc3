"""What the API takes and gives of aliases."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cdn.control.schema import OptionalWallTime, ReceiptView

MAX_PASSWORD_BYTES = 256
"""What a person can be asked to type or paste; hashing takes the same time for every length."""

MAX_LOCK_BYTES = 500
"""A sentence; it travels to every node."""

MAX_EXPIRES_S = 366 * 86400.0
"""A preview that shall stay longer than a year has no end."""


class SetAlias(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is named changes, the rest stays; null takes it away."""

    password: Annotated[
        str | UnsetType | None,
        Meta(description="What visitors have to give, in clear: control keeps a hash. Never of production."),
    ] = UNSET
    expires_s: Annotated[
        float | UnsetType | None,
        Meta(description="Seconds from now after which nothing is answered. Never of production."),
    ] = UNSET
    lock: Annotated[str | UnsetType | None, Meta(description="Why no other deploy may be activated; null unlocks.")] = (
        UNSET
    )

    def __repr__(self) -> str:
        return "SetAlias(...)"  # a password is in clear in it

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return self.password is UNSET and self.expires_s is UNSET and self.lock is UNSET


class AliasView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`deploy` null: nothing is active there."""

    alias: str
    url: str
    deploy: str | None
    activated_at: OptionalWallTime
    has_password: bool
    expires_at: OptionalWallTime
    expired: bool
    lock: Annotated[str | None, Meta(description="Who locked it, and why; null: it is not locked.")]
    back: Annotated[str | None, Meta(description="The deploy that a rollback activates.")]
    forward: Annotated[str | None, Meta(description="The deploy that rolling forward activates.")]


class AliasList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Production first, then by name."""

    aliases: tuple[AliasView, ...]


class AliasChangedView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alias: AliasView
    receipt: ReceiptView
