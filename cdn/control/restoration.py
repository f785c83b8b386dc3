"""Rebuilds what a lost control plane knew from the object store alone, under a new epoch (DESIGN I3)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from cdn.control.archive_layout import (
    ENTRY_VERSION,
    SNAPSHOTS,
    KeptNode,
    Mark,
    PartName,
    UnreadableEntry,
    decode_mark,
    encode_entry,
    mark_key,
    part_name,
    part_prefix,
    sequence_of,
    snapshot_key,
    snapshot_prefix,
)
from cdn.control.epoch_order import LastEpoch, enter_epoch, last_epoch
from cdn.control.token_fold import TokenFold
from cdn.errors import CdnError, Conflict, NotFound
from cdn.fleet.position import Position
from cdn.journal.archive_part import Part, UnreadablePart, decode_part
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFold
from cdn.journal.claim_fold import ClaimFold
from cdn.journal.fold import Fold
from cdn.journal.hook_fold import HookFold
from cdn.journal.journal import Journal, Trimmed
from cdn.journal.record import EVERY_AUDIENCE, Record
from cdn.journal.snapshot import UnreadableSnapshot, decode, encode, load_into, take
from cdn.journal.takedown_fold import TakedownFold
from cdn.journal.zone_fold import ZoneFold
from cdn.origin.activation import ActivationPointer, write_pointer
from cdn.origin.layout import activation_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.purge.floors import Floors

PARTS_AT_ONCE = 8
"""Parts fetched side by side: a fraction of a gigabyte in memory at the worst."""

JOURNAL_BATCH = 1000
"""Records read at once from a journal that is not lost."""

SITES_AT_ONCE = 16
"""Sites whose activation pointers are looked at side by side."""

ZONE = "invalid"
"""The catalog is only carried over here: what its zone is, control says when it starts."""

log = logging.getLogger(__name__)


class RecordsMissing(Conflict):
    """Records that were archived cannot be had any more: only what came before them can be restored."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back. Times are wall times in seconds."""

    former: Position
    """The last record that was restored, in the epoch that was lost."""
    position: Position
    """Where the new epoch begins."""
    complete_until: float | None
    """Every record up to then is there; what came later is if it was archived. None: nothing says."""
    snapshot_sequence: int
    records: int
    """Restored from the archive, behind the snapshot."""
    sites: int
    domains: int
    tokens: int
    zones: int
    nodes: tuple[KeptNode, ...]
    missing: str | None
    """What was archived and could not be restored, when that was accepted."""
    is_whole: bool = False
    """Whether the journal itself was there, so that nothing is lost."""


@dataclass(slots=True)
class _State:
    """What the records add up to, so far."""

    catalog: CatalogFold = field(default_factory=lambda: CatalogFold(ZONE))
    floors: Floors = field(default_factory=Floors)
    tokens: TokenFold = field(default_factory=TokenFold)
    zones: ZoneFold = field(default_factory=ZoneFold)
    claims: ClaimFold = field(init=False)
    certificates: CertificateFold = field(init=False)
    takedowns: TakedownFold = field(default_factory=TakedownFold)
    hooks: HookFold = field(default_factory=HookFold)
    reached: int = 0
    last_at: float | None = None

    def __post_init__(self) -> None:
        self.claims, self.certificates = ClaimFold(self.catalog.catalog), CertificateFold(self.catalog.catalog)

    @property
    def folds(self) -> tuple[Fold, ...]:
        of_domains = (self.claims, self.certificates)
        return (self.catalog, self.floors, self.tokens, self.zones, *of_domains, self.takedowns, self.hooks)


