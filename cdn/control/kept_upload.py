"""An upload session as it lies in the object store, where every replica of control finds it (DESIGN I7, I14)."""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from cdn.errors import CdnError

KEPT_UPLOADS = "control/uploads/"
"""Digests of every site are below it, so nodes must not read there."""

KEPT_VERSION = 1
"""The version this program writes; it reads every version up to this one."""

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""A session unpacks to at most this much: the digests of the largest bundle take a tenth of it."""

_ID = re.compile(r"[0-9a-f]{32}")
_TIME_DIGITS = 8


class UnreadableUpload(CdnError):
    """A session in the store is damaged, or of a newer program: it is opened anew."""


@dataclass(frozen=True, slots=True)
class KeptUpload:
    """What one replica kept of a session that it opened. `blobs` gives the announced sizes."""

    blobs: Mapping[str, int]
    expires_at: float


class _Kept(msgspec.Struct, frozen=True):
    version: int
    expires_at: float
    digests: bytes
    sizes: list[int]


class _Head(msgspec.Struct):
    version: int


def new_upload_id(expires_at: float) -> str:
    """An id that nobody can guess. It begins with the second of its end, so that what is over is found by its name."""
    return f"{int(expires_at) + 1:0{_TIME_DIGITS}x}{secrets.token_hex(16 - _TIME_DIGITS // 2)}"


def is_upload_id(text: str) -> bool:
    """Whether `text`, which a caller sent, can be an id: anything else never becomes a part of a key."""
    return _ID.fullmatch(text) is not None


def kept_upload_key(site_id: str, upload_id: str) -> str:
    """Where a session lies; the site is part of it, so no other site reaches it."""
    return f"{KEPT_UPLOADS}{site_id}/{upload_id}"


def kept_upload_prefix(site_id: str) -> str:
    """All sessions of a site."""
    return f"{KEPT_UPLOADS}{site_id}/"


def upload_id_of(key: str) -> str:
    """The id that a key ends with."""
    return key.rsplit("/", 1)[1]


def is_over(key: str, now: float) -> bool:
    """Whether the session with this key has ended by wall time `now`; what is named in another way counts as over."""
    upload_id = upload_id_of(key)
    return not is_upload_id(upload_id) or int(upload_id[:_TIME_DIGITS], 16) < now


def encode_kept(upload: KeptUpload) -> bytes:
    """Some 35 bytes for one digest."""
    kept = _Kept(KEPT_VERSION, upload.expires_at, bytes.fromhex("".join(upload.blobs)), list(upload.blobs.values()))
    return zlib.compress(msgspec.msgpack.encode(kept), 1)


def decode_kept(raw: bytes) -> KeptUpload:
    """The session in `raw`. Raises UnreadableUpload."""
    try:
        inflate = zlib.decompressobj()
        content = inflate.decompress(raw, MAX_KEPT_BYTES)
        if not inflate.eof:
            raise UnreadableUpload(f"it is cut off or larger than {MAX_KEPT_BYTES} bytes")
        version = msgspec.msgpack.decode(content, type=_Head).version
        if version > KEPT_VERSION:
            raise UnreadableUpload(f"it has version {version}, this program reads up to {KEPT_VERSION}")
        kept = msgspec.msgpack.decode(content, type=_Kept)
    except (zlib.error, msgspec.MsgspecError) as exc:
        raise UnreadableUpload(f"it is damaged: {exc}") from exc
    if len(kept.digests) != 32 * len(kept.sizes):
        raise UnreadableUpload(f"it has {len(kept.digests)} bytes of digests for {len(kept.sizes)} blobs")
    digests = (kept.digests[start : start + 32].hex() for start in range(0, len(kept.digests), 32))
    return KeptUpload(dict(zip(digests, kept.sizes, strict=True)), kept.expires_at)
