"""What Cloudflare's API says of Pages projects, deployments and errors, as far as its clients look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from cdn.control.problem import faults_beside, problem_of
from cdn.control.purge_desk import RECEIPT_FIELD, receipt_path
from cdn.control.schema import ReceiptView
from cdn.control.services import Services
from cdn.control.views import host_of, url_of
from cdn.sites.deploy import Deploy
from cdn.sites.name import PRODUCTION
from cdn.sites.site import Site

MAX_TOLD_FAULTS = 50
"""Faults in one answer: clients print them all."""

NO_PROJECT = 8000007
NOT_AUTHORIZED = 8000013
"""Clients get another upload token when they hear this."""

_CODES = {401: 10000, 403: 10000, 404: 8000009, 409: 8000002, 413: 8000020, 429: 971, 503: 10001}
_OF_CONTENT = 8000034
"""Of everything that is wrong with what was sent; 8000000 would make clients send it again."""

_encoder = msgspec.json.Encoder()


def result(value: Any, *, status: int = 200, info: dict[str, int] | None = None) -> web.Response:
    """A success."""
    envelope = {"success": True, "errors": [], "messages": [], "result": value}
    return _answer(envelope if info is None else {**envelope, "result_info": info}, status)


def refusal(error: BaseException, *, code: int | None = None) -> web.Response:
    """An error with every fault that was found."""
    problem, fields = problem_of(error)
    faults = faults_beside(problem)
    told = faults[:MAX_TOLD_FAULTS]
    more = len(faults) - len(told)
    sentences = (problem.detail, *told, *((f"and {more} more",) if more else ()))
    number = code or _CODES.get(problem.status, _OF_CONTENT if problem.status < 500 else 10013)
    errors = [{"code": number, "message": sentence} for sentence in sentences]
    response = _answer({"success": False, "errors": errors, "messages": [], "result": None}, problem.status)
    response.headers.update(fields)
    return response


def project_view(services: Services, site: Site, production_branch: str) -> dict[str, Any]:
    """A project is a site."""
    host = host_of(services.settings, site)
    config: dict[str, Any] = {"compatibility_flags": [], "env_vars": {}}
    return {
        "id": site.id,
        "name": site.name,
        "subdomain": host,
        "domains": [host, *sorted(services.catalog.domains(site.id))],
        "production_branch": production_branch,
        "created_on": _time(site.created_at),
        "deployment_configs": {"production": config, "preview": config},
        "build_config": {},
        "source": None,
        "latest_deployment": None,
        "canonical_deployment": None,
    }


def deployment_view(
    services: Services, site: Site, deploy: Deploy, production_branch: str, *, is_live: bool
) -> dict[str, Any]:
    """A deploy. `is_live`: every node has applied it."""
    url = url_of(services.settings, site, deploy.alias).removesuffix("/")
    at = _time(deploy.prepared_at)
    is_production = deploy.alias == PRODUCTION
    stage: dict[str, Any] = {"name": "deploy", "status": "success", "started_on": at, "ended_on": at}
    if not is_live:  # clients take a stage called "deploy" for the end, however it stands
        stage = {"name": "build", "status": "active", "started_on": at, "ended_on": None}
    return {
        "id": deploy.id,
        "short_id": deploy.id[:8],
        "project_id": site.id,
        "project_name": site.name,
        "production_branch": production_branch,
        "environment": "production" if is_production else "preview",
        "url": url,
        "aliases": None if is_production else [url],
        "created_on": at,
        "modified_on": at,
        "latest_stage": stage,
        "stages": [stage],
        "is_skipped": False,
        "deployment_trigger": {
            "type": "ad_hoc",
            "metadata": {
                "branch": production_branch if is_production else deploy.alias,
                "commit_hash": deploy.commit,
                "commit_message": deploy.message,
            },
        },
    }


def result_with_receipt(view: dict[str, Any], receipt: ReceiptView) -> web.Response:
    """A success with what nodes have done, which the vendor's clients pass over."""
    response = result({**view, "receipt": receipt})
    response.headers[RECEIPT_FIELD] = receipt_path(receipt)
    return response


def _answer(value: Any, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=_encoder.encode(value),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