async def restore(
    store: ObjectStore,
    begin: Callable[[str, int], Awaitable[None]],
    *,
    epoch: str | None = None,
    accepts_loss: bool = False,
    journal: Journal | None = None,
    clock: Callable[[], float] = time.time,
    new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
) -> Restored:
    """Put together what the store has, keep it there as the first snapshot of a new epoch, and `begin` its journal.

    `begin` is given the epoch and the sequence after which it begins, last of all: what failed before can be repeated.
    `epoch` is the one to restore, needed only where the store does not say which was the last. `journal` is the one
    that goes on elsewhere, where it is not lost: what the store does not have yet is taken from it. Raises NotFound
    when there is nothing to restore, RecordsMissing unless `accepts_loss`, Conflict, StoreUnavailable,
    JournalUnavailable, UnknownRecord and UnreadableSnapshot where a newer program has to do it.
    """
    last = await last_epoch(store)
    if journal is not None and await _counts(journal, last):
        lost = journal.epoch
    else:
        lost = await _epoch_to_restore(store, last, epoch)
    state = _State()
    started_at = await _load_snapshot(store, lost, state)
    missing = await _apply_parts(store, lost, state)
    if journal is not None and journal.epoch == lost:
        await _apply_journal(journal, state)
        missing = None
    if missing is not None and not accepts_loss:
        raise RecordsMissing(f"{missing}. With --accept-loss everything before them is restored")
    mark = await _mark(store, lost)
    if mark is not None and mark.sequence > state.reached and missing is None:
        missing = f"records {state.reached + 1} to {mark.sequence} were archived and are gone from the object store"
        if not accepts_loss:
            raise RecordsMissing(f"{missing}. With --accept-loss everything before them is restored")
    position = Position(new_epoch(), state.reached)
    complete_until = _complete_until(state, mark) if journal is None else clock()
    nodes = () if mark is None else mark.nodes
    await _keep(store, state, position, Mark(ENTRY_VERSION, position.sequence, complete_until or 0.0, nodes))
    await enter_epoch(store, position.epoch, after=last, begun_at=clock(), instead_of=Position(lost, state.reached))
    await _renew_pointers(store, state, position.epoch)
    await begin(position.epoch, position.sequence)
    catalog = state.catalog.catalog
    return Restored(
        former=Position(lost, state.reached),
        position=position,
        complete_until=complete_until,
        snapshot_sequence=started_at,
        records=state.reached - started_at,
        sites=len(catalog.sites()),
        domains=len(catalog.domains()),
        tokens=len(state.tokens),
        zones=len(state.zones.zones()),
        nodes=nodes,
        missing=missing,
        is_whole=journal is not None,
    )


async def _counts(journal: Journal, last: LastEpoch | None) -> bool:
    """Whether the journal's epoch is the one that counts; False where all of it went on in the one that does.

    Raises Conflict when another epoch took its place.
    """
    if last is None or last.entry.epoch == journal.epoch:
        return True
    if last.entry.instead_of == await journal.position():
        return False  # an earlier attempt came so far that the store has it all, and no farther
    raise Conflict(
        f"the object store went on with the epoch {last.entry.epoch} in place of {journal.epoch}: this journal no "
        "longer counts"
    )


async def _apply_journal(journal: Journal, state: _State) -> None:
    """Apply what the journal has behind the archive. Raises Conflict, JournalUnavailable, UnknownRecord."""
    end = (await journal.position()).sequence
    if state.reached > end:
        raise Conflict(
            f"the object store has records up to {state.reached}, and this journal ends at {end}: it has lost records"
        )
    while state.reached < end:
        records = await journal.read(state.reached, limit=JOURNAL_BATCH)
        if isinstance(records, Trimmed) or not records:
            raise Conflict(
                f"the records after {state.reached} are neither in the object store nor in the journal any more"
            )
        for record in records:
            _apply_record(record, state)


async def _epoch_to_restore(store: ObjectStore, last: LastEpoch | None, asked: str | None) -> str:
    """The epoch whose records count. Raises NotFound, Conflict."""
    if last is not None:
        if asked is not None and asked != last.entry.epoch:
            raise Conflict(f"the object store went on with the epoch {last.entry.epoch}: restore that one")
        return last.entry.epoch
    # A program that archived no records kept snapshots only.
    epochs = sorted({facts.key.removeprefix(SNAPSHOTS).partition("/")[0] async for facts in store.scan(SNAPSHOTS)})
    if asked is not None and asked in epochs:
        return asked
    if not epochs or asked is not None:
        which = "" if asked is None else f" of the epoch {asked}"
        raise NotFound(f"the object store has no records{which} of a control plane: is it the right one?")
    if len(epochs) > 1:
        raise Conflict(f"the object store has snapshots of the epochs {', '.join(epochs)}: say which with --epoch")
    return epochs[0]


