"""CloudFront's API of 2020-05-31, as far as it invalidates. A distribution is a site, by its name or id; requests are
signed with a token that was made for it (`cdn token create --aws`; docs/dialects.md)."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping, Sequence

from aiohttp import web

from cdn.control.auth import Caller
from cdn.control.content import read_content
from cdn.control.dialect import DialectRoute
from cdn.control.invalidations import Invalidation, Invalidations
from cdn.control.problem import problem_of
from cdn.control.purge_desk import RECEIPT_FIELD, PurgeDesk, faults_of
from cdn.control.purges import Purges
from cdn.control.services import Services
from cdn.control.signing_secret import open_signing_secret
from cdn.control.token import Verb
from cdn.errors import Conflict, InvalidInput, NotFound, Unavailable
from cdn.fleet.position import Position
from cdn.journal.record import Audience, Purged, Record
from cdn.purge.aws_signature import BadSignature, Claim, SignedRequest, read_claim, verify
from cdn.purge.cloudfront import (
    BadBatch,
    BatchTooLarge,
    InvalidationView,
    error_xml,
    invalidation_xml,
    invalidations_xml,
    purge_of,
    read_batch,
)
from cdn.sites.site import Site

ROOT = "/2020-05-31/distribution/{distribution}/invalidation"
SERVICE = "cloudfront"

MAX_FAULTS = 100
"""Faults told in one answer."""

MAX_LISTED = 100
"""Invalidations in one answer, as CloudFront has it."""

LOOK_S = 15.0
"""How long an answer about an invalidation in progress waits for it. Clients that wait ask again 20 seconds after an
answer: so they learn of most at once. Less than clients wait for an answer, 60 seconds."""

_CODES: Mapping[int, str] = {
    400: "InvalidArgument",
    401: "InvalidClientTokenId",
    403: "AccessDenied",
    404: "NoSuchDistribution",
    409: "IllegalUpdate",
    413: "BatchTooLarge",
    429: "Throttling",
    503: "ServiceUnavailable",
}


log = logging.getLogger(__name__)


class NoSuchInvalidation(NotFound):
    """There is a site, and no such invalidation of it."""


class NoSuchOperation(NotFound):
    """A call of the vendor's that is not spoken here."""


