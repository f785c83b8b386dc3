"""The API's routes, and the one way every request takes through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from cdn.control import alias_schema, domain_schema, schema
from cdn.control.aliases import Aliases
from cdn.control.aliases_api import AliasesApi
from cdn.control.archive_intake import ArchiveIntake
from cdn.control.auth import ANONYMOUS, Caller
from cdn.control.content import json_response
from cdn.control.deploy_difference import DeployDifference
from cdn.control.deploys import Deploys
from cdn.control.deploys_api import DeploysApi
from cdn.control.dialects import dialects_of, mount_dialects
from cdn.control.dns_routes import dns_routes
from cdn.control.domains_api import DomainsApi
from cdn.control.hook_actions import HookActions
from cdn.control.hook_routes import hook_routes
from cdn.control.hooks_api import HooksApi
from cdn.control.openapi import describe
from cdn.control.problem import problem_response, router_problem
from cdn.control.purges import Purges
from cdn.control.purges_api import PurgesApi
from cdn.control.route import NOT_COMPLETE, PAGE, WAIT, Access, Call, Parameter, Route
from cdn.control.services import Services
from cdn.control.sites_api import SitesApi
from cdn.control.status_api import StatusApi
from cdn.control.takedown_routes import takedown_routes
from cdn.control.tokens_api import TokensApi
from cdn.control.uploads_api import UploadsApi
from cdn.errors import CdnError, Forbidden, InvalidInput, Unauthorized
from cdn.journal.wire import FOLLOW_PATH
from cdn.purge.request import PurgeRequest

SITE = "/v1/sites/{name}"
UPLOAD = SITE + "/uploads/{upload_id}"
DEPLOY = SITE + "/deploys/{deploy_id}"
ALIAS = SITE + "/aliases/{alias}"
DOMAIN = SITE + "/domains/{domain}"

WAIT_LIVE = Parameter(
    "wait",
    "Seconds to wait until the domain is live, or something is wrong that waiting does not mend; 0, the default, "
    "answers after one look",
    is_number=True,
)

_DEPLOY_DETAIL = (
    "Answers when the deploy is recorded and activated, whether or not every node serves it already. Before that it "
    "waits, up to the site's `prepare_timeout_s`, for nodes to load the manifest; those that had not are in "
    f"`unprepared`. {NOT_COMPLETE}"
)
_ACTIVATE_DETAIL = (
    f"Answers when the activation is recorded, whether or not every node serves it already. {NOT_COMPLETE}"
)
_PURGE_DETAIL = (
    "Answers when the purge is recorded: 200 when no node answers from before it any more, 202 while some still may. "
    "It is never lost or taken back: give `wait`, or ask for the receipt of its `position.sequence`."
)

_DOMAIN_DETAIL = (
    "The domain is answered as soon as the TXT record in `records` is seen; until then other sites may claim it too. "
    f"Asked again for a domain that the site has, or claims, it says how far it is. {NOT_COMPLETE}"
)

_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes_of(services: Services, intake: ArchiveIntake) -> tuple[Route, ...]:
    """Every route of the API, the one that describes them included."""
    description = Description()
    routes = (
        *_site_routes(SitesApi(services)),
        *_upload_routes(UploadsApi(services)),
        *_deploy_routes(DeploysApi(services, Deploys(services), intake)),
        *_alias_routes(AliasesApi(services, Aliases(services))),
        *_domain_routes(DomainsApi(services)),
        *_purge_routes(PurgesApi(services, Purges(services))),
        *hook_routes(HooksApi(services, HookActions(services, Deploys(services), Purges(services)))),
        *_token_routes(TokensApi(services)),
        *_fleet_routes(StatusApi(services), services),
        *dns_routes(services),
        *takedown_routes(services),
        Route(
            "GET", "/v1/openapi.json", "describeApi", "This description", description.show, Access.ANYBODY, {200: dict}
        ),
    )  # fmt: skip
    description.document = describe(routes, services.settings.max_wait_s)
    return routes


def application_of(services: Services, intake: ArchiveIntake) -> web.Application:
    """The whole API as an aiohttp application."""
    application = web.Application(middlewares=[_problems])
    for route in routes_of(services, intake):
        application.router.add_route(route.method, route.path, _dispatcher(route, services))
    mount_dialects(application, services, dialects_of(services, intake))
    return application


class Description:
    """The OpenAPI document, made once."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}

    async def show(self, call: Call) -> web.Response:
        return json_response(self.document)


