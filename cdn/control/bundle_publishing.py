"""What the deploy dialects have in common: files by path, as they stand in the store, become an activated deploy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from cdn.control.alias_schema import SetAlias
from cdn.control.deploys import AS_IT_IS, Activation, Deploys, Proposal
from cdn.control.schema import ReceiptView
from cdn.control.services import Services
from cdn.errors import InvalidInput
from cdn.sites.manifest import BundleLimits, FileEntry, Manifest, parse_manifest
from cdn.sites.name import check_pair
from cdn.sites.rules.mode import RulesMode
from cdn.sites.site import Site

SMALL_FILES = 1000
"""Files of a bundle that needs no turn: some megabytes while it is worked on."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything of a deploy. `upload` names what its sender does, so that doing it again makes no second deploy ("": a
    second time makes another). `mode`: whose reading of rule files counts, that of the vendor whose client sent them.
    `expires_s`: how long the alias answers, None: as it does.
    """

    site: Site
    alias: str
    files: Mapping[str, FileEntry]
    author: str
    message: str
    commit: str
    upload: str
    mode: RulesMode
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A deploy that is activated, and what nodes have done with that."""

    activation: Activation
    receipt: ReceiptView


class BundlePublishing:
    """Makes deploys of bundles."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._deploys = Deploys(services)

    async def publish(self, bundle: Bundle, actor: str, wait_s: float) -> Published:
        """Record and activate it, and wait so long for all nodes.

        Raises InvalidInput for paths that cannot be, Unavailable when too many large ones wait, and as
        `Deploys.create`.
        """
        check_pair(bundle.alias, bundle.site.name)
        async with self._room_for(bundle):
            activation = await self._activated(bundle, actor)
        return Published(activation, await self._services.receipt(activation.record, wait_s))

    async def _activated(self, bundle: Bundle, actor: str) -> Activation:
        manifest = await asyncio.to_thread(_manifest_of, bundle.files, self._services.settings.bundle)
        proposal = Proposal(
            bundle.site,
            bundle.alias,
            manifest,
            author=bundle.author,
            message=bundle.message,
            upload=bundle.upload or None,
            commit=bundle.commit,
            rules_mode=bundle.mode,
            said=AS_IT_IS if bundle.expires_s is None else SetAlias(expires_s=bundle.expires_s),
        )
        return await self._deploys.create(proposal, actor)

    def _room_for(self, bundle: Bundle) -> AbstractAsyncContextManager[None]:
        """A turn for a large one, as `Services.room_for_manifest` has it for those that come by the native API."""
        return nullcontext() if len(bundle.files) <= SMALL_FILES else self._services.manifests.take(bundle.site.id)


def _manifest_of(files: Mapping[str, FileEntry], limits: BundleLimits) -> Manifest:
    if not files:
        raise InvalidInput("The deploy has no files.")
    document = {path: _entry_of(entry) for path, entry in files.items()}
    return parse_manifest({"version": 1, "files": document}, limits).prepare()


def _entry_of(entry: FileEntry) -> Mapping[str, object]:
    chunks = {"chunks": entry.chunk_digests} if entry.chunk_digests else {}
    return {"digest": entry.digest, "size_bytes": entry.size_bytes, **chunks}
