"""A node as control sees it, and what that means for a receipt (DESIGN I8, I9)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from cdn.errors import InvalidInput
from cdn.fleet.lease import surely_over_at
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome
from cdn.sites.region import check_region

DEFAULT_WEIGHT = 100
"""The weight of a node that says nothing of it: others are given theirs in hundredths of it."""

MAX_WEIGHT = 10_000
"""A hundred times the usual: the largest machine beside the smallest."""

MAX_BIAS = 99
"""At 99 a node counts as a hundred times nearer than it is, at -99 as a hundred times farther."""

MAX_PUBLIC_ADDRESSES = 8
"""Public addresses of one node: a DNS answer over UDP takes no more from each of several nodes."""

MAX_ADDRESSES = 16
"""Places where a node says that it listens."""

MAX_FACT_CHARS = 255
"""The longest text among what a node says of itself: a host name and its port."""

_NODE_ID = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def check_node_id(text: str) -> str:
    """`text` when it can name a node (a host name of up to 63 octets). Raises InvalidInput."""
    if _NODE_ID.fullmatch(text) is None:
        raise InvalidInput(
            f"{text[:80]!r} cannot name a node: use up to 63 lower-case letters, digits, dots and hyphens",
            field="node_id",
        )
    return text


def check_weight(weight: int) -> int:
    """`weight` when it can be a node's: 0 takes no visitors from DNS. Raises InvalidInput."""
    if not 0 <= weight <= MAX_WEIGHT:
        raise InvalidInput(
            f"{weight} is no weight: give 0 (no visitors from DNS) to {MAX_WEIGHT}; {DEFAULT_WEIGHT} is usual",
            field="weight",
        )
    return weight


def check_location(location: tuple[float, float] | None) -> tuple[float, float] | None:
    """Latitude and longitude in degrees, when there is such a place. Raises InvalidInput."""
    if location is not None and not (-90 <= location[0] <= 90 and -180 <= location[1] <= 180):
        raise InvalidInput(
            f"{location[0]},{location[1]} is no place: give the latitude (-90 to 90) and the longitude (-180 to 180), "
            "like 50.11,8.68",
            field="location",
        )
    return location


def check_bias(bias: int) -> int:
    """`bias` when it can be a node's. Raises InvalidInput."""
    if not -MAX_BIAS <= bias <= MAX_BIAS:
        raise InvalidInput(
            f"{bias} is no bias: give -{MAX_BIAS} (counts as farther away) to {MAX_BIAS} (counts as nearer)",
            field="bias",
        )
    return bias


def read_location(text: str) -> tuple[float, float]:
    """`LAT,LON` in degrees, as settings say it. Raises InvalidInput."""
    parts = text.split(",")
    try:
        latitude, longitude = map(float, parts)
    except ValueError:
        raise InvalidInput(
            f"{text[:80]!r} is no place: give the latitude and the longitude in degrees, like 50.11,8.68",
            field="location",
        ) from None
    check_location((latitude, longitude))
    return latitude, longitude


def check_public_addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses in their shortest form, when DNS can answer with them. Raises InvalidInput."""
    if len(addresses) > MAX_PUBLIC_ADDRESSES:
        raise InvalidInput(
            f"these are {len(addresses)} addresses; a node has at most {MAX_PUBLIC_ADDRESSES}", field="public_addresses"
        )
    checked = tuple(map(_check_address, addresses))
    if len(set(checked)) < len(checked):
        raise InvalidInput("an address stands twice", field="public_addresses")
    return checked


def _check_address(text: str) -> str:
    """Raises InvalidInput."""
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:80]!r} is no IP address: give addresses like 192.0.2.7 or 2001:db8::7, without a port",
            field="public_addresses",
        ) from None
    if "%" in text or address.is_unspecified or address.is_multicast:
        raise InvalidInput(f"{text[:80]!r} is no address of one machine", field="public_addresses")
    return str(address)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says about itself.

    `program` is its release; `addresses` are where it listens, `public_addresses` those that DNS answers with (IPv4
    and IPv6, without a port). `weight` is its part of a region's visitors beside the others' weights; 0: none.
    `location` is its latitude and longitude in degrees, None: where its public addresses are; `bias` is how many
    hundredths nearer it counts.
    """

    program: str
    region: str = ""
    addresses: tuple[str, ...] = ()
    weight: int = DEFAULT_WEIGHT
    public_addresses: tuple[str, ...] = ()
    location: tuple[float, float] | None = None
    bias: int = 0


def check_facts(facts: NodeFacts) -> NodeFacts:
    """The facts, when a node can be so. Raises InvalidInput."""
    if len(facts.addresses) > MAX_ADDRESSES:
        raise InvalidInput(
            f"a node listens on {MAX_ADDRESSES} addresses at the most, not {len(facts.addresses)}", field="addresses"
        )
    if any(len(text) > MAX_FACT_CHARS for text in (facts.program, *facts.addresses)):
        raise InvalidInput(f"what a node says of itself has at most {MAX_FACT_CHARS} characters", field="facts")
    if facts.region:
        check_region(facts.region)
    check_weight(facts.weight)
    check_public_addresses(facts.public_addresses)
    check_location(facts.location)
    check_bias(facts.bias)
    return facts


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node at one moment.

    `position` is the last acknowledged one (None: none yet). `answered_at` is control's monotonic time when it last
    answered a heartbeat, or started, whichever is later (None: the node holds no lease). `stopped` says why the node
    no longer follows.
    """

    node_id: str
    facts: NodeFacts
    position: Position | None
    is_connected: bool
    answered_at: float | None
    lease_s: float
    record_version: int = 1
    stopped: str | None = None

    def standing_at(self, position: Position) -> NodeView:
        """The same with another position. Written out: `replace` costs control as much as the rest of what it does at
        an acknowledgement."""
        return NodeView(
            self.node_id,
            self.facts,
            position,
            self.is_connected,
            self.answered_at,
            self.lease_s,
            self.record_version,
            self.stopped,
        )

    @property
    def detached_at(self) -> float | None:
        """Control's monotonic time from which the node surely has no lease; None while it is connected."""
        if self.is_connected:
            return None
        over_at = surely_over_at(self.answered_at, self.lease_s)
        return float("-inf") if over_at is None else over_at


def is_surely_detached(node: NodeView, now: float) -> bool:
    """Whether the node's lease cannot be running at control's monotonic time `now`."""
    detached_at = node.detached_at
    return detached_at is not None and now >= detached_at


def outcome_of(
    node: NodeView, position: Position, now: float, *, validates_from: Position | None = None
) -> NodeOutcome:
    """What the node did with the record at `position`, at control's monotonic time `now`.

    `validates_from` is the record since which the site wants nodes without a lease to validate, and only for records
    whose effect validating shows; None: they serve. A node that was cut off before that record does not know of it.
    """
    if node.position is not None and node.position.covers(position):
        return NodeOutcome.APPLIED
    if not is_surely_detached(node, now):
        return NodeOutcome.PENDING
    knows = validates_from is not None and node.position is not None and node.position.covers(validates_from)
    return NodeOutcome.FENCED if knows else NodeOutcome.EXCUSED
