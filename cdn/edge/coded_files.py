"""Which form of a file answers: identity, or one of the coded forms that control made and listed.

Nothing here is an error to a visitor: without a list, or with a form that cannot be had, the file is sent as it is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from cdn.edge.clocks import Clocks
from cdn.edge.fault_log import FaultLog
from cdn.edge.variants_cache import VariantsCache, VariantsUnavailable
from cdn.errors import InvalidInput
from cdn.http.content_coding import preferred_coding
from cdn.http.request import Request
from cdn.sites.catalog import Catalog
from cdn.sites.coded_representation import (
    coded_representation,
    codings_of,
    may_have_forms,
    varied_representation,
)
from cdn.sites.manifest import FileEntry
from cdn.sites.representation import Representation
from cdn.sites.variants import NO_FORMS, Forms

LIST_WAIT_S: Final = 0.25
"""How long a visitor waits for a list that is on its way: the first after a start. Then the file is sent as it is."""

SOON_S: Final = 1.0
"""How long what was answered without a list that is on its way is used again."""

FORM_RETRY_S: Final = 30.0
"""Before a coded form that could not be had is asked for again: by then control has made it anew."""

MAX_FAULTY: Final = 4096
"""Forms remembered as not to be had; one that was forgotten costs one more try."""

MAX_LISTS_ASKED: Final = 8
"""Lists looked at for a file of a former deploy, most recent first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is sent of a file: `entry` is its content, and `coding` the content coding of that, None for identity.

    `codings` are those that there are, as `preferred_coding` wants them: a prepared hit is kept by them. Until the
    monotonic time `usable_until` this is right for every request that prefers the same.
    """

    entry: FileEntry
    representation: Representation
    codings: tuple[str, ...] = ()
    coding: str | None = None
    usable_until: float = inf


@dataclass(frozen=True, slots=True)
class Where:
    """Of which site, alias and active deploy a file is. `is_retained`: it is of one of the alias' former deploys."""

    site_id: str
    alias: str
    manifest_digest: str
    is_retained: bool = False


class CodedFiles:
    """One per node."""

    def __init__(
        self,
        lists: VariantsCache,
        catalog: Callable[[], Catalog],
        clocks: Clocks,
        report_fault: Callable[[str, str], None] = lambda site_id, digest: None,
    ) -> None:
        """`report_fault` tells control that the store has lost a list: it is made anew."""
        self._report_fault = report_fault
        self._lists = lists
        self._catalog = catalog
        self._wall, self._monotonic = clocks.wall, clocks.monotonic
        self._faults = FaultLog(clocks.monotonic)
        self._faulty: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.coded = 0
        """Answers that took the whole road and were sent coded."""
        self.fell_back = 0
        """Answers sent as they are because a coded form could not be had."""

    async def choose(self, request: Request, where: Where, entry: FileEntry, representation: Representation) -> Choice:
        """What answers `request`, whose answer in identity is `entry` and `representation`."""
        if not may_have_forms(representation, entry.size_bytes):
            return Choice(entry, representation)
        site_id = where.site_id
        forms, usable_until = await self._forms(where, entry.digest)
        codings = codings_of(forms)
        if self._faulty:
            codings, usable_until = self._without_faulty(site_id, forms, codings, usable_until)
        if not codings:
            return Choice(entry, representation, usable_until=usable_until)
        coding = preferred_coding(request.fields.get("accept-encoding"), codings)
        if coding is None:
            return Choice(entry, varied_representation(representation), codings, None, usable_until)
        self.coded += 1
        form = forms[coding]
        return Choice(form, coded_representation(representation, coding, form), codings, coding, usable_until)

    def identity(self, site_id: str, choice: Choice, entry: FileEntry, representation: Representation) -> Choice:
        """What is sent in the place of a coded form that could not be had, which is not asked for again for a while."""
        self.fell_back += 1
        until = self._monotonic() + FORM_RETRY_S
        self._faulty[site_id, choice.entry.digest] = until
        self._faulty.move_to_end((site_id, choice.entry.digest))
        if len(self._faulty) > MAX_FAULTY:
            self._faulty.popitem(last=False)
        return Choice(entry, varied_representation(representation), choice.codings, None, self._monotonic())

    def counted(self) -> dict[str, int]:
        """What was counted, by names of metrics."""
        return {
            "coded_answers": self.coded,
            "coded_fell_back": self.fell_back,
            "variants_loaded": self._lists.loaded,
            "variants_failed": self._lists.failed,
        }

    def _without_faulty(
        self, site_id: str, forms: Forms, codings: tuple[str, ...], usable_until: float
    ) -> tuple[tuple[str, ...], float]:
        now = self._monotonic()
        ends = {coding: self._faulty.get((site_id, forms[coding].digest), now) for coding in codings}
        faulty = [coding for coding, end in ends.items() if end > now]
        left = tuple(coding for coding in codings if coding not in faulty)
        return left, min(usable_until, *(ends[coding] for coding in faulty)) if faulty else usable_until

    async def _forms(self, where: Where, digest: str) -> tuple[Forms, float]:
        """The forms of a content, and until when it is right that these are all."""
        usable_until = inf
        for list_digest in self._lists_of(where):
            forms, until = await self._listed(where.site_id, list_digest, digest)
            if forms:
                return forms, inf
            usable_until = min(usable_until, until)
        return NO_FORMS, usable_until

    def _lists_of(self, where: Where) -> list[str]:
        """Digests of the lists that may name the file."""
        catalog = self._catalog()
        manifests = [where.manifest_digest]
        if where.is_retained and (state := catalog.alias(where.site_id, where.alias)) is not None:
            manifests += [deploy.manifest_digest for deploy in state.reachable(self._wall())]
        lists = (catalog.variants(where.site_id, one) for one in dict.fromkeys(manifests[:MAX_LISTS_ASKED]))
        return [one for one in lists if one]

    async def _listed(self, site_id: str, list_digest: str, digest: str) -> tuple[Forms, float]:
        index = self._lists.get(site_id, list_digest)
        if index is None:
            retry_at = self._lists.retry_at(site_id, list_digest)
            if retry_at is not None:
                return NO_FORMS, retry_at
            try:
                async with asyncio.timeout(LIST_WAIT_S):
                    index = await self._lists.load(site_id, list_digest)
            except TimeoutError:
                return NO_FORMS, self._monotonic() + SOON_S
            except VariantsUnavailable as exc:
                self._faults.tell(f"variants {site_id}", f"files are sent uncoded: {exc}")
                if exc.is_lost:
                    self._report_fault(site_id, list_digest)
                return NO_FORMS, self._lists.retry_at(site_id, list_digest) or self._monotonic()
        try:
            return index.of(digest), inf
        except InvalidInput as exc:
            self._faults.tell(f"variants {site_id}", f"site {site_id}: the list {list_digest[:12]} is faulty: {exc}")
            return NO_FORMS, inf
