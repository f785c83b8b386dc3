"""Cloudflare Pages' API as far as `wrangler pages deploy` uses it.

Projects are sites, tokens are this CDN's own (`CLOUDFLARE_API_TOKEN`), accounts are whatever the client says
(`CLOUDFLARE_ACCOUNT_ID`), and the base URL is control's (`CLOUDFLARE_API_BASE_URL`, with `/client/v4`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from cdn.control import pages_views as views
from cdn.control.auth import Caller
from cdn.control.bundle_publishing import Bundle, BundlePublishing
from cdn.control.content import decode_json, read_content
from cdn.control.deploys import Deploys
from cdn.control.dialect import DialectRoute
from cdn.control.form_data import read_form
from cdn.control.pages_assets import PagesAssets
from cdn.control.pages_digest import is_pages_digest
from cdn.control.pages_token import Uploader, make_upload_token, verify_upload_token
from cdn.control.route import Call
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unauthorized, Unprocessable
from cdn.journal.journal import Trimmed
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import FileEntry
from cdn.sites.name import PRODUCTION, alias_of_branch
from cdn.sites.rules.mode import RulesMode
from cdn.sites.site import Site

API = "/client/v4"
ACCOUNT = "cdn"

PRODUCTION_BRANCHES = ("main", "master", PRODUCTION)
"""A deployment of one of them is production's, and so is one that names no branch; every other is a preview."""

LIVE_WAIT_S = 30.0
"""How long a deployment waits for all nodes before it is answered: a lost node's lease and more."""

MAX_COMMAS_PER_FILE = 4
"""One for each file of a manifest, and some in its path: a megabyte of short entries costs a hundred megabytes."""

MAX_LISTED = 25
MAX_MESSAGE_BYTES = 4096
MAX_COMMIT_BYTES = 256

RULE_PARTS = ("_headers", "_redirects")
WORKER_PARTS = ("_worker.js", "_worker.bundle")

