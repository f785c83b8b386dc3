"""What a site adds to the rules of RFC 9111 about its own responses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """The settings of a site as the rules about storing and reuse read them. Seconds throughout.

    `default_lifetime_s` is for responses that say nothing explicit and whose status may be given a lifetime by the
    cache (RFC 9110 section 15.1); None leaves them to the heuristic. With `overrides_lifetime` it also replaces what
    successful responses and redirects say. Neither makes storable what the response or an Authorization forbids.

    `negative_lifetime_s` is for errors that say nothing explicit; `stale_while_revalidate_s` (None: no such time) and
    `stale_if_error_s` are for responses that do not bring their own and do not forbid being served stale.
    """

    default_lifetime_s: float | None
    overrides_lifetime: bool
    negative_lifetime_s: float
    stores_set_cookie: bool
    stale_while_revalidate_s: float | None
    stale_if_error_s: float
