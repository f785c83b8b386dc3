"""The seam to whoever looks at DNS for a domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cdn.control.domain_office import StepSeen
from cdn.sites.onboarding import Looked


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look showed, and its evidence."""

    looked: Looked
    steps: tuple[StepSeen, ...] = ()


class DomainSight(Protocol):
    """Asks name servers; bounded in time and questions."""

    async def look(self, domain: str, token: str | None) -> Sight:
        """`token` is that of the claim; None: nothing has to be shown. Raises nothing: what failed is evidence."""
        ...
