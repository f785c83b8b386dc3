"""How a question comes."""

from __future__ import annotations

from enum import Enum


class Transport(Enum):
    """How a question came."""

    UDP = "udp"
    TCP = "tcp"
