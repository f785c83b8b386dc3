"""A process that answers, as its supervisor tells it: it follows nobody else and writes nothing to disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from cdn.dns.answering import Answering
from cdn.dns.answering_messages import (
    Applied,
    Beat,
    Checked,
    Down,
    Drain,
    Heard,
    Listening,
    Loaded,
    Placed,
    Resumed,
    Setup,
    Up,
    framed,
    read_down,
)
from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.geo_default import default_table
from cdn.dns.geo_settings import GeoSettings
from cdn.dns.geo_table import open_table
from cdn.dns.listeners import Listeners
from cdn.dns.round_trips import RoundTripTable, read_round_trips
from cdn.errors import CdnError
from cdn.fleet.position import Position
from cdn.journal.record import Record, decode_record

BEAT_S = 0.5
"""How often it shows life."""

LOOK_EVERY_S = 1.0
"""What time alone does to shares is in its answers within this."""

_log = logging.getLogger(__name__)


class AnsweringChild:
    """Answers from when it knows what the supervisor knows until that says otherwise, or is gone."""

    def __init__(self, setup: Setup, writer: asyncio.StreamWriter) -> None:
        self._settings = setup.settings
        self._answering = Answering(setup.settings, setup.cookie_secrets)
        self._writer = writer
        self._listeners: Listeners | None = None
        self._look_is_due = False
        self._seen: SeenFleet | None = None

    @classmethod
    async def run(cls, udp: Sequence[socket.socket], tcp: Sequence[socket.socket], relay: socket.socket) -> None:
        """Until the supervisor says so or is gone. Raises BrokenRelay, OSError and CdnError when it cannot work."""
        reader, writer = await asyncio.open_connection(sock=relay)
        setup = await read_down(reader)
        assert isinstance(setup, Setup), "the supervisor begins with it"
        child = cls(setup, writer)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(writer.close)
            for work in (child._beat, child._look_again_and_again):
                task = asyncio.create_task(work())
                stack.callback(task.cancel)
            try:
                await child._follow(reader, udp, tcp)
            except asyncio.IncompleteReadError:
                _log.warning("an answering process ends: its supervisor is gone")

    async def _follow(
        self, reader: asyncio.StreamReader, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]
    ) -> None:
        while True:
            message = await read_down(reader)
            if isinstance(message, Drain):
                break
            self._take(message)
            if self._listeners is None and isinstance(message, Checked):
                answering = self._answering
                answering.look()
                self._listeners = await Listeners.start(
                    udp, tcp, self._settings.tcp, answer_udp=answering.answer_udp, answer_tcp=answering.answer_tcp
                )
                self._send(Listening())
        if self._listeners is not None:
            await self._listeners.aclose(message.timeout_s)
        self._send(Beat(self._counted()))
        await self._writer.drain()

    def _take(self, message: Down) -> None:
        answering = self._answering
        match message:
            case Loaded(position, sections):
                for fold in answering.folds:
                    fold.load(sections.get(fold.name))
                answering.journal_loaded(position)
            case Applied(records, position):
                self._apply([decode_record(each) for each in records], position)
            case Heard(seen, at):
                self._seen = seen or self._seen
                if self._seen is not None:
                    answering.hear(self._seen, at)
                self._look_soon()
            case Resumed(shares):
                answering.fleet.resume(shares)
            case Checked(down, ttls_s):
                answering.check(down, ttls_s)
                self._look_soon()
            case Placed(table_path):
                self._place(table_path)
            case Setup() | Drain():
                raise AssertionError("the one comes first, the other last")
            case _:
                assert_never(message)

    def _apply(self, records: Sequence[Record], position: Position) -> None:
        for record in records:
            for fold in self._answering.folds:
                fold.apply(record)
        self._answering.journal_applied(records, position)

    def _place(self, table_path: Path | None) -> None:
        """What the supervisor could read a moment ago; if not any more, places are as before and it is said."""
        try:
            table = default_table() if table_path is None else open_table(table_path)
            self._answering.place(table, _round_trips(self._settings.geo))
        except (CdnError, OSError) as exc:
            _log.error("an answering process does not get the geography that the others have: %s", exc)
        else:
            self._look_soon()

    def _look_soon(self) -> None:
        """Once for all that is on its way together."""
        if self._listeners is not None and not self._look_is_due:
            self._look_is_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._look_is_due = False
        self._answering.look()

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._listeners is None:
                continue
            try:
                self._look()
            except Exception:  # noqa: BLE001 - whatever it was, answers go on and it is said
                _log.exception("an answering process cannot look at the fleet, and will again")

    async def _beat(self) -> None:
        while True:
            self._send(Beat(self._counted()))
            await asyncio.sleep(BEAT_S)

    def _counted(self) -> dict[str, float]:
        return self._answering.counted() | ({} if self._listeners is None else self._listeners.counted())

    def _send(self, message: Up) -> None:
        self._writer.write(framed(message))


def _round_trips(settings: GeoSettings) -> RoundTripTable | None:
    """Raises InvalidInput, OSError."""
    return None if settings.round_trip_file is None else read_round_trips(settings.round_trip_file)
