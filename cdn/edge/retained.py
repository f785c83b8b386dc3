"""The files of former deploys that an alias still answers for (DESIGN I4), gathered once per state of the alias."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cdn.edge.collapse import Shared
from cdn.edge.manifest_cache import ManifestCache
from cdn.sites.deploy import AliasState
from cdn.sites.manifest import FileEntry
from cdn.sites.route import MAX_RETAINED_FILES, add_retained
from cdn.sites.rules.rule_set import NO_RULES, RuleSet
from cdn.sites.site import Site

MAX_ALIASES = 4_096
"""Aliases whose gathered files stay in memory; the rest are gathered again when asked for."""

MAX_CHUNKS_IN_MEMORY = 1_000_000
"""Chunks of all gathered files together, one at least for each: they outlive the manifests they came from."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    state: AliasState
    keep: tuple[str, ...]
    valid_until: float
    files: Mapping[str, FileEntry]
    chunk_count: int


class RetainedFiles:
    """Answers "which retained file has this path" with the manifests of former deploys."""

    def __init__(self, manifests: ManifestCache) -> None:
        self._manifests = manifests
        self._gathered: OrderedDict[tuple[str, str], _Gathered] = OrderedDict()
        self._gathering: Shared[tuple[str, str, int, tuple[str, ...]], _Gathered] = Shared()
        self._chunks = 0

    async def of(
        self, site: Site, alias: str, state: AliasState, now: float, rules: RuleSet = NO_RULES
    ) -> Mapping[str, FileEntry]:
        """Files by path, `now` being wall time and `rules` those of the active deploy. Raises ManifestUnavailable."""
        key, keep = (site.id, alias), (*site.settings.keep, *rules.keep)
        gathered = self._gathered.get(key)
        if gathered is None or gathered.state is not state or gathered.keep != keep or now >= gathered.valid_until:
            # The running call holds the state, so no other one can have its id meanwhile.
            call = (site.id, alias, id(state), keep)
            gathered = await self._gathering.join(call, lambda: self._gather(site, alias, state, now, rules))
        else:
            self._gathered.move_to_end(key)
        return gathered.files

    async def _gather(self, site: Site, alias: str, state: AliasState, now: float, rules: RuleSet) -> _Gathered:
        files: dict[str, FileEntry] = {}
        keep, ruled = (*site.settings.keep, *rules.keep), _shortened(state, site.settings.retention_s, rules)
        # One manifest after the other: all of them together may be far more than the cache's bound.
        for deploy in ruled.reachable(now):
            manifest = await self._manifests.load(site.id, deploy.manifest_digest)
            await asyncio.to_thread(add_retained, files, manifest, keep, rules.access)
            if len(files) >= MAX_RETAINED_FILES:
                break
        chunk_count = sum(entry.chunk_count for entry in files.values())
        gathered = _Gathered(state, keep, ruled.reachable_until(now), files, chunk_count)
        self._keep((site.id, alias), gathered)
        return gathered

    def _keep(self, key: tuple[str, str], gathered: _Gathered) -> None:
        former = self._gathered.pop(key, None)
        self._chunks += gathered.chunk_count - (former.chunk_count if former is not None else 0)
        self._gathered[key] = gathered
        while len(self._gathered) > MAX_ALIASES or (self._chunks > MAX_CHUNKS_IN_MEMORY and len(self._gathered) > 1):
            _, dropped = self._gathered.popitem(last=False)
            self._chunks -= dropped.chunk_count


def _shortened(state: AliasState, retention_s: float, rules: RuleSet) -> AliasState:
    """The state, where the active deploy wants its predecessors' files reachable for less time than the site does."""
    if rules.retention_s is None or rules.retention_s >= retention_s:
        return state
    less_s = retention_s - rules.retention_s
    return replace(state, retained=tuple(replace(one, until=one.until - less_s) for one in state.retained))
