"""What name servers answered when somebody looked at a domain, as they answered it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MAX_SHOWN_RECORDS = 10
MAX_SHOWN_CHARS = 300
"""Of what one server answered, as it is shown and kept: enough to see what is wrong, and no book."""


class Outcome(Enum):
    """How a question ended."""

    ANSWERED = "answered"  # with records
    NO_RECORD = "no record"  # the name is there, or may be, and has none of this type (NODATA)
    NO_NAME = "no name"  # NXDOMAIN
    FAILED = "failed"  # no word that counts

    @property
    def is_word(self) -> bool:
        """Whether the server said how it is."""
        return self is not Outcome.FAILED


@dataclass(frozen=True, slots=True)
class NameServer:
    """`name` is what its zone calls it, or "resolver". `address` is "" where none is known."""

    name: str
    address: str
    port: int = 53

    def __str__(self) -> str:
        if not self.address:
            return self.name
        host = f"[{self.address}]" if ":" in self.address and self.port != 53 else self.address
        return f"{self.name} ({host if self.port == 53 else f'{host}:{self.port}'})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server said of `name`. `records` are of the type that was asked for and of this name; of TXT the whole
    text, of others presentation form without the final dot. `alias` is where a CNAME of the name leads, "" without
    one. `detail`: why it FAILED, as far as is known."""

    server: NameServer
    name: str
    type: str
    outcome: Outcome
    records: tuple[str, ...] = ()
    alias: str = ""
    detail: str = ""

    @property
    def says(self) -> str:
        """Verbatim, but for its length."""
        match self.outcome:
            case Outcome.FAILED:
                return self.detail or "no answer"
            case Outcome.NO_NAME:
                return f"{self.name} does not exist (NXDOMAIN)"
            case Outcome.NO_RECORD if self.alias:
                return f"{self.name} CNAME {self.alias}"
            case Outcome.NO_RECORD:
                return f"{self.name} has no {self.type} record"
            case _:
                alias = [f"{self.name} CNAME {self.alias}"] if self.alias else []
                shown = [f"{self.type} {_shortened(record)}" for record in self.records[:MAX_SHOWN_RECORDS]]
                more = len(self.records) - MAX_SHOWN_RECORDS
                return ", ".join([*alias, *shown, *([f"and {more} more"] if more > 0 else [])])


@dataclass(frozen=True, slots=True)
class Authority:
    """Who answers for a name. `zone` "": nobody could be found, and `fault` says why. `server_names` are those that the
    delegation names. `is_certain`: more than half of the resolvers that were asked gave a delegation, so one that lies
    cannot put servers of its own into the place of all others."""

    zone: str
    server_names: tuple[str, ...]
    servers: tuple[NameServer, ...]
    is_certain: bool
    fault: str = ""


class End(Enum):
    """Where aliases end."""

    HERE = "here"  # at a name of this CDN
    ADDRESSES = "addresses"
    NOWHERE = "nowhere"  # a name without addresses, or none at all
    LOOP = "loop"
    TOO_LONG = "too long"
    UNKNOWN = "unknown"  # nobody who decides could be asked


@dataclass(frozen=True, slots=True)
class Trail:
    """Where one server's answer leads: `names` from the domain through its aliases, and how that ends."""

    names: tuple[str, ...]
    end: End
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaaFound:
    """The CAA records that hold (RFC 8659 3): those of `name`, which is the domain, an alias of it or a name above; ""
    where nobody has any. `is_known` False: it is not certain, as `answers` say."""

    name: str
    records: tuple[str, ...]
    is_known: bool
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of one look. `ownership` None: no token had to be looked for. Of `public` is what resolvers say: it shows how
    far a change has come, and decides nothing."""

    domain: str
    authority: Authority
    ownership: tuple[Answer, ...] | None
    ownership_authority: Authority
    pointing: tuple[Answer, ...]
    trails: tuple[Trail, ...]
    caa: CaaFound
    ours: tuple[NameServer, ...] = ()
    """Servers of the domain's zone that answer for the CDN's own zone too: ours."""
    services: tuple[Answer, ...] = ()
    """HTTPS records of the domain (RFC 9460): browsers go by them before they look for addresses."""
    ownership_public: tuple[Answer, ...] = ()
    pointing_public: tuple[Answer, ...] = ()


def _shortened(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return printable if len(printable) <= MAX_SHOWN_CHARS else f"{printable[:MAX_SHOWN_CHARS]}..."
