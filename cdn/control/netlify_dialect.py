"""Netlify's API as far as `netlify deploy --no-build` and those who purge by tags use it.

Sites go by their names in place of Netlify's ids, tokens are this CDN's own (`NETLIFY_AUTH_TOKEN`), and the base URL is
control's (`NETLIFY_API_URL`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import unquote

from aiohttp import web
from msgspec import Meta, Struct

from cdn.control import netlify_views as views
from cdn.control.alias_schema import SetAlias
from cdn.control.archive_intake import ArchiveIntake
from cdn.control.auth import Caller
from cdn.control.content import read_json, read_manifest_json
from cdn.control.deploys import AS_IT_IS, Deploys, Proposal
from cdn.control.dialect import DialectRoute
from cdn.control.netlify_deploys import DRAFT_ALIAS_S, NetlifyDeploys
from cdn.control.netlify_draft import NetlifyDraft, site_id_in
from cdn.control.netlify_drafts import Gathering, no_deploy
from cdn.control.purge_desk import RECEIPT_FIELD, receipt_path
from cdn.control.purges import Purges
from cdn.control.route import Call
from cdn.control.schema import ReceiptView
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import Conflict, Forbidden, Gone, InvalidInput, NotFound, TooLarge, Unprocessable
from cdn.purge.request import PurgeRequest
from cdn.sites.deploy import Deploy
from cdn.sites.name import PRODUCTION, alias_of_branch, check_alias
from cdn.sites.rules.mode import RulesMode
from cdn.sites.site import Site

API = "/api/v1"
MAX_LISTED = 100
ARCHIVE_TYPES = ("application/zip", "application/x-zip-compressed", "application/gzip", "application/x-tar")

_Text = Annotated[str, Meta(max_length=4096)]


class WantedDeploy(Struct, frozen=True):
    """What clients say of a deploy; whatever else they send is for the vendor's own machines."""

    draft: bool = False
    branch: _Text | None = None
    title: _Text | None = None
    files: dict[str, str] | None = None
    functions: dict[str, object] | None = None


class WantedPurge(Struct, frozen=True):
    """What of a site is to be purged; no tags: everything."""

    site_id: _Text | None = None
    site_slug: _Text | None = None
    domain: _Text | None = None
    deploy_alias: _Text | None = None
    cache_tags: tuple[str, ...] | None = None


