"""The control API as this side of the wire sees it: one method per route, errors as CdnError."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from cdn.errors import InvalidInput, Unavailable
from cdn.publish.backoff import Backoff
from cdn.publish.endpoint import ControlUnreachable, Endpoint, NotControl
from cdn.publish.problem import error_from_answer
from cdn.sites.name import PRODUCTION

Document = dict[str, Any]
"""One JSON document of control, as it came."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest answer read from control: the missing digests of the largest bundle take a tenth of it."""

CONNECT_TIMEOUT_S = 10.0
"""Control is near or behind a load balancer: a connection that takes longer will not come."""

ANSWER_TIMEOUT_S = 120.0
"""Time for control's own work on one call, beside what the caller asks it to wait for a receipt."""


UPLOAD_TIMEOUT_S = 3600.0
"""For a table of places, which comes in one call: the largest that control takes, over a line of a megabit."""


class PresignedUrl(msgspec.Struct, frozen=True):
    """Where one blob goes and the exact fields to send with it."""

    url: str
    fields: dict[str, str] = {}


class UploadSession(msgspec.Struct, frozen=True):
    """What control wants of a bundle. `missing` are the digests this site has not proved yet."""

    id: str
    missing: tuple[str, ...]
    direct: bool
    expires_at: float


class _Urls(msgspec.Struct, frozen=True):
    urls: dict[str, PresignedUrl]


