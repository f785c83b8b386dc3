"""What an upstream says about responses that are stored: 304, and answers to HEAD (RFC 9111 section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_answer import Answer, could_answer, selecting_names, varied_if_coded
from cdn.edge.pull_assembly import PullAssembly
from cdn.edge.pull_flight import Flight
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_shelf import PullShelf
from cdn.edge.pull_tags import joined_tags, pull_tags
from cdn.edge.site_view import SiteView
from cdn.edge.stored import PulledHead, StoredResponse
from cdn.fleet.position import Position
from cdn.http.fields import FieldLines, Fields
from cdn.http.head_update import HeadEffect, effect_of_head, selected_for_update, updated_head
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms
from cdn.http.storability import NotStored, storability
from cdn.http.vary import vary_names

FORBID_REUSE = frozenset((NotStored.NO_STORE, NotStored.PRIVATE, NotStored.SET_COOKIE, NotStored.VARY_STAR))
"""What a newer head may say after which the stored response is for nobody any more."""


class PullRenewal:
    """Updates stored heads. `residence_wall` gives the residence time to remember for a monotonic moment."""

    def __init__(
        self,
        *,
        disk: DiskTier,
        shelf: PullShelf,
        assembly: PullAssembly,
        memory: PullMemory,
        view: SiteView,
        residence_wall: Callable[[float], float],
    ) -> None:
        self._disk = disk
        self._shelf = shelf
        self._assembly = assembly
        self._memory = memory
        self._view = view
        self._residence_wall = residence_wall

    async def confirm(
        self,
        flight: Flight,
        validating: Sequence[StoredResponse],
        answer: Answer,
        may_store: Callable[[Position], bool],
    ) -> frozenset[int]:
        """A 304: every stored response that it selects is updated (section 4.3.4). The incarnations to serve from.

        Empty when it selects nothing that may still be used: then upstream has to be asked for the whole.
        """
        sent = {each.incarnation for each in validating}
        under = await self._shelf.under(flight.key)
        meant = [each for each in under if could_answer(flight.visit, each) or each.incarnation in sent]
        heads = [each.pulled.head for each in meant if each.pulled is not None]
        is_sole_validated = len(meant) == 1 and meant[0].incarnation in sent
        chosen = [meant[at] for at in selected_for_update(heads, answer.head, is_sole_validated)]
        if not chosen and len(sent) == 1 and (len(meant) == 1 or _names_no_validator(answer.head)):
            # Only the validators of one were sent, and the status says that they match: see docs/decisions/009.
            chosen = [each for each in meant if each.incarnation in sent]
        try:
            renewed = [await self._update(flight, each, answer) for each in chosen]
        finally:  # also when the index failed behind one that was updated, or dropped
            self._memory.forget(flight.key)
        served = {each.incarnation for each in renewed if each is not None and could_answer(flight.visit, each)}
        others = [each for each in renewed if each is not None and each.incarnation not in served]
        if not served and others:
            served |= await self._adopt(flight, others[0], may_store)
        return frozenset(served)

    async def apply_head(self, flight: Flight, answer: Answer) -> None:
        """What a HEAD says of the stored responses to GET (section 4.3.5)."""
        if answer.head.status != 200 or self._terms(flight, answer.head, answer) is NotStored.AUTHORIZATION:
            return
        for stored in await self._shelf.under(flight.key):
            pulled = stored.pulled
            if pulled is None or not could_answer(flight.visit, stored):
                continue
            match effect_of_head(pulled.head, _complete_length(stored, pulled), answer.head):
                case HeadEffect.UPDATES:
                    await self._update(flight, stored, answer)
                case HeadEffect.INVALIDATES:
                    self._disk.drop(stored)
                case HeadEffect.NOTHING:
                    continue
            self._memory.forget(flight.key)

    def _terms(self, flight: Flight, head: ResponseHead, answer: Answer) -> ReuseTerms | NotStored:
        """What a head would mean if it came with an answer to GET."""
        as_get = replace(flight.visit.request, method="GET")
        return storability(as_get, head, answer.requested_at, answer.received_at, flight.visit.policy)

    async def _adopt(
        self, flight: Flight, stored: StoredResponse, may_store: Callable[[Position], bool]
    ) -> frozenset[int]:
        """A variant for other requests suits this one too: keep it for requests like this one as well."""
        names = None if stored.pulled is None else vary_names(stored.pulled.head.fields)
        if names is None:
            return frozenset()
        made = await self._assembly.copy(flight.key, stored, flight.visit.selecting(names), may_store)
        return frozenset() if made is None else frozenset((made.incarnation,))

    async def _update(self, flight: Flight, stored: StoredResponse, answer: Answer) -> StoredResponse | None:
        assert stored.pulled is not None, "only pulled responses are updated"
        site = self._view.catalog.site(stored.key.site_id)
        newer = varied_if_coded(updated_head(stored.pulled.head, answer.head))
        names = vary_names(newer.fields)
        terms = self._terms(flight, newer, answer)
        if terms is NotStored.AUTHORIZATION or terms is NotStored.REQUEST_NO_STORE:
            # What upstream says to one who is authorised, or wants nothing of it kept, changes nothing for others.
            return None
        if names is None or site is None or terms in FORBID_REUSE:
            self._disk.drop(stored)
            return None
        if isinstance(terms, ReuseTerms):
            lines = tuple(line for line in newer.fields if line[0] not in terms.withheld_fields)
            newer = ResponseHead(newer.status, Fields(lines))
        pulled = replace(stored.pulled, head=newer, requested_at=answer.requested_at, received_at=answer.received_at)
        if could_answer(flight.visit, stored) or names != selecting_names(stored.pulled):
            # What the former request said in fields that Vary names only now, nobody knows.
            pulled = replace(pulled, selecting=flight.visit.selecting(names))
        # It keeps the tags it had: a floor under one of them may have risen since upstream was asked (DESIGN I1).
        tags = joined_tags((*pull_tags(newer.fields, stored.names[0].partition("?")[0], site.settings), *stored.tags))
        hard = self._view.floors.of(site.id).required(stored.names, tags).hard
        self._shelf.note_stored(flight.key, pulled)
        return await self._disk.update_head(
            stored, pulled, stored.names, tags, flight.admitted, self._residence_wall(flight.received_at), hard
        )


def validators(stored: Sequence[StoredResponse]) -> FieldLines:
    """Conditions that name stored responses, as the upstream gave their validators (section 4.3.1)."""
    heads = [each.pulled.head for each in stored if each.pulled is not None]
    tags = [tag for head in heads if (tag := head.fields.get("etag")) is not None]
    lines: list[tuple[str, str]] = []
    if tags:
        lines.append(("if-none-match", ", ".join(dict.fromkeys(tags))))
    if len(heads) == 1 and (last_modified := heads[0].fields.get("last-modified")) is not None:
        lines.append(("if-modified-since", last_modified))
    return tuple(lines)


def _names_no_validator(head: ResponseHead) -> bool:
    return "etag" not in head.fields and "last-modified" not in head.fields


def _complete_length(stored: StoredResponse, pulled: PulledHead) -> int:
    """The length of the whole representation, also of one that is stored in part."""
    return stored.entry.size_bytes if pulled.complete_length is None else pulled.complete_length
