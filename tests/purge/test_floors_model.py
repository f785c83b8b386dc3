"""Floors against a plain model that forgets nothing: every purge ever, every response ever stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cdn.fleet.position import Position
from cdn.journal.record import RECORD_VERSION, Audience, Change, Purged, Record, SiteRemoved
from cdn.purge.floors import Floors
from cdn.purge.limits import FloorLimits
from cdn.purge.scope import Scope, ScopeKind

EPOCH = "epoch"
SITES = ("one", "two")
NAMES = ("/", "/a", "/a/", "/a/b", "/a?q", "/b/c")
TAGS = ("t", "u")


@dataclass(frozen=True)
class PurgeOfModel:
    site_id: str
    scope: Scope
    sequence: int
    is_soft: bool

    def covers(self, response: ResponseOfModel) -> bool:
        if self.site_id != response.site_id:
            return False
        match self.scope.kind:
            case ScopeKind.URL:
                return self.scope.value in response.names
            case ScopeKind.PREFIX:
                return any(name.startswith(self.scope.value) for name in response.names)
            case ScopeKind.TAG:
                return self.scope.value in response.tags
            case ScopeKind.EVERYTHING:
                return True


@dataclass(frozen=True)
class ResponseOfModel:
    site_id: str
    names: tuple[str, ...]
    tags: tuple[str, ...]
    admitted: int


@dataclass
class Sweep:
    site_id: str
    through: int
    left: list[ResponseOfModel] = field(default_factory=list)


scopes = st.one_of(
    st.builds(Scope, st.just(ScopeKind.URL), st.sampled_from(NAMES)),
    st.builds(Scope, st.just(ScopeKind.PREFIX), st.sampled_from(("/", "/a", "/a/", "/b/", "/c"))),
    st.builds(Scope, st.just(ScopeKind.TAG), st.sampled_from(TAGS)),
    st.builds(Scope, st.just(ScopeKind.EVERYTHING), st.just("")),
)
sites = st.sampled_from(SITES)


class FloorsAgainstModel(RuleBasedStateMachine):
    """A node: it purges, fetches (slowly), stores, sweeps (piece by piece), and restarts."""

    limits = FloorLimits(max_floors_per_site=3, max_prefix_lengths=2, max_floors=4, max_removed_sites=2)

    def __init__(self) -> None:
        super().__init__()
        self.floors = self.new_floors()
        self.floors_of_control = self.new_floors()
        self.held = {site_id: self.floors.of(site_id) for site_id in SITES}
        self.sequence = 0
        self.purges: list[PurgeOfModel] = []
        self.fetching: list[ResponseOfModel] = []
        self.stored: list[ResponseOfModel] = []
        self.sweeps: list[Sweep] = []
        self.swept_from: dict[str, int] = {}

    def new_floors(self) -> Floors:
        return Floors(self.limits)

    def apply(self, change: Change) -> None:
        self.sequence += 1
        record = Record(RECORD_VERSION, EPOCH, self.sequence, "subject", 0.0, "model", Audience.ALL, change)
        self.floors.apply(record)
        self.floors_of_control.apply(record)

    @rule(site_id=sites, purged=st.lists(scopes, min_size=1, max_size=3), is_soft=st.booleans())
    def purge(self, site_id: str, purged: list[Scope], is_soft: bool) -> None:
        self.apply(Purged(site_id, tuple(scope.to_record() for scope in purged), is_soft))
        self.purges += [PurgeOfModel(site_id, scope, self.sequence, is_soft) for scope in purged]

    @rule(number=st.integers(0, 5))
    def remove_another_site(self, number: int) -> None:
        self.apply(SiteRemoved(f"other-{self.sequence}-{number}"))

    @rule(
        site_id=sites,
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
    )
    def start_fetch(self, site_id: str, names: list[str], tags: list[str]) -> None:
        self.fetching.append(ResponseOfModel(site_id, tuple(names), tuple(tags), self.sequence))

    @precondition(lambda self: self.fetching)
    @rule(data=st.data())
    def finish_fetch(self, data: st.DataObject) -> None:
        fetched = data.draw(st.sampled_from(self.fetching))
        self.fetching.remove(fetched)
        is_below_sweep = fetched.admitted < self.swept_from.get(fetched.site_id, 0)  # the tier refuses it
        if not is_below_sweep and fetched.admitted >= self.required(fetched)[0]:
            self.stored.append(fetched)

    @rule(site_id=sites)
    def begin_sweep(self, site_id: str) -> None:
        of_site = [stored for stored in self.stored if stored.site_id == site_id]
        self.sweeps.append(Sweep(site_id, self.sequence, of_site))
        self.swept_from[site_id] = self.sequence

    @precondition(lambda self: self.sweeps)
    @rule(data=st.data(), count=st.integers(0, 10))
    def go_on_sweeping(self, data: st.DataObject, count: int) -> None:
        sweep = data.draw(st.sampled_from(self.sweeps))
        for candidate in sweep.left[:count]:
            if candidate in self.stored and self.required(candidate)[0] > candidate.admitted:
                self.stored.remove(candidate)
        sweep.left = sweep.left[count:]
        if not sweep.left:
            self.sweeps.remove(sweep)
            self.floors.swept(sweep.site_id, Position(EPOCH, sweep.through))

    @rule()
    def restart(self) -> None:
        """The process ends: fetches and sweeps with it."""
        section = json.loads(json.dumps(self.floors.dump()))
        self.floors = self.new_floors()
        self.floors.load(section)
        self.held = {site_id: self.floors.of(site_id) for site_id in SITES}
        self.fetching.clear()
        self.sweeps.clear()

    @rule()
    def load_in_place(self) -> None:
        self.floors.load(json.loads(json.dumps(self.floors.dump())))

    @rule()
    def load_from_control(self) -> None:
        """Control applies the same records and sweeps nothing; fetches and sweeps go on."""
        self.floors.load(json.loads(json.dumps(self.floors_of_control.dump())))

    def required(self, response: ResponseOfModel) -> tuple[int, int]:
        required = self.held[response.site_id].required(response.names, response.tags)
        return required.hard, required.soft

    @invariant()
    def nothing_that_was_purged_is_usable(self) -> None:
        for response in self.stored:
            hard, soft = self.required(response)
            after = [purge for purge in self.purges if purge.sequence > response.admitted and purge.covers(response)]
            if any(not purge.is_soft for purge in after):
                assert response.admitted < hard, f"{response} was purged and is usable"
            if after:
                assert response.admitted < max(hard, soft), f"{response} was purged softly and is fresh"

    @invariant()
    def what_is_fetched_now_is_usable(self) -> None:
        for site_id in SITES:
            required = self.held[site_id].required(NAMES, TAGS)
            assert max(required.hard, required.soft) <= self.sequence

    @invariant()
    def floors_are_bounded(self) -> None:
        assert all(len(floors) <= self.limits.max_floors_per_site for floors in self.held.values())
        assert sum(len(floors) for floors in self.held.values()) <= self.limits.max_floors


class RoomyFloorsAgainstModel(FloorsAgainstModel):
    """With room enough floors demand exactly what was purged, and never more."""

    limits = FloorLimits()

    def remove_another_site(self, number: int) -> None:
        """Removals raise the horizon here, which demands more."""

    @invariant()
    def nothing_else_is_lost(self) -> None:
        for response in self.stored:
            hard, soft = self.required(response)
            after = [
                purge
                for purge in self.purges
                if purge.sequence > response.admitted
                and (purge.covers(response) or self.covers_without_query(purge, response))
            ]
            if not any(not purge.is_soft for purge in after):
                assert response.admitted >= hard, f"{response} was not purged and is unusable"
            if not after:
                assert response.admitted >= soft, f"{response} was not purged and is stale"

    def covers_without_query(self, purge: PurgeOfModel, response: ResponseOfModel) -> bool:
        is_url = purge.scope.kind is ScopeKind.URL and purge.site_id == response.site_id
        return is_url and purge.scope.value.partition("?")[0] in response.names and "?" in purge.scope.value


FloorsAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
RoomyFloorsAgainstModel.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestFloors = FloorsAgainstModel.TestCase
TestRoomyFloors = RoomyFloorsAgainstModel.TestCase
