"""What a node is told of its access log (docs/access-log.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

STDOUT = Path("/dev/stdout")
"""The file that is the standard output: written to line by line, and never opened anew."""


class Addresses(StrEnum):
    """How much of a visitor's address is kept."""

    WHOLE = "whole"
    NETWORK = "network"
    """Without its last octet, or its last ten where it is IPv6: the network of a household or an office."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """Off unless a file is given: whom a site's visitors are is nobody's business by default, and a file that nobody
    rotates fills the disk."""

    file: Path | None = None
    """Where lines are appended, by the node's process and each of its workers; None: nowhere."""
    addresses: Addresses = Addresses.WHOLE
    """How much of a visitor's address is kept: `whole`, `network` (without the last octet, or the last ten of IPv6) or
    `none`."""
    queries: bool = True
    """Whether the query of a target, and of Referer, is kept. Some sites put into it what only the visitor should
    know."""
    max_waiting_bytes: int = 16 * 1024 * 1024
    """Lines that wait for a slow disk, in each process: beyond it lines are dropped and counted, and nobody waits. At
    10,000 answers a second it is five seconds."""
