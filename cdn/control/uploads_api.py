"""Routes about uploads: what is missing, where it goes, and the bytes themselves where control takes them."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from cdn.control.content import json_response, pieces, read_json, read_manifest_json
from cdn.control.route import Call
from cdn.control.schema import AskUploadUrls, BlobStored, OpenUpload, UploadUrl, UploadUrls, UploadView
from cdn.control.services import Services
from cdn.control.takedowns import require_not_taken_down
from cdn.control.upload_session import UploadSession
from cdn.errors import InvalidInput, NotFound, Unprocessable
from cdn.origin.layout import blob_key
from cdn.origin.store import DigestMismatch, UploadTarget
from cdn.sites.site import Site


class UploadsApi:
    """Open a session, ask for URLs, send a blob."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def open(self, call: Call) -> web.Response:
        services = self._services
        site = services.bundle_site_of(call)
        async with services.room_for_manifest(call, site):
            return await self._open(call, site)

    async def _open(self, call: Call, site: Site) -> web.Response:
        services = self._services
        wanted = await read_manifest_json(call.request, OpenUpload, services.settings)
        require_not_taken_down(services, site, wanted.blobs)
        session = await services.uploads.open(site.id, wanted.blobs)
        try:
            sizes = await services.proofs.sizes(site.id, wanted.blobs)
            is_direct = await services.store.takes_direct_uploads()
            _require_same(sizes, wanted.blobs)
            session.proven.update(sizes)
        except BaseException:
            services.uploads.close(site.id, session.id)
            raise
        missing = tuple(digest for digest in wanted.blobs if digest not in sizes)
        return json_response(UploadView(session.id, session.expires_at, missing, is_direct), 201)

    async def urls(self, call: Call) -> web.Response:
        services = self._services
        session = await self._session(call)
        wanted = await read_json(call.request, AskUploadUrls, services.settings.max_request_bytes)
        digests = tuple(dict.fromkeys(wanted.digests))
        if not 1 <= len(digests) <= services.settings.max_urls_per_request:
            raise InvalidInput(
                f"Ask for 1 to {services.settings.max_urls_per_request} digests at a time.", field="digests"
            )
        unknown = [digest for digest in digests if digest not in session.blobs]
        if unknown:
            raise Unprocessable(
                f"{len(unknown)} of the digests were not announced when the upload was opened.",
                field="digests",
                details=tuple(unknown),
            )
        if not await services.store.takes_direct_uploads():
            raise NotFound("This store takes no direct uploads: send the blobs to control.")
        expires_s = max(1, min(services.settings.presigned_url_s, int(session.expires_at - services.clock())))
        require_not_taken_down(services, services.site_of(call), digests)
        targets = [_target(session, digest) for digest in digests]
        presigned = await services.store.presign(targets, expires_s=expires_s)
        urls = {
            target.digest: UploadUrl(put.url, dict(put.fields)) for target, put in zip(targets, presigned, strict=True)
        }
        return json_response(UploadUrls(urls))

    async def put_blob(self, call: Call) -> web.Response:
        """The content streams into the store; nothing is visible there until all of it was verified."""
        services = self._services
        session = await self._session(call)
        target = _target(session, call.path["digest"])
        require_not_taken_down(services, services.site_of(call), (target.digest,))
        announced = call.request.content_length
        if announced is not None and announced != target.size_bytes:
            raise Unprocessable(
                f"The content has {announced} bytes, but {target.size_bytes} were announced for {target.digest}.",
                field="digest",
            )
        async with services.blobs.take(session.site_id):
            try:
                await services.store.put_stream(
                    target, pieces(call.request, target.size_bytes, services.settings.patience)
                )
            except DigestMismatch as error:
                raise Unprocessable(error.message, field="digest", details=(target.digest,)) from error
        session.proven[target.digest] = target.size_bytes
        services.proofs.add(session.site_id, target.digest, target.size_bytes)
        return json_response(BlobStored(target.digest, target.size_bytes), 201)

    async def _session(self, call: Call) -> UploadSession:
        site = self._services.site_of(call)
        return await self._services.uploads.get(site.id, call.path["upload_id"])


def _require_same(sizes: Mapping[str, int], announced: Mapping[str, int]) -> None:
    """Raises Unprocessable listing digests whose announced size is another than that of the proved content."""
    wrong = [digest for digest, size_bytes in sizes.items() if size_bytes != announced[digest]]
    if wrong:
        raise Unprocessable(
            "The announced size of some digests is not the size that this site uploaded under them.",
            field="blobs",
            details=tuple(f"{each}: has {sizes[each]} bytes, not {announced[each]}" for each in sorted(wrong)),
        )


def _target(session: UploadSession, digest: str) -> UploadTarget:
    return UploadTarget(blob_key(session.site_id, digest), digest, session.size_of(digest))
