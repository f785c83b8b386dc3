"""The seam to whoever looks at DNS for a domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cdn.control.domain_office import StepSeen


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look showed. In each of them None: nobody who decides could be asked, so it stands as it stood.

    `is_owned`: the TXT record with the claim's token is there, as the domain's own servers say. `points_here`: visitors
    of the name come here, or the name is in a zone that name servers answer for here. `may_sign`: no CAA record
    forbids our authorities (RFC 8659). `is_in_zone`: dns-01 can be answered here. `steps`: its evidence.
    """

    is_owned: bool | None
    points_here: bool | None
    may_sign: bool | None
    is_in_zone: bool
    steps: tuple[StepSeen, ...]


class DomainSight(Protocol):
    """Asks name servers; bounded in time and questions."""

    async def look(self, domain: str, token: str | None) -> Sight:
        """`token` is that of the claim; None: nothing has to be shown. Raises nothing: what failed is evidence."""
        ...
