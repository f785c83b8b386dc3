"""Looks at domains in DNS for the work behind them: see `DomainSight`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import dns.exception
import dns.resolver

from cdn.control.dns_asker import LookupSettings
from cdn.control.domain_judgement import Expected, judge, nothing_seen
from cdn.control.domain_lookup import DomainLookup
from cdn.control.domain_records import WILDCARD, verification_name, verification_value
from cdn.control.domain_sight import Sight
from cdn.errors import CdnError

IDENTITIES_S = 5.0
"""How long the authority is asked what it is called: a look is not to wait for one that is away."""

log = logging.getLogger(__name__)

Identities = Callable[[], Awaitable[tuple[str, ...]]]
"""By which names CAA records call the authorities that sign for us, as they say themselves."""


class Surroundings(Protocol):
    """What there is here that a domain could lead to."""

    @property
    def own_zone(self) -> str:
        """The CDN's own zone."""
        ...

    def target_of(self, domain: str, token: str | None) -> str:
        """The name in the CDN's zone of the site that has the domain, or claims it with this token."""
        ...

    def is_ours(self, name: str) -> bool:
        """Whether a name in the CDN's zone leads to a site."""
        ...

    def addresses(self) -> Iterable[str]:
        """Of the nodes that visitors are sent to."""
        ...

    def imported_zone(self, name: str) -> str:
        """The zone, of those that our name servers have, in which a name lies; "": in none."""
        ...


async def nobody_looks() -> tuple[str, ...]:
    """The identities of an authority that does not go by CAA records."""
    return ()


class DnsSight:
    """See `DomainSight`. `identities` None: the authority does not look at CAA records."""

    def __init__(
        self, settings: LookupSettings, surroundings: Surroundings, identities: Identities = nobody_looks
    ) -> None:
        resolvers = settings.resolvers or system_resolvers()
        self._surroundings = surroundings
        self._identities = identities
        self._lookup = DomainLookup(settings, surroundings.own_zone, resolvers)

    async def look(self, domain: str, token: str | None) -> Sight:
        """See `DomainSight.look`."""
        around, bare = self._surroundings, domain.removeprefix(WILDCARD)
        token_name = None if token is None else verification_name(domain)
        try:
            identities, evidence = await asyncio.gather(
                self._known_identities(), self._lookup.evidence(domain, token_name)
            )
        except (OSError, dns.exception.DNSException) as error:
            log.warning("looking at %s failed: %r", domain, error)
            return nothing_seen(f"Looking at {domain} failed: {error}", has_token=token is not None)
        expected = Expected(
            domain=domain,
            own_zone=around.own_zone,
            target=around.target_of(domain, token),
            is_ours=around.is_ours,
            addresses=frozenset(around.addresses()),
            token_name=token_name or "",
            token_value="" if token is None else verification_value(token),
            identities=identities,
            imported_zone=around.imported_zone(bare),
        )
        return judge(evidence, expected)

    async def _known_identities(self) -> tuple[str, ...]:
        """None where the authority does not answer: then it decides itself about CAA records."""
        try:
            async with asyncio.timeout(IDENTITIES_S):
                return await self._identities()
        except (CdnError, TimeoutError) as error:
            log.warning("which CAA records allow our authority is not known: %s", error or "it does not answer")
            return ()


def system_resolvers() -> tuple[str, ...]:
    """Those of /etc/resolv.conf; none where it names none."""
    try:
        found = dns.resolver.Resolver().nameservers
    except (dns.exception.DNSException, OSError):
        return ()
    return tuple(each for each in found if isinstance(each, str) and "%" not in each)
