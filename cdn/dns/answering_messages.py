"""What the process that follows the journal and those that answer tell each other: what is known down, counts up.

Both ends are the same program on the same machine, started together, so messages carry no version (DESIGN I14 is about
what leaves the machine). Times are those of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.settings import DnsSettings
from cdn.errors import CdnError
from cdn.fleet.position import Position
from cdn.fleet.withdrawal import Share

MAX_MESSAGE_BYTES = 1024 * 1024 * 1024
"""All zones at once are the largest."""

LENGTH_BYTES = 4


class BrokenRelay(CdnError):
    """What came is no message. The process that answers is replaced."""


class _Message(msgspec.Struct, frozen=True, tag_field="kind"):
    pass


class Setup(_Message, frozen=True, tag="setup"):
    """The first message: as what the process answers."""

    settings: DnsSettings
    cookie_secrets: tuple[bytes, ...]


class Loaded(_Message, frozen=True, tag="loaded"):
    """All that a copy or a snapshot of the journal says, by fold; `position` None: there is none."""

    position: Position | None
    sections: dict[str, Any]


class Applied(_Message, frozen=True, tag="applied"):
    """Records, encoded, up to `position`."""

    records: tuple[bytes, ...]
    position: Position


class Heard(_Message, frozen=True, tag="heard"):
    """Control's view of the fleet, and when it came; `seen` None: it is the last one again."""

    seen: SeenFleet | None
    at: float


class Checked(_Message, frozen=True, tag="checked"):
    """What the checks found: the addresses that are down, and for how long answers that go by one may be kept."""

    down: frozenset[str]
    ttls_s: dict[str, int]


class Resumed(_Message, frozen=True, tag="resumed"):
    """Each node's share as it stands, so that one that is rising goes on rising."""

    shares: dict[str, Share]


class Placed(_Message, frozen=True, tag="placed"):
    """The table of places to go by, None for the one that comes with the program. The settings' file of round trips is
    to be read anew."""

    table_path: Path | None


class Drain(_Message, frozen=True, tag="drain"):
    """Answer what came so far, take nothing more, exit."""

    timeout_s: float


class Listening(_Message, frozen=True, tag="listening"):
    """The process answers."""


class Beat(_Message, frozen=True, tag="beat"):
    """A sign of life, with what the process counted since it started."""

    counted: dict[str, float]


Down = Setup | Loaded | Applied | Heard | Resumed | Checked | Placed | Drain
Up = Listening | Beat

_encoder = msgspec.msgpack.Encoder(enc_hook=str)
_down = msgspec.msgpack.Decoder(Down, dec_hook=lambda kind, value: kind(value))
_up = msgspec.msgpack.Decoder(Up)


def framed(message: Down | Up) -> bytes:
    """The message with its length before it."""
    encoded = _encoder.encode(message)
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


async def read_down(reader: asyncio.StreamReader) -> Down:
    """Raises asyncio.IncompleteReadError when the other end is gone, BrokenRelay for what is no message."""
    try:
        message: Down = _down.decode(await _read(reader))
    except msgspec.MsgspecError as exc:
        raise BrokenRelay(f"what the supervisor says cannot be understood: {exc}") from exc
    return message


async def read_up(reader: asyncio.StreamReader) -> Up:
    """Raises asyncio.IncompleteReadError when the other end is gone, BrokenRelay for what is no message."""
    try:
        message: Up = _up.decode(await _read(reader))
    except msgspec.MsgspecError as exc:
        raise BrokenRelay(f"what an answering process says cannot be understood: {exc}") from exc
    return message


async def _read(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if length > MAX_MESSAGE_BYTES:
        raise BrokenRelay(f"a message of {length} bytes: at most {MAX_MESSAGE_BYTES} may come")
    return await reader.readexactly(length)
