"""What every dialect of purge asks for: who calls, whose site it is, the record and what nodes have done with it."""

from __future__ import annotations

import re
from collections.abc import Callable

from cdn.control.auth import Caller
from cdn.control.purges import Purges
from cdn.control.schema import Problem, ReceiptView
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import Forbidden, NotFound, Unauthorized
from cdn.http.target import parse_host
from cdn.purge.request import PurgeRequest
from cdn.sites.site import Site

RECEIPT_WAIT_S = 5.0
"""How long a vendor's client, which cannot say how long, waits for nodes: in a healthy fleet it is milliseconds, and
clients give up after ten seconds at the earliest."""

RECEIPT_FIELD = "CDN-Receipt"
"""Where an answer says where the purge's receipt is: a path of the native API."""


_PLACE = re.compile(r"(?:urls|prefixes|tags)\[[0-9]+\]: ")


class PurgeDesk:
    """Purges as callers of other vendors' APIs ask for them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._purges = Purges(services)

    def caller(self, token: str | None) -> Caller:
        """Who holds this token. Raises Unauthorized, in one sentence for every bad token."""
        caller = None if not token else self._services.authenticator.verify(token.strip())
        if caller is None:
            raise Unauthorized("The token is unknown, revoked or expired.")
        return caller

    def site(self, caller: Caller, name: str, verb: Verb = Verb.PURGE) -> Site:
        """The site with this name or id. Raises Forbidden in the same words whether it exists or not (DESIGN I7), and
        NotFound to those who may see that there is none."""
        catalog = self._services.catalog
        site = catalog.site_named(name) or catalog.site(name)
        if not caller.may(verb, name if site is None else site.name):
            raise Forbidden(f"This token does not have the scope {verb.value}:{name[:80]}.")
        if site is None:
            raise NotFound(f"There is no site {name[:80]!r}.")
        return site

    def site_of_host(self, caller: Caller, host: str) -> Site:
        """The site that answers at this host. Raises as `site`."""
        catalog, parsed = self._services.catalog, parse_host(host)
        binding = None if parsed is None else catalog.bind(parsed.name)
        site = None if binding is None else catalog.site(binding.site_id)
        if site is None and caller.is_admin:
            raise NotFound(f"No site answers at {host[:200]!r}.")
        if site is None or not caller.may(Verb.PURGE, site.name):
            raise Forbidden(f"This token does not have the scope purge for the site at {host[:200]!r}.")
        return site

    def is_host_of(self, site: Site) -> Callable[[str], bool]:
        """Which hosts are the site's."""
        return lambda host: self._purges.is_host_of(host, site)

    async def purge(self, caller: Caller, site: Site, wanted: PurgeRequest) -> ReceiptView:
        """The receipt of the recorded purge, after waiting for nodes a little. Raises as `Purges.purge`."""
        record = await self._purges.purge(site, wanted, caller.actor)
        return await self._services.receipt(record, min(RECEIPT_WAIT_S, self._services.settings.max_wait_s))


def faults_of(problem: Problem) -> tuple[str, ...]:
    """Every sentence of a refusal, without the native API's name of the place: each names what is wrong itself, and
    the vendor's content has other places."""
    return tuple(_PLACE.sub("", sentence) for sentence in problem.details) or (problem.detail,)


def receipt_path(receipt: ReceiptView) -> str:
    """Where the native API tells of it."""
    return f"/v1/receipts/{receipt.position.sequence}"
