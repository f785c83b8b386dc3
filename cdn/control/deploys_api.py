"""Routes about deploys."""

from __future__ import annotations

import asyncio

from aiohttp import web
from msgspec import UNSET

from cdn.control.alias_schema import SetAlias
from cdn.control.archive_intake import ArchiveIntake, sniff
from cdn.control.content import json_response, read_json, read_manifest_json
from cdn.control.deploy_difference import DeployDifference, difference
from cdn.control.deploys import Activation, Deploys, Proposal
from cdn.control.route import Call
from cdn.control.schema import (
    ActivateDeploy,
    CreateDeploy,
    DeployActivatedView,
    DeployList,
    DeployView,
    Rollback,
    RollForward,
    Uploaded,
)
from cdn.control.services import Services
from cdn.control.views import deploy_views, url_of
from cdn.errors import InvalidInput
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import Manifest, parse_manifest
from cdn.sites.name import PRODUCTION, check_alias, check_pair
from cdn.sites.site import Site

MAX_MESSAGE_BYTES = 4096
"""A commit message; it travels to every node."""
MAX_AUTHOR_BYTES = 256
MAX_DIGITS = 9
"""Of seconds: thirty years."""
MAX_COMMIT_BYTES = 256
"""The longest ids of commits have 64 letters; some systems put a branch before them."""