class AlreadyExists(BadBatch):
    """The reference was used for something else."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            "InvalidationBatchAlreadyExists",
            f"The CallerReference {reference[:80]!r} was sent before with other paths: give another one.",
        )


class CloudFrontDialect:
    """Creates, shows and lists invalidations."""

    name = "cloudfront"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desk = PurgeDesk(services)
        self._purges = Purges(services)
        self._kept = Invalidations(services.store)

    def routes(self) -> Sequence[DialectRoute]:
        """All paths of it."""
        return (
            DialectRoute("POST", ROOT, self._create),
            DialectRoute("GET", ROOT, self._list),
            DialectRoute("GET", ROOT + "/{invalidation}", self._show),
            DialectRoute("*", "/2020-05-31/{rest:.*}", self._nothing),
        )

    def refusal(self, error: Exception) -> web.Response:
        """An ErrorResponse with the vendor's code."""
        problem, fields = problem_of(error)
        code = _CODES.get(problem.status, "InternalFailure")
        match error:
            case BadSignature() | BadBatch() | BatchTooLarge():
                code = error.code
            case NoSuchInvalidation():
                code = "NoSuchInvalidation"
            case NoSuchOperation():
                code = "UnknownOperationException"
            case _:
                pass
        status = 403 if problem.status == 401 else problem.status
        request_id = secrets.token_hex(16)
        message = " ".join(faults_of(problem)[:MAX_FAULTS])
        fields.pop("WWW-Authenticate", None)
        raw = error_xml(code, message, request_id, is_ours=status >= 500)
        return _xml(raw, status, {"x-amzn-RequestId": request_id, **fields})

    async def _create(self, request: web.Request) -> web.Response:
        caller, content = await self._signed(request)
        site = self._desk.site(caller, request.match_info["distribution"])
        batch = read_batch(content)
        kept = await self._kept.of_reference(site.id, batch.reference)
        if kept is None:
            record = await self._purges.purge(site, purge_of(batch.paths), caller.actor)
            kept = await self._kept.keep(site.id, batch, record.position, record.at)
        if not kept.batch.is_same(batch):
            raise AlreadyExists(batch.reference)
        view = await self._view(site, kept, 0.0)
        place = f"{request.scheme}://{request.host}{request.path}/{kept.id}"
        return _xml(invalidation_xml(view), 201, {"Location": place, **_receipt(kept)})

    async def _show(self, request: web.Request) -> web.Response:
        caller, _ = await self._signed(request)
        site = self._desk.site(caller, request.match_info["distribution"], Verb.READ)
        try:
            kept = await self._kept.get(site.id, request.match_info["invalidation"])
        except NotFound as exc:
            raise NoSuchInvalidation(exc.message) from exc
        return _xml(invalidation_xml(await self._view(site, kept, LOOK_S)), 200, _receipt(kept))

    async def _list(self, request: web.Request) -> web.Response:
        caller, _ = await self._signed(request)
        site = self._desk.site(caller, request.match_info["distribution"], Verb.READ)
        marker, most = request.query.get("Marker", ""), _most(request.query.get("MaxItems"))
        found, has_more = await self._kept.listed(site.id, marker, most)
        views = await self._views(site, found)
        return _xml(invalidations_xml(views, marker=marker, most=most, has_more=has_more))

    async def _nothing(self, request: web.Request) -> web.Response:
        raise NoSuchOperation(
            f"There is no {request.method} {request.path[:200]} here: docs/dialects.md lists what there is."
        )

    async def _signed(self, request: web.Request) -> tuple[Caller, bytes]:
        """Who signed the request, and its content. Raises BadSignature.

        Content is read only once there is a token that could have signed it.
        """
        fields = [(name.lower(), value) for name, value in request.headers.items()]
        claim = read_claim(fields, SERVICE)
        caller, secret = self._signer(claim)
        content = await read_content(request, self._services.settings.max_request_bytes)
        raw_path, _, raw_query = request.raw_path.partition("?")
        verify(
            SignedRequest(request.method, raw_path, raw_query, fields, content), claim, secret, self._services.clock()
        )
        return caller, content

    def _signer(self, claim: Claim) -> tuple[Caller, str]:
        """Raises BadSignature, in one sentence for all tokens that nobody signs with."""
        token = self._services.tokens.get(claim.key_id)
        if token is None or not token.sealed_secret or token.is_expired(self._services.clock()):
            raise BadSignature(
                "InvalidClientTokenId",
                "The access key is unknown, revoked, expired or signs nothing: `cdn token create --aws` makes one.",
            )
        try:
            secret = open_signing_secret(self._services.control_keys, token)
        except (Conflict, InvalidInput) as exc:
            log.warning("no request that is signed with the token %s can be checked: %s", token.token_id, exc)
            raise Unavailable("What this access key signs with cannot be opened: its operator's log says why.") from exc
        return Caller(token.token_id, token.scopes), secret

    async def _view(self, site: Site, kept: Invalidation, wait_s: float) -> InvalidationView:
        """As it stands after `wait_s`, or once it is complete."""
        record = self._record(site, kept)
        try:
            receipt = await self._services.receipt(record, wait_s)
        except Unavailable:
            return InvalidationView(kept.id, False, kept.recorded_at, kept.batch)
        return InvalidationView(kept.id, receipt.complete, kept.recorded_at, kept.batch)

    async def _views(self, site: Site, kept: Sequence[Invalidation]) -> list[InvalidationView]:
        """As they stand now. What other replicas heard is asked for once for all of them."""
        services = self._services
        is_settled = await services.directory.settle()
        views = []
        for one in kept:
            record = self._record(site, one)
            validates_from = await services.pointers.validates_from(record)
            tally = services.directory.tally(record.position, validates_from=validates_from)
            views.append(InvalidationView(one.id, is_settled and tally.is_complete, one.recorded_at, one.batch))
        return views

    def _record(self, site: Site, kept: Invalidation) -> Record:
        """What receipts go by: the journal may have forgotten it. Of an epoch that is over nodes trust nothing that
        they stored, so it is complete when all of them have begun the present one."""
        present = self._services.state.position.epoch
        position = kept.position if kept.epoch == present else Position(present, 0)
        return Record(
            1, position.epoch, position.sequence, "", kept.recorded_at, "", Audience.ALL, Purged(site.id, (), False)
        )


def _most(text: str | None) -> int:
    if text is None:
        return MAX_LISTED
    if re.fullmatch(r"[0-9]{1,9}", text) is None or int(text) == 0:
        raise BadBatch("InvalidArgument", f"MaxItems is a number from 1, not {text[:80]!r}.")
    return min(int(text), MAX_LISTED)


def _receipt(kept: Invalidation) -> dict[str, str]:
    return {RECEIPT_FIELD: f"/v1/receipts/{kept.sequence}"}


def _xml(raw: bytes, status: int = 200, fields: Mapping[str, str] | None = None) -> web.Response:
    headers = {"Content-Type": "text/xml", "Cache-Control": "no-store", "x-amzn-RequestId": secrets.token_hex(16)}
    return web.Response(status=status, body=raw, headers={**headers, **(fields or {})})
