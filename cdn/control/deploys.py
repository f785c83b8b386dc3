"""The *deploy* road on control's side: manifest, proofs, prepare, activate (DESIGN I4)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import msgspec

from cdn.control.alias_schema import SetAlias
from cdn.control.aliases import Aliases
from cdn.control.deploy_rules import with_rules
from cdn.control.schema import Unprepared
from cdn.control.services import Services
from cdn.control.upload_session import UploadSession
from cdn.control.uploads import HOLD_S
from cdn.errors import Conflict, Gone, InvalidInput, NotFound, Unprocessable
from cdn.journal.journal import Trimmed
from cdn.journal.record import Change, DeployActivated, DeployPrepared, Record, version_of
from cdn.origin.layout import manifest_key
from cdn.origin.store import ObjectMissing
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import Manifest, digest_of, iterate_blobs, load_manifest
from cdn.sites.rules.mode import RulesMode
from cdn.sites.site import Site

MAX_NAMED = 5
"""Files that were taken down which one sentence names."""

AS_IT_IS = SetAlias()
"""Nothing is said of the alias that was not said before."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A bundle on its way to become a deploy. `session` pins what was proved for it.

    `upload` names the session, which may be open at another replica only: who sends the same proposal for the same
    upload again, as it heard no answer, gets the deploy that there is. `manifest` has no rules: they are compiled from
    the bundle's files, read as `rules_mode` says (None: the site's). `commit` names what it was built from. `said` of
    the alias holds before anything of the deploy is reachable.
    """

    site: Site
    alias: str
    manifest: Manifest
    author: str
    message: str
    session: UploadSession | None = None
    upload: str | None = None
    commit: str = ""
    rules_mode: RulesMode | None = None
    said: SetAlias = AS_IT_IS


class _Recorded(Exception):
    """The deploy is in the journal already."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A deploy that was activated by `record`, and the nodes that had not prepared it by then. `warnings`: sentences
    about the bundle's rules, and what was left out."""

    deploy: Deploy
    alias: str
    record: Record
    unprepared: tuple[Unprepared, ...] = ()
    warnings: tuple[str, ...] = ()