class DeploysApi:
    """Create, list, show, compare, activate, roll back and forth."""

    def __init__(self, services: Services, deploys: Deploys, intake: ArchiveIntake) -> None:
        self._services = services
        self._deploys = deploys
        self._intake = intake

    async def create(self, call: Call) -> web.Response:
        """The content is JSON that names uploaded blobs, or an archive; its first bytes say which."""
        wait_s = self._services.wait_s(call)
        site = self._services.bundle_site_of(call)
        begun = await sniff(call.request, self._services.settings.patience)
        if begun.is_json:
            async with self._services.room_for_manifest(call, site):
                activation, uploaded = await self._create_of_json(call, site, begun.content), None
        else:
            activation, uploaded = await self._create_of_archive(call, site, begun.content)
        return await self._answer(site, activation, wait_s, 201, uploaded)

    async def list(self, call: Call) -> web.Response:
        site = self._services.site_of(call)
        catalog = self._services.catalog
        return json_response(DeployList(deploy_views(catalog, site, catalog.deploys(site.id))))

    async def show(self, call: Call) -> web.Response:
        site = self._services.site_of(call)
        return json_response(self._view(site, self._deploys.find(site, call.path["deploy_id"])))

    async def activate(self, call: Call) -> web.Response:
        wait_s = self._services.wait_s(call)
        site = self._services.bundle_site_of(call)
        wanted = await read_json(call.request, ActivateDeploy, self._services.settings.max_request_bytes)
        deploy = self._deploys.find(site, call.path["deploy_id"])
        alias = _alias_of(wanted.alias, site, deploy.alias)
        return await self._answer(site, await self._deploys.activate(site, alias, deploy, call.caller.actor), wait_s)

    async def roll_back(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site = services.bundle_site_of(call)
        wanted = await read_json(call.request, Rollback, services.settings.max_request_bytes)
        alias = _alias_of(wanted.alias, site, PRODUCTION)
        return await self._answer(
            site, await self._deploys.roll_back(site, alias, call.caller.actor, wanted.to), wait_s
        )

    async def roll_forward(self, call: Call) -> web.Response:
        services = self._services
        wait_s = services.wait_s(call)
        site = services.bundle_site_of(call)
        wanted = await read_json(call.request, RollForward, services.settings.max_request_bytes)
        alias = _alias_of(wanted.alias, site, PRODUCTION)
        return await self._answer(site, await self._deploys.roll_forward(site, alias, call.caller.actor), wait_s)

    async def compare(self, call: Call) -> web.Response:
        site = self._services.bundle_site_of(call)
        deploy = self._deploys.find(site, call.path["deploy_id"])
        named = call.query.get("against")
        against = self._before(site, deploy) if named is None else self._deploys.find(site, named)
        async with self._services.manifests.take(site.id):
            return json_response(await self._difference(site, deploy, against))

    async def _difference(self, site: Site, deploy: Deploy, against: Deploy | None) -> DeployDifference:
        new = await self._deploys.manifest(site, deploy)
        old = None if against is None else await self._deploys.manifest(site, against)
        against_id = None if against is None else against.id
        return await asyncio.to_thread(difference, deploy.id, new, against_id, old)

    def _before(self, site: Site, deploy: Deploy) -> Deploy | None:
        """The newest deploy that was made for the same alias before it; for a preview's first, the newest of any."""
        older = [one for one in self._services.catalog.deploys(site.id) if one.sequence < deploy.sequence]
        return next((one for one in older if one.alias == deploy.alias), older[0] if older else None)

    # The proposal, which holds the whole manifest, is not kept while the receipt is waited for.

    async def _create_of_json(self, call: Call, site: Site, begun: bytes) -> Activation:
        return await self._deploys.create(await self._proposal_of_json(call, site, begun), call.caller.actor)

    async def _create_of_archive(self, call: Call, site: Site, begun: bytes) -> tuple[Activation, Uploaded]:
        proposal, uploaded = await self._proposal_of_archive(call, site, begun)
        try:
            return await self._deploys.create(proposal, call.caller.actor), uploaded
        finally:
            # Its sender never learns the session's id: whatever becomes of the deploy, nobody else can end it.
            if proposal.session is not None:
                self._services.uploads.close(site.id, proposal.session.id)

    async def _proposal_of_json(self, call: Call, site: Site, begun: bytes) -> Proposal:
        services = self._services
        unexpected = [name for name in ("alias", "message", "author", "commit", "expires") if name in call.query]
        if unexpected:
            raise InvalidInput(
                f"With JSON content, {unexpected[0]} belongs into the content, not the query.", field=unexpected[0]
            )
        wanted = await read_manifest_json(call.request, CreateDeploy, services.settings, begun)
        manifest = await asyncio.to_thread(self._parse, bytes(wanted.manifest))
        session = None if wanted.upload is None else services.uploads.find(site.id, wanted.upload)
        return Proposal(
            site,
            _alias_of(wanted.alias, site, PRODUCTION),
            manifest,
            author=_text(wanted.author or call.caller.actor, "author", MAX_AUTHOR_BYTES),
            message=_text(wanted.message, "message", MAX_MESSAGE_BYTES),
            session=session,
            upload=wanted.upload,
            commit=_commit(wanted.commit),
            said=SetAlias(password=wanted.password, expires_s=wanted.expires_s),
        )

    async def _proposal_of_archive(self, call: Call, site: Site, begun: bytes) -> tuple[Proposal, Uploaded]:
        alias = _alias_of(call.query.get("alias"), site, PRODUCTION)
        author = _text(call.query.get("author") or call.caller.actor, "author", MAX_AUTHOR_BYTES)
        message = _text(call.query.get("message", ""), "message", MAX_MESSAGE_BYTES)
        commit = _commit(call.query.get("commit", ""))
        said = SetAlias(expires_s=UNSET if "expires" not in call.query else _seconds(call.query["expires"]))
        taken = await self._intake.take(site.id, call.request, begun)
        proposal = Proposal(site, alias, taken.manifest, author, message, taken.session, commit=commit, said=said)
        return proposal, taken.uploaded

    def _parse(self, raw: bytes) -> Manifest:
        try:
            return parse_manifest(raw, self._services.settings.bundle)
        except InvalidInput as error:
            error.field = f"manifest.{error.field}" if error.field else "manifest"
            raise

    async def _answer(
        self, site: Site, activation: Activation, wait_s: float, status: int = 200, uploaded: Uploaded | None = None
    ) -> web.Response:
        view = DeployActivatedView(
            deploy=self._view(site, activation.deploy),
            alias=activation.alias,
            url=url_of(self._services.settings, site, activation.alias),
            receipt=await self._services.receipt(activation.record, wait_s),
            unprepared=activation.unprepared,
            uploaded=uploaded,
            warnings=activation.warnings,
        )
        return json_response(view, status)

    def _view(self, site: Site, deploy: Deploy) -> DeployView:
        (view,) = deploy_views(self._services.catalog, site, (deploy,))
        return view


def _alias_of(text: str | None, site: Site, otherwise: str) -> str:
    alias = otherwise if text is None else check_alias(text)
    check_pair(alias, site.name)
    return alias


def _commit(text: str) -> str:
    if not text.isprintable():
        raise InvalidInput("commit is one line of text, like the id of a commit.", field="commit")
    return _text(text, "commit", MAX_COMMIT_BYTES)


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        raise InvalidInput(f"expires is a whole number of seconds, not {text[:80]!r}.", field="expires")
    return float(text)


def _text(text: str, field: str, max_bytes: int) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise InvalidInput(f"{field} has at most {max_bytes} bytes.", field=field)
    return text
