"""Prepared hits from memory: found by a request, kept where the next request like it finds them.

What is done here needs the catalog, the generations and the memory, and nothing else of a node: so the node itself and
each of its workers do it alike.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import assert_never

import msgspec

from cdn.edge.answers_memory import AnswersMemory
from cdn.edge.coded_place import coded_place
from cdn.edge.https_rules import HttpsRules, bundle_place, is_apart
from cdn.edge.memory_tier import MemoryKey, MemoryTier
from cdn.edge.prepared import Prepared, SiteRuntime
from cdn.edge.prepared_forms import form_for
from cdn.edge.pull_key import pull_key
from cdn.edge.pull_memory import PullMemory
from cdn.edge.site_view import SiteView
from cdn.fleet.position import Position
from cdn.http.cache_control import NO_DIRECTIVES, request_directives
from cdn.http.request import Request
from cdn.sites.catalog import Binding
from cdn.sites.name import PRODUCTION
from cdn.sites.site import Site

DEBUG_FIELD = "cdn-debug"
"""A request with this field is told deploy, position and node (DESIGN I13)."""

SERVED_METHODS = frozenset({"GET", "HEAD"})

MAX_WAYS = 4096
"""Hosts whose site is remembered, half a kilobyte each. Beyond it all are forgotten: finding one again takes 2 us."""


MAX_CODED_PLACES = 131_072
"""Places of files with coded forms whose codings are remembered, some 400 bytes each: more than the prepared responses
that fit. One that was forgotten costs a look by the whole road."""


class BundlePlace(msgspec.Struct, frozen=True, array_like=True, tag="bundle"):
    """Where a hit of a site of bundles is kept: its key in the memory tier.

    `codings`: there are coded forms of it, in the order of `preferred_coding`; hits are told apart by what a request
    prefers of them.
    """

    site_id: str
    alias: str
    path: str
    codings: tuple[str, ...] = ()


class PullPlace(msgspec.Struct, frozen=True, array_like=True, tag="pull"):
    """Where a hit of a pull site is kept: under `PullKey.place`, for requests told apart as PullMemory says."""

    site_id: str
    path: str
    names: tuple[str, ...]
    is_coded: bool


Place = BundlePlace | PullPlace


@dataclass(frozen=True, slots=True)
class Noted:
    """What was known of a request's site before the node was asked: `generation` is that of then."""

    site: Site
    alias: str
    runtime: SiteRuntime
    generation: int


@dataclass(frozen=True, slots=True)
class Way:
    """Where hits for a host and scheme are found, as of one position: `is_apart`: those of a bundle under a path of
    their own; `may_hit`: visitors are answered here and not sent elsewhere."""

    binding: Binding
    site: Site
    is_apart: bool
    may_hit: bool


