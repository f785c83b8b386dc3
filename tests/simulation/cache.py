"""A node's stored responses of pull sites, and the requests that bring them: I1 as plainly as it can be written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdn.edge.pull_key import pull_key
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.http.decide import Forwarded, Required, Serve, ServeStale, StoredFacts, Validate, decide
from cdn.http.request import Request
from cdn.sites.site import Site

if TYPE_CHECKING:
    from tests.simulation.node import Life

TAGS = {"/a": ("news",), "/b": ()}
LIFETIME_S = 3600.0
SHORT_LIFETIME_S = 2.0
"""Of the site whose owner publishes without purging."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got. `value` is a deploy's id or an upstream's version; None: an error, or no such site.

    `is_stale`: it says itself that it is. `by_pointer`: the store was read for it, at most a second ago.
    """

    value: str | int | None
    is_stale: bool = False
    by_pointer: bool = False
    had_lease: bool = False
    settings_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored response. `version` is its validator too."""

    version: int
    admitted: Position
    validated_at: float  # wall seconds of the ResidenceClock


@dataclass(frozen=True, slots=True)
class Held:
    """A version, and how old it is."""

    version: int
    age_s: float


class PullCache:
    """One process's look at the node's shelf."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._shelf = life.node.shelf
        self._behind: set[tuple[str, str]] = set()
        self._horizons: dict[str, int] = {}

    async def answer(self, site: Site, path: str, request: Request) -> Answer:
        """Raises Unavailable."""
        life = self._life
        generation, mark = life.view.runtime(site.id).generation, life.memory.mark()
        kept = self._shelf.get((site.id, path))
        now = life.clocks.monotonic()
        decision = decide(self._facts(site, kept, now), self._required(site, path), now)
        match decision:
            case Serve(age_s) if kept is not None:
                prepared = life.prepare(site, generation, kept.version, now + lifetime_s(site) - age_s)
                life.memory.put(pull_key(site, request), (), False, request.fields, prepared, mark)
                return Answer(kept.version)
            case ServeStale() if kept is not None:
                if (site.id, path) not in self._behind:
                    self._behind.add((site.id, path))
                    life.node.loop.start(life.machine, self._validate_behind(site, path, request, kept))
                return Answer(kept.version, is_stale=True)
            case Validate(may_serve_stale_on_error=may_serve_stale) if kept is not None:
                try:
                    return Answer((await self._fetch(site, path, request, kept)).version)
                except Unavailable:
                    if not may_serve_stale or self._is_below_hard(site, path, kept.admitted):
                        raise
                    return Answer(kept.version, is_stale=True)
            case _:
                assert isinstance(decision, Forwarded)
                return Answer((await self._fetch(site, path, request, None)).version)

    async def answer_peer(self, site: Site, path: str, request: Request) -> Held:
        """What another node is told: nothing stale, and nothing that this one asked a third for. Raises Unavailable."""
        kept = self._shelf.get((site.id, path))
        now = self._life.clocks.monotonic()
        match decide(self._facts(site, kept, now), self._required(site, path), now):
            case Serve(age_s) if kept is not None:
                return Held(kept.version, age_s)
            case Forwarded():
                return await self._fetch(site, path, request, None, is_direct=True)
            case _:
                return await self._fetch(site, path, request, kept, is_direct=True)

    def reclaim(self, site_id: str) -> None:
        """Remove what floors forbid; what was asked for before that is not kept any more."""
        view = self._life.view
        self._horizons[site_id] = view.position.sequence
        for key, kept in list(self._shelf.items()):
            if key[0] == site_id and (
                kept.admitted.epoch != view.position.epoch
                or kept.admitted.sequence < view.floors.of(site_id).required((key[1],), TAGS[key[1]]).hard
            ):
                del self._shelf[key]

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        for key in [key for key in self._shelf if key[0] == site_id]:
            del self._shelf[key]

    async def _validate_behind(self, site: Site, path: str, request: Request, kept: Kept) -> None:
        try:
            await self._fetch(site, path, request, kept)
        except Unavailable:
            await asyncio.sleep(0.5)
        finally:
            self._behind.discard((site.id, path))

    async def _fetch(
        self, site: Site, path: str, request: Request, kept: Kept | None, *, is_direct: bool = False
    ) -> Held:
        """The upstream's version; with `kept` only if it is another one, which a 304 says (RFC 9110 section 15.4.5)."""
        life = self._life
        asked_from, asked_at = life.view.position, life.clocks.monotonic()
        etag = None if kept is None else kept.version
        # Who is cut off, and validates for that, does not know what a shield would have to have applied.
        is_blind = site.settings.validates_on_detach and not life.has_lease()
        if is_direct or is_blind or life.shielding is None:
            said = await life.node.upstream.ask(life.node.node_id, site.name, path, life.node.rng, etag=etag)
        else:
            said = await life.shielding.ask(site, path, request, etag, asked_from)
        assert said.version is not None or kept is not None, "304 to a request without conditions"
        version = kept.version if said.version is None and kept is not None else said.version or 0
        asked_at -= said.age_s
        is_kept = asked_from.sequence >= self._horizons.get(site.id, 0) and life.view.catalog.site(site.id) is not None
        if is_kept and not self._is_below_hard(site, path, asked_from):
            self._shelf[site.id, path] = Kept(version, asked_from, life.residence.wall(asked_at))
            life.memory.forget(pull_key(site, request))
        return Held(version, life.clocks.monotonic() - asked_at)

    def _is_below_hard(self, site: Site, path: str, admitted: Position) -> bool:
        is_another = admitted.epoch != self._life.view.position.epoch
        return is_another or admitted.sequence < self._required(site, path).hard

    def _facts(self, site: Site, kept: Kept | None, now: float) -> StoredFacts | None:
        if kept is None:
            return None
        return StoredFacts(
            admitted_sequence=kept.admitted.sequence,
            is_same_epoch=kept.admitted.epoch == self._life.view.position.epoch,
            validated_at=self._life.residence.monotonic(kept.validated_at, now),
            freshness_lifetime_s=lifetime_s(site),
            stale_if_error_s=site.settings.stale_if_error_s,
            stale_while_revalidate_s=site.settings.stale_while_revalidate_s or 0,
            must_validate=site.settings.validates_on_detach and not self._life.has_lease(),
        )

    def _required(self, site: Site, path: str) -> Required:
        return self._life.view.floors.of(site.id).required((path,), TAGS[path])


def lifetime_s(site: Site) -> float:
    """What the upstream says of every response."""
    return SHORT_LIFETIME_S if site.name == "pull-short" else LIFETIME_S
