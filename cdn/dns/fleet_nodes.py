"""The fleet as control shows it: read from what control says, and from the copy of that on disk."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import msgspec

from cdn.errors import CdnError, InvalidInput
from cdn.fleet.condition import NodeState
from cdn.fleet.node import NodeFacts, check_bias, check_location
from cdn.fleet.withdrawal import Member

MAX_VIEW_BYTES = 16 * 1024 * 1024
"""A view of 16,384 nodes, as many as control knows at the most, with the longest names and eight addresses each."""


class UnreadableView(CdnError):
    """What should be a view of the fleet is none. The one before it stays."""


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A node with the addresses that answers name, as text and packed.

    `location` is latitude and longitude in degrees, as the node says them itself; `bias` how much nearer it counts, in
    hundredths (`distance.bias_factor`); `load` how busy it is, 1 being all that it can.
    """

    member: Member
    addresses: tuple[str, ...]
    packed: tuple[bytes, ...]
    location: tuple[float, float] | None = None
    bias: int = 0
    load: float = 0.0

    @property
    def facts(self) -> NodeFacts:
        """What eligibility goes by."""
        return NodeFacts("", self.member.region)


@dataclass(frozen=True, slots=True)
class SeenFleet:
    """One view. `number` rises with every change at one control; `is_frozen`: that one does not hear the journal."""

    number: int
    is_frozen: bool
    nodes: tuple[FleetNode, ...]


class _Node(msgspec.Struct, frozen=True):
    node: str
    region: str
    addresses: tuple[str, ...]
    weight: float
    state: str
    lag_s: float
    location: tuple[float, float] | None = None
    bias: int = 0
    load: float = 0.0


class _View(msgspec.Struct, frozen=True):
    number: int
    frozen: bool
    nodes: tuple[_Node, ...]


_decoder = msgspec.json.Decoder(_View)
_STATES = {state.value: state for state in NodeState}


def read_view(content: bytes) -> SeenFleet:
    """What `GET /v1/fleet/view` answers. Unknown members are passed over (DESIGN I14). Raises UnreadableView."""
    try:
        view = _decoder.decode(content)
        nodes = tuple(map(_node, view.nodes))
    except (msgspec.MsgspecError, ValueError, InvalidInput) as exc:
        raise UnreadableView(f"control's view of the fleet cannot be read: {exc}") from exc
    return SeenFleet(view.number, view.frozen, nodes)


def _node(node: _Node) -> FleetNode:
    """Raises ValueError for an address that is none, InvalidInput for a location that is none."""
    state = _STATES.get(
        node.state, NodeState.JOINING
    )  # a state of a later release: out of answers until this one knows
    weight = node.weight if node.addresses else 0.0  # without an address no answer can name it
    member = Member(node.node, node.region, weight, state, node.lag_s)
    packed = tuple(ip_address(address).packed for address in node.addresses)
    location = check_location(node.location)
    return FleetNode(member, node.addresses, packed, location, check_bias(node.bias), node.load)
