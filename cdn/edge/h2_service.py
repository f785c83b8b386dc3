"""What all HTTP/2 connections of one listener share, beside the Service."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_request import RequestReader
from cdn.edge.limits import HttpLimits


@dataclass(frozen=True, slots=True)
class H2Service:
    """`requests` remembers what it has read of all clients."""

    limits: H2Limits
    requests: RequestReader

    @classmethod
    def of(cls, http: HttpLimits, limits: H2Limits | None = None) -> H2Service:
        """With these limits; None: the defaults."""
        return cls(limits or H2Limits(), RequestReader(http))
