"""A request whose head passed every check."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.http.fields import Fields
from cdn.http.target import Target


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `host` is the lower-case name without port; `scheme` is "http" or "https"."""

    method: str
    target: Target
    host: str
    port: int | None
    fields: Fields
    scheme: str