class NetlifyDialect:
    """See `cdn.control.dialect.Dialect`."""

    name = "netlify"

    def __init__(self, services: Services, intake: ArchiveIntake) -> None:
        self._services = services
        self._intake = intake
        self._deploys = Deploys(services)
        self._purges = Purges(services)
        self._making = NetlifyDeploys(services)

    def routes(self) -> Sequence[DialectRoute]:
        """See Dialect."""
        site, deploy = API + "/sites/{site}", API + "/deploys/{deploy}"
        site_deploy = site + "/deploys/{deploy}"
        return (
            DialectRoute("GET", API + "/user", self._user),
            DialectRoute("GET", API + "/accounts", self._accounts),
            DialectRoute("GET", API + "/accounts/{account}/env", self._environment),
            DialectRoute("GET", API + "/sites", self._sites),
            DialectRoute("POST", API + "/sites", self._create_site),
            DialectRoute("POST", API + "/{account}/sites", self._create_site),
            DialectRoute("GET", site, self._site),
            DialectRoute("GET", site + "/deploys", self._site_deploys),
            DialectRoute("POST", site + "/deploys", self._begin),
            DialectRoute("GET", site_deploy, self._deploy),
            DialectRoute("GET", deploy, self._deploy),
            DialectRoute("PUT", site_deploy, self._announce),
            DialectRoute("PUT", deploy, self._announce),
            DialectRoute("PUT", deploy + "/files/{path:.+}", self._file),
            DialectRoute("PUT", deploy + "/functions/{name:.+}", self._function),
            DialectRoute("POST", deploy + "/cancel", self._cancel),
            DialectRoute("POST", deploy + "/restore", self._restore),
            DialectRoute("POST", site_deploy + "/restore", self._restore),
            DialectRoute("POST", API + "/purge", self._purge),
            DialectRoute("GET", "/team/{account}/integrations/installations/meta/{site}", self._extensions),
            DialectRoute("*", API + "/{rest:.*}", self._nothing),
        )

    def refusal(self, error: Exception) -> web.Response:
        """See Dialect."""
        return views.refusal(error)

    async def aclose(self) -> None:
        """Stop what runs beside requests."""
        await self._making.aclose()

    async def _user(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        return views.json_answer(
            {
                "id": caller.token_id,
                "slug": views.ACCOUNT,
                "email": f"{caller.token_id}@{self._services.settings.zone}",
                "full_name": f"Token {caller.token_id}",
            }
        )

    async def _accounts(self, request: web.Request) -> web.Response:
        self._caller(request)
        return views.json_answer([views.account_view()])

    async def _environment(self, request: web.Request) -> web.Response:
        """Variables for builds and functions: there are none."""
        self._caller(request)
        return views.json_answer([])

    async def _extensions(self, request: web.Request) -> web.Response:
        """What a build brings in by itself: nothing. Clients that build ask without a token, and by http alone."""
        return views.json_answer([])

    async def _sites(self, request: web.Request) -> web.Response:
        caller, services = self._caller(request), self._services
        name = request.query.get("name")
        page, size = _number(request, "page", 1), min(MAX_LISTED, _number(request, "per_page", MAX_LISTED))
        if name is not None:
            found = services.catalog.site_named(name)
            sites = [found] if found is not None and caller.may(Verb.READ, name) else []
        else:
            sites = [site for site in services.catalog.sites() if caller.may(Verb.READ, site.name)]
        some = sites[(page - 1) * size : page * size]
        return views.json_answer([views.site_view(services, site) for site in some])

    async def _create_site(self, request: web.Request) -> web.Response:
        self._caller(request)
        raise Forbidden("Sites are created with `cdn site create NAME`; then deploy with `--site NAME`.")

    async def _site(self, request: web.Request) -> web.Response:
        _, site = self._site_for(request, Verb.READ)
        return views.json_answer(views.site_view(self._services, site))

    async def _site_deploys(self, request: web.Request) -> web.Response:
        _, site = self._site_for(request, Verb.READ)
        some = self._services.catalog.deploys(site.id)[:MAX_LISTED]
        return views.json_answer([views.deploy_view(self._services, site, deploy) for deploy in some])

    async def _begin(self, request: web.Request) -> web.Response:
        caller, site = self._site_for(request, Verb.DEPLOY)
        self._require_bundle(site)
        if request.content_type in ARCHIVE_TYPES:
            return await self._of_archive(request, caller, site)
        async with self._services.room_for_manifest(Call(request), site):
            wanted = await read_manifest_json(request, WantedDeploy, self._services.settings)
            draft = await self._making.begin(
                site,
                caller.actor,
                is_draft=wanted.draft,
                branch=wanted.branch or "",
                message=request.query.get("title") or wanted.title or "",
            )
            gathering = Gathering(draft)
            if wanted.files is not None:
                gathering = await self._making.announce(draft, wanted.files, tuple(wanted.functions or ()))
        return self._draft_answer(site, gathering)

    async def _announce(self, request: web.Request) -> web.Response:
        draft, site = await self._draft_for(request)
        async with self._services.room_for_manifest(Call(request), site):
            wanted = await read_manifest_json(request, WantedDeploy, self._services.settings)
            if wanted.files is None:
                return self._draft_answer(site, await self._making.look(draft.id))
            gathering = await self._making.announce(draft, wanted.files, tuple(wanted.functions or ()))
        return self._draft_answer(site, gathering)

    async def _deploy(self, request: web.Request) -> web.Response:
        deploy_id = request.match_info["deploy"]
        if site_id_in(deploy_id) is None:
            site, deploy = self._recorded(request, Verb.READ)
            return views.json_answer(views.deploy_view(self._services, site, deploy))
        draft, site = await self._draft_for(request)
        return self._draft_answer(site, await self._making.look(draft.id))

    async def _file(self, request: web.Request) -> web.Response:
        draft_id, _ = self._draft_site(request, Verb.DEPLOY)
        path = f"/{request.match_info['path'].lstrip('/')}"
        gathering = await self._making.drafts.gathering(draft_id, path=path)
        if path not in gathering.wanted and unquote(path) in gathering.wanted:
            path = unquote(path)  # clients encode names twice
        try:
            entry = await self._making.take(gathering, path, request)
        except (TooLarge, Gone) as error:
            raise Unprocessable(error.message) from error  # the one status after which clients do not try again
        digest = gathering.wanted[path]
        return views.json_answer({"id": path, "path": path, "sha": digest, "size": entry.size_bytes})

    async def _function(self, request: web.Request) -> web.Response:
        await self._draft_for(request)
        raise Unprocessable("This CDN serves files and runs no functions: deploy without them.")

    async def _cancel(self, request: web.Request) -> web.Response:
        draft, site = await self._draft_for(request)
        return self._draft_answer(site, Gathering(await self._making.cancel(draft)))

    async def _restore(self, request: web.Request) -> web.Response:
        """Publish a deploy of the past."""
        if site_id_in(request.match_info["deploy"]) is None:
            site, deploy = self._recorded(request, Verb.DEPLOY)
        else:
            draft, site = await self._draft_for(request)
            if not draft.deploy_id:
                raise Conflict(f"The deploy {draft.id} is not ready, so it cannot be published.")
            deploy = self._deploys.find(site, draft.deploy_id)
        activation = await self._deploys.activate(site, PRODUCTION, deploy, self._caller(request).actor)
        receipt = await self._services.receipt(activation.record, self._wait_s(request))
        view = views.deploy_view(self._services, site, deploy)
        return views.json_answer({**view, "receipt": receipt}, fields=_named(receipt))

    async def _purge(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        wanted = await read_json(request, WantedPurge, self._services.settings.max_request_bytes)
        site = self._site_to_purge(caller, wanted)
        if wanted.deploy_alias is not None:
            check_alias(wanted.deploy_alias)
        tags = wanted.cache_tags or ()
        record = await self._purges.purge(site, PurgeRequest(tags=tags, everything=not tags), caller.actor)
        receipt = await self._services.receipt(record, self._wait_s(request))
        return views.json_answer(receipt, 202, _named(receipt))

    def _site_to_purge(self, caller: Caller, wanted: WantedPurge) -> Site:
        """Raises InvalidInput, Forbidden in the same words whether there is such a site, NotFound."""
        catalog = self._services.catalog
        if name := wanted.site_id or wanted.site_slug:
            caller.require(Verb.PURGE, name)
            return self._services.site_named(name)
        if not wanted.domain:
            raise InvalidInput("Say which site to purge: site_id, site_slug or domain.", field="site_id")
        binding = catalog.bind(wanted.domain)
        site = None if binding is None else catalog.site(binding.site_id)
        if site is None or not caller.may(Verb.PURGE, site.name):
            raise Forbidden(f"This token may not purge {wanted.domain!r}.")
        return site

    async def _nothing(self, request: web.Request) -> web.Response:
        self._caller(request)
        raise NotFound(f"There is no {request.method} {request.path} here.")

    async def _of_archive(self, request: web.Request, caller: Caller, site: Site) -> web.Response:
        """The whole deploy in one request."""
        branch, is_draft = request.query.get("branch", ""), request.query.get("draft") == "true"
        taken = await self._intake.take(site.id, request, b"")
        alias = PRODUCTION
        if branch or is_draft:
            alias = alias_of_branch(branch or f"draft-{taken.session.id[-8:]}", site.name)
        proposal = Proposal(
            site,
            alias,
            taken.manifest,
            author=caller.actor,
            message=request.query.get("title", "")[:1024],
            session=taken.session,
            rules_mode=RulesMode.NETLIFY,
            said=SetAlias(expires_s=DRAFT_ALIAS_S) if is_draft and not branch else AS_IT_IS,
        )
        try:
            activation = await self._deploys.create(proposal, caller.actor)
        finally:
            self._services.uploads.close(site.id, taken.session.id)
        receipt = await self._services.receipt(activation.record, self._wait_s(request))
        view = views.deploy_view(self._services, site, activation.deploy)
        return views.json_answer({**view, "receipt": receipt}, fields=_named(receipt))

    def _caller(self, request: web.Request) -> Caller:
        return self._services.authenticator.caller(request.headers.get("Authorization"))

    def _site_for(self, request: web.Request, verb: Verb) -> tuple[Caller, Site]:
        """Raises Unauthorized, Forbidden in the same words whether there is such a site, NotFound."""
        caller, name = self._caller(request), request.match_info["site"]
        caller.require(verb, name)
        return caller, self._services.site_named(name)

    def _draft_site(self, request: web.Request, verb: Verb) -> tuple[str, Site]:
        """Id and site of the draft in the path. Raises Unauthorized, NotFound."""
        caller, draft_id = self._caller(request), request.match_info["deploy"]
        site_id = site_id_in(draft_id)
        site = None if site_id is None else self._services.catalog.site(site_id)
        named = request.match_info.get("site")
        if site is None or not caller.may(verb, site.name) or named not in (None, site.name):
            raise no_deploy(draft_id)
        return draft_id, site

    async def _draft_for(self, request: web.Request) -> tuple[NetlifyDraft, Site]:
        draft_id, site = self._draft_site(request, Verb.DEPLOY)
        return (await self._making.drafts.gathering(draft_id)).draft, site

    def _recorded(self, request: web.Request, verb: Verb) -> tuple[Site, Deploy]:
        """The deploy in the path, which is recorded. Raises Unauthorized, NotFound."""
        caller, deploy_id = self._caller(request), request.match_info["deploy"]
        named = request.match_info.get("site")
        catalog = self._services.catalog
        for site in catalog.sites():
            deploy = catalog.deploy(site.id, deploy_id)
            if deploy is not None and caller.may(verb, site.name) and named in (None, site.name):
                return site, deploy
        raise no_deploy(deploy_id)

    def _draft_answer(self, site: Site, gathering: Gathering) -> web.Response:
        fields = {RECEIPT_FIELD: receipt} if (receipt := gathering.draft.receipt) else None
        return views.json_answer(views.draft_view(self._services, site, gathering), fields=fields)

    def _require_bundle(self, site: Site) -> None:
        if site.settings.is_pull:
            raise Conflict(
                f"The site {site.name!r} is answered from {site.settings.origin}: nothing is deployed to it."
            )

    def _wait_s(self, request: web.Request) -> float:
        """As long as this dialect's clients wait anyway."""
        return min(_number(request, "wait", 10), self._services.settings.max_wait_s)


def _named(receipt: ReceiptView) -> dict[str, str]:
    """The field that says where the receipt is."""
    return {RECEIPT_FIELD: receipt_path(receipt)}


def _number(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    return max(0 if name == "wait" else 1, int(text[:6])) if text.isascii() and text.isdigit() else otherwise
