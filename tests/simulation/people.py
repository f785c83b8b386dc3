"""What people do: they write, wait for receipts as callers do, and take each by its word."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cdn.control.deploys import Deploys, Proposal
from cdn.control.plane import ControlPlane
from cdn.control.schema import ReceiptView
from cdn.errors import CdnError, Conflict
from cdn.fleet.position import Position
from cdn.journal.record import (
    Change,
    DeployActivated,
    Purged,
    PurgeScope,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
)
from cdn.origin.layout import activation_key
from cdn.sites.manifest import FileEntry, Manifest
from cdn.sites.settings import OnDetach, SiteSettings, recorded_settings, settings_from
from cdn.sites.site import Site
from tests.simulation.cache import SHORT_LIFETIME_S, TAGS
from tests.simulation.checker import Promise, Value
from tests.simulation.node import ALIAS
from tests.simulation.story import BUNDLES, PULLED, Kind

if TYPE_CHECKING:
    from tests.simulation.control import SimulatedControl
    from tests.simulation.world import World

RECEIPT_ATTEMPTS = 3


def _pulled(host: str, **given: Any) -> SiteSettings:
    return replace(settings_from({"origin": f"https://{host}.example"}), **given)


SETTINGS = {
    "bundle-serve": SiteSettings(prepare_timeout_s=1.0),
    "bundle-validate": SiteSettings(prepare_timeout_s=1.0, on_detach=OnDetach.VALIDATE),
    "pull-serve": _pulled("serve"),
    "pull-validate": _pulled("validate", on_detach=OnDetach.VALIDATE),
    "pull-short": _pulled("short", stale_if_error_s=0, stale_while_revalidate_s=1),
}


class People:
    """Users and owners of sites."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.acknowledged: dict[tuple[int, int], tuple[str, float]] = {}
        """By the number of the epoch and the sequence: the subject, and when."""

    async def create_sites(self, plane: ControlPlane) -> None:
        """What there is from the first."""
        for name, settings in SETTINGS.items():
            created = SiteCreated(name, name, recorded_settings(settings))
            await plane.state.append_always(f"site/{name}", created, "tester")

    def write(self, kind: Kind, name: str, rng: random.Random, for_s: float) -> None:
        """Somebody asks some control for it."""
        match kind:
            case Kind.PURGE | Kind.SOFT_PURGE:
                self._ask(lambda plane: self.purge(plane, name, rng, soft=kind is Kind.SOFT_PURGE))
            case Kind.DEPLOY:
                self._ask(lambda plane: self.deploy(plane, name, rng))
            case Kind.FLIP:
                self._ask(lambda plane: self._flip(plane, name))
            case Kind.MOVE:
                self._ask(lambda plane: self._move(plane, name, rng))
            case Kind.REMOVE:
                self._ask(lambda plane: self._remove(plane, name, rng, for_s))
            case Kind.PUBLISH:
                self._publish(name, rng)
            case _:
                raise AssertionError(kind)

    def _ask(self, coro: Callable[[ControlPlane], Coroutine[Any, Any, None]]) -> None:
        async def ask(plane: ControlPlane) -> None:
            if len(self._world.controls) > 1:
                await plane.state.look()
            await coro(plane)

        self._world.on_control(ask)

    def _publish(self, name: str, rng: random.Random) -> None:
        """What is stored may be shown while it is fresh, and by its own word a little longer."""
        world, path = self._world, rng.choice(tuple(TAGS))
        world.upstream.versions[name, path] += 1
        at = world.loop.now + SHORT_LIFETIME_S * 1.02 + 0.1
        value = world.upstream.versions[name, path]
        promise = Promise(at, 0, 0, value, only=world.keep_time, is_soft=True)
        world.checker.promise((name, path), promise)
        world.loop.after(at - world.loop.now, world.visit_all, name, path)

    async def purge(self, plane: ControlPlane, name: str, rng: random.Random, *, soft: bool) -> None:
        kind, value, paths = rng.choice(
            [
                ("url", "/a", ("/a",)),
                ("url", "/b", ("/b",)),
                ("prefix", "/", tuple(TAGS)),
                ("tag", "news", ("/a",)),
                ("everything", "", tuple(TAGS)),
            ]
        )
        site = plane.services.site_named(name)
        promised = self._renewed(name, paths)
        change = Purged(site.id, (PurgeScope(kind, value),), soft)
        record = await plane.state.append_always(f"purge/{site.id}", change, "tester")
        if plane.services.catalog.site(site.id) is not None:
            await self._acknowledge(plane, record, site, promised, rng, soft=soft)

    async def deploy(self, plane: ControlPlane, name: str, rng: random.Random) -> None:
        services = plane.services
        digest = f"{rng.getrandbits(256):064x}"
        site = services.site_named(name)
        services.proofs.add(site.id, digest, 10)
        manifest = Manifest({"/index.html": FileEntry(digest, 10)})
        activation = await Deploys(services).create(Proposal(site, ALIAS, manifest, "tester", ""), "tester")
        self._world.read_activations()
        await self._acknowledge(plane, activation.record, site, self._activated(activation.record), rng)

    async def _flip(self, plane: ControlPlane, name: str) -> None:
        site = plane.services.site_named(name)

        def changed() -> SiteChanged:
            settings = recorded_settings(plane.services.site_named(name).settings)
            if settings.pop("on_detach", None) is None:
                settings["on_detach"] = "validate"
            return SiteChanged(site.id, settings)

        self._note(await plane.state.append(f"site-id/{site.id}", changed, "tester"))

    async def _move(self, plane: ControlPlane, name: str, rng: random.Random) -> None:
        site = plane.services.site_named(name)
        promised = self._renewed(name, tuple(TAGS))

        def changed() -> SiteChanged:
            settings = recorded_settings(plane.services.site_named(name).settings)
            settings["origin"] = f"https://host{rng.getrandbits(30)}.example"
            return SiteChanged(site.id, settings, purges=True)

        record = await plane.state.append(f"site-id/{site.id}", changed, "tester")
        if plane.services.catalog.site(site.id) is not None:
            await self._acknowledge(plane, record, site, promised, rng)

    async def _remove(self, plane: ControlPlane, name: str, rng: random.Random, for_s: float) -> None:
        """What answered there answers no more, also when another site has its name."""
        site = plane.services.site_named(name)
        promised = self._renewed(name, tuple(TAGS)) if name in PULLED else {}

        def gone() -> Change:
            if plane.services.site_named(name).id != site.id:
                raise Conflict("another was quicker")
            return SiteRemoved(site.id)

        record = await plane.state.append(f"site/{name}", gone, "tester")
        self._world.loop.after(for_s, self.create_again, name)
        await self._acknowledge(plane, record, site, promised or self._activated(record), rng)

    def create_again(self, name: str) -> None:
        """Somebody makes the site anew until it is there."""
        if self._world.is_over:
            return

        async def create(plane: ControlPlane) -> None:
            site_id = secrets.token_hex(4)

            def created() -> SiteCreated:
                if plane.services.catalog.site_named(name) is not None:
                    raise Conflict("it is there")
                return SiteCreated(site_id, name, recorded_settings(SETTINGS[name]))

            self._note(await plane.state.append(f"site/{name}", created, "tester"))

        self._ask(create)
        self._world.loop.after(1.0, self._create_if_missing, name)

    def _create_if_missing(self, name: str) -> None:
        planes = [control.plane for control in self._world.controls.values() if control.plane is not None]
        if not planes or planes[0].services.catalog.site_named(name) is None:
            self.create_again(name)

    def _renewed(self, name: str, paths: tuple[str, ...]) -> dict[str, Value]:
        """The owner changed these, before anybody else hears of it."""
        versions = self._world.upstream.versions
        for path in paths:
            versions[name, path] += 1
        return {path: versions[name, path] for path in paths}

    def _activated(self, record: Record) -> dict[str, Value]:
        return dict.fromkeys(TAGS, (self._world.epochs[record.epoch], record.sequence))

    def _note(self, record: Record) -> None:
        self.acknowledged[self._world.epochs[record.epoch], record.sequence] = record.subject, self._world.loop.now

    async def _acknowledge(
        self,
        plane: ControlPlane,
        record: Record,
        site: Site,
        promised: dict[str, Value],
        rng: random.Random,
        *,
        soft: bool = False,
    ) -> None:
        """Wait for receipts as a caller does; each is taken by its word. Any control may be asked."""
        self._note(record)
        for _ in range(RECEIPT_ATTEMPTS):
            try:
                receipt = await plane.services.receipt(record, rng.choice((0.0, 1.0, 8.0)))
            except CdnError:
                await asyncio.sleep(0.5)
                continue
            self._believe(plane, receipt, record, site, promised, soft=soft)
            if receipt.complete:
                return
            await asyncio.sleep(rng.uniform(0.1, 4.0))

    def _believe(
        self,
        plane: ControlPlane,
        receipt: ReceiptView,
        record: Record,
        site: Site,
        promised: dict[str, Value],
        *,
        soft: bool,
    ) -> None:
        by_outcome: dict[str, set[str]] = {"applied": set(), "fenced": set(), "excused": set(), "pending": set()}
        for line in receipt.nodes:
            by_outcome[line.outcome].add(line.node)
        if receipt.complete and by_outcome["pending"]:
            self._world.faults.append(f"a receipt for {record.sequence} is complete and names pending nodes")
        for node_id in by_outcome["excused"] | by_outcome["fenced"]:
            life = self._world.nodes[node_id].life
            is_behind = life is not None and life.has_lease() and not life.view.position.covers(record.position)
            if receipt.complete and is_behind:
                self._world.faults.append(
                    f"{self._world.loop.now:.3f}: a complete receipt for {record.sequence} gives up {node_id}, which "
                    "has a lease and has not applied it"
                )
        named = frozenset[str]().union(*by_outcome.values())
        excused = frozenset(by_outcome["excused"]) | (self._world.strangers - named)
        present = plane.services.catalog.site(site.id) or site
        is_validated = present.settings.validates_on_detach and self._is_told(record, site.id)
        world = self._world
        for path, value in promised.items():
            promise = Promise(
                at=world.loop.now,
                epoch=world.epochs[record.epoch],
                sequence=record.sequence,
                value=value,
                exempt=frozenset() if is_validated else excused,
                unaware=excused if is_validated else frozenset(),
                settings_sequence=present.settings_sequence,
                only=None if receipt.complete else frozenset(by_outcome["applied"] | by_outcome["fenced"]),
                is_soft=soft,
            )
            world.checker.promise((site.name, path), promise)
        for delay_s in (0.0, 0.2, 1.5):
            world.loop.after(delay_s, world.visit_all, site.name, next(iter(promised)))

    def _is_told(self, record: Record, site_id: str) -> bool:
        """Whether nodes that control cannot reach can know of the record: of a deploy by its pointer."""
        if isinstance(record.change, SiteRemoved | SiteChanged):
            return False  # an upstream does not know of it
        if not isinstance(record.change, DeployActivated):
            return True
        found = self._world.objects.content.get(activation_key(site_id, ALIAS))
        if found is None:
            return False
        told = json.loads(found[0])["position"]
        return Position(told["epoch"], told["sequence"]).covers(record.position)

    def last_words(self, control: SimulatedControl) -> None:
        """When all has healed: one more purge and one more deploy, by this control."""
        rng = random.Random(0)
        world = self._world
        world.on_control(lambda plane: self.purge(plane, "pull-serve", rng, soft=False), control)
        world.on_control(lambda plane: self.deploy(plane, BUNDLES[1], rng), control)