def _dispatcher(route: Route, services: Services) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def dispatch(request: web.Request) -> web.StreamResponse:
        if route.access is not Access.ANYBODY:
            await services.state.look()
        try:
            caller = _authorise(route, request, services)
        except (Unauthorized, Forbidden) as error:
            if route.access is Access.NODE:
                services.hub.refuse_stranger(request, error)
            raise
        call = Call(request, caller, request.match_info, _query_of(route, request))
        return await route.handler(call)

    return dispatch


def _authorise(route: Route, request: web.Request, services: Services) -> Caller:
    """Who calls, when the route is open to them. Before anything is looked up, so that nothing is learnt (I7)."""
    if route.access is Access.ANYBODY:
        return ANONYMOUS
    caller = services.authenticator.caller(request.headers.get("Authorization"))
    if route.access is Access.ADMIN:
        caller.require_admin()
    if route.access is Access.NODE:
        caller.require_follower()
    if route.access is Access.DNS:
        caller.require_dns()
    verb = route.access.verb
    if verb is not None:
        caller.require(verb, request.match_info["name"])
    return caller


def _query_of(route: Route, request: web.Request) -> dict[str, str]:
    known = {parameter.name: parameter for parameter in route.query}
    query: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise InvalidInput(f"There is no query parameter {name!r} here; there are: {allowed}.", field=name)
        if name in query:
            raise InvalidInput(f"The query parameter {name} stands twice.", field=name)
        query[name] = value
    for parameter in route.query:
        if parameter.is_required and not query.get(parameter.name):
            raise InvalidInput(f"The query parameter {parameter.name} is needed.", field=parameter.name)
    return query


