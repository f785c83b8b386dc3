"""Who may ask this node, as control last said it; kept for a restart while control is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cdn.fleet.peers import PeerRoll, PeerToken

VERSION = 1

_log = logging.getLogger(__name__)


class _Document(msgspec.Struct, frozen=True):
    version: int
    tokens: tuple[PeerToken, ...]


class KeptRoll:
    """The roll, and the file that it is kept in. What cannot be read is an empty roll: nobody may ask then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.roll = PeerRoll(_read(path))

    async def take(self, tokens: Sequence[PeerToken]) -> None:
        """What control says now. A file that cannot be written costs only what a restart without control would need."""
        self.roll = PeerRoll(tokens)
        try:
            await asyncio.to_thread(self._write, msgspec.json.encode(_Document(VERSION, tuple(tokens))))
        except OSError as exc:
            _log.warning("%s was not written: %s", self._path, exc)

    def _write(self, content: bytes) -> None:
        new = self._path.with_suffix(".new")
        # Digests of proofs: whoever reads them can show nothing, but the list of nodes is nobody's business.
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.replace(self._path)


def _read(path: Path) -> tuple[PeerToken, ...]:
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as exc:
        _log.warning("%s cannot be read (%s): no node may ask this one before control was heard", path, exc)
        return ()
    return document.tokens if document.version == VERSION else ()
