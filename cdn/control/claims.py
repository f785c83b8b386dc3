"""Who answers which domain: claims on names, names given on an administrator's word, and their end (DESIGN I7)."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cdn.control.settings import ControlSettings
from cdn.control.state import ControlState
from cdn.errors import Conflict, InvalidInput, NotFound
from cdn.journal.claim_fold import ClaimFold
from cdn.journal.record import (
    Change,
    ClaimRemoved,
    DomainAdded,
    DomainClaimed,
    DomainRemoved,
    DomainVerified,
    Record,
)
from cdn.sites.catalog import MAX_DOMAINS_PER_SITE, Catalog
from cdn.sites.site import Site

TOKEN_BYTES = 16
"""Of a claim's token: nobody guesses 128 bits, and the record stays one short line."""


class Unchanged(Exception):
    """Everything that was asked for holds already: how a `decide` says that nothing is to be recorded."""


class Claims:
    """Records what sites want of domains. A name is a site's own once its claim is verified; until then any number of
    sites may claim it, and none learns of the others."""

    def __init__(self, settings: ControlSettings, state: ControlState, catalog: Catalog, claims: ClaimFold) -> None:
        self._settings = settings
        self._state = state
        self._catalog = catalog
        self._claims = claims

    def require_free(self, site: Site, domain: str) -> None:
        """Raises what `claim` would raise now, before it records anything."""
        catalog = self._catalog
        if catalog.is_in_zone(domain.removeprefix("*.")):
            raise InvalidInput(
                f"{domain} lies in the CDN's own zone {catalog.zone}: its names belong to sites already.",
                field="domain",
            )
        if catalog.site(site.id) is None:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")
        owner = catalog.domain_owner(domain)
        if owner is None and self._claims.claim(domain, site.id) is None:
            self._require_room(site)
        if owner is not None and owner != site.id:
            raise Conflict(
                f"{domain} is verified for another site: whoever put it there has to remove it first. Where it is no "
                "longer theirs, it is released some time after its TXT record is gone."
            )

    async def claim(self, site: Site, domain: str, redirect_to: str | None, actor: str) -> Record | None:
        """Claim `domain`, which is in its one form, or change where its visitors are sent (None: leave that as it is).

        None when that holds already. Raises InvalidInput for a name of the CDN's zone, NotFound, Conflict for a name
        that was verified for another site and above the bounds, and as `ControlState.append`.
        """

        def decide() -> Change:
            wanted = self._wanted(site, domain, redirect_to)
            if (there := self._claims.claim(domain, site.id)) is None:
                return DomainClaimed(domain, site.id, secrets.token_hex(TOKEN_BYTES), wanted)
            if there.redirect_to == wanted:
                raise Unchanged
            return DomainClaimed(domain, site.id, there.token, wanted)

        return await self._append(site, domain, redirect_to, decide, actor)

    async def trust(self, site: Site, domain: str, redirect_to: str | None, actor: str) -> Record | None:
        """Answer `domain` from now on, on the caller's word. None and raises as `claim`."""

        def decide() -> Change:
            wanted = self._wanted(site, domain, redirect_to)
            # what every program understands, where it says enough
            return DomainVerified(domain, site.id, wanted) if wanted else DomainAdded(domain, site.id)

        return await self._append(site, domain, redirect_to, decide, actor)

    async def redirect(self, site: Site, domain: str, redirect_to: str, actor: str) -> Record | None:
        """Change where visitors of a name that the site has or claims are sent. None when that holds already, or the
        name went meanwhile: it is not claimed anew. Raises as `ControlState.append`."""

        def decide() -> Change:
            if self._catalog.domain_owner(domain) == site.id:
                if self._catalog.asked_redirect_of(domain) == redirect_to:
                    raise Unchanged
                return DomainVerified(domain, site.id, redirect_to)
            there = self._claims.claim(domain, site.id)
            if there is None or there.redirect_to == redirect_to:
                raise Unchanged
            return DomainClaimed(domain, site.id, there.token, redirect_to)

        return await self._unless_unchanged(domain, decide, actor)

    async def remove(self, site: Site, domain: str, actor: str) -> Record:
        """Answer `domain` no longer, or give up the claim. Raises NotFound, and as `ControlState.append`."""

        def decide() -> Change:
            if self._catalog.domain_owner(domain) == site.id:
                return DomainRemoved(domain, site.id)
            if self._claims.claim(domain, site.id) is not None:
                return ClaimRemoved(domain, site.id)
            raise NotFound(f"{domain} is not a domain of {site.name!r}.")

        decide()
        for other in self._sent_to(site, domain):  # nobody is sent to a name that is to go
            await self.redirect(site, other, "", actor)
        return await self._state.append(f"domain/{domain}", decide, actor)

    async def _append(
        self, site: Site, domain: str, redirect_to: str | None, decide_new: Callable[[], Change], actor: str
    ) -> Record | None:
        """What `decide_new` says of a name that is not the site's yet; of one that is, another redirect."""

        def decide() -> Change:
            self.require_free(site, domain)
            if self._catalog.domain_owner(domain) != site.id:
                return decide_new()
            wanted = self._wanted(site, domain, redirect_to)
            if self._catalog.asked_redirect_of(domain) == wanted:
                raise Unchanged
            return DomainVerified(domain, site.id, wanted)

        return await self._unless_unchanged(domain, decide, actor)

    async def _unless_unchanged(self, domain: str, decide: Callable[[], Change], actor: str) -> Record | None:
        try:
            return await self._state.append(f"domain/{domain}", decide, actor)
        except Unchanged:
            return None

    def _wanted(self, site: Site, domain: str, redirect_to: str | None) -> str:
        """Where visitors of the domain are to be sent: as it was unless something else is asked for."""
        if redirect_to is not None:
            return redirect_to
        if self._catalog.domain_owner(domain) == site.id:
            return self._catalog.asked_redirect_of(domain)
        there = self._claims.claim(domain, site.id)
        return "" if there is None else there.redirect_to

    def _sent_to(self, site: Site, domain: str) -> tuple[str, ...]:
        """The site's domains and claims whose visitors are sent to `domain`, which is to go."""
        own = self._catalog.domains(site.id)
        verified = (each for each in own if self._catalog.asked_redirect_of(each) == domain)
        claimed = (claim.domain for claim in self._claims.of_site(site.id) if claim.redirect_to == domain)
        return (*verified, *claimed)

    def _require_room(self, site: Site) -> None:
        settings = self._settings
        own = self._claims.of_site(site.id)
        if len(self._catalog.domains(site.id)) + len(own) >= MAX_DOMAINS_PER_SITE:
            raise Conflict(f"A site has at most {MAX_DOMAINS_PER_SITE} domains: remove one first.")
        if len(own) >= settings.max_claims_per_site:
            raise Conflict(
                f"{settings.max_claims_per_site} domains of {site.name!r} wait to be verified, the limit: finish or "
                "remove one first."
            )
        if len(self._claims) >= settings.max_claims:
            raise Conflict(f"{settings.max_claims} domains wait to be verified, the limit: try again later.")
