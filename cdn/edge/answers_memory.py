"""Prepared answers that are no file of their path: redirects, and what is said where nothing is.

There is no end of paths that lead nowhere, and who tries them out pushes nothing of a file out of memory: these have a
small memory of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cdn.edge.coded_place import coded_place
from cdn.edge.memory_tier import MemoryKey, MemoryTier
from cdn.edge.prepared import Prepared
from cdn.http.request import Request

MAX_BYTES: Final = 8 * 1024 * 1024
"""Of each process: some 3,000 answers, of 2.5 KiB with all that is around them. One site has half of it."""

MAX_CODED: Final = 4096
"""Places of pages with coded forms whose codings are remembered, some 400 bytes each: as many as there are answers."""


class AnswersMemory:
    """A place is that of `Recall`: site, alias, path, and whether it is of https alone. A redirect may pass the query
    on, so it is kept for one query; what is absent is absent with any."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._answers: MemoryTier[Prepared] = MemoryTier(max_bytes)
        self._codings: OrderedDict[MemoryKey, tuple[str, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def cost_bytes(self) -> int:
        """As of `MemoryTier`."""
        return self._answers.cost_bytes

    def codings(self, place: MemoryKey) -> tuple[str, ...]:
        """The codings that there are of the page that stands there."""
        return self._codings.get(place, ())

    def find(self, request: Request, place: MemoryKey) -> Prepared | None:
        """What answers the request there, to be asked whether it is usable."""
        answers = self._answers
        if not len(answers):
            return None
        found = answers.get(place)
        if found is None and (codings := self._codings.get(place)) is not None:
            found = answers.get(coded_place(request, place, codings))
        return found or answers.get(_redirect_place(request, place))

    def put(self, request: Request, place: MemoryKey, codings: tuple[str, ...], prepared: Prepared) -> None:
        """Keep it where `find` looks first: nothing else that was said there before is found any more."""
        is_redirect = 300 <= prepared.status < 400
        if is_redirect or not codings:
            self._codings.pop(place, None)
        if is_redirect or codings:
            self._answers.drop(place)
        if is_redirect:
            place = _redirect_place(request, place)
        elif codings:
            self._codings[place] = codings
            self._codings.move_to_end(place)
            if len(self._codings) > MAX_CODED:
                self._codings.popitem(last=False)
            place = coded_place(request, place, codings)
        self._answers.put(place, prepared)

    def forget(self, place: MemoryKey) -> None:
        """A file stands there now. Redirects of other queries stay until they are the least used: no deploy has both,
        and those of another are not usable."""
        self._codings.pop(place, None)
        self._answers.drop(place)

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        self._answers.drop_site(site_id)


def _redirect_place(request: Request, place: MemoryKey) -> MemoryKey:
    """ "#" is in no path and no query."""
    query = request.target.query
    return (place[0], place[1], f"{place[2]}#" if query is None else f"{place[2]}?{query}")
