"""Who signs for which zone, from the keys in the journal."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.dns.name import Labels
from cdn.dns.zone_answer import Signer
from cdn.journal.record import Record
from cdn.journal.zone_fold import ZoneFold
from cdn.tls.sealed import KeyRing


class SignerBook:
    """See `Signers`. It reads the fold and is told when it changed.

    A zone whose keys cannot be opened is in `faults`, and who asks for its signatures gets SERVFAIL: without them its
    answers would be held to be forged, and another server may be able to give them.
    """

    def __init__(self, zone_fold: ZoneFold, ring: KeyRing | None, *, edge_zone: str, edge_longest_ttl_s: int) -> None:
        """`ring` None: this process has no keys to open those of zones with. `edge_zone` is the CDN's own zone and
        `edge_longest_ttl_s` the longest TTL there; of imported zones it is in their records."""
        self.generation: object = object()
        self.faults: dict[str, str] = {}
        """By the name of a zone, why its keys cannot be used."""

    def journal_loaded(self, wall_s: float) -> None:
        """The fold holds what a copy or a snapshot of the journal says. To be called before the first question too."""

    def journal_applied(self, records: Sequence[Record], wall_s: float) -> None:
        """The fold has applied `records`."""

    def signer_of(self, apex: Labels) -> Signer | None:
        """See `Signers`."""
        raise NotImplementedError
