"""What a shield says to a node that gets no answer from it: machine-readable, and short."""

from __future__ import annotations

from cdn.edge.peer_fields import FAULT, PeerFault
from cdn.edge.response import Response

_STATUSES = {
    PeerFault.UNAUTHORISED: 401,
    PeerFault.LOOP: 508,
    PeerFault.VERSION: 501,
    PeerFault.MALFORMED: 400,
    PeerFault.INELIGIBLE: 421,
    PeerFault.UNKNOWN_SITE: 404,
    PeerFault.UPSTREAM: 502,
    PeerFault.DAMAGED: 502,
    PeerFault.MISSING: 502,
    PeerFault.STORE: 502,
}


def fault_response(fault: PeerFault, more: str = "") -> Response:
    """Why there is no answer; `more` is a word on what the upstream did. 503 where trying again later may help."""
    text = f"{fault.value} {more}" if more else fault.value
    return Response(
        _STATUSES.get(fault, 503),
        (("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store"), (FAULT, text)),
        f"{text}\n".encode(),
    )
