"""The files of former deploys that an alias still answers for (DESIGN I4), gathered once per state of the alias."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from cdn.edge.manifest_cache import ManifestCache
from cdn.sites.deploy import AliasState
from cdn.sites.manifest import FileEntry
from cdn.sites.route import retained_files
from cdn.sites.site import Site

MAX_ALIASES = 4_096
"""Aliases whose gathered files stay in memory; the rest are gathered again when asked for."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    state: AliasState
    keep: tuple[str, ...]
    valid_until: float
    files: Mapping[str, FileEntry]


class RetainedFiles:
    """Answers "which retained file has this path" with the manifests of former deploys."""

    def __init__(self, manifests: ManifestCache) -> None:
        self._manifests = manifests
        self._gathered: OrderedDict[tuple[str, str], _Gathered] = OrderedDict()

    async def of(self, site: Site, alias: str, state: AliasState, now: float) -> Mapping[str, FileEntry]:
        """Files by path, `now` being wall time. Raises ManifestUnavailable."""
        key = (site.id, alias)
        gathered = self._gathered.get(key)
        if (
            gathered is None
            or gathered.state is not state
            or gathered.keep != site.settings.keep
            or now >= gathered.valid_until
        ):
            gathered = await self._gather(site, state, now)
            self._gathered[key] = gathered
            while len(self._gathered) > MAX_ALIASES:
                self._gathered.popitem(last=False)
        return gathered.files

    async def _gather(self, site: Site, state: AliasState, now: float) -> _Gathered:
        manifests = [await self._manifests.load(site.id, deploy.manifest_digest) for deploy in state.reachable(now)]
        return _Gathered(
            state,
            site.settings.keep,
            state.reachable_until(now),
            retained_files(manifests, site.settings.keep),
        )
