"""Snapshots: every fold's state at one position, for whoever cannot or need not read all records (DESIGN I3, I14)."""

from __future__ import annotations

import gc
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import msgspec

from cdn.errors import CdnError
from cdn.fleet.position import Position
from cdn.journal.fold import Fold
from cdn.journal.record import Audience

SNAPSHOT_VERSION = 4
"""The newest version that this program knows. It reads every version up to this one, and writes each snapshot in the
oldest that can say it."""

SECTION_SINCE = {"zones": 2, "claims": 3, "certificates": 3, "takedowns": 4, "hooks": 4}
"""The version with which a section came, by its fold's name; those that are not named are of version 1. A program that
did not know the section would leave it out of its own snapshots, and with it what nobody else may have any more."""

PART_SINCE = {
    ("catalog", "redirects"): 3,
    ("catalog", "deploy_details"): 4,
    ("catalog", "alias_details"): 4,
    ("catalog", "variants"): 4,
    ("tokens", "sealed"): 4,
}
"""The same for a part of a section that is only there where it is used."""

MAX_SNAPSHOT_BYTES = 1024 * 1024 * 1024
"""A snapshot unpacks to at most this much: a damaged or hostile one cannot fill memory."""


class UnreadableSnapshot(CdnError):
    """A snapshot of a newer version, damaged, or with a section that its fold does not understand."""


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sections` are the folds' dumps by name, all at `position`.

    Stored responses admitted below `floor_horizon` are unusable: floors up to there may have been forgotten.
    """

    version: int
    position: Position
    floor_horizon: int
    sections: dict[str, Any]


@runtime_checkable
class HorizonFold(Protocol):
    """A fold that remembers floors and so must learn a snapshot's floor_horizon."""

    def raise_horizon(self, sequence: int) -> None:
        """Responses admitted below `sequence` are unusable from now on."""
        ...


class _Head(msgspec.Struct):
    version: int


def take(folds: Iterable[Fold], position: Position, *, floor_horizon: int, audiences: frozenset[Audience]) -> Snapshot:
    """The folds' state at `position`, without the sections that none of `audiences` may read.

    A fold's empty state that is None needs no reader who knows the fold.
    """
    with _uncollected():
        sections = {fold.name: fold.dump() for fold in folds if fold.audience in audiences}
    since = [SECTION_SINCE.get(name, 1) for name, state in sections.items() if state is not None]
    since += [version for (name, part), version in PART_SINCE.items() if part in (sections.get(name) or ())]
    return Snapshot(max(since, default=1), position, floor_horizon, sections)


def load_into(snapshot: Snapshot, folds: Iterable[Fold]) -> None:
    """Replace every fold's state by its section; a fold without one becomes empty.

    Raises UnreadableSnapshot when a section does not have the form that its fold dumps; folds before it are loaded.
    """
    for fold in folds:
        try:
            with _uncollected():
                fold.load(snapshot.sections.get(fold.name))
        except (CdnError, LookupError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as exc:
            raise UnreadableSnapshot(f"its section {fold.name} is not understood: {exc}") from exc
        if isinstance(fold, HorizonFold):
            fold.raise_horizon(snapshot.floor_horizon)


def encode(snapshot: Snapshot) -> bytes:
    """JSON, deflated."""
    return zlib.compress(msgspec.json.encode(snapshot), 3)


def decode(raw: bytes) -> Snapshot:
    """The snapshot in `raw`. Raises UnreadableSnapshot."""
    try:
        inflate = zlib.decompressobj()
        content = inflate.decompress(raw, MAX_SNAPSHOT_BYTES)
        if not inflate.eof:
            raise UnreadableSnapshot(f"a snapshot is cut off or larger than {MAX_SNAPSHOT_BYTES} bytes")
        version = msgspec.json.decode(content, type=_Head).version
        if version > SNAPSHOT_VERSION:
            raise UnreadableSnapshot(
                f"a snapshot has version {version}, this program reads up to {SNAPSHOT_VERSION}: upgrade this node"
            )
        with _uncollected():
            return msgspec.json.decode(content, type=Snapshot)
    except (zlib.error, msgspec.MsgspecError) as exc:
        raise UnreadableSnapshot(f"a snapshot is damaged: {exc}") from exc


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector: millions of objects are made and all of them stay, so looking for cycles among them again
    and again finds nothing and takes longer than making them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
