"""Routes about custom domains and their certificates."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from cdn.control.claims import Claims
from cdn.control.content import json_response, read_json
from cdn.control.domain_names import PublicSuffix, checked_domain, is_apex, require_verifiable, twin_of
from cdn.control.domain_office import DomainOffice
from cdn.control.domain_schema import (
    AddDomain,
    CertificateList,
    CertificateReleased,
    CertificateSetView,
    DomainAddedView,
    DomainList,
    DomainRemovedView,
    Redirect,
    SetCertificate,
)
from cdn.control.domain_views import DomainViews
from cdn.control.public_suffixes import is_public_suffix
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import Forbidden, InvalidInput, NotFound, Unavailable
from cdn.journal.record import Record
from cdn.sites.site import Site

VIEWS_PER_TURN = 500
"""Domains described before others get the loop: some 10 ms."""


class DomainsApi:
    """Claim, look, check, bring a certificate, remove."""

    def __init__(self, services: Services, public_suffix: PublicSuffix = is_public_suffix) -> None:
        self._services = services
        self._is_public_suffix = public_suffix
        self._claims = Claims(services.settings, services.state, services.catalog, services.claims)
        self._views = DomainViews(services, public_suffix)

    async def add(self, call: Call) -> web.Response:
        """201 when anything was recorded, 200 when all of it held already."""
        services = self._services
        wait_s, site = services.wait_s(call), services.site_of(call)
        wanted = await read_json(call.request, AddDomain, services.settings.max_request_bytes)
        if wanted.verified and not call.caller.is_admin:
            raise Forbidden("Only a token with the scope admin may add a domain without a TXT record.")
        domain = self._checked(wanted.domain)
        twin = self._twin(domain) if wanted.with_twin else None
        redirects = self._redirects(site, domain, wanted.redirect, twin)
        names = [domain] if twin is None else [domain, twin]
        for name in names:
            self._claims.require_free(site, name)
            if not wanted.verified:
                require_verifiable(name)
        add = self._claims.trust if wanted.verified else self._claims.claim
        recorded: dict[str, Record | None] = {}
        # first the one that visitors are sent to: nobody is sent round in between
        for name in sorted({*names, *redirects}, key=lambda each: redirects.get(each) or ""):
            if name in names:
                recorded[name] = await add(site, name, redirects.get(name), call.caller.actor)
            else:
                recorded[name] = await self._claims.redirect(site, name, redirects[name], call.caller.actor)
        if not self._has(site, domain):
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")
        records = [record for record in recorded.values() if record is not None]
        view = DomainAddedView(
            **msgspec.structs.asdict(await self._views.detail(site, domain)),
            receipt=await services.receipt(records[-1], wait_s) if records else None,
            others=() if twin is None else (await self._views.detail(site, twin),),
        )
        return json_response(view, 201 if records else 200)

    async def list_of_site(self, call: Call) -> web.Response:
        site = self._services.site_of(call)
        return json_response(DomainList(tuple(self._views.brief(site, name) for name in self._names_of(site))))

    async def list_all(self, call: Call) -> web.Response:
        views = []
        for site in self._services.catalog.sites():
            if not call.caller.may(Verb.READ, site.name):
                continue
            for name in self._names_of(site):
                views.append(self._views.brief(site, name))
                if len(views) % VIEWS_PER_TURN == 0:
                    await asyncio.sleep(0)
        return json_response(DomainList(tuple(sorted(views, key=lambda view: (view.domain, view.site)))))

    async def show(self, call: Call) -> web.Response:
        site, domain = self._domain_of(call)
        return json_response(await self._views.detail(site, domain))

    async def check(self, call: Call) -> web.Response:
        wait_s = self._services.wait_s(call)
        site, domain = self._domain_of(call)
        standing = await self._office().check(site.id, domain, wait_s)
        if not self._has(site, domain):
            raise _not_there(site, domain)
        return json_response(await self._views.detail(site, domain, standing))

    async def remove(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site, domain = self._domain_of(call)
        record = await self._claims.remove(site, domain, call.caller.actor)
        if services.domain_office is not None:
            await services.domain_office.forget(domain, site.id)
        return json_response(DomainRemovedView(domain, await services.receipt(record, wait_s)))

    async def set_certificate(self, call: Call) -> web.Response:
        site, domain = self._domain_of(call)
        wanted = await read_json(call.request, SetCertificate, self._services.settings.max_request_bytes)
        facts = await self._office().take_certificate(
            site.id, domain, wanted.certificate, wanted.key, call.caller.actor
        )  # fmt: skip
        return json_response(CertificateSetView(self._views.certificate(facts)))

    async def release_certificate(self, call: Call) -> web.Response:
        site, domain = self._domain_of(call)
        await self._office().release_certificate(site.id, domain, call.caller.actor)
        facts = self._services.certificates.certificate(domain)
        return json_response(CertificateReleased(domain, None if facts is None else self._views.certificate(facts)))

    async def certificates(self, call: Call) -> web.Response:
        """Those of sites that the token may read, and for the admin those of the CDN's own zone."""
        services, caller = self._services, call.caller
        readable = {site.id for site in services.catalog.sites() if caller.may(Verb.READ, site.name)}
        if caller.is_admin:
            readable.add("")
        found = [facts for facts in services.certificates.certificates() if facts.site_id in readable]
        found.sort(key=lambda facts: facts.not_after)
        views = []
        for facts in found:
            views.append(self._views.certificate(facts))
            if len(views) % VIEWS_PER_TURN == 0:
                await asyncio.sleep(0)
        return json_response(CertificateList(tuple(views)))

    def _checked(self, text: str) -> str:
        return checked_domain(text, self._is_public_suffix)

    def _domain_of(self, call: Call) -> tuple[Site, str]:
        """The site in the path, and its domain or claim. Raises NotFound, InvalidInput."""
        site, domain = self._services.site_of(call), self._checked(call.path["domain"])
        if not self._has(site, domain):
            raise _not_there(site, domain)
        return site, domain

    def _has(self, site: Site, domain: str) -> bool:
        services = self._services
        return services.catalog.domain_owner(domain) == site.id or services.claims.claim(domain, site.id) is not None

    def _names_of(self, site: Site) -> list[str]:
        services = self._services
        claimed = (claim.domain for claim in services.claims.of_site(site.id))
        return sorted({*services.catalog.domains(site.id), *claimed})

    def _twin(self, domain: str) -> str:
        twin = twin_of(domain, self._is_public_suffix)
        if twin is None:
            raise InvalidInput(
                f"{domain} has no twin: only a name that stands right below a public suffix, like example.com, goes "
                "with its www.",
                field="with_twin",
            )
        return twin

    def _redirects(self, site: Site, domain: str, wanted: Redirect | None, added: str | None) -> dict[str, str]:
        """Where visitors of the domain and its twin are to be sent; who is not named: as it is. Raises InvalidInput."""
        if wanted is None:
            return {}
        twin = twin_of(domain, self._is_public_suffix)
        if twin is None or (added is None and not self._has(site, twin)):
            if wanted is Redirect.NONE:
                return {domain: ""}
            raise InvalidInput(
                f"Visitors of {domain} can be sent to a name, or from one, that is added with it: example.com and "
                "www.example.com.",
                field="redirect",
            )
        apex, www = (domain, twin) if is_apex(domain, self._is_public_suffix) else (twin, domain)
        match wanted:
            case Redirect.APEX:
                return {apex: "", www: apex}
            case Redirect.WWW:
                return {apex: www, www: ""}
            case Redirect.NONE:
                return {apex: "", www: ""}

    def _office(self) -> DomainOffice:
        office = self._services.domain_office
        if office is None:
            raise Unavailable("This control plane does not look after domains.", retry_after_s=60)
        return office


def _not_there(site: Site, domain: str) -> NotFound:
    return NotFound(f"{domain} is not a domain of {site.name!r}.")
