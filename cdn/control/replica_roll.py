"""Which replicas of control run, and which records each understands (DESIGN I14)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

import msgspec

from cdn import __version__
from cdn.control.dns_followers import DnsFollowers
from cdn.control.record_readers import Reader
from cdn.errors import Unavailable
from cdn.journal.record import RECORD_VERSION

SAY_EVERY_S = 3.0
"""How often a replica says that it is there."""

EXPIRES_AFTER_S = 15.0
"""One that has said nothing for so long does not run."""

WAY_OUT = "upgrade the other replica of control, or stop it"

log = logging.getLogger(__name__)


class RollTable(Protocol):
    """What each replica last said, forgotten EXPIRES_AFTER_S later. Its methods raise Unavailable."""

    async def put(self, node_id: str, facts: bytes) -> None: ...

    async def remove(self, node_id: str) -> None: ...

    async def all(self) -> dict[str, bytes]: ...


class _Entry(msgspec.Struct, frozen=True):
    """`dns_record_version`: what the DNS processes that follow this replica understand, all of them."""

    program: str
    record_version: int
    dns_record_version: int


class ReplicaRoll:
    """This replica's entry, and those of the others."""

    def __init__(self, table: RollTable, own: str) -> None:
        self._table = table
        self._own = own
        self.dns: DnsFollowers | None = None
        """Those that follow this replica, of which no other one knows."""
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Be on the roll before the first record is read: who writes knows of this replica then. Raises Unavailable."""
        await self._say()
        self._task = asyncio.create_task(self._say_always(), name="replica-roll")

    async def aclose(self) -> None:
        """Leave it at once."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            await self._table.remove(self._own)
        except Unavailable as exc:
            log.info("this replica leaves the roll when its time is over: %s", exc)

    async def others(self) -> Iterable[Reader]:
        """See `cdn.control.record_readers.ReplicaRoll`. What is not understood was written by a newer program."""
        readers = []
        for name, raw in (await self._table.all()).items():
            if name == self._own:
                continue
            try:
                entry = msgspec.json.decode(raw, type=_Entry)
            except msgspec.MsgspecError as exc:
                raise Unavailable(f"what the replica {name} says of itself cannot be read: {exc}") from exc
            readers.append(Reader(f"control {name}", entry.program, entry.record_version, WAY_OUT))
            if entry.dns_record_version < entry.record_version:
                dns = f"a DNS process of control {name}"
                readers.append(Reader(dns, "", entry.dns_record_version, "upgrade the DNS process"))
        return readers

    async def names(self) -> tuple[str, ...]:
        """The other replicas that run now. Raises Unavailable."""
        return tuple(name for name in await self._table.all() if name != self._own)

    async def _say(self) -> None:
        followers = () if self.dns is None else self.dns.all()
        lowest = min((each.record_version for each in followers), default=RECORD_VERSION)
        await self._table.put(self._own, msgspec.json.encode(_Entry(__version__, RECORD_VERSION, lowest)))

    async def _say_always(self) -> None:
        while True:
            await asyncio.sleep(SAY_EVERY_S)
            try:
                await self._say()
            except Unavailable as exc:
                log.warning("other replicas are not told that this one runs: %s", exc)
