"""What a purge in Fastly's API asks for: `/service/{service}/purge`, `/purge/{key}`, `/purge_all`, `/purge/{url}`.

https://www.fastly.com/documentation/reference/api/purging/. What are surrogate keys there are cache tags here.
"""

from __future__ import annotations

import re

import msgspec

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.request import PurgeRequest

MAX_KEYS = 256
"""Keys in one call, as many as Fastly takes."""

SOFT_FIELD = "Fastly-Soft-Purge"
KEY_FIELD = "Fastly-Key"
KEYS_FIELD = "Surrogate-Key"

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


class _Keys(msgspec.Struct, frozen=True):
    surrogate_keys: tuple[str, ...] = ()


def is_soft(value: str | None) -> bool:
    """What the field `Fastly-Soft-Purge` says: 1 makes stale instead of unusable. Raises InvalidInput."""
    text = (value or "").strip()
    if text not in {"", "0", "1"}:
        raise InvalidInput(f"{SOFT_FIELD} is 1 or is left out, not {text[:80]!r}.", field=SOFT_FIELD)
    return text == "1"


def read_key_purge(key: str, *, soft: bool) -> PurgeRequest:
    """The purge of one key."""
    return PurgeRequest(tags=(key,), soft=soft)


def read_keys_purge(raw: bytes, field_value: str | None, *, soft: bool) -> PurgeRequest:
    """The purge of all keys in the field `Surrogate-Key`, with spaces between them, or else in the JSON content.

    Raises InvalidInput, TooLarge beyond MAX_KEYS.
    """
    keys = tuple((field_value or "").split()) or _keys_in(raw)
    keys = tuple(dict.fromkeys(keys))
    if not keys:
        raise InvalidInput(
            f'No key is named: send them in the field {KEYS_FIELD}, or as {{"surrogate_keys": [...]}}.',
            field=KEYS_FIELD,
        )
    if len(keys) > MAX_KEYS:
        raise TooLarge(f"A purge names at most {MAX_KEYS} keys, this one {len(keys)}: send several.", field=KEYS_FIELD)
    return PurgeRequest(tags=keys, soft=soft)


def read_url_purge(text: str, *, soft: bool) -> tuple[str, PurgeRequest]:
    """The host in a URL, with its port if it has one, and the purge of the URL. `text` may be without a scheme, as in
    `POST /purge/www.example.com/a?b`. Raises InvalidInput."""
    rest = _SCHEME.sub("", text, count=1)
    host = re.split(r"[/?]", rest, maxsplit=1)[0]
    target = rest[len(host) :]
    if not host:
        raise InvalidInput(f"{text[:200]!r} names no host: give the URL, like www.example.com/news.")
    if not target.startswith("/"):
        target = f"/{target}"
    return host, PurgeRequest(urls=(f"http://{host}{target}",), soft=soft)


def _keys_in(raw: bytes) -> tuple[str, ...]:
    if not raw.strip():
        return ()
    try:
        return msgspec.json.decode(raw, type=_Keys).surrogate_keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidInput(
            'The request\'s content is not as described: it is an object like {"surrogate_keys": ["news"]}.',
            field="surrogate_keys",
        ) from exc
