"""Routes about custom domains. Until domains are verified only an admin token adds them."""

from __future__ import annotations

from aiohttp import web

from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.schema import AddDomain, DomainAddedView, DomainList, DomainView, ReceiptOnly
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import Conflict, InvalidInput, NotFound
from cdn.journal.record import Change, DomainAdded, DomainRemoved
from cdn.sites.catalog import MAX_DOMAINS_PER_SITE
from cdn.sites.domain import normalise_domain
from cdn.sites.site import Site


class DomainsApi:
    """Add, list and remove."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def add(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site = services.site_of(call)
        wanted = await read_json(call.request, AddDomain, services.settings.max_request_bytes)
        domain = normalise_domain(wanted.domain)
        if services.catalog.is_in_zone(domain):
            raise InvalidInput(
                f"{domain} lies in the CDN's own zone {services.catalog.zone}: its names belong to sites already.",
                field="domain",
            )

        def decide() -> Change:
            self._check_free(domain, site)
            return DomainAdded(domain, site.id)

        record = await services.state.append(f"domain/{domain}", decide, call.caller.actor)
        if services.catalog.domain_owner(domain) != site.id:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")
        return json_response(DomainAddedView(domain, site.name, await services.receipt(record, wait_s)), 201)

    async def list_of_site(self, call: Call) -> web.Response:
        site = self._services.site_of(call)
        domains = sorted(self._services.catalog.domains(site.id))
        return json_response(DomainList(tuple(DomainView(domain, site.name) for domain in domains)))

    async def list_all(self, call: Call) -> web.Response:
        services = self._services
        views = []
        for domain, site_id in sorted(services.catalog.domains().items()):
            site = services.catalog.site(site_id)
            if site is not None and call.caller.may(Verb.READ, site.name):
                views.append(DomainView(domain, site.name))
        return json_response(DomainList(tuple(views)))

    async def remove(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site = services.site_of(call)
        domain = normalise_domain(call.path["domain"])

        def decide() -> Change:
            if services.catalog.domain_owner(domain) != site.id:
                raise NotFound(f"{domain} is not a domain of {site.name!r}.")
            return DomainRemoved(domain, site.id)

        record = await services.state.append(f"domain/{domain}", decide, call.caller.actor)
        return json_response(ReceiptOnly(await services.receipt(record, wait_s)))

    def _check_free(self, domain: str, site: Site) -> None:
        services = self._services
        if services.catalog.site(site.id) is None:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")
        owner = services.catalog.domain_owner(domain)
        if owner == site.id:
            raise Conflict(f"{domain} is a domain of {site.name!r} already.")
        if owner is not None:
            raise Conflict(f"{domain} is a domain of another site: remove it there first.")
        if len(services.catalog.domains(site.id)) >= MAX_DOMAINS_PER_SITE:
            raise Conflict(f"A site has at most {MAX_DOMAINS_PER_SITE} domains: remove one first.")