class Deploys:
    """Creates deploys and points aliases at them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._aliases = Aliases(services)

    async def create(self, proposal: Proposal, actor: str) -> Activation:
        """Record the proposal as a deploy and activate it.

        When it returns, blobs, manifest and both records are durable. A proposal of an upload that comes again finds
        what it did. Two proposals that race are both recorded; the one whose activation comes later in the journal is
        what the alias answers from.
        Raises Unprocessable listing digests that the site has not proved, or every fault in the bundle's rules; Gone
        for content that was taken down; NotFound when the site is removed meanwhile; Conflict when the alias is locked,
        and when it comes again after another took its place; StoreUnavailable, JournalUnavailable.
        """
        blobs = dict(iterate_blobs(proposal.manifest))
        async with self._pinned(proposal, blobs):
            return await self._create(proposal, blobs, actor)

    def _pinned(self, proposal: Proposal, blobs: Mapping[str, int]) -> AbstractAsyncContextManager[None]:
        """What the proposal names is not swept from the store before the deploy names it: its session pins it, unless
        that ends before the deploy may be recorded."""
        session = proposal.session
        lasts = session is not None and session.expires_at - self._services.clock() > HOLD_S
        if session is not None and lasts and blobs.keys() <= session.blobs.keys():
            return contextlib.nullcontext()
        return self._services.uploads.held(proposal.site.id, blobs)

    async def _create(self, proposal: Proposal, blobs: Mapping[str, int], actor: str) -> Activation:
        services, site, alias = self._services, proposal.site, proposal.alias
        self._require_allowed(site, proposal.manifest)
        await self._require_proven(site.id, blobs, proposal.session)
        mode = proposal.rules_mode or site.settings.rules_mode
        ruled = await with_rules(services.store, site.id, proposal.manifest, mode)
        content, digest = await asyncio.to_thread(_encode, ruled.manifest)
        deploy_id = _deploy_id(proposal, digest)
        self._require_open(site, alias, deploy_id)
        await services.store.put(manifest_key(site.id, digest), content, if_absent=True)
        await self._aliases.make_ready(site, alias, proposal.said, actor)
        prepared, warnings = await self._recordable(_prepared(proposal, ruled.manifest, digest, deploy_id))
        with contextlib.suppress(_Recorded):
            await services.state.append(
                f"deploy/{site.id}/{deploy_id}", lambda: self._if_new(site, deploy_id, prepared), actor
            )
        deploy = self.find(site, deploy_id)
        unprepared = await self._wait_prepared(site, deploy)
        record = await self._activate_once(site, alias, deploy, actor)
        if proposal.upload is not None:
            services.uploads.close(site.id, proposal.upload)
        return Activation(deploy, alias, record, unprepared, (*ruled.warnings, *warnings))

    async def activate(self, site: Site, alias: str, deploy: Deploy, actor: str) -> Activation:
        """Point `alias` at a deploy of the past, or of another alias: nothing is uploaded.

        Raises Unprocessable listing what of it is no longer in the store; Gone for what was taken down since; Conflict
        when the alias is locked; else as `create`.
        """
        self._require_open(site, alias, deploy.id)
        manifest = await self.manifest(site, deploy)
        self._require_allowed(site, manifest)
        await self._require_proven(site.id, dict(iterate_blobs(manifest)), None)
        await self._aliases.make_ready(site, alias, AS_IT_IS, actor)
        return Activation(deploy, alias, await self._activate(site, alias, deploy, actor))

    async def roll_back(self, site: Site, alias: str, actor: str, to: str | None = None) -> Activation:
        """Activate the deploy `to`, or the one that was active before the active one.

        Raises NotFound, Conflict when there is none; else as `activate`.
        """
        self._require_active(site, alias)
        target = None if to is None else self.find(site, to)
        target = target or self._services.catalog.rollback_target(site.id, alias)
        if target is None:
            raise Conflict(f"There is no older deploy on the alias {alias!r} of {site.name!r} to go back to.")
        return await self.activate(site, alias, target, actor)

    async def roll_forward(self, site: Site, alias: str, actor: str) -> Activation:
        """Undo a rollback: activate the deploy that was active before it. Raises as `roll_back`."""
        self._require_active(site, alias)
        target = self._services.catalog.roll_forward_target(site.id, alias)
        if target is None:
            raise Conflict(
                f"There is no newer deploy on the alias {alias!r} of {site.name!r} that was active before: nothing was "
                "rolled back."
            )
        return await self.activate(site, alias, target, actor)

    async def manifest(self, site: Site, deploy: Deploy) -> Manifest:
        """What the deploy consists of. Raises Unprocessable when it is no longer in the store, StoreUnavailable."""
        try:
            content = await self._services.store.get(manifest_key(site.id, deploy.manifest_digest))
            return await asyncio.to_thread(_loaded, content, deploy.manifest_digest)
        except (ObjectMissing, InvalidInput) as error:
            raise Unprocessable(
                f"The manifest of deploy {deploy.id} is no longer in the store: deploy it again.",
                details=(f"{deploy.manifest_digest}: manifest missing",),
            ) from error

    def find(self, site: Site, deploy_id: str) -> Deploy:
        """Raises NotFound."""
        deploy = self._services.catalog.deploy(site.id, deploy_id)
        if deploy is None:
            raise NotFound(f"The site {site.name!r} has no deploy {deploy_id!r}.")
        return deploy

    def _require_active(self, site: Site, alias: str) -> None:
        state = self._services.catalog.alias(site.id, alias)
        if state is None or state.active is None:
            raise NotFound(f"Nothing is active on the alias {alias!r} of {site.name!r}.")

    def _require_open(self, site: Site, alias: str, deploy_id: str) -> None:
        """Raises Conflict when the alias is locked, unless the deploy is what it is locked at."""
        active = self._aliases.state(site, alias).active
        if active is None or active.id != deploy_id:
            self._aliases.require_unlocked(site, alias)

    def _require_allowed(self, site: Site, manifest: Manifest) -> None:
        """Raises Gone when content of it was taken down."""
        takedowns = self._services.takedowns
        if takedowns.is_empty:
            return
        found = [path for path, entry in manifest.files.items() if takedowns.of(site.id, entry.digest) is not None]
        if found:
            more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
            raise Gone(
                f"The content of {', '.join(found[:MAX_NAMED])}{more} was taken down, so no deploy of {site.name!r} "
                "may have it: leave it out."
            )

    async def _recordable(self, prepared: DeployPrepared) -> tuple[DeployPrepared, tuple[str, ...]]:
        """The record as everybody who reads it understands it: a deploy does not wait for the last node's upgrade to
        say what it was built from."""
        if not prepared.commit or version_of(msgspec.structs.replace(prepared, commit="")) == version_of(prepared):
            return prepared, ()
        try:
            await self._services.state.require_understood(version_of(prepared))
        except Conflict as error:
            said = f"the commit was not recorded: {error.message}"
            return msgspec.structs.replace(prepared, commit=""), (said,)
        return prepared, ()

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
        record = await services.state.append(f"alias/{site.id}/{alias}", lambda: self._if_open(site, change), actor)
        state = services.catalog.alias(site.id, alias)
        if state is None or state.activated_sequence < record.sequence:
            raise NotFound(f"The site {site.name!r} or its deploy {deploy.id} was removed meanwhile.")
        if services.precompression is not None:
            services.precompression.want(site.id, deploy.manifest_digest)
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

    def _if_open(self, site: Site, change: DeployActivated) -> Change:
        self._require_open(site, change.alias, change.deploy_id)
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


def _prepared(proposal: Proposal, manifest: Manifest, digest: str, deploy_id: str) -> DeployPrepared:
    return DeployPrepared(
        site_id=proposal.site.id,
        deploy_id=deploy_id,
        alias=proposal.alias,
        manifest_digest=digest,
        file_count=len(manifest.files),
        size_bytes=manifest.total_bytes,
        author=proposal.author,
        message=proposal.message,
        commit=proposal.commit,
        manifest_version=manifest.version,
    )


def _loaded(content: bytes, digest: str) -> Manifest:
    """Raises InvalidInput when the store gives something else than was put there."""
    if digest_of(content) != digest:
        raise InvalidInput("the manifest is damaged")
    return load_manifest(content)


def _encode(manifest: Manifest) -> tuple[bytes, str]:
    content = manifest.to_bytes()
    return content, digest_of(content)
