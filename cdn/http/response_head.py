"""The head of a response as a cache reads it."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.http.fields import Fields


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A final or interim response without its content (RFC 9110 section 15)."""

    status: int
    fields: Fields
