"""What one node tells another beside a request and its response: the fields of the peer protocol, in one place.

Every name begins with `cdn-peer-`, but for the position that is required. What a visitor or an upstream sends under
such a name never crosses: it is taken out where the message is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from cdn.fleet.position import Position
from cdn.http.fields import FieldLines

VERSION = "1"
"""Of this protocol; a node that is asked in another version refuses."""

REQUIRED_SEQUENCE = "cdn-required-sequence"
"""The position, EPOCH:SEQUENCE, that must be applied before the request is looked at (DESIGN I1)."""

PREFIX = "cdn-peer-"
SPEAKS = "cdn-peer-version"
PROOF = "cdn-peer-authorization"
"""Who asks. Authorization itself is the visitor's, and for the upstream."""
NODE = "cdn-peer-node"
SITE = "cdn-peer-site"
"""The id of the site that a request to a pull site is about."""
CLIENT = "cdn-peer-client"
"""The visitor's address, or something that is none."""
SCHEME = "cdn-peer-scheme"
"""How the visitor asked: http or https."""
NEWER = "cdn-peer-newer"
"""What was asked of the upstream more than so many milliseconds ago does not answer this request."""
ALONE = "cdn-peer-alone"
"""This request waits for no other and no other for it: the node knows that answers to it are for one client."""
FLOOR = "cdn-peer-floor"
"""The lowest sequence at which stored content of a bundle may have been admitted."""

ANSWERS = "cdn-peer-answers"
"""In a response: it is what the site's upstream or store says. One without this field is about the shield itself."""
FAULT = "cdn-peer-fault"
"""In a response without ANSWERS: why, in a `PeerFault`, perhaps followed by a space and what the upstream did."""


class PeerFault(Enum):
    """Why a shield does not answer. The values stand in FAULT, in Cache-Status, and are labels of metrics."""

    UNAUTHORISED = "unauthorised"  # the proof is missing, wrong, revoked or expired
    LOOP = "loop"  # the node asks itself
    VERSION = "version"  # it speaks another version
    MALFORMED = "malformed"
    BEHIND = "behind"  # it has not applied what is required
    INELIGIBLE = "ineligible"  # it may not have the site's bytes (DESIGN I12)
    UNKNOWN_SITE = "unknown-site"
    BUSY = "busy"
    DRAINING = "draining"
    UPSTREAM = "upstream"  # it asked, and upstream failed
    DAMAGED = "damaged"  # the store's copy has another digest
    MISSING = "missing"  # the store has none
    STORE = "store"  # the store does not answer
    FAILED = "failed"  # anything else


def without_peer_fields(lines: Iterable[tuple[str, str]]) -> FieldLines:
    """`lines` but for those of this protocol."""
    return tuple(line for line in lines if not line[0].startswith(PREFIX) and line[0] != REQUIRED_SEQUENCE)


def read_position(text: str | None) -> Position | None:
    """The position in REQUIRED_SEQUENCE; None when it is missing or none."""
    epoch, _, sequence = (text or "").rpartition(":")
    if not epoch or not sequence.isascii() or not sequence.isdigit() or len(sequence) > 18:
        return None
    return Position(epoch, int(sequence))


def read_number(text: str | None) -> int | None:
    """A number of at most 18 digits; None when it is missing or none."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)
