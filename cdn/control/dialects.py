"""Which dialects control speaks, and how they are mounted beside the native API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from cdn.control.archive_intake import ArchiveIntake
from cdn.control.cloudflare_dialect import CloudflareDialect
from cdn.control.cloudfront_dialect import CloudFrontDialect
from cdn.control.dialect import Closing, Dialect, DialectRoute
from cdn.control.fastly_dialect import FastlyDialect
from cdn.control.netlify_dialect import NetlifyDialect
from cdn.control.pages_dialect import PagesDialect
from cdn.control.services import Services

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def dialects_of(services: Services, intake: ArchiveIntake) -> Sequence[Dialect]:
    """Every one of them."""
    return (
        CloudflareDialect(services),
        FastlyDialect(services),
        CloudFrontDialect(services),
        NetlifyDialect(services, intake),
        PagesDialect(services),
    )


def mount_dialects(application: web.Application, services: Services, dialects: Sequence[Dialect]) -> None:
    """Add their routes to the application."""
    for dialect in dialects:
        for route in dialect.routes():
            application.router.add_route(route.method, route.path, _answering(dialect, route, services))
        if isinstance(dialect, Closing):
            application.on_cleanup.append(_closing(dialect))


def _closing(dialect: Closing) -> Callable[[web.Application], Awaitable[None]]:
    async def close(application: web.Application) -> None:
        await dialect.aclose()

    return close


def _answering(dialect: Dialect, route: DialectRoute, services: Services) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            await services.state.look()
            return await route.handler(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the last line: told as the vendor tells errors
            return dialect.refusal(error)

    return answer
