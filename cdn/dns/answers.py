"""The seam between what every authoritative server says and what only this one knows: the names of sites."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cdn.dns.name import Labels


@dataclass(frozen=True, slots=True)
class Records:
    """A name that exists, and its records of the type that was asked for: none is an answer too (NODATA)."""

    ttl_s: int
    rdatas: tuple[bytes, ...] = ()


class Absence(Enum):
    """Why there are no records."""

    NO_SUCH_NAME = "no-such-name"
    NOT_KNOWN_YET = "not-known-yet"  # no copy of the journal so far: nobody may conclude that a name does not exist
    NO_NODE = "no-node"  # the name exists, and no node that may answer for it has an address


class Answers(Protocol):
    """Names below the apex. Called for every question, so it neither waits nor walks what it knows."""

    @property
    def serial(self) -> int:
        """The SOA's: what it counts goes up with every change (RFC 1982 where it begins anew)."""
        ...

    def find(self, labels: Labels, qtype: int, source: str) -> Records | Absence:
        """What is at `labels`, which are below the apex and without it, for whoever asks from the address `source`."""
        ...
