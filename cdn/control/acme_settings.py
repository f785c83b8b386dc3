"""How certificates are got: the table [acme] of control's settings, and the limits of the work behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cdn.errors import InvalidInput
from cdn.sites.onboarding import LAPSE_S
from cdn.tls.acme.authority import check_directory
from cdn.tls.issuer import ChallengeMethod

MAX_DIRECTORIES = 8
"""Authorities in order of preference: each that does not work costs a try before the next is asked."""

_CONTACT = re.compile(r"mailto:[^\s@,?]+@[^\s@,?]+")
"""One address each, without header fields: authorities refuse others (RFC 8555 7.3)."""

METHODS = tuple(method.value for method in (ChallengeMethod.HTTP, ChallengeMethod.TLS_ALPN, ChallengeMethod.DNS))


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """Which authorities sign certificates (RFC 8555)."""

    directories: tuple[str, ...] = ()
    """URLs of authorities' directories, the preferred one first; the next is asked where one does not work. None: no
    certificates are ordered."""
    contacts: tuple[str, ...] = ()
    """Addresses that an authority may write to, as mailto:NAME@HOST."""
    eab_key_id: str = ""
    """Of an account with the first authority that exists elsewhere (external account binding, RFC 8555 7.3.4)."""
    eab_key_file: Path | None = None
    """Its key, in base64url; the environment's CDN_ACME_EAB_KEY goes before it."""
    profile: str = ""
    """Which of the profiles that the authority offers is asked for, "shortlived" for example; "": its default."""
    ca_file: Path | None = None
    """Authorities in PEM form that are trusted beside those of the system when a directory is asked."""
    methods: tuple[str, ...] = METHODS
    """Challenges that may be used, the best first; wildcards always take dns-01."""

    def __post_init__(self) -> None:
        if len(self.directories) > MAX_DIRECTORIES:
            raise InvalidInput(f"at most {MAX_DIRECTORIES} directories are asked", field="directories")
        for directory in self.directories:
            check_directory(directory)
        for contact in self.contacts:
            if not _CONTACT.fullmatch(contact):
                raise InvalidInput(f"no authority can write to {contact}: give mailto:NAME@HOST", field="contacts")
        if not self.methods or any(method not in METHODS for method in self.methods):
            raise InvalidInput(f"methods are {', '.join(METHODS)}", field="methods")
        if bool(self.eab_key_id) and not self.directories:
            raise InvalidInput("eab_key_id is of an account with the first of the directories", field="eab_key_id")

    @property
    def challenge_methods(self) -> tuple[ChallengeMethod, ...]:
        """`methods`, as the seam to authorities names them."""
        return tuple(map(ChallengeMethod, self.methods))


OF_ALL_REPLICAS = frozenset({"round_s", "office_s"})
"""Limits that no file sets, as all replicas have to agree on them: an office counts for as long as who gave it says,
and each replica looks who is due within it."""


@dataclass(frozen=True, slots=True)
class IssuingSettings:
    """Limits of domains' checks and of certificates' issuing, each with its reason; all but `OF_ALL_REPLICAS` stand in
    [acme] too."""

    round_s: float = 1.0
    """How often it is looked who is due: a second is little beside what an authority takes."""
    max_checks: int = 32
    """Domains looked up at one time: each waits for name servers and holds a handful of sockets."""
    max_orders: int = 8
    """Certificates ordered at one time: authorities limit orders of an account, and validate each from several
    places."""
    orders_per_hour: float = 100.0
    """Of one account in the long run: Let's Encrypt allows 300 in three hours."""
    office_s: float = 60.0
    """How long one replica has a name after its last word: then another may go on with its order."""
    present_timeout_s: float = 30.0
    """How long nodes may take to answer a challenge before those that do not are named."""
    order_timeout_s: float = 900.0
    """An order that takes longer is gone on with later: what an authority has not validated by then it will not."""
    lapse_s: float = LAPSE_S
    """A domain whose own servers have not shown its token for so long is its site's no more: two weeks are enough to
    see the fault and mend it."""