_Shape = TypeVar("_Shape")
_NO_QUERY: Mapping[str, str | None] = MappingProxyType({})
_NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Failures before a byte of the request left: trying again cannot do a thing twice."""


class ControlClient:
    """Calls control. Every method may raise what control says (CdnError) or Unavailable when it cannot be reached.

    Calls that change nothing when they come twice are tried again when the connection breaks or control answers
    5xx; the others only when no connection was made.
    """

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession, backoff: Backoff) -> None:
        self.endpoint = endpoint
        self._session = session
        self._backoff = backoff

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoint: Endpoint, backoff: Backoff | None = None) -> AsyncIterator[ControlClient]:
        """A client whose connections close with the context."""
        async with aiohttp.ClientSession(
            headers=endpoint.fields(), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            yield cls(endpoint, session, backoff or Backoff())

    # sites

    async def create_site(self, name: str, settings: Mapping[str, Any]) -> Document:
        """The site, new."""
        return await self._call("POST", "/v1/sites", content={"name": name, "settings": settings})

    async def change_site(self, name: str, settings: Mapping[str, Any]) -> Document:
        """The site with these settings changed, the others as they were."""
        return await self._call("PATCH", _site(name), content={"settings": settings})

    async def sites(self) -> Document:
        """Every site this token may see."""
        return await self._call("GET", "/v1/sites")

    async def site(self, name: str) -> Document:
        """One site."""
        return await self._call("GET", _site(name))

    async def remove_site(self, name: str, *, wait_s: float) -> Document:
        """Removes the site: purges it, revokes its tokens, releases its domains."""
        return await self._call("DELETE", _site(name), wait_s=wait_s)

    # deploys

    async def open_upload(self, site: str, blobs: Mapping[str, int]) -> UploadSession:
        """Says which digests (with their sizes) a bundle needs; control answers which of them are missing."""
        answer = await self._call("POST", _site(site, "uploads"), content={"blobs": blobs}, is_repeatable=True)
        return _fit(answer, UploadSession)

    async def upload_urls(self, site: str, upload_id: str, digests: Sequence[str]) -> dict[str, PresignedUrl]:
        """Presigned URLs for at most 1000 digests of a session whose blobs go straight to the store."""
        path = _site(site, "uploads", upload_id, "urls")
        answer = await self._call("POST", path, content={"digests": digests}, is_repeatable=True)
        return _fit(answer, _Urls).urls

    def blob_url(self, site: str, upload_id: str, digest: str) -> URL:
        """Where a blob goes that is uploaded through control."""
        return URL(self.endpoint.locate(_site(site, "uploads", upload_id, "blobs", digest)), encoded=True)

    async def create_deploy(self, site: str, content: bytes, *, wait_s: float) -> Document:
        """Prepares and activates a deploy of everything uploaded; `content` is the JSON of the request.

        It names its upload, so that control knows it again when it comes twice.
        """
        return await self._call("POST", _site(site, "deploys"), content=content, wait_s=wait_s, is_repeatable=True)

    async def deploys(self, site: str) -> Document:
        """The site's deploys, newest first."""
        return await self._call("GET", _site(site, "deploys"))

    async def roll_back(self, site: str, *, to: str | None, alias: str | None, wait_s: float) -> Document:
        """Activates the deploy `to` on an alias (None: production), or the one that was active there before.

        `to` may be any deploy of the site: one that was made for a preview is promoted by it.
        """
        if to is not None:
            content = {"alias": PRODUCTION if alias is None else alias}
            return await self._call("POST", _site(site, "deploys", to, "activate"), content=content, wait_s=wait_s)
        return await self._call("POST", _site(site, "rollback"), content=_present({"alias": alias}), wait_s=wait_s)

    async def roll_forward(self, site: str, *, alias: str | None, wait_s: float) -> Document:
        """Activates the deploy that was active on an alias (None: production) before it was rolled back."""
        return await self._call("POST", _site(site, "rollforward"), content=_present({"alias": alias}), wait_s=wait_s)

    async def compare_deploys(self, site: str, deploy_id: str, *, against: str | None) -> Document:
        """What a deploy added, changed and removed, against another or the one before it."""
        return await self._call("GET", _site(site, "deploys", deploy_id, "diff"), query={"against": against})

    async def aliases(self, site: str) -> Document:
        """The site's aliases, production first."""
        return await self._call("GET", _site(site, "aliases"))

    async def set_alias(self, site: str, alias: str, asked: Mapping[str, Any], *, wait_s: float) -> Document:
        """Says of an alias what `asked` names (password, expires_s, lock); None takes it away."""
        path = _site(site, "aliases", alias)
        return await self._call("PUT", path, content=dict(asked), wait_s=wait_s, is_repeatable=True)

    async def remove_alias(self, site: str, alias: str, *, wait_s: float) -> Document:
        """Ends a preview."""
        return await self._call("DELETE", _site(site, "aliases", alias), wait_s=wait_s)

    # domains

    async def add_domain(
        self,
        site: str,
        domain: str,
        *,
        wait_s: float,
        with_twin: bool = False,
        redirect: str | None = None,
        is_verified: bool = False,
    ) -> Document:
        """Claims `domain` for the site, or with `is_verified` answers it from now on; what DNS has to say."""
        content = {"domain": domain, "with_twin": with_twin, "redirect": redirect, "verified": is_verified}
        return await self._call("POST", _site(site, "domains"), content=content, wait_s=wait_s)

    async def domain(self, site: str, domain: str) -> Document:
        """How far a domain is."""
        return await self._call("GET", _site(site, "domains", domain))

    async def check_domain(self, site: str, domain: str, *, wait_s: float) -> Document:
        """The same after a look at DNS, and after waiting until it is live."""
        return await self._call("POST", _site(site, "domains", domain, "check"), wait_s=wait_s)

    async def domains(self, site: str | None = None) -> Document:
        """The domains of one site, or of every site this token may see."""
        return await self._call("GET", "/v1/domains" if site is None else _site(site, "domains"))

    async def remove_domain(self, site: str, domain: str, *, wait_s: float) -> Document:
        """Releases the domain."""
        return await self._call("DELETE", _site(site, "domains", domain), wait_s=wait_s)

    async def set_certificate(self, site: str, domain: str, certificate: str, key: str) -> Document:
        """Serves the domain with this chain and key (PEM)."""
        content = {"certificate": certificate, "key": key}
        return await self._call("PUT", _site(site, "domains", domain, "certificate"), content=content)

    async def release_certificate(self, site: str, domain: str) -> Document:
        """Gets certificates automatically again."""
        return await self._call("DELETE", _site(site, "domains", domain, "certificate"))

    async def certificates(self) -> Document:
        """Those that this token may see."""
        return await self._call("GET", "/v1/certificates")

    # purges, nodes

    async def purge(self, site: str, request: Mapping[str, Any], *, wait_s: float) -> Document:
        """The receipt of a purge of everything that `request` names."""
        return await self._call("POST", _site(site, "purges"), content=request, wait_s=wait_s)

    async def receipt(
        self, sequence: int, *, wait_s: float, listed: str | None = None, after: str | None = None
    ) -> Document:
        """The receipt of the record with this sequence, as it stands now or after waiting.

        `listed` ("all" or "unapplied") and `after` ask for a page of its nodes.
        """
        query = {"list": listed, "after": after}
        return await self._call("GET", f"/v1/receipts/{sequence}", wait_s=wait_s, query=query)

    async def status(self, after: str | None = None) -> Document:
        """Nodes, sequences, lag; `after` asks for the page of nodes that follows that one."""
        return await self._call("GET", "/v1/status", query={"after": after})

    async def forget_node(self, node_id: str) -> Document:
        """Takes a node that will not come back out of status and receipts."""
        return await self._call("DELETE", f"/v1/nodes/{quote(node_id, safe='')}")

    async def explain(self, url: str, *, node: str | None) -> Document:
        """Why a URL is answered as it is."""
        return await self._call("GET", "/v1/explain", query={"url": url, "node": node})

    async def explain_name(self, name: str, source: str, *, server: str | None) -> Document:
        """Why a name is answered as it is for a client at the address, or in the network, `source`."""
        return await self._call("GET", "/v1/explain/name", query={"name": name, "from": source, "server": server})

    # tokens

    async def create_token(
        self, scopes: Iterable[str], *, expires_s: float | None, note: str, aws: bool = False
    ) -> Document:
        """A new token; its text, and what AWS clients sign with, are in this answer and nowhere else."""
        content = _present({"scopes": list(scopes), "expires_s": expires_s, "note": note or None, "aws": aws or None})
        return await self._call("POST", "/v1/tokens", content=content)

    async def tokens(self) -> Document:
        """Every token this one may see, without their secrets."""
        return await self._call("GET", "/v1/tokens")

    async def revoke_token(self, token_id: str) -> Document:
        """Ends a token."""
        return await self._call("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")

    # takedowns and the store

    async def take_down(self, request: Mapping[str, Any], *, wait_s: float) -> Document:
        """Content goes from nodes and store, and does not come back."""
        return await self._call("POST", "/v1/takedowns", content=request, wait_s=wait_s, is_repeatable=True)

    async def takedowns(self) -> Document:
        """What was taken down of the sites that this token may see."""
        return await self._call("GET", "/v1/takedowns")

    async def lift_takedown(self, digest: str, *, site: str | None, wait_s: float) -> Document:
        """Content may come back."""
        path = f"/v1/takedowns/{quote(digest, safe='')}"
        return await self._call("DELETE", path, query={"site": site}, wait_s=wait_s)

    async def sweep_store(self, request: Mapping[str, Any]) -> Document:
        """What nothing names is removed from the store."""
        return await self._call("POST", "/v1/sweeps", content=request)

    # zones, geography

    async def zones(self) -> Document:
        """Every zone that name servers answer for, the CDN's own first."""
        return await self._call("GET", "/v1/zones")

    async def zone(self, name: str) -> Document:
        """One zone, with its zone file as `text`."""
        return await self._call("GET", _zone(name))

    async def import_zone(self, name: str, text: bytes, *, file: str) -> Document:
        """Puts a zone file in the place of what there was; `file` is what faults call it."""
        return await self._call(
            "PUT", _zone(name), content=text, query={"file": file}, media_type="text/dns", is_repeatable=True
        )

    async def remove_zone(self, name: str) -> Document:
        """Ends a zone."""
        return await self._call("DELETE", _zone(name))

    async def signing(self, zone: str) -> Document:
        """How a zone is signed."""
        return await self._call("GET", _zone(zone, "signing"))

    async def change_signing(self, zone: str, action: str) -> Document:
        """Signs a zone, changes its key, or stops."""
        return await self._call("POST", _zone(zone, "signing"), content={"do": action})

    async def geography(self) -> Document:
        """By which table of places name servers go."""
        return await self._call("GET", "/v1/geography")

    async def set_geography(self, table: Path, *, digest: str, note: str) -> Document:
        """Sends name servers the table in a file, which has this SHA-256. Raises OSError too."""
        return await self._call(
            "PUT",
            "/v1/geography",
            content=table,
            query={"digest": digest, "note": note},
            media_type="application/octet-stream",
            patience_s=UPLOAD_TIMEOUT_S,
        )

    async def reset_geography(self) -> Document:
        """Name servers go by the table that comes with the program."""
        return await self._call("DELETE", "/v1/geography")

    # hooks

    async def create_hook(self, site: str, content: Mapping[str, Any]) -> Document:
        """A hook, with its secret this once."""
        return await self._call("POST", _site(site, "hooks"), content=content)

    async def hooks(self, site: str) -> Document:
        """A site's hooks."""
        return await self._call("GET", _site(site, "hooks"))

    async def rotate_hook(self, site: str, hook_id: str, content: Mapping[str, Any]) -> Document:
        """The hook with another secret."""
        return await self._call("POST", _site(site, "hooks", hook_id, "rotate"), content=content)

    async def remove_hook(self, site: str, hook_id: str) -> Document:
        """Removes the hook."""
        return await self._call("DELETE", _site(site, "hooks", hook_id))

    async def deliveries(self, site: str, hook_id: str, *, limit: int) -> Document:
        """What came to a hook, or was sent, newest first."""
        path = _site(site, "hooks", hook_id, "deliveries")
        return await self._call("GET", path, query={"limit": str(limit)})

    async def delivery(self, site: str, hook_id: str, delivery_id: str) -> Document:
        """One message."""
        return await self._call("GET", _site(site, "hooks", hook_id, "deliveries", delivery_id))

    async def replay_delivery(self, site: str, hook_id: str, delivery_id: str) -> Document:
        """Sends a message again."""
        return await self._call("POST", _site(site, "hooks", hook_id, "deliveries", delivery_id, "replay"))

    # the wire

    async def _call(
        self,
        method: str,
        path: str,
        *,
        content: Any = None,
        query: Mapping[str, str | None] = _NO_QUERY,
        wait_s: float | None = None,
        is_repeatable: bool = False,
        media_type: str = "application/json",
        patience_s: float = ANSWER_TIMEOUT_S,
    ) -> Document:
        if wait_s is not None:
            query = {**query, "wait": f"{wait_s:g}"}
        asked = urlencode(_present(query))
        url = URL(self.endpoint.locate(f"{path}?{asked}" if asked else path), encoded=True)
        raw = content if content is None or isinstance(content, bytes | Path) else msgspec.json.encode(content)
        is_repeatable = is_repeatable or method in ("GET", "PATCH")
        timeout = aiohttp.ClientTimeout(total=patience_s + (wait_s or 0), sock_connect=CONNECT_TIMEOUT_S)
        failures = 0
        while True:
            try:
                return await self._call_once(method, url, raw, timeout, media_type)
            except Unavailable as exc:
                failures += 1
                may_retry = is_repeatable or isinstance(exc.__cause__, _NOTHING_SENT)
                if not may_retry or failures >= self._backoff.attempts:
                    raise
            await asyncio.sleep(self._backoff.wait_s(failures, random.random()))  # noqa: S311

    async def _call_once(
        self,
        method: str,
        url: URL,
        content: bytes | Path | None,
        timeout: aiohttp.ClientTimeout,
        media_type: str,
    ) -> Document:
        fields = None if content is None else {"Content-Type": media_type}
        data = None if content is None else _payload(content, media_type)
        try:
            async with self._session.request(
                method, url, data=data, headers=fields, timeout=timeout, allow_redirects=False
            ) as response:
                answer = await _read_bounded(response)
        except TimeoutError as exc:
            raise ControlUnreachable(f"control at {self.endpoint.url} did not answer in time") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ControlUnreachable(f"control at {self.endpoint.url} cannot be reached: {_cause(exc)}") from exc
        if 300 <= response.status < 400:
            raise NotControl(
                f"control at {self.endpoint.url} redirects elsewhere: set CDN_CONTROL_URL to its own address"
            )
        if response.status >= 400:
            raise error_from_answer(response.status, answer)
        return _document(answer)


