"""The *deploy* road on control's side: manifest, proofs, prepare, activate (DESIGN I4)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from cdn.control.schema import Unprepared
from cdn.control.services import Services
from cdn.control.upload_session import UploadSession
from cdn.errors import Conflict, NotFound, Unprocessable
from cdn.journal.journal import Trimmed
from cdn.journal.record import Change, DeployActivated, DeployPrepared, Record
from cdn.origin.layout import manifest_key
from cdn.origin.store import ObjectMissing
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import Manifest, digest_of, iterate_blobs, parse_manifest
from cdn.sites.site import Site


@dataclass(frozen=True, slots=True)
class Proposal:
    """A bundle on its way to become a deploy. `session` pins what was proved for it.

    `upload` names the session, which may be open at another replica only: who sends the same proposal for the same
    upload again, as it heard no answer, gets the deploy that there is.
    """

    site: Site
    alias: str
    manifest: Manifest
    author: str
    message: str
    session: UploadSession | None = None
    upload: str | None = None


class _Recorded(Exception):
    """The deploy is in the journal already."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A deploy that was activated by `record`, and the nodes that had not prepared it by then."""

    deploy: Deploy
    alias: str
    record: Record
    unprepared: tuple[Unprepared, ...]


class Deploys:
    """Creates deploys and points aliases at them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, proposal: Proposal, actor: str) -> Activation:
        """Record the proposal as a deploy and activate it.

        When it returns, blobs, manifest and both records are durable. A proposal of an upload that comes again finds
        what it did. Two proposals that race are both recorded; the
        one whose activation comes later in the journal is what the alias answers from.
        Raises Unprocessable listing digests that the site has not proved; NotFound when the site is removed
        meanwhile; Conflict when it comes again after another took its place; StoreUnavailable, JournalUnavailable.
        """
        blobs = dict(iterate_blobs(proposal.manifest))
        async with self._pinned(proposal, blobs):
            return await self._create(proposal, blobs, actor)

    def _pinned(self, proposal: Proposal, blobs: Mapping[str, int]) -> AbstractAsyncContextManager[None]:
        """What the proposal names is not swept from the store before the deploy names it."""
        if proposal.session is not None and blobs.keys() <= proposal.session.blobs.keys():
            return contextlib.nullcontext()
        return self._services.uploads.held(proposal.site.id, blobs)

    async def _create(self, proposal: Proposal, blobs: Mapping[str, int], actor: str) -> Activation:
        services, site = self._services, proposal.site
        await self._require_proven(site.id, blobs, proposal.session)
        content, digest = await asyncio.to_thread(_encode, proposal.manifest)
        await services.store.put(manifest_key(site.id, digest), content, if_absent=True)
        deploy_id = _deploy_id(proposal, digest)
        prepared = DeployPrepared(
            site_id=site.id,
            deploy_id=deploy_id,
            alias=proposal.alias,
            manifest_digest=digest,
            file_count=len(proposal.manifest.files),
            size_bytes=proposal.manifest.total_bytes,
            author=proposal.author,
            message=proposal.message,
        )
        with contextlib.suppress(_Recorded):
            await services.state.append(
                f"deploy/{site.id}/{deploy_id}", lambda: self._if_new(site, deploy_id, prepared), actor
            )
        deploy = self.find(site, deploy_id)
        unprepared = await self._wait_prepared(site, deploy)
        record = await self._activate_once(site, proposal.alias, deploy, actor)
        if proposal.upload is not None:
            services.uploads.close(site.id, proposal.upload)
        return Activation(deploy, proposal.alias, record, unprepared)

    async def activate(self, site: Site, alias: str, deploy: Deploy, actor: str) -> Activation:
        """Point `alias` at a deploy of the past.

        Raises Unprocessable listing what of it is no longer in the store; else as `create`.
        """
        key = manifest_key(site.id, deploy.manifest_digest)
        try:
            content = await self._services.store.get(key)
        except ObjectMissing as error:
            raise Unprocessable(
                f"The manifest of deploy {deploy.id} is no longer in the store: deploy it again.",
                details=(f"{deploy.manifest_digest}: manifest missing",),
            ) from error
        manifest = await asyncio.to_thread(parse_manifest, content, self._services.settings.bundle)
        await self._require_proven(site.id, dict(iterate_blobs(manifest)), None)
        return Activation(deploy, alias, await self._activate(site, alias, deploy, actor), ())

    def find(self, site: Site, deploy_id: str) -> Deploy:
        """Raises NotFound."""
        deploy = self._services.catalog.deploy(site.id, deploy_id)
        if deploy is None:
            raise NotFound(f"The site {site.name!r} has no deploy {deploy_id!r}.")
        return deploy

    async def _require_proven(self, site_id: str, needed: Mapping[str, int], session: UploadSession | None) -> None:
        pinned = session.proven if session is not None else {}
        unknown = needed.keys() - pinned.keys()
        sizes = await self._services.proofs.sizes(site_id, unknown) if unknown else {}
        faults = []
        for digest, size_bytes in needed.items():
            proven_bytes = pinned.get(digest, sizes.get(digest))
            if proven_bytes is None:
                faults.append(f"{digest}: not uploaded to this site")
            elif proven_bytes != size_bytes:
                faults.append(f"{digest}: has {proven_bytes} bytes, the manifest says {size_bytes}")
        if faults:
            raise Unprocessable(
                f"{len(faults)} of the {len(needed)} digests in the manifest are not what this site has uploaded: "
                "upload them first.",
                field="manifest",
                details=tuple(faults),
            )

    async def _wait_prepared(self, site: Site, deploy: Deploy) -> tuple[Unprepared, ...]:
        outcome = await self._services.directory.wait_prepared(site.id, deploy.id, site.settings.prepare_timeout_s)
        failed = [Unprepared(node, reason) for node, reason in outcome.failed.items()]
        sentence = f"not prepared after {site.settings.prepare_timeout_s:g} s"
        late = [Unprepared(node, sentence) for node in outcome.late]
        return (*failed, *late)

    async def _activate(self, site: Site, alias: str, deploy: Deploy, actor: str) -> Record:
        change = DeployActivated(site_id=site.id, alias=alias, deploy_id=deploy.id)
        services = self._services
        record = await services.state.append(f"alias/{site.id}/{alias}", lambda: self._if_site(site, change), actor)
        state = services.catalog.alias(site.id, alias)
        if state is None or state.activated_sequence < record.sequence:
            raise NotFound(f"The site {site.name!r} or its deploy {deploy.id} was removed meanwhile.")
        return record

    async def _activate_once(self, site: Site, alias: str, deploy: Deploy, actor: str) -> Record:
        """Activate a deploy that is new; one whose sender asks again may be active already.

        Raises Conflict when it was, and another took its place since.
        """
        state = self._services.catalog.alias(site.id, alias)
        if state is not None and state.active is not None and deploy.id in state.former:
            raise Conflict(
                f"Deploy {deploy.id} was activated on {alias!r}, and deploy {state.active.id} has replaced it since."
            )
        if state is None or state.active is None or state.active.id != deploy.id:
            return await self._activate(site, alias, deploy, actor)
        found = await self._services.state.journal.read(state.activated_sequence - 1, limit=1)
        if isinstance(found, Trimmed) or not found:
            return await self._activate(site, alias, deploy, actor)
        return found[0]

    def _if_new(self, site: Site, deploy_id: str, change: Change) -> Change:
        if self._services.catalog.deploy(site.id, deploy_id) is not None:
            raise _Recorded
        return self._if_site(site, change)

    def _if_site(self, site: Site, change: Change) -> Change:
        if self._services.catalog.site(site.id) is None:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")
        return change


def _deploy_id(proposal: Proposal, manifest_digest: str) -> str:
    """The same for the same proposal of the same upload, so that repeating it makes no second deploy."""
    if proposal.upload is None:
        return secrets.token_hex(8)
    named = (proposal.site.id, proposal.upload, proposal.alias, manifest_digest)
    return hashlib.sha256("\0".join(named).encode()).hexdigest()[:16]


def _encode(manifest: Manifest) -> tuple[bytes, str]:
    content = manifest.to_bytes()
    return content, digest_of(content)
