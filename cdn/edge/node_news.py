"""What a node does about records: manifests are loaded, floors swept behind, what may not be held any more goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, assert_never

from cdn.edge.counters import NodeCounters
from cdn.edge.manifest_cache import ManifestCache, ManifestUnavailable
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.pipeline import Pipeline
from cdn.edge.prepared import Prepared
from cdn.edge.pull import Pull
from cdn.edge.reclaim import Reclaim
from cdn.edge.site_view import ContentTakenDown, FloorsRose, News, SiteGone, SiteView, ToPrepare
from cdn.edge.swept_floors import SweptFloors
from cdn.edge.takedown_eraser import TakedownEraser
from cdn.edge.variants_cache import VariantsCache
from cdn.fleet.eligibility import eligible
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.follower import Follower

PREPARE_RETRY_S = 1.0
"""Between two attempts at a manifest that could not be had; control was told of the first failure."""


class NodeParts(Protocol):
    """What of a node is told."""

    view: SiteView
    prepared: MemoryTier[Prepared]
    pipeline: Pipeline
    pull: Pull
    swept: SweptFloors
    reclaim: Reclaim
    eraser: TakedownEraser
    manifests: ManifestCache
    variants: VariantsCache
    counters: NodeCounters

    @property
    def follower(self) -> Follower: ...


class NodeNews:
    """One per node."""

    def __init__(
        self, node: NodeParts, *, facts: NodeFacts, spawn: Callable[[Any, str], None], max_concurrent_preparations: int
    ) -> None:
        """`spawn` runs a coroutine beside, under a name, until the node stops."""
        self._node = node
        self._facts = facts
        self._spawn = spawn
        self._turns = asyncio.Semaphore(max_concurrent_preparations)

    def act_on(self, news: News) -> None:
        """Called synchronously with each record's consequences: what takes time is begun, and goes on beside."""
        match news:
            case ToPrepare():
                self._spawn(self._prepare(news), f"prepare {news.deploy_id}")
            case FloorsRose() if self._may_have(news.site_id):
                self._node.reclaim.floors_rose(news.site_id)
            case FloorsRose():
                self._drop_site(news.site_id, self._node.view.position)
            case SiteGone():
                self._drop_site(news.site_id, news.through)
            case ContentTakenDown():
                self._node.eraser.look()
            case _:
                assert_never(news)

    def _may_have(self, site_id: str) -> bool:
        """Whether the node may hold the site's bytes (DESIGN I12)."""
        site = self._node.view.catalog.site(site_id)
        return site is not None and eligible(self._facts, site)

    def _drop_site(self, site_id: str, through: Position) -> None:
        """Everything the node holds of a site goes."""
        self._node.prepared.drop_site(site_id)
        self._node.pipeline.hints.drop_site(site_id)
        self._node.pull.drop_site(site_id)
        self._node.swept.drop_site(site_id)
        self._node.reclaim.site_removed(site_id, through)
        self._spawn(self._node.manifests.drop_site(site_id), f"drop {site_id}")
        self._spawn(self._node.variants.drop_site(site_id), f"drop lists of {site_id}")

    async def _prepare(self, news: ToPrepare) -> None:
        """Load the manifest and say so; while it cannot be had, say that and go on trying as long as it matters.

        A node that may not have the site has nothing to load, and nobody waits for it.
        """
        if not self._may_have(news.site_id):
            self._node.follower.report_prepared(news.site_id, news.deploy_id)
            return
        while any(deploy.id == news.deploy_id for deploy in self._node.view.catalog.preparing(news.site_id)):
            try:
                async with self._turns:
                    await self._node.manifests.load(news.site_id, news.manifest_digest)
            except ManifestUnavailable as exc:
                self._node.counters.prepare_failed += 1
                self._node.follower.report_prepared(news.site_id, news.deploy_id, str(exc))
                await asyncio.sleep(PREPARE_RETRY_S)
            else:
                self._node.follower.report_prepared(news.site_id, news.deploy_id)
                return
