"""Everything of a node that serves pull sites, put together."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from cdn.edge.clocks import Clocks
from cdn.edge.counters import NodeCounters
from cdn.edge.disk_tier import DiskTier
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.pull_assembly import PullAssembly
from cdn.edge.pull_coder import PullCoder
from cdn.edge.pull_explain import PullExplainer
from cdn.edge.pull_fetch import PullFetcher, Shielding
from cdn.edge.pull_flight import Flights
from cdn.edge.pull_invalidation import PullInvalidation
from cdn.edge.pull_marks import GroupMarks
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_renewal import PullRenewal
from cdn.edge.pull_response import PullResponder
from cdn.edge.pull_road import PullRoad
from cdn.edge.pull_shelf import PullShelf
from cdn.edge.settings import EdgeSettings
from cdn.edge.shield_news import ShieldNews
from cdn.edge.site_view import SiteView
from cdn.edge.stored import ResidenceClock
from cdn.origin.outbound import OutboundRule
from cdn.origin.upstreams import Upstreams


class Pull:
    """The road of pull sites, and what it stands on. Raises InvalidInput when the settings cannot be used."""

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        disk: DiskTier,
        view: SiteView,
        prepared: MemoryTier[Prepared],
        counters: NodeCounters,
        clocks: Clocks,
        residence: ResidenceClock,
        is_attached: Callable[[], bool],
        lease_left_s: Callable[[], float] = lambda: inf,
        swept_through: Callable[[str], int] = lambda site_id: 0,
    ) -> None:
        """`swept_through`: see `SweptFloors.through`."""
        rule = OutboundRule(settings.allows_private_upstreams, settings.allowed_upstream_networks)
        self.upstreams = Upstreams(
            rule,
            s3_endpoint=settings.s3_endpoint,
            own_bucket=settings.own_bucket,
            extra_ca_file=settings.extra_ca_file,
        )
        self._clocks = clocks
        self.flights = Flights()
        self._marks = GroupMarks()
        self.memory = PullMemory(prepared)
        self.shelf = PullShelf(disk, view, self._marks, residence)
        self._news: ShieldNews | None = None
        self._invalidation = PullInvalidation(
            disk, self.flights, self._marks, self.memory, view, on_obsolete=self._note_obsolete
        )
        assembly = PullAssembly(disk, self.shelf)
        renewal = PullRenewal(
            disk=disk,
            shelf=self.shelf,
            assembly=assembly,
            memory=self.memory,
            view=view,
            residence_wall=residence.wall,
        )
        self.fetcher = PullFetcher(
            upstreams=self.upstreams,
            disk=disk,
            view=view,
            shelf=self.shelf,
            flights=self.flights,
            marks=self._marks,
            memory=self.memory,
            invalidation=self._invalidation,
            renewal=renewal,
            assembly=assembly,
            clocks=clocks,
            residence=residence,
            max_stored_bytes=settings.max_stored_bytes,
            is_attached=is_attached,
            swept_through=swept_through,
        )
        self._coder = PullCoder(disk, self.shelf)
        responder = PullResponder(
            cache_name=settings.cache_name,
            node_id=settings.node_id,
            disk=disk,
            shelf=self.shelf,
            coder=self._coder,
            memory=self.memory,
            view=view,
            clocks=clocks,
            is_attached=is_attached,
            lease_left_s=lease_left_s,
            max_in_memory_bytes=settings.max_in_memory_bytes,
        )
        self.road = PullRoad(
            cache_name=settings.cache_name,
            cdn_id=settings.zone,
            view=view,
            shelf=self.shelf,
            flights=self.flights,
            fetcher=self.fetcher,
            responder=responder,
            memory=self.memory,
            counters=counters,
            clocks=clocks,
            is_attached=is_attached,
        )

        self.explainer = PullExplainer(
            shelf=self.shelf,
            disk=disk,
            flights=self.flights,
            clocks=clocks,
            cdn_id=settings.zone,
            last_faults=self.road.last_faults,
        )

    def shield_with(self, shielding: Shielding, news: ShieldNews) -> None:
        """Ask other nodes before upstreams; `news` is told what they may hold that is obsolete."""
        self.fetcher.shielding = shielding
        self._news = news

    def _note_obsolete(self, site_id: str, path: str | None) -> None:
        if self._news is None:
            return
        if path is None:
            self._news.site_changed(site_id, self._clocks.monotonic())
        else:
            self._news.key_changed((site_id, path), self._clocks.monotonic())

    def counted(self) -> dict[str, int]:
        """What upstreams gave, and why what they gave was not stored."""
        return {
            "upstream_fetches": len(self.flights),
            "upstream_connections": self.upstreams.open_connections,
            "arriving_bytes": self.fetcher.budget.held_bytes,
            **{f"not_stored_{reason}": count for reason, count in self.fetcher.not_stored.items()},
            **{f"upstream_{fault}": count for fault, count in self.fetcher.faults.items()},
        }

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        self.memory.drop_site(site_id)
        self.road.last_faults.pop(site_id, None)
        self._marks.drop_site(site_id)

    async def aclose(self) -> None:
        """End what is under way and close every connection to an upstream."""
        await self.road.aclose()
        await self._invalidation.aclose()
        await self._coder.aclose()
        await self.fetcher.aclose()
        await self.upstreams.aclose()