_BOUNDARY = re.compile(r'(?:\A|;)\s*boundary=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)


class PagesDialect:
    """See `cdn.control.dialect.Dialect`."""

    name = "cloudflare-pages"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._deploys = Deploys(services)
        self._assets = PagesAssets(services)
        self._publishing = BundlePublishing(services)

    def routes(self) -> Sequence[DialectRoute]:
        """See Dialect."""
        projects = API + "/accounts/{account}/pages/projects"
        project = projects + "/{project}"
        deployment = project + "/deployments/{deployment}"
        assets = API + "/pages/assets"
        return (
            DialectRoute("GET", API + "/accounts", self._accounts),
            DialectRoute("GET", API + "/memberships", self._memberships),
            DialectRoute("GET", projects, self._projects),
            DialectRoute("POST", projects, self._create_project),
            DialectRoute("GET", project, self._project),
            DialectRoute("GET", project + "/upload-token", self._upload_token),
            DialectRoute("POST", assets + "/check-missing", self._check_missing),
            DialectRoute("POST", assets + "/upload", self._upload),
            DialectRoute("POST", assets + "/upsert-hashes", self._upsert_hashes),
            DialectRoute("GET", project + "/deployments", self._deployments),
            DialectRoute("POST", project + "/deployments", self._create_deployment),
            DialectRoute("GET", deployment, self._deployment),
            DialectRoute("GET", deployment + "/history/logs", self._logs),
            DialectRoute("POST", deployment + "/rollback", self._roll_back),
            DialectRoute("*", API + "/accounts/{account}/pages/{rest:.*}", self._nothing),
            DialectRoute("*", API + "/pages/{rest:.*}", self._nothing),
        )

    def refusal(self, error: Exception) -> web.Response:
        """See Dialect."""
        return views.refusal(error)

    async def _accounts(self, request: web.Request) -> web.Response:
        self._caller(request)
        return views.result([{"id": ACCOUNT, "name": ACCOUNT, "type": "standard"}])

    async def _memberships(self, request: web.Request) -> web.Response:
        self._caller(request)
        return views.result([{"id": ACCOUNT, "status": "accepted", "account": {"id": ACCOUNT, "name": ACCOUNT}}])

    async def _projects(self, request: web.Request) -> web.Response:
        caller, services = self._caller(request), self._services
        sites = [site for site in services.catalog.sites() if caller.may(Verb.READ, site.name)]
        page, size = _number(request, "page", 1), min(_number(request, "per_page", MAX_LISTED), 100)
        some = sites[(page - 1) * size : page * size]
        info = {"page": page, "per_page": size, "count": len(some), "total_count": len(sites)}
        return views.result([self._project_view(site) for site in some], info=info)

    async def _create_project(self, request: web.Request) -> web.Response:
        self._caller(request)
        raise Forbidden("Projects are created with `cdn site create NAME`; then deploy with `--project-name NAME`.")

    async def _project(self, request: web.Request) -> web.Response:
        try:
            _, site = self._site_for(request, Verb.READ)
        except NotFound as error:
            return views.refusal(error, code=views.NO_PROJECT)
        return views.result(self._project_view(site))

    async def _upload_token(self, request: web.Request) -> web.Response:
        caller, site = self._site_for(request, Verb.DEPLOY)
        services = self._services
        token = services.tokens.get(caller.token_id)
        assert token is not None, "it was verified just now"
        most = services.settings.bundle.max_files
        return views.result({"jwt": make_upload_token(token, site, now=services.clock(), max_files=most)})

    async def _check_missing(self, request: web.Request) -> web.Response:
        try:
            uploader = self._uploader(request)
        except Unauthorized as error:
            return views.refusal(error, code=views.NOT_AUTHORIZED)
        async with self._services.room_for_manifest(Call(request), uploader.site):
            return views.result(await self._assets.missing(uploader, request))

    async def _upload(self, request: web.Request) -> web.Response:
        try:
            uploader = self._uploader(request)
        except Unauthorized as error:
            return views.refusal(error, code=views.NOT_AUTHORIZED)
        count = await self._assets.take(uploader, request)
        return views.result({"successful_key_count": count, "unsuccessful_keys": []})

    async def _upsert_hashes(self, request: web.Request) -> web.Response:
        try:
            uploader = self._uploader(request)
        except Unauthorized as error:
            return views.refusal(error, code=views.NOT_AUTHORIZED)
        async with self._services.room_for_manifest(Call(request), uploader.site):
            await self._assets.confirm(request)
        return views.result(None)

    async def _deployments(self, request: web.Request) -> web.Response:
        _, site = self._site_for(request, Verb.READ)
        some = self._services.catalog.deploys(site.id)[:MAX_LISTED]
        return views.result([self._view(site, deploy, is_live=True) for deploy in some])

    async def _create_deployment(self, request: web.Request) -> web.Response:
        caller, site = self._site_for(request, Verb.DEPLOY)
        if site.settings.is_pull:
            raise Conflict(
                f"The site {site.name!r} is answered from {site.settings.origin}: nothing is deployed to it."
            )
        async with self._services.room_for_manifest(Call(request), site):
            bundle = await self._bundle(request, caller, site)
        published = await self._publishing.publish(bundle, caller.actor, LIVE_WAIT_S)
        view = self._view(site, published.activation.deploy, is_live=published.receipt.complete)
        told = {**view, "warnings": published.activation.warnings}
        return views.result_with_receipt(told, published.receipt)

    async def _deployment(self, request: web.Request) -> web.Response:
        _, site = self._site_for(request, Verb.READ)
        deploy = self._deploys.find(site, request.match_info["deployment"])
        return views.result(self._view(site, deploy, is_live=await self._is_live(site, deploy)))

    async def _logs(self, request: web.Request) -> web.Response:
        _, site = self._site_for(request, Verb.READ)
        self._deploys.find(site, request.match_info["deployment"])
        return views.result({"total": 0, "includes_container_logs": False, "data": []})

    async def _roll_back(self, request: web.Request) -> web.Response:
        caller, site = self._site_for(request, Verb.DEPLOY)
        deploy = self._deploys.find(site, request.match_info["deployment"])
        activation = await self._deploys.activate(site, PRODUCTION, deploy, caller.actor)
        receipt = await self._services.receipt(activation.record, LIVE_WAIT_S)
        return views.result_with_receipt(self._view(site, deploy, is_live=receipt.complete), receipt)

    async def _nothing(self, request: web.Request) -> web.Response:
        self._caller(request)
        raise NotFound(f"There is no {request.method} {request.path} here.")

    async def _bundle(self, request: web.Request, caller: Caller, site: Site) -> Bundle:
        """What a deployment's form says, with its rule files in the store."""
        settings = self._services.settings
        content = await read_content(request, settings.max_manifest_bytes, patience=settings.patience)
        form = read_form(content, _boundary(request))
        _require_no_worker(form)
        manifest = await self._manifest(form)
        files: dict[str, FileEntry] = await self._assets.entries(site.id, manifest)
        for name in RULE_PARTS:
            if name in form:
                files[f"/{name}"] = await self._assets.keep(site.id, form[name])
        branch = _text(form, "branch", 1024)
        is_production = not branch or branch in PRODUCTION_BRANCHES
        return Bundle(
            site,
            PRODUCTION if is_production else alias_of_branch(branch, site.name),
            files,
            author=caller.actor,
            message=_text(form, "commit_message", MAX_MESSAGE_BYTES),
            commit=_text(form, "commit_hash", MAX_COMMIT_BYTES),
            upload="",
            mode=RulesMode.CLOUDFLARE,
        )

    async def _manifest(self, form: Mapping[str, bytes]) -> dict[str, str]:
        """Digests by path. Raises InvalidInput, TooLarge."""
        if "manifest" not in form:
            raise InvalidInput("The deployment has no manifest: a part of the form that names its files.")
        raw, most = form["manifest"], self._services.settings.bundle.max_files
        if raw.count(b",") > MAX_COMMAS_PER_FILE * most:
            raise TooLarge(f"The manifest has more entries than a deployment of {most} files needs.")
        manifest = await decode_json(raw, dict[str, str])
        if len(manifest) > most:
            raise TooLarge(f"A deployment has at most {most} files, not {len(manifest)}.")
        faults = [path for path, digest in manifest.items() if not is_pages_digest(digest)]
        if faults:
            raise InvalidInput(f"The manifest has {len(faults)} files without a digest, {faults[0][:200]!r} for one.")
        return {f"/{path.lstrip('/')}": digest for path, digest in manifest.items()}

    async def _is_live(self, site: Site, deploy: Deploy) -> bool:
        """Whether every node has applied its activation; of one that was replaced since nobody asks any more."""
        services = self._services
        state = services.catalog.alias(site.id, deploy.alias)
        if state is None or state.active is None or state.active.id != deploy.id:
            return True
        found = await services.state.journal.read(state.activated_sequence - 1, limit=1)
        if isinstance(found, Trimmed) or not found:
            return True
        return (await services.receipt(found[0], 0.0)).complete

    def _view(self, site: Site, deploy: Deploy, *, is_live: bool) -> dict[str, object]:
        return views.deployment_view(self._services, site, deploy, PRODUCTION_BRANCHES[0], is_live=is_live)

    def _project_view(self, site: Site) -> dict[str, object]:
        return views.project_view(self._services, site, PRODUCTION_BRANCHES[0])

    def _caller(self, request: web.Request) -> Caller:
        """By a bearer token, or by what clients send as an API key."""
        key = request.headers.get("X-Auth-Key")
        return self._services.authenticator.caller(request.headers.get("Authorization") or (key and f"Bearer {key}"))

    def _uploader(self, request: web.Request) -> Uploader:
        """Raises Unauthorized."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        services = self._services
        text = text.strip() if scheme.lower() == "bearer" else ""
        return verify_upload_token(text, services.tokens, services.catalog, now=services.clock())

    def _site_for(self, request: web.Request, verb: Verb) -> tuple[Caller, Site]:
        """Raises Unauthorized, Forbidden in the same words whether there is such a site, NotFound."""
        caller, name = self._caller(request), request.match_info["project"]
        caller.require(verb, name)
        return caller, self._services.site_named(name)


def _require_no_worker(form: Mapping[str, bytes]) -> None:
    worker = next((name for name in WORKER_PARTS if name in form), None)
    if worker is not None:
        raise Unprocessable(
            f"This deployment has a Worker or Pages Functions ({worker}), which this CDN does not run: it serves "
            "files. Remove functions/ and _worker.js, or build the site as static files, and deploy again."
        )


def _boundary(request: web.Request) -> str | None:
    kind, _, parameters = request.headers.get("Content-Type", "").partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    found = _BOUNDARY.search(parameters)
    return None if found is None else found[1] or found[2]


def _text(form: Mapping[str, bytes], name: str, max_bytes: int) -> str:
    """A field, shortened to so many bytes: what a commit says is no reason to refuse its deployment."""
    return form.get(name, b"")[:max_bytes].decode("utf-8", "ignore").strip()


def _number(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    return max(1, int(text[:6])) if text.isascii() and text.isdigit() else otherwise
