"""Which pages of other origins may read what is answered here (Fetch, "HTTP extensions": CORS protocol)."""

from __future__ import annotations

from dataclasses import dataclass

ANY_ORIGIN = "*"


@dataclass(frozen=True, slots=True)
class CorsRule:
    """The first rule that covers a path counts. `origins` are serialised origins (`https://app.example`) or ANY_ORIGIN
    alone. `fields` are request fields that a page may set, `exposed` response fields it may read, lower-case.
    `max_age_s`: how long a browser may remember a preflight."""

    source: str
    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "HEAD")
    fields: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    allows_credentials: bool = False
    max_age_s: int = 5