@web.middleware
async def _problems(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Every error leaves as problem+json, never as a traceback."""
    try:
        return await handler(request)
    except CdnError as error:
        return problem_response(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return router_problem(error, request.method, request.path)
    except Exception as error:  # noqa: BLE001 -- the last line: logged with an id, told as a 500
        return problem_response(error)


def _site_routes(api: SitesApi) -> Sequence[Route]:
    return (
        Route(
            "POST", "/v1/sites", "createSite", "Create a site", api.create, Access.ADMIN, {201: schema.SiteView},
            takes=schema.CreateSite,
        ),
        Route(
            "GET", "/v1/sites", "listSites", "The sites that the token may read", api.list, Access.ANY_TOKEN,
            {200: schema.SiteList},
        ),
        Route("GET", SITE, "showSite", "One site", api.show, Access.READ, {200: schema.SiteView}),
        Route(
            "PATCH", SITE, "changeSite", "Change some of a site's settings", api.change, Access.SITE_ADMIN,
            {200: schema.SiteChangedView}, takes=schema.ChangeSite,
        ),
        Route(
            "DELETE", SITE, "removeSite", "Remove a site with its domains, tokens and responses", api.remove,
            Access.SITE_ADMIN, {200: schema.SiteRemovedView}, query=(WAIT,), detail=NOT_COMPLETE,
        ),
    )  # fmt: skip


def _upload_routes(api: UploadsApi) -> Sequence[Route]:
    return (
        Route(
            "POST", SITE + "/uploads", "openUpload", "Announce blobs; learn which are missing", api.open, Access.DEPLOY,
            {201: schema.UploadView}, takes=schema.OpenUpload,
        ),
        Route(
            "POST", UPLOAD + "/urls", "askUploadUrls", "URLs that take blobs straight into the store", api.urls,
            Access.DEPLOY, {200: schema.UploadUrls}, takes=schema.AskUploadUrls,
        ),
        Route(
            "PUT", UPLOAD + "/blobs/{digest}", "putBlob", "Send a blob through control", api.put_blob, Access.DEPLOY,
            {201: schema.BlobStored}, takes_bytes="application/octet-stream",
        ),
    )  # fmt: skip


def _deploy_routes(api: DeploysApi) -> Sequence[Route]:
    of_archive = (
        Parameter("alias", "With an archive: the alias to activate"),
        Parameter("message", "With an archive: what the deploy is about"),
        Parameter("author", "With an archive: who made it"),
        Parameter("commit", "With an archive: what it was built from"),
        Parameter("expires", "With an archive: seconds from now after which the preview is over", is_number=True),
    )
    return (
        Route(
            "POST", SITE + "/deploys", "createDeploy", "Deploy uploaded blobs (JSON) or an archive", api.create,
            Access.DEPLOY, {201: schema.DeployActivatedView}, takes=schema.CreateDeploy,
            takes_bytes="application/octet-stream", query=(WAIT, *of_archive), detail=_DEPLOY_DETAIL,
        ),
        Route(
            "GET", SITE + "/deploys", "listDeploys", "A site's deploys, newest first", api.list, Access.READ,
            {200: schema.DeployList},
        ),
        Route("GET", DEPLOY, "showDeploy", "One deploy", api.show, Access.READ, {200: schema.DeployView}),
        Route(
            "POST", DEPLOY + "/activate", "activateDeploy", "Point an alias at a deploy", api.activate, Access.DEPLOY,
            {200: schema.DeployActivatedView}, takes=schema.ActivateDeploy, query=(WAIT,), detail=_ACTIVATE_DETAIL,
        ),
        Route(
            "POST", SITE + "/rollback", "rollBack", "Go back to a deploy that was active before", api.roll_back,
            Access.DEPLOY, {200: schema.DeployActivatedView}, takes=schema.Rollback, query=(WAIT,),
            detail=_ACTIVATE_DETAIL,
        ),
        Route(
            "POST", SITE + "/rollforward", "rollForward", "Undo a rollback", api.roll_forward, Access.DEPLOY,
            {200: schema.DeployActivatedView}, takes=schema.RollForward, query=(WAIT,), detail=_ACTIVATE_DETAIL,
        ),
        Route(
            "GET", DEPLOY + "/diff", "compareDeploys", "What a deploy added, changed and removed", api.compare,
            Access.READ, {200: DeployDifference},
            query=(Parameter("against", "The deploy to compare with; the one before it when left out"),),
        ),
    )  # fmt: skip


def _alias_routes(api: AliasesApi) -> Sequence[Route]:
    return (
        Route(
            "GET", SITE + "/aliases", "listAliases", "A site's aliases, production first", api.list, Access.READ,
            {200: alias_schema.AliasList},
        ),
        Route("GET", ALIAS, "showAlias", "One alias", api.show, Access.READ, {200: alias_schema.AliasView}),
        Route(
            "PUT", ALIAS, "setAlias", "Say who may see a preview, until when, and whether an alias may change", api.set,
            Access.DEPLOY, {200: alias_schema.AliasChangedView}, takes=alias_schema.SetAlias, query=(WAIT,),
            detail=NOT_COMPLETE,
        ),
        Route(
            "DELETE", ALIAS, "removeAlias", "Answer nothing under a preview's alias any more", api.remove,
            Access.DEPLOY, {200: schema.ReceiptOnly}, query=(WAIT,), detail=NOT_COMPLETE,
        ),
    )  # fmt: skip


def _domain_routes(api: DomainsApi) -> Sequence[Route]:
    return (
        Route(
            "POST", SITE + "/domains", "addDomain", "Claim a domain for a site, and learn what DNS has to say", api.add,
            Access.DEPLOY, {201: domain_schema.DomainAddedView, 200: domain_schema.DomainAddedView},
            takes=domain_schema.AddDomain, query=(WAIT,), detail=_DOMAIN_DETAIL,
        ),
        Route(
            "GET", SITE + "/domains", "listSiteDomains", "A site's domains and claims", api.list_of_site, Access.READ,
            {200: domain_schema.DomainList},
        ),
        Route(
            "GET", DOMAIN, "showDomain", "How far a domain is, and what it waits for", api.show, Access.READ,
            {200: domain_schema.DomainDetail},
        ),
        Route(
            "POST", DOMAIN + "/check", "checkDomain", "Look at a domain now", api.check, Access.DEPLOY,
            {200: domain_schema.DomainDetail}, query=(WAIT_LIVE,),
        ),
        Route(
            "DELETE", DOMAIN, "removeDomain", "Release a domain, or give up the claim on it", api.remove,
            Access.SITE_ADMIN, {200: domain_schema.DomainRemovedView}, query=(WAIT,), detail=NOT_COMPLETE,
        ),
        Route(
            "PUT", DOMAIN + "/certificate", "setCertificate", "Bring a certificate for a domain", api.set_certificate,
            Access.SITE_ADMIN, {200: domain_schema.CertificateSetView}, takes=domain_schema.SetCertificate,
        ),
        Route(
            "DELETE", DOMAIN + "/certificate", "releaseCertificate", "Get certificates automatically again",
            api.release_certificate, Access.SITE_ADMIN, {200: domain_schema.CertificateReleased},
        ),
        Route(
            "GET", "/v1/domains", "listDomains", "The domains and claims of all sites that the token may read",
            api.list_all, Access.ANY_TOKEN, {200: domain_schema.DomainList},
        ),
        Route(
            "GET", "/v1/certificates", "listCertificates", "The certificates of all sites that the token may read",
            api.certificates, Access.ANY_TOKEN, {200: domain_schema.CertificateList},
        ),
    )  # fmt: skip


def _purge_routes(api: PurgesApi) -> Sequence[Route]:
    return (
        Route(
            "POST", SITE + "/purges", "purge", "Purge URLs, prefixes, tags or everything", api.purge, Access.PURGE,
            {200: schema.ReceiptView, 202: schema.ReceiptView}, takes=PurgeRequest, query=(WAIT,),
            detail=_PURGE_DETAIL,
        ),
        Route(
            "GET", "/v1/receipts/{sequence}", "showReceipt", "How far a record has come", api.receipt, Access.ANY_TOKEN,
            {200: schema.ReceiptView},
            query=(WAIT, Parameter("list", "`all` nodes, or the `unapplied`, which is usual"), *PAGE),
        ),
    )  # fmt: skip


def _token_routes(api: TokensApi) -> Sequence[Route]:
    return (
        Route(
            "POST", "/v1/tokens", "createToken", "Create a token", api.create, Access.ANY_TOKEN,
            {201: schema.TokenCreatedView}, takes=schema.CreateToken,
        ),
        Route(
            "GET", "/v1/tokens", "listTokens", "The tokens that the caller may hand out", api.list, Access.ANY_TOKEN,
            {200: schema.TokenList},
        ),
        Route(
            "DELETE", "/v1/tokens/{token_id}", "revokeToken", "Revoke a token", api.revoke, Access.ANY_TOKEN,
            {200: schema.ReceiptOnly}, query=(WAIT,),
        ),
    )  # fmt: skip


def _fleet_routes(api: StatusApi, services: Services) -> Sequence[Route]:
    async def follow(call: Call) -> web.StreamResponse:
        return await services.hub.handle(call.request)

    return (
        Route(
            "GET", "/v1/status", "showStatus", "Nodes and positions", api.status, Access.ANY_TOKEN,
            {200: schema.Status}, query=PAGE,
        ),
        Route(
            "GET", "/v1/fleet/view", "showFleet", "The fleet as DNS shall see it", api.fleet, Access.ANY_TOKEN,
            {200: schema.FleetView},
            query=(Parameter("beyond", "Wait, with `wait`, for a view with a higher number", is_number=True), WAIT),
        ),
        Route(
            "DELETE", "/v1/nodes/{node_id}", "forgetNode", "Forget a node that will not come back", api.forget_node,
            Access.ADMIN, {200: schema.NodeForgotten},
        ),
        Route(
            "GET", "/v1/explain", "explain", "Why a URL is answered as it is", api.explain, Access.ANY_TOKEN,
            {200: schema.Explanation},
            query=(
                Parameter("url", "The URL to explain", is_required=True),
                Parameter("node", "Ask this node only"),
            ),
        ),
        Route(
            "GET", "/v1/explain/name", "explainName", "Why a name is answered as it is for a client", api.explain_name,
            Access.ANY_TOKEN, {200: schema.NameExplanation},
            query=(
                Parameter("name", "The name", is_required=True),
                Parameter("from", "The client's address, or the network that its resolver passes on", is_required=True),
                Parameter("server", "Ask this name server only"),
            ),
        ),
        Route(
            "GET", FOLLOW_PATH, "follow", "Follow the journal over a WebSocket", follow, Access.NODE, {101: None}
        ),
        Route("GET", "/healthz", "health", "Whether control answers", api.health, Access.ANYBODY, {200: schema.Health}),
    )  # fmt: skip
