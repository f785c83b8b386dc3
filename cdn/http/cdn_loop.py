"""Requests that come back to the network that sent them: CDN-Loop (RFC 8586)."""

from __future__ import annotations

from cdn.http.fields import Fields
from cdn.http.list_field import has_open_quote, list_members

MAX_READ_LENGTH = 2048
"""Characters of CDN-Loop that are read member by member: 27 KiB take 5 ms, and HTTP/2 says them again in 20 octets."""


def has_loop(fields: Fields, cdn_id: str) -> bool:
    """Whether a request passed through the network `cdn_id` before. Parameters do not count, nor does case.

    A quote that is never closed hides nothing: every comma separates then. In a value of more than MAX_READ_LENGTH the
    name is enough, wherever it stands.
    """
    value = fields.get("cdn-loop")
    wanted = cdn_id.lower()
    if value is None or wanted not in value.lower():
        return False
    if len(value) > MAX_READ_LENGTH:
        return True
    members = value.split(",") if has_open_quote(value) else list_members(value)
    return any(member.partition(";")[0].strip(" \t").lower() == wanted for member in members)


def with_loop(value: str | None, cdn_id: str) -> str:
    """The field as it goes on: what came (None: nothing) stays as it is, `cdn_id` follows."""
    return f"{value}, {cdn_id}" if value else cdn_id