class Recall:
    """The memory of one process. Asked only for GET and HEAD without content; preconditions and Range are judged here.

    What it finds depends on method, host, scheme, target and these fields of a request: the preconditions, Range,
    Accept-Encoding, Cache-Control, Pragma, DEBUG_FIELD and those in `Prepared.selecting`.
    """

    def __init__(
        self, view: SiteView, prepared: MemoryTier[Prepared], memory: PullMemory, rules: HttpsRules | None = None
    ) -> None:
        """`rules` say whom nothing is answered from here, because they are sent elsewhere; None: nobody is."""
        self._view = view
        self._rules = rules
        self._prepared = prepared
        self._memory = memory
        self._answers = AnswersMemory()
        self._codings: OrderedDict[MemoryKey, tuple[str, ...]] = OrderedDict()
        self._ways: dict[tuple[str, str], Way] = {}
        self._ways_of: Position | None = None

    def find(self, request: Request, now: float) -> Prepared | None:
        """A usable hit; `now` is monotonic."""
        if request.method not in SERVED_METHODS or DEBUG_FIELD in request.fields:
            return None
        way = self._way(request.host, request.scheme)
        if way is None or not way.may_hit:
            return None
        path = request.target.path
        binding = way.binding
        place = (binding.site_id, binding.alias, f"https:{path}" if way.is_apart else path)
        prepared = self._prepared.get(place)
        if prepared is None:
            if way.site.settings.is_pull and binding.alias == PRODUCTION:
                return recall_pulled(self._memory, request, way.site, now)
            prepared = self._find_coded(request, place) or self._answers.find(request, place)
        return form_for(prepared, request) if prepared is not None and prepared.is_usable(now) else None

    def _find_coded(self, request: Request, place: MemoryKey) -> Prepared | None:
        """Of a file that has coded forms: the one that this request prefers, or the identity form."""
        codings = self._codings.get(place)
        return None if codings is None else self._prepared.get(coded_place(request, place, codings))

    def put(self, request: Request, place: BundlePlace, prepared: Prepared) -> None:
        """Keep a hit of a site of bundles where `find` looks for it: with a status of 200 that of a file."""
        key = (place.site_id, place.alias, place.path)
        if prepared.status != 200:
            self._codings.pop(key, None)
            self._prepared.drop(key)  # `find` would stop there
            self._answers.put(request, key, place.codings, prepared)
            return
        self._answers.forget(key)
        if not place.codings:
            if self._codings:
                self._codings.pop(key, None)
            self._prepared.put(key, prepared)
            return
        self._prepared.drop(key)  # `find` would stop there
        self._codings[key] = place.codings
        self._codings.move_to_end(key)
        if len(self._codings) > MAX_CODED_PLACES:
            self._codings.popitem(last=False)
        self._prepared.put(coded_place(request, key, place.codings), prepared)

    def _way(self, host: str, scheme: str) -> Way | None:
        """What the records say of this host; found once for all visitors that come before the next record."""
        if self._view.position is not self._ways_of:
            self._ways.clear()
            self._ways_of = self._view.position
        way = self._ways.get((host, scheme))
        if way is not None:
            return way
        binding = self._view.catalog.bind(host)
        site = None if binding is None else self._view.catalog.site(binding.site_id)
        if binding is None or site is None:
            return None
        is_moved = self._rules is not None and self._rules.moves_all(host, scheme, site)
        way = Way(binding, site, is_apart(scheme, site), not is_moved)
        if len(self._ways) >= MAX_WAYS:
            self._ways.clear()
        self._ways[host, scheme] = way
        return way

    @property
    def cost_bytes(self) -> int:
        """What answers that are no files take; files are counted where they are kept."""
        return self._answers.cost_bytes

    def drop_site(self, site_id: str) -> None:
        """The site is gone, and so is what is kept here alone."""
        self._answers.drop_site(site_id)

    def mark(self) -> int:
        """The number of the last time that something was forgotten."""
        return self._memory.mark()

    def place(self, request: Request) -> Place | None:
        """Where the hit is kept that `find` has just found for this request."""
        binding = self._view.catalog.bind(request.host)
        site = None if binding is None else self._view.catalog.site(binding.site_id)
        if binding is None or site is None:
            return None
        if not site.settings.is_pull:
            path = bundle_place(request, site)
            key = (site.id, binding.alias, path)
            return BundlePlace(*key, self._codings.get(key) or self._answers.codings(key))
        pulled = pull_key(site, request)
        way = self._memory.way(pulled)
        return None if way is None else PullPlace(*pulled.place, *way)

    def note(self, request: Request) -> Noted | None:
        """What is known of the request's site now, before the node is asked."""
        binding = self._view.catalog.bind(request.host)
        site = None if binding is None else self._view.catalog.site(binding.site_id)
        if binding is None or site is None:
            return None
        runtime = self._view.runtime(site.id)
        return Noted(site, binding.alias, runtime, runtime.generation)

    def keep(self, request: Request, noted: Noted, place: Place, prepared: Prepared, number: int) -> None:
        """Keep a hit that the node gave for `request`, under the generation of `noted`.

        `number` is the node's mark of when it took the hit from its memory: what was forgotten since is not kept. Nor
        is what the node found in another place than this process would look in: one of the two is ahead by a record.
        """
        match place:
            case BundlePlace(site_id, alias, path):
                if site_id == noted.site.id and alias == noted.alias and path == bundle_place(request, noted.site):
                    self.put(request, place, prepared)
            case PullPlace(site_id, path, names, is_coded):
                key = pull_key(noted.site, request)
                if (site_id, path) == key.place and noted.alias == PRODUCTION:
                    self._memory.put(key, names, is_coded, request.fields, prepared, number)
            case _:
                assert_never(place)


def recall_pulled(memory: PullMemory, request: Request, site: Site, now: float) -> Prepared | None:
    """A prepared hit of a pull site, when nothing the request says stands against it."""
    fields = request.fields
    if DEBUG_FIELD in fields:
        return None
    prepared = memory.get(pull_key(site, request), fields)
    if prepared is None or not prepared.is_usable(now):
        return None
    has_directives = ("cache-control" in fields or "pragma" in fields) and site.settings.obeys_client_directives
    return None if has_directives and request_directives(fields) != NO_DIRECTIVES else form_for(prepared, request)
