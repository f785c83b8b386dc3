"""A deploy in the making as Netlify's clients make one, and how it lies in the object store: they announce files, send
what is missing, and ask now and then, and each of these calls may reach another replica."""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Mapping

import msgspec

from cdn.errors import CdnError

DRAFT_VERSION = 1
"""The version this program writes and the only one it reads: drafts last hours."""

DRAFT_S = 6 * 3600.0
"""How long one may take, a build in between included."""

MAX_DRAFT_BYTES = 256 * 1024 * 1024
"""A draft unpacks to at most this much: the longest paths of the largest bundle."""

_TIME_DIGITS = 8
_RANDOM_DIGITS = 16
_ID = re.compile(r"[0-9a-f]{8}([0-9a-f]{16})[0-9a-f]{16}")


class UnreadableDraft(CdnError):
    """A draft in the store is damaged, or of another release: its sender begins again."""


class NetlifyDraft(msgspec.Struct, frozen=True, kw_only=True):
    """`files`: SHA-1 by path ("/index.html"); None: not announced yet. `actor`: who began it, for the records.

    `deploy_id` is set once it is live, with the path of its `receipt`, `fault` once it has failed for good. `notes`:
    what its sender should know.
    """

    version: int = DRAFT_VERSION
    id: str
    site_id: str
    alias: str
    message: str
    actor: str
    is_draft: bool
    branch: str
    created_at: float
    files: Mapping[str, str] | None = None
    deploy_id: str = ""
    receipt: str = ""
    fault: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return bool(self.deploy_id or self.fault)


def new_draft_id(site_id: str, now: float) -> str:
    """An id that nobody can guess, with the second of its end and the site in it."""
    return f"{int(now + DRAFT_S):0{_TIME_DIGITS}x}{site_id}{secrets.token_hex(_RANDOM_DIGITS // 2)}"


def site_id_in(draft_id: str) -> str | None:
    """The site of the draft with this id; None when no draft can have it."""
    match = _ID.fullmatch(draft_id)
    return None if match is None else match[1]


def is_past(draft_id: str, now: float) -> bool:
    """Whether the time of the draft with this id is over; what no draft can have counts as over."""
    return _ID.fullmatch(draft_id) is None or int(draft_id[:_TIME_DIGITS], 16) < now


def draft_key(site_id: str, draft_id: str) -> str:
    """Where it lies."""
    return f"{draft_prefix(site_id)}{draft_id}"


def draft_prefix(site_id: str) -> str:
    """All drafts of a site."""
    return f"sites/{site_id}/drafts/"


def encode_draft(draft: NetlifyDraft) -> bytes:
    """The draft as it lies in the store."""
    return zlib.compress(msgspec.msgpack.encode(draft), 1)


def decode_draft(raw: bytes) -> NetlifyDraft:
    """The draft in `raw`. Raises UnreadableDraft."""
    try:
        inflate = zlib.decompressobj()
        content = inflate.decompress(raw, MAX_DRAFT_BYTES)
        draft = msgspec.msgpack.decode(content, type=NetlifyDraft)
    except (zlib.error, msgspec.MsgspecError) as exc:
        raise UnreadableDraft(f"it is damaged: {exc}") from exc
    if not inflate.eof or draft.version != DRAFT_VERSION:
        raise UnreadableDraft(f"it has version {draft.version}, this program reads {DRAFT_VERSION}, or is cut off")
    return draft
