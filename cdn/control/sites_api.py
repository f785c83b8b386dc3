"""Routes about sites."""

from __future__ import annotations

import asyncio
import secrets

import msgspec
from aiohttp import web

from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.schema import ChangeSite, CreateSite, SiteChangedView, SiteList, SiteRemovedView, SiteView
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.control.views import position_view, site_view
from cdn.errors import Conflict, NotFound
from cdn.journal.record import Change, SiteChanged, SiteCreated, SiteRemoved
from cdn.sites.name import check_site_name
from cdn.sites.origin import BucketOrigin
from cdn.sites.settings import SiteSettings, recorded_settings, settings_from, settings_to
from cdn.sites.settings_change import check_change, is_stored_unfit
from cdn.sites.site import Site

VIEWS_PER_TURN = 500
"""Sites described before others get the loop: some 10 ms."""


class SitesApi:
    """Create, list, show, change and remove."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, call: Call) -> web.Response:
        services = self._services
        wanted = await read_json(call.request, CreateSite, services.settings.max_request_bytes)
        name = check_site_name(wanted.name)
        settings = settings_from(wanted.settings, given=wanted.settings)
        self._refuse_own_bucket(settings)
        recorded = recorded_settings(settings)
        site_id = secrets.token_hex(8)

        def decide() -> Change:
            if services.catalog.site_named(name) is not None:
                raise Conflict(f"There is a site {name!r} already: choose another name or remove it first.")
            if len(services.catalog.sites()) >= services.settings.max_sites:
                raise Conflict(f"There are {services.settings.max_sites} sites, the limit: remove one first.")
            return SiteCreated(site_id, name, recorded)

        await services.state.append(f"site/{name}", decide, call.caller.actor)
        return json_response(self._view(services.site_named(name)), 201)

    async def list(self, call: Call) -> web.Response:
        views = []
        for site in self._services.catalog.sites():
            if call.caller.may(Verb.READ, site.name):
                views.append(self._view(site))
                if len(views) % VIEWS_PER_TURN == 0:
                    await asyncio.sleep(0)
        return json_response(SiteList(tuple(views)))

    async def show(self, call: Call) -> web.Response:
        return json_response(self._view(self._services.site_of(call)))

    async def change(self, call: Call) -> web.Response:
        services = self._services
        wanted = await read_json(call.request, ChangeSite, services.settings.max_request_bytes)
        site_id = services.site_of(call).id

        def decide() -> Change:
            present = services.catalog.site(site_id)
            if present is None:
                raise _gone(call)
            settings = settings_from({**settings_to(present.settings), **wanted.settings}, given=wanted.settings)
            check_change(present.name, present.settings, settings)
            if settings.origin != present.settings.origin:
                self._refuse_own_bucket(settings)
            purges = is_stored_unfit(present.settings, settings)
            return SiteChanged(site_id, recorded_settings(settings), purges)

        record = await services.state.append(f"site-id/{site_id}", decide, call.caller.actor)
        site = services.catalog.site(site_id)
        if site is None:
            raise _gone(call)
        assert isinstance(record.change, SiteChanged), "it is what was decided"
        view = msgspec.structs.asdict(self._view(site))
        return json_response(
            SiteChangedView(**view, position=position_view(record.position), purged=record.change.purges)
        )

    async def remove(self, call: Call) -> web.Response:
        """One record removes the site: its domains, tokens and stored responses go with it at the same sequence."""
        services = self._services
        wait_s = services.wait_s(call)
        site = services.site_of(call)
        domains = tuple(sorted(services.catalog.domains(site.id)))
        tokens = tuple(token.token_id for token in services.tokens.of_site(site.name))

        def decide() -> Change:
            present = services.catalog.site_named(site.name)
            if present is None or present.id != site.id:
                raise _gone(call)
            return SiteRemoved(site.id)

        record = await services.state.append(f"site/{site.name}", decide, call.caller.actor)
        services.uploads.close_site(site.id)
        services.proofs.forget_site(site.id)
        return json_response(SiteRemovedView(await services.receipt(record, wait_s), domains, tokens))

    def _refuse_own_bucket(self, settings: SiteSettings) -> None:
        """Every edge refuses it too, at the first visit. Raises Conflict."""
        match settings.origin:
            case BucketOrigin(bucket) if bucket == self._services.settings.own_bucket:
                raise Conflict(
                    f"The bucket {bucket} holds the store of this CDN, with the files of every site, and no site may "
                    "be answered from it: name another bucket."
                )

    def _view(self, site: Site) -> SiteView:
        return site_view(self._services.settings, self._services.catalog, site)


def _gone(call: Call) -> NotFound:
    return NotFound(f"The site {call.path['name']!r} was removed meanwhile.")
