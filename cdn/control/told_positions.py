"""Where the nodes of one replica of control stand, told to the other replicas: many nodes to a message (DESIGN I8).

A node's own line in the table is put before each of its heartbeats is answered and holds all that is known of it. What
it acknowledges between two heartbeats goes this way, since a line for every node and record would cost the table more
than everything else together. A reader that misses a message learns the same from the next, or from the line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.journal.jetstream_node_feed import Told

TELL_EVERY_S = 0.02
"""Between two messages about the same nodes. The first goes at once, so a single purge waits for nobody."""

TELLS_PER_S = 200
"""Messages of one replica in a second: every other replica reads them all. Of two thousand nodes each is told of six
times a second."""

NODES_PER_MESSAGE = 64
"""With names of 63 characters a message takes 6 KiB, a tenth of what the table takes."""

RETRY_S = 0.3
"""Before a message that the table did not take is put again."""

_PREFIX = "+"  # no node is called so

_log = logging.getLogger(__name__)


class Table(Protocol):
    """The shared table. Its methods raise JournalUnavailable."""

    @property
    def teller(self) -> str: ...

    async def put(self, name: str, facts: bytes, *, expected_revision: int) -> int | None: ...

    async def get(self, name: str) -> tuple[Told | None, int]: ...


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """A node stands at a sequence; `session` is the number of the connection on which it said so."""

    node_id: str
    session: int
    sequence: int


class Standings(msgspec.Struct, frozen=True):
    """One message: positions in one epoch."""

    epoch: str
    nodes: tuple[Standing, ...]


@dataclass(slots=True, eq=False)
class _Group:
    """Nodes that are told of together."""

    name: str
    nodes: dict[str, None] = field(default_factory=dict)
    revision: int = 0
    is_untold: bool = False


class ToldPositions:
    """Tells positions for as long as `run` runs.

    `standing` gives a node's session and position, None when it is no longer this replica's to speak of.
    """

    def __init__(self, table: Table, standing: Callable[[str], tuple[int, Position] | None]) -> None:
        self._table = table
        self._standing = standing
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        self._has_untold = asyncio.Event()

    def moved(self, node_id: str) -> None:
        """The node has acknowledged something."""
        group = self._group_of.get(node_id)
        if group is None:
            group = self._group_of[node_id] = self._with_room()
            group.nodes[node_id] = None
        group.is_untold = True
        self._has_untold.set()

    async def run(self) -> None:
        """Tell what moved, for ever."""
        while True:
            await self._has_untold.wait()
            self._has_untold.clear()
            untold = [group for group in self._groups if group.is_untold]
            try:
                await asyncio.gather(*map(self._tell, untold))
            except Unavailable as exc:
                _log.warning("where nodes stand is not told to other replicas yet: %s", exc)
                self._has_untold.set()
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(max(TELL_EVERY_S, len(untold) / TELLS_PER_S))

    def _with_room(self) -> _Group:
        for group in self._groups:
            if len(group.nodes) < NODES_PER_MESSAGE:
                return group
        group = _Group(f"{_PREFIX}{self._table.teller}-{len(self._groups)}")
        self._groups.append(group)
        return group

    async def _tell(self, group: _Group) -> None:
        group.is_untold = False
        content = self._content(group)
        try:
            stored = await self._table.put(group.name, content, expected_revision=group.revision)
            if stored is None:  # an answer was lost: nobody else puts under this name
                group.revision = (await self._table.get(group.name))[1]
                stored = await self._table.put(group.name, content, expected_revision=group.revision)
        except BaseException:
            group.is_untold = True
            raise
        if stored is None:
            group.is_untold = True
            self._has_untold.set()
        else:
            group.revision = stored

    def _content(self, group: _Group) -> bytes:
        standings: list[tuple[Position, Standing]] = []
        for node_id in tuple(group.nodes):
            standing = self._standing(node_id)
            if standing is None:
                del group.nodes[node_id]
                del self._group_of[node_id]
                continue
            session, position = standing
            standings.append((position, Standing(node_id, session, position.sequence)))
        # Nodes of another epoch load a snapshot next, and are told of after that.
        epoch = standings[-1][0].epoch if standings else ""
        of_epoch = tuple(standing for position, standing in standings if position.epoch == epoch)
        return msgspec.json.encode(Standings(epoch, of_epoch))


def is_standings(name: str) -> bool:
    """Whether what stands under this name in the table is a `Standings`."""
    return name.startswith(_PREFIX)


def decode_standings(facts: bytes) -> Standings:
    """Raises msgspec.MsgspecError."""
    return msgspec.json.decode(facts, type=Standings)
