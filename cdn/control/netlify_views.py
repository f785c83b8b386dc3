"""What Netlify's API says of sites, deploys and errors, as far as its clients look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from cdn.control.netlify_draft import NetlifyDraft
from cdn.control.netlify_drafts import Gathering
from cdn.control.problem import faults_beside, problem_of
from cdn.control.services import Services
from cdn.control.views import host_of, url_of
from cdn.sites.deploy import Deploy
from cdn.sites.name import PRODUCTION
from cdn.sites.site import Site

ACCOUNT = "cdn"
"""The one account that clients see: whose sites are whose is said by tokens."""

MAX_TOLD_FAULTS = 50
"""Faults in one message: clients print it whole."""

_encoder = msgspec.json.Encoder()


def json_answer(value: Any, status: int = 200, fields: dict[str, str] | None = None) -> web.Response:
    """An answer of this dialect."""
    return web.Response(
        status=status,
        body=_encoder.encode(value),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store", **(fields or {})},
    )


def sentences_of(error: BaseException) -> str:
    """What is told of an error, a line for every fault."""
    problem, _ = problem_of(error)
    faults = faults_beside(problem)
    told = faults[:MAX_TOLD_FAULTS]
    more = len(faults) - len(told)
    return "\n".join((problem.detail, *told, *((f"and {more} more",) if more else ())))


def refusal(error: BaseException) -> web.Response:
    """An error as Netlify's clients show one."""
    problem, fields = problem_of(error)
    return json_answer({"code": problem.status, "message": sentences_of(error)}, problem.status, fields)


def account_view() -> dict[str, Any]:
    """The one account."""
    return {"id": ACCOUNT, "slug": ACCOUNT, "name": ACCOUNT, "type_name": "CDN", "capabilities": {}, "default": True}


def site_view(services: Services, site: Site) -> dict[str, Any]:
    """A site; clients name it by its name everywhere."""
    state = services.catalog.alias(site.id, PRODUCTION)
    active = None if state is None else state.active
    url = url_of(services.settings, site).removesuffix("/")
    published = None
    if state is not None and active is not None:
        published = {**deploy_view(services, site, active), "locked": bool(state.lock)}
    return {
        "id": site.name,
        "site_id": site.name,
        "name": site.name,
        "state": "current",
        "account_id": ACCOUNT,
        "account_slug": ACCOUNT,
        "account_name": ACCOUNT,
        "url": url,
        "ssl_url": url,
        "admin_url": url,
        "default_domain": host_of(services.settings, site),
        "custom_domain": next(iter(sorted(services.catalog.domains(site.id))), None),
        "created_at": _time(site.created_at),
        "build_settings": {},
        "capabilities": {},
        "feature_flags": {},
        "published_deploy": published,
    }


def deploy_view(services: Services, site: Site, deploy: Deploy) -> dict[str, Any]:
    """A deploy that is recorded."""
    about = _about(services, site, deploy.alias)
    return {
        **about,
        "id": deploy.id,
        "state": "ready",
        "title": deploy.message,
        "commit_ref": deploy.commit or None,
        "created_at": _time(deploy.prepared_at),
        "required": [],
        "required_functions": [],
        "error_message": None,
    }


def draft_view(services: Services, site: Site, gathering: Gathering) -> dict[str, Any]:
    """A deploy in the making, and what became of it."""
    draft, missing = gathering.draft, tuple(gathering.missing)
    return {
        **_about(services, site, draft.alias),
        "id": draft.id,
        "state": _state(draft, has_missing=bool(missing)),
        "title": draft.message,
        "branch": draft.branch or None,
        "draft": draft.is_draft,
        "created_at": _time(draft.created_at),
        "required": missing,
        "required_functions": [],
        "error_message": draft.fault or None,
        "summary": {
            "status": "ready" if draft.deploy_id else "unavailable",
            "messages": [{"type": "warning", "title": note, "description": note} for note in draft.notes],
        },
    }


def _state(draft: NetlifyDraft, *, has_missing: bool) -> str:
    if draft.fault:
        return "error"
    if draft.deploy_id:
        return "ready"
    if draft.files is None:
        return "new"
    return "uploading" if has_missing else "uploaded"


def _about(services: Services, site: Site, alias: str) -> dict[str, Any]:
    own, url = url_of(services.settings, site), url_of(services.settings, site, alias)
    return {
        "site_id": site.name,
        "name": site.name,
        "context": "production" if alias == PRODUCTION else "deploy-preview",
        "url": own.removesuffix("/"),
        "ssl_url": own.removesuffix("/"),
        "deploy_url": url.removesuffix("/"),
        "deploy_ssl_url": url.removesuffix("/"),
        "admin_url": own.removesuffix("/"),
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
