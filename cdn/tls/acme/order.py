"""An order: what is asked for, and how far it is (RFC 8555 7.1.3, 7.4)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from cdn.tls.acme.problem import Identifier, Problem

MAX_NAMES = 100
"""In one certificate: what Let's Encrypt takes, and no other authority takes fewer by much."""


class OrderStatus(Enum):
    """RFC 8555 7.1.6."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class Order(msgspec.Struct, frozen=True):
    """As the authority shows it."""

    status: OrderStatus
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    error: Problem | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Sorted, in lower case."""
        return sorted_names(each.value for each in self.identifiers)


def sorted_names(names: Any) -> tuple[str, ...]:
    """As orders are told apart by."""
    return tuple(sorted({name.lower() for name in names}))


def new_order(names: Sequence[str], *, profile: str, replaces: str | None) -> dict[str, Any]:
    """The payload that asks for one. `replaces` is a certificate's identifier (RFC 9773 5)."""
    payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
    if profile:
        payload["profile"] = profile
    if replaces is not None:
        payload["replaces"] = replaces
    return payload
