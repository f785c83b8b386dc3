"""The query of a URL read as form fields (WHATWG URL, application/x-www-form-urlencoded)."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def search_params(query: str | None) -> list[tuple[str, str]]:
    """The names and values in `query`, decoded, in order. Octets that are not UTF-8 become U+FFFD."""
    pairs = []
    for part in (query or "").split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((decode_component(name), decode_component(value)))
    return pairs


def decode_component(text: str) -> str:
    """A name or value as it is meant: "+" is a space, percent-encoding is undone."""
    return unquote_to_bytes(text.replace("+", " ").encode("utf-8", "replace")).decode("utf-8", "replace")
