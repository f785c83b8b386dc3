"""The seam to wherever bytes live. Two implementations pass one test suite: a directory and S3."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cdn.errors import CdnError, Unavailable


class ObjectMissing(CdnError):
    """No object has this key."""


class DigestMismatch(CdnError):
    """The bytes that came do not have the SHA-256 or the size that was announced. Nothing was kept."""


class StoreUnavailable(Unavailable):
    """The store did not answer, refused, or has no room. Nothing is half-written; try again."""


class PutOutcome(Enum):
    """How a conditional write ended."""

    STORED = "stored"
    PRECONDITION_FAILED = "precondition-failed"  # it exists (if_absent) or has another entity tag (if_match)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store knows of an object. `entity_tag` is opaque and changes with every write."""

    key: str
    size_bytes: int
    entity_tag: str


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """One object that an uploader may write by itself, without control in between."""

    key: str
    digest: str  # SHA-256, lower-case hex
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PresignedPut:
    """A URL and the exact fields that have to be sent with PUT. 2xx and 412 both mean: the bytes are there."""

    url: str
    fields: Mapping[str, str]


class ObjectStore(Protocol):
    """Keys are ASCII paths without `..`. Every method may raise StoreUnavailable.

    A write that returned is durable (DESIGN I11). No method blocks the event loop.
    """

    async def put(
        self, key: str, content: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> PutOutcome:
        """Write a whole small object (at most `MAX_WHOLE_BYTES`)."""
        ...

    async def put_stream(self, target: UploadTarget, content: AsyncIterator[bytes]) -> None:
        """Write an object whose digest and size are known, in bounded memory; an existing one is left as it is.

        Raises DigestMismatch when the bytes are not what was announced; then nothing is visible under the key.
        """
        ...

    async def get(self, key: str) -> bytes:
        """A whole small object. Raises ObjectMissing; StoreUnavailable when larger than `MAX_WHOLE_BYTES`."""
        ...

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of an object, fewer when it ends before. Raises ObjectMissing."""
        ...

    async def head(self, key: str) -> ObjectFacts | None:
        """What is known of an object, None when it does not exist."""
        ...

    def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        """Every object whose key starts with `prefix`, each once, fetched page by page.

        Objects of one folder come in order; where a name and a folder begin alike ("a-1", "a/1"), servers differ.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; not an error when it does not exist."""
        ...

    async def takes_direct_uploads(self) -> bool:
        """Whether `presign` may be used: the store was seen to refuse wrong bytes and to refuse overwriting."""
        ...

    async def presign(self, targets: Sequence[UploadTarget], *, expires_s: int) -> list[PresignedPut]:
        """One presigned PUT per target, in order. Only when `takes_direct_uploads()`."""
        ...

    async def aclose(self) -> None:
        """Release connections and threads."""
        ...


MAX_WHOLE_BYTES = 256 * 1024 * 1024
"""Bound of `put` and `get`: larger than any manifest or snapshot that settings allow."""
