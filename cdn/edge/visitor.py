"""Who sent a request, and what may be told to them before the final response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdn.http.fields import FieldLines


@dataclass(frozen=True, slots=True)
class Visitor:
    """`address` is the client's IP address as text, however many trusted proxies stand between.

    `send_interim(status, fields)` sends a 1xx response (RFC 9110 section 15.2) at once. It is not sent, without a word,
    where it must not or need not be: after the final head, to a client of HTTP/1.0 or one that takes nothing at the
    moment, and statuses other than 102 to 199, because 100 and 101 are the engine's own. Raises InvalidInput like
    `Response` for a field that would break out of its line.
    """

    address: str
    send_interim: Callable[[int, FieldLines], None]