def _site(name: str, *more: str) -> str:
    return "/".join(["/v1/sites", *(quote(part, safe="") for part in (name, *more))])


def _zone(name: str, *more: str) -> str:
    return "/".join(["/v1/zones", *(quote(part, safe="") for part in (name, *more))])


def _payload(content: bytes | Path, media_type: str) -> aiohttp.Payload:
    """A file is sent piece by piece, with its length, and closed by whoever sends it. Raises OSError."""
    if isinstance(content, bytes):
        return aiohttp.BytesPayload(content, content_type=media_type)
    return aiohttp.BufferedReaderPayload(content.open("rb"), content_type=media_type)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _cause(exc: BaseException) -> str:
    """The shortest true sentence about a failed connection."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted here; SSL_CERT_FILE names a file of authorities that are"
    if isinstance(exc, aiohttp.ClientConnectorError) and exc.os_error.errno is not None and exc.os_error.errno > 0:
        return os.strerror(exc.os_error.errno)
    return str(exc) or type(exc).__name__


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise Unavailable(f"control sent an answer of more than {MAX_ANSWER_BYTES} bytes: this is not control")
    return bytes(content)


def _document(content: bytes) -> Document:
    if not content:
        return {}
    try:
        return msgspec.json.decode(content, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise NotControl("the answer is not JSON of control: does CDN_CONTROL_URL name a control plane?") from exc


def _fit(answer: Document, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as exc:
        raise InvalidInput(f"control and this program do not fit together, upgrade the older one: {exc}") from exc
