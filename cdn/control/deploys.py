"""The *deploy* road on control's side: manifest, proofs, prepare, activate (DESIGN I4)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cdn.control.schema import Unprepared
from cdn.control.services import Services
from cdn.control.upload_session import UploadSession
from cdn.errors import NotFound, Unprocessable
from cdn.journal.record import Change, DeployActivated, DeployPrepared, Record
from cdn.origin.layout import manifest_key
from cdn.origin.store import ObjectMissing
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import Manifest, digest_of, iterate_blobs, parse_manifest
from cdn.sites.site import Site


@dataclass(frozen=True, slots=True)
class Proposal:
    """A bundle on its way to become a deploy. `session` pins what was proved for it."""

    site: Site
    alias: str
    manifest: Manifest
    author: str
    message: str
    session: UploadSession | None = None


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

        When it returns, blobs, manifest and both records are durable. Two proposals that race are both recorded; the
        one whose activation comes later in the journal is what the alias answers from.
        Raises Unprocessable listing digests that the site has not proved; NotFound when the site is removed
        meanwhile; StoreUnavailable, JournalUnavailable.
        """
        services, site = self._services, proposal.site
        await self._require_proven(site.id, dict(iterate_blobs(proposal.manifest)), proposal.session)
        content, digest = await asyncio.to_thread(_encode, proposal.manifest)
        await services.store.put(manifest_key(site.id, digest), content, if_absent=True)
        deploy_id = secrets.token_hex(8)
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
        await services.state.append(f"deploy/{site.id}/{deploy_id}", lambda: self._if_site(site, prepared), actor)
        deploy = self.find(site, deploy_id)
        unprepared = await self._wait_prepared(site, deploy)
        record = await self._activate(site, proposal.alias, deploy, actor)
        if proposal.session is not None:
            services.sessions.close(proposal.session.id)
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

    def _if_site(self, site: Site, change: Change) -> Change:
        if self._services.catalog.site(site.id) is None:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")
        return change


def _encode(manifest: Manifest) -> tuple[bytes, str]:
    content = manifest.to_bytes()
    return content, digest_of(content)
