"""Routes about aliases."""

from __future__ import annotations

from aiohttp import web

from cdn.control.alias_schema import AliasChangedView, AliasList, AliasView, SetAlias
from cdn.control.aliases import Aliases
from cdn.control.content import json_response, read_json
from cdn.control.route import Call
from cdn.control.schema import ReceiptOnly
from cdn.control.services import Services
from cdn.control.views import url_of
from cdn.errors import InvalidInput, NotFound
from cdn.sites.deploy import Deploy
from cdn.sites.name import PRODUCTION, check_alias, check_pair
from cdn.sites.site import Site


class AliasesApi:
    """List, set and remove."""

    def __init__(self, services: Services, aliases: Aliases) -> None:
        self._services = services
        self._aliases = aliases

    async def list(self, call: Call) -> web.Response:
        site = self._services.site_of(call)
        names = sorted(self._services.catalog.aliases(site.id), key=lambda alias: (alias != PRODUCTION, alias))
        return json_response(AliasList(tuple(self._view(site, alias) for alias in names)))

    async def show(self, call: Call) -> web.Response:
        site, alias = self._services.site_of(call), call.path["alias"]
        if self._services.catalog.alias(site.id, alias) is None:
            raise NotFound(f"The site {site.name!r} has no alias {alias!r}.")
        return json_response(self._view(site, alias))

    async def set(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site, alias = services.bundle_site_of(call), check_alias(call.path["alias"])
        check_pair(alias, site.name)
        asked = await read_json(call.request, SetAlias, services.settings.max_request_bytes)
        if asked.is_empty:
            raise InvalidInput("Name what shall change: password, expires_s or lock.")
        record = await self._aliases.set(site, alias, asked, call.caller.actor)
        receipt = await services.receipt(record, wait_s)
        return json_response(AliasChangedView(self._view(site, alias), receipt))

    async def remove(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site = services.bundle_site_of(call)
        record = await self._aliases.remove(site, call.path["alias"], call.caller.actor)
        return json_response(ReceiptOnly(await services.receipt(record, wait_s)))

    def _view(self, site: Site, alias: str) -> AliasView:
        services, of = self._services, self._aliases.state(site, alias)
        return AliasView(
            alias=alias,
            url=url_of(services.settings, site, alias),
            deploy=_id_of(of.active),
            activated_at=None if of.active is None else of.activated_at,
            has_password=bool(of.password),
            expires_at=of.expires_at,
            expired=of.is_over(services.clock()),
            lock=of.lock or None,
            back=_id_of(services.catalog.rollback_target(site.id, alias)),
            forward=_id_of(services.catalog.roll_forward_target(site.id, alias)),
        )


def _id_of(deploy: Deploy | None) -> str | None:
    return None if deploy is None else deploy.id
