"""What a node and its workers tell each other on the relay: state and records down, beats and acknowledgements up.

Every message down that changes what a worker may serve has a number, counted up by the node; the worker says how far it
has come. That is what an acknowledgement of the node waits for (DESIGN I8).
"""

from __future__ import annotations

from typing import Any

import msgspec

from cdn.edge.worker_settings import WorkerSettings
from cdn.fleet.position import Position


class _Message(msgspec.Struct, frozen=True, tag_field="kind"):
    pass


class Setup(_Message, frozen=True, tag="setup"):
    """The first message: what the worker is to be."""

    settings: WorkerSettings


class State(_Message, frozen=True, tag="state"):
    """The whole catalog at `position`; from the first one on the worker listens."""

    number: int
    position: Position
    epoch_changed: bool
    catalog: Any
    certificates: Any = None
    """See ArrivingCertificates.brief; None where workers answer no https."""


class RecordsApplied(_Message, frozen=True, tag="records"):
    """Records that the node has applied, encoded, up to `position`."""

    number: int
    position: Position
    records: tuple[bytes, ...]


class Renew(_Message, frozen=True, tag="renew"):
    """What was prepared is to be looked at again: the node lost or found its lease."""

    number: int


class Forget(_Message, frozen=True, tag="forget"):
    """What was prepared under a key of a pull site is not to be used; `count` is the node's count of such moments."""

    number: int
    site_id: str
    key: str
    count: int


class Shelved(_Message, frozen=True, tag="shelved"):
    """These certificates, which came with records, are on the node's disk."""

    certificate_ids: tuple[str, ...]


class Tickets(_Message, frozen=True, tag="tickets"):
    """The keys of session tickets from now on; see TicketKeys. The relay is a pair of sockets that nobody else has."""

    current: bytes
    previous: bytes | None


class BeatAnswered(_Message, frozen=True, tag="answered"):
    """The answer to a beat: it extends the worker's lease from when the beat was sent."""

    beat: int


class Withdraw(_Message, frozen=True, tag="withdraw"):
    """Say with every answer that its connection closes."""


class ReopenLog(_Message, frozen=True, tag="reopen-log"):
    """The access log has been moved away: open its file anew."""


class Drain(_Message, frozen=True, tag="drain"):
    """Accept nothing more, finish what is under way within `timeout_s`, and exit."""

    timeout_s: float


class Beat(_Message, frozen=True, tag="beat"):
    """A sign of life, with what the worker counted since it started."""

    number: int
    counted: dict[str, int]
    refused: dict[str, int]


class Reached(_Message, frozen=True, tag="reached"):
    """Every message up to `number` is applied: nothing that it forbids is served by this worker."""

    number: int


class Listening(_Message, frozen=True, tag="listening"):
    """The worker takes connections."""


class Used(_Message, frozen=True, tag="used"):
    """Prepared responses that are being served from the worker's memory, by the token that came with them."""

    tokens: tuple[int, ...]


class Missing(_Message, frozen=True, tag="missing"):
    """A handshake needs this certificate, and it is not on the node's disk."""

    certificate_id: str


FromNode = (
    Setup | State | RecordsApplied | Renew | Forget | Shelved | Tickets | BeatAnswered | Withdraw | ReopenLog | Drain
)
FromWorker = Beat | Reached | Listening | Used | Missing

encode = msgspec.msgpack.Encoder().encode
decode_from_node = msgspec.msgpack.Decoder(FromNode).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