async def _load_snapshot(store: ObjectStore, epoch: str, state: _State) -> int:
    """Load the newest snapshot that can be used; its sequence, 0 when there is none."""
    keys = sorted([facts.key async for facts in store.scan(snapshot_prefix(epoch))], key=sequence_of, reverse=True)
    for key in keys:
        try:
            snapshot = await asyncio.to_thread(decode, await store.get(key))
            if snapshot_key(snapshot.position) != key:
                raise UnreadableSnapshot(f"it stands at {snapshot.position}")
            unknown = snapshot.sections.keys() - {fold.name for fold in state.folds}
            if unknown:
                raise UnreadableSnapshot(f"it has the section {min(unknown)} of a newer program")
            load_into(snapshot, state.folds)
        except (UnreadableSnapshot, ObjectMissing) as exc:
            log.warning("the snapshot %s cannot be used: %s", key, exc)
            continue
        state.reached = snapshot.position.sequence
        return state.reached
    for fold in state.folds:
        fold.load(None)
    return 0


async def _apply_parts(store: ObjectStore, epoch: str, state: _State) -> str | None:
    """Apply every archived record that follows; which ones are archived or were, and cannot be had, None: none.

    Raises UnknownRecord for a record that this program does not know.
    """
    names = sorted(
        [part_name(facts.key) async for facts in store.scan(part_prefix(epoch))],
        key=lambda name: (name.first, -name.last),
    )
    wanted = [name for name in names if name.last > state.reached]
    fault = ""
    for start in range(0, len(wanted), PARTS_AT_ONCE):
        fetched = wanted[start : start + PARTS_AT_ONCE]
        parts = await asyncio.gather(*(_part(store, name) for name in fetched))
        for name, part in zip(fetched, parts, strict=True):
            if name.last <= state.reached:
                continue
            if isinstance(part, CdnError):
                fault = fault or f": {name.key}: {part.message}"
                continue
            if part.first > state.reached + 1:
                return f"records {state.reached + 1} to {part.first - 1} are missing from the archive{fault}"
            _apply(part, state)
    if any(name.last > state.reached for name in wanted):
        return f"records after {state.reached} cannot be read from the archive{fault}"
    return None


def _apply(part: Part, state: _State) -> None:
    for sequence in range(state.reached + 1, part.last + 1):
        _apply_record(part.record(sequence), state)


def _apply_record(record: Record, state: _State) -> None:
    for fold in state.folds:
        fold.apply(record)
    state.reached, state.last_at = record.sequence, record.at


async def _part(store: ObjectStore, name: PartName) -> Part | CdnError:
    """The part, or why it cannot be had."""
    try:
        part = await asyncio.to_thread(decode_part, await store.get(name.key))
    except (UnreadablePart, ObjectMissing) as exc:
        return exc
    if (part.first, part.last) != (name.first, name.last) or not name.key.startswith(part_prefix(part.epoch)):
        return UnreadablePart(f"it has the records {part.first} to {part.last} of {part.epoch}")
    return part


async def _mark(store: ObjectStore, epoch: str) -> Mark | None:
    try:
        return decode_mark(await store.get(mark_key(epoch)))
    except ObjectMissing:
        return None
    except UnreadableEntry as exc:
        log.warning("%s", exc)
        return None


def _complete_until(state: _State, mark: Mark | None) -> float | None:
    times = [] if state.last_at is None else [state.last_at]
    if mark is not None and mark.sequence <= state.reached:
        times.append(mark.at)
    return max(times, default=None)


async def _keep(store: ObjectStore, state: _State, position: Position, mark: Mark) -> None:
    """Write the snapshot that the new epoch begins with, and what was known of the archive it comes from."""
    state.floors.begin_epoch(position.epoch, position.sequence)
    snapshot = take(state.folds, position, floor_horizon=position.sequence, audiences=EVERY_AUDIENCE)
    await store.put(snapshot_key(position), await asyncio.to_thread(encode, snapshot))
    await store.put(mark_key(position.epoch), encode_entry(mark))


async def _renew_pointers(store: ObjectStore, state: _State, epoch: str) -> None:
    """Cut-off nodes must not go by an activation that was lost: pointers say what was restored, or are removed."""
    turn = asyncio.Semaphore(SITES_AT_ONCE)

    async def renew(site_id: str) -> None:
        async with turn:
            keys = [facts.key async for facts in store.scan(activation_key(site_id, ""))]
            for key in keys:
                alias = key.rsplit("/", 1)[1]
                known = state.catalog.catalog.alias(site_id, alias)
                if known is None or known.active is None:
                    await store.delete(key)
                    continue
                position = Position(epoch, known.activated_sequence)
                await write_pointer(
                    store, site_id, alias, ActivationPointer(position, known.active.id, known.active.manifest_digest)
                )

    await _all(renew(site.id) for site in state.catalog.catalog.sites())


async def _all(works: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*works)
