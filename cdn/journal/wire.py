"""What a node and control say to each other on the follow WebSocket.

Text frames carry one JSON message each; the frames after `SnapshotComing` are binary and together make the snapshot.
Unknown fields are ignored, so that a newer side may say more; records keep their own strict schema (DESIGN I14).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec

from cdn.errors import CdnError
from cdn.fleet.node import NodeFacts
from cdn.fleet.peers import PeerToken
from cdn.fleet.position import Position
from cdn.journal.record import Record

FOLLOW_PATH = "/v1/follow"

MAX_NODE_MESSAGE_BYTES = 256 * 1024
"""What control accepts from a node in one frame: its longest message is an explanation."""

MAX_RECORDS_BYTES = 1024 * 1024
"""A `Records` message ends with the record that passes this size."""

MAX_CONTROL_MESSAGE_BYTES = 4 * 1024 * 1024
"""What a node accepts in one frame: MAX_RECORDS_BYTES plus the longest record, with room for growth."""

SNAPSHOT_FRAME_BYTES = 256 * 1024
"""Snapshots travel in frames of this size, so that heartbeats find their way in between."""

MAX_SNAPSHOT_WIRE_BYTES = 256 * 1024 * 1024
"""A node accepts an encoded snapshot up to this size."""


class WireFault(CdnError):
    """The other side sent something that does not belong on this connection. It is closed."""


class FollowerRole(Enum):
    """As what a node follows: that decides what it may read, and whether receipts and deploys wait for it."""

    EDGE = "edge"
    DNS = "dns"


class _Message(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class Hello(_Message, frozen=True, tag="hello"):
    """The first message. `position` None asks for a snapshot.

    `zone` is the CDN's own zone as the node was told it, `wall_at` its wall time in seconds; earlier releases say
    neither, and no `role` either: those were edges.
    """

    node_id: str
    record_versions: tuple[int, ...]
    position: Position | None
    facts: NodeFacts
    zone: str | None = None
    wall_at: float | None = None
    role: FollowerRole = FollowerRole.EDGE


class AskPeers(_Message, frozen=True, tag="ask_peers"):
    """Other nodes ask this one: tell it whose tokens work, now and at each change. Sent where control `tells`."""


class Applied(_Message, frozen=True, tag="applied"):
    """Everything up to `position` is durable on the node and what it serves is at or above it."""

    position: Position


class Prepared(_Message, frozen=True, tag="prepared"):
    """The node has loaded the deploy's manifest."""

    site_id: str
    deploy_id: str


class PrepareFailed(_Message, frozen=True, tag="prepare_failed"):
    """The node could not load the deploy's manifest."""

    site_id: str
    deploy_id: str
    reason: str


class Heartbeat(_Message, frozen=True, tag="heartbeat"):
    """`is_draining`: the node finishes what it was asked and is about to leave. `wall_at`: as in `Hello`. `load`: how
    busy it is, 1 being all that it can; earlier releases do not say."""

    number: int
    counters: dict[str, int]
    is_draining: bool = False
    wall_at: float | None = None
    load: float = 0.0


class Explained(_Message, frozen=True, tag="explained"):
    """The answer to `Explain`; `fault` instead when the node could not say."""

    id: int
    result: dict[str, Any]
    fault: str | None = None


class Stopped(_Message, frozen=True, tag="stopped"):
    """The node met a record it does not understand and goes no further."""

    reason: str


class BlobFault(_Message, frozen=True, tag="blob_fault"):
    """The store's copy of a site's blob came damaged to this node, or not at all. Sent only where it `hears` so.

    A hint, never the truth: control looks for itself.
    """

    site_id: str
    digest: str


class Leaving(_Message, frozen=True, tag="leaving"):
    """The node gives its lease back: from when it sent this it serves only as a detached node does, or not at all."""


class Welcome(_Message, frozen=True, tag="welcome"):
    """`position` is the end of the journal now: the lease begins once the node has applied up to there.

    Control closes the connection on a message it does not know, so it says which of the later ones it does:
    `hears_blob_faults`, and `tells_peers`.
    """

    position: Position
    heartbeat_s: float
    lease_s: float
    hears_blob_faults: bool = False
    tells_peers: bool = False


class Peers(_Message, frozen=True, tag="peers"):
    """The tokens with which nodes may ask this one, all of them: what was said before is over."""

    tokens: tuple[PeerToken, ...]


class SnapshotComing(_Message, frozen=True, tag="snapshot"):
    """The next binary frames, `size_bytes` in all, are an encoded snapshot."""

    size_bytes: int


class Records(_Message, frozen=True, tag="records"):
    """Records in order, each still encoded: one that is not understood does not hide those before it."""

    records: tuple[msgspec.Raw, ...]


class HeartbeatAnswered(_Message, frozen=True, tag="heartbeat_answered"):
    """`applied_every_s`: from now on leave so much time between two `Applied`, each of which stands for all before."""

    number: int
    applied_every_s: float = 0.0


class Explain(_Message, frozen=True, tag="explain"):
    """Of an edge: why it answers `target` on `host` as it does. Of a name server: why it answers the name `host` as it
    does for whoever asks from `target`, an address or a network; earlier releases explain nothing."""

    id: int
    host: str
    target: str


class Refused(_Message, frozen=True, tag="refused"):
    """Why control closes the connection."""

    reason: str


FromNode = Hello | AskPeers | Applied | Prepared | PrepareFailed | Heartbeat | Explained | Stopped | BlobFault | Leaving
FromControl = Welcome | Peers | SnapshotComing | Records | HeartbeatAnswered | Explain | Refused

_encoder = msgspec.json.Encoder()
_from_node = msgspec.json.Decoder(FromNode)
_from_control = msgspec.json.Decoder(FromControl)


def encode_message(message: FromNode | FromControl) -> str:
    """The message as the text of one frame."""
    return _encoder.encode(message).decode()


def decode_from_node(text: str) -> FromNode:
    """Raises WireFault."""
    try:
        message: FromNode = _from_node.decode(text)
    except msgspec.MsgspecError as exc:
        raise WireFault(f"the node's message cannot be read: {exc}") from exc
    return message


def decode_from_control(text: str) -> FromControl:
    """Raises WireFault."""
    try:
        message: FromControl = _from_control.decode(text)
    except msgspec.MsgspecError as exc:
        raise WireFault(f"control's message cannot be read: {exc}") from exc
    return message


def batch_records(records: Iterable[Record]) -> Iterable[tuple[int, Records]]:
    """The records as messages of about MAX_RECORDS_BYTES, each with its last sequence."""
    batch: list[msgspec.Raw] = []
    size_bytes = 0
    last = 0
    for record in records:
        raw = _encoder.encode(record)
        batch.append(msgspec.Raw(raw))
        size_bytes += len(raw)
        last = record.sequence
        if size_bytes >= MAX_RECORDS_BYTES:
            yield last, Records(tuple(batch))
            batch, size_bytes = [], 0
    if batch:
        yield last, Records(tuple(batch))
