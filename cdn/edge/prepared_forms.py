"""Other answers that a prepared response holds: 304, one range, 416 (RFC 9110 sections 13 and 14).

They are selected as the whole road selects, from the same fields, so that nobody can tell by which road one came.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from cdn.edge.head_parser import CONDITIONS
from cdn.edge.prepared import EncodedHit, Prepared, Validators
from cdn.edge.response_head import encode_head
from cdn.edge.selection import Part, Selected, select_by_tag, select_from
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead

FIXDATE_LENGTH: Final = 29
"""Characters of a date in the form that is written today; what others mean depends on the century."""

MAX_REMEMBERED_BYTES: Final = 8 * 1024
"""Content of a range that a head memo keeps a copy of."""

_FORM_OVERHEAD_BYTES: Final = 600


class PreparedForm(Prepared):
    """An answer made of a prepared response: usable as long as that one is.

    What memory it takes, whoever remembers it counts: `memo_bytes`.
    """

    __slots__ = ("_whole",)

    _whole: Prepared

    @classmethod
    def made_of(cls, whole: Prepared, encoded: EncodedHit, content: bytes) -> PreparedForm:
        """`encoded` and `content` are its own; site, generation and clock are those of `whole`."""
        made = cls.__new__(cls)
        made._begin(encoded, content, whole.site, whole.generation, whole.wall_clock, whole.on_use)
        made._whole = whole
        made.selecting = whole.selecting
        return made

    @property
    def may_come_again(self) -> bool:
        """A browser that has a page asks for it again and again; a large range is as a rule asked for once."""
        return self.size_bytes <= MAX_REMEMBERED_BYTES

    @property
    def memo_bytes(self) -> int:
        return self.cost_bytes + _FORM_OVERHEAD_BYTES

    def is_usable(self, now: float) -> bool:
        return self._whole.is_usable(now)


def form_for(prepared: Prepared, request: Request) -> Prepared | None:
    """What answers a GET or HEAD that `prepared` is the whole answer to: itself, unless a condition asks for less.

    None: only the whole road can tell, or send it; for everything that hardly any browser asks.
    """
    asked = request.fields
    if asked.names.isdisjoint(CONDITIONS) or not 200 <= prepared.status < 300:
        return prepared  # preconditions of other statuses do not count (RFC 9110 section 13.2.1)
    if prepared.validators is Validators.NONE or "if-match" in asked or "if-unmodified-since" in asked:
        return None
    since, if_range = asked.get("if-modified-since"), asked.get("if-range")
    if since is not None and len(since) != FIXDATE_LENGTH:
        return None
    if if_range is not None and '"' not in if_range and len(if_range) != FIXDATE_LENGTH:
        return None
    encoded = prepared.encoded()
    head = _head_of(encoded.status, encoded.start)
    select = select_by_tag if prepared.validators is Validators.ENTITY_TAG else select_from
    selected = select(request, head, prepared.size_bytes, prepared.wall_clock())
    match selected.part:
        case Part.ALL:
            return prepared
        case Part.NOTHING | Part.RANGE:
            content = prepared.content_between(selected.start, selected.stop)
            return PreparedForm.made_of(prepared, _encoded(encoded, selected), content)
        case Part.RANGES:
            return None


def _encoded(whole: EncodedHit, selected: Selected) -> EncodedHit:
    is_refusal = selected.status == 416  # its own Cache-Control stands among the fields
    size_bytes = selected.stop - selected.start
    return EncodedHit(
        status=selected.status,
        start=encode_head(selected.status, selected.fields, size_bytes),
        max_age_split=None if is_refusal else whole.max_age_split,
        has_date=whole.has_date,
        hit=whole.hit,
        base_age_at=whole.base_age_at,
        fresh_until=whole.fresh_until,
        usable_until=math.inf,
    )


@lru_cache(maxsize=1024)
def _head_of(status: int, start: bytes) -> ResponseHead:
    """A prepared head without what is made anew each second; remembered, for some 3 KiB each: it takes 10 us."""
    lines = (line.partition(": ") for line in start.decode("latin-1").split("\r\n")[1:-1])
    return ResponseHead(status, Fields(tuple((name, value) for name, _, value in lines)))
