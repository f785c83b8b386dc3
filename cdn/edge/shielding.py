"""Everything of a node that asks shields, or is one, put together."""

from __future__ import annotations

from collections.abc import Mapping

from cdn.edge.clocks import Clocks
from cdn.edge.disk_tier import DiskTier
from cdn.edge.fetch import ChunkFetcher
from cdn.edge.kept_roll import KeptRoll
from cdn.edge.manifest_cache import ManifestCache
from cdn.edge.peer_application import PeerApplication
from cdn.edge.peer_chunks import PeerChunks
from cdn.edge.peer_listener import PeerListener
from cdn.edge.pull import Pull
from cdn.edge.settings import EdgeSettings
from cdn.edge.shield import Shields
from cdn.edge.shield_blobs import ShieldBlobs
from cdn.edge.shield_news import ShieldNews
from cdn.edge.shield_upstream import ShieldedUpstreams
from cdn.edge.site_view import SiteView
from cdn.edge.stored import ResidenceClock
from cdn.fleet.eligibility import eligible
from cdn.fleet.node import NodeFacts


class Shielding:
    """Puts shields before the upstreams and the store of a node, and answers other nodes where it is one itself.

    `facts` are the node's own. Raises InvalidInput when the settings' files cannot be used.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        view: SiteView,
        pull: Pull,
        fetcher: ChunkFetcher,
        manifests: ManifestCache,
        disk: DiskTier,
        clocks: Clocks,
        residence: ResidenceClock,
        facts: NodeFacts,
    ) -> None:
        self.kept_roll = KeptRoll(settings.peers_path)
        """Who may ask this node."""
        self._settings = settings
        self._clocks = clocks
        self._listener: PeerListener | None = None
        self._shields = Shields(
            settings.shield,
            node_id=settings.node_id,
            token=settings.token,
            position=lambda: view.position,
            clocks=clocks,
            own_url=settings.peers.url,
        )
        self._chunks = PeerChunks(view, disk, fetcher, lambda: residence.wall(clocks.monotonic()))
        self._application = PeerApplication(
            node_id=settings.node_id,
            view=view,
            road=pull.road,
            chunks=self._chunks,
            manifests=manifests,
            facts=facts,
            roll=lambda: self.kept_roll.roll,
            clocks=clocks,
        )
        own = self._chunks if settings.peers.is_on else None
        fetcher.near = own
        self._blobs: ShieldBlobs | None = None
        if not self._shields.has_any:
            return
        news = ShieldNews()
        pull.shield_with(ShieldedUpstreams(self._shields, news, clocks), news)

        def may_ask(site_id: str) -> bool:
            site = view.catalog.site(site_id)
            return site is not None and eligible(NodeFacts("", settings.shield.region), site)

        self._blobs = ShieldBlobs(self._shields, position=lambda: view.position, may_ask=may_ask, own=own)
        fetcher.near = self._blobs
        manifests.near = self._blobs.manifest

    @property
    def port(self) -> int | None:
        """Where other nodes connect; None: nowhere."""
        return None if self._listener is None else self._listener.port

    async def start(self) -> None:
        """Listen for other nodes, where the settings say so. Raises Conflict, InvalidInput."""
        if self._settings.peers.is_on:
            self._listener = await PeerListener.start(
                self._settings.peers, self._application, self._settings.limits, self._clocks
            )

    def counted(self) -> Mapping[str, int]:
        """What was asked of shields, and what others asked of this one."""
        return {
            **(self._shields.counted() if self._shields.has_any else {}),
            **({} if self._blobs is None else {"shield_damaged": self._blobs.damaged}),
            **({} if self._listener is None else self._listener.counted()),
        }

    def withdraw(self) -> None:
        """From now on other nodes are sent past this one."""
        if self._listener is not None:
            self._listener.withdraw()

    async def drain(self, timeout_s: float) -> None:
        """Answer what other nodes asked for, then close."""
        if self._listener is not None:
            await self._listener.drain(timeout_s)

    async def aclose(self) -> None:
        """End everything that is under way between nodes."""
        if self._listener is not None:
            await self._listener.aclose()
        await self._shields.aclose()
        await self._chunks.aclose()
