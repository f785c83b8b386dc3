"""Short scripts: what was once found to be wrong, and what is easily broken."""

from __future__ import annotations

from tests.model.script import Answering, Asking, Passing, Purging, Restarting, Step, Sweeping, Told


def told(*lines: tuple[str, str], **more: object) -> tuple[Told, ...]:
    return (Told(lines, **more),)  # type: ignore[arg-type]


FRESH = ("cache-control", "max-age=100")

A_PART_THAT_IS_THE_WHOLE: list[Step] = [
    Asking(lines=(("range", "bytes=0-"),), told=told(FRESH, cuts=True)),
    Asking(),
]
"""Who asks for no range is not sent a 206."""

A_304_FOR_ONE_WHO_WANTS_NOTHING_STORED: list[Step] = [
    Asking(told=told(FRESH, ("etag", '"a"'))),
    Asking(lines=(("cache-control", "no-store"),), told=(*told(confirms=True), *told())),
    Asking(),
]
"""Its head is a part of a response that must not be stored."""

A_304_THAT_IS_PRIVATE: list[Step] = [
    Asking(told=told(("cache-control", "max-age=0"), ("etag", '"a"'))),
    Asking(told=told(("cache-control", "max-age=100, private"), confirms=True)),
    Asking(),
]

A_304_WITH_A_FIELD_FOR_ONE: list[Step] = [
    Asking(told=told(("cache-control", "max-age=0"), ("etag", '"a"'))),
    Asking(told=told(("cache-control", 'max-age=100, private="x-secret"'), ("x-secret", "yes"), confirms=True)),
    Asking(),
]

A_304_WITHOUT_A_DATE: list[Step] = [
    Asking(told=told(("cache-control", "max-age=10"), ("etag", '"a"'))),
    Passing(seconds=90),
    Asking(told=told(confirms=True, is_dated=False)),
    Asking(),
]
"""It was received when it was received: the response is young again."""


A_304_TO_WHAT_WAS_REPLACED: list[Step] = [
    Asking(told=told(("last-modified", "@-1000"))),
    Answering(0),
    Answering(0),
    Purging("everything", is_soft=True),
    Asking(told=told(("cache-control", "max-age=100"), ("etag", 'W/"a"'))),
    Asking(lines=(("cache-control", "no-cache"),), told=(*told(confirms=True), *told(FRESH))),
    Answering(0),
    Answering(0),
    Answering(0),
]
"""The answer to the first request took the place of what the second asked about: the 304 says nothing of it."""


A_304_THAT_NARROWS_NO_VARY_SEARCH: list[Step] = [
    Asking("/a?x=1", told=told(("cache-control", "max-age=0"), ("etag", '"a"'), ("no-vary-search", "params"))),
    Asking("/a?x=1", told=told(FRESH, ("no-vary-search", 'params, except=("x")'), confirms=True)),
    Asking("/a?x=2", told=told()),
]

VARIANTS_WITH_OTHER_NO_VARY_SEARCH: list[Step] = [
    Asking("/a?x=1", (("x-kind", "1"),), told(FRESH, ("vary", "x-kind"))),
    Asking("/a?x=1", (("x-kind", "2"),), told(FRESH, ("vary", "x-kind"), ("no-vary-search", "params"))),
    Asking("/a?x=2", (("x-kind", "1"),), told()),
]
"""What one variant says of queries does not hold for the other."""

A_PURGE_AND_A_DEAD_UPSTREAM: list[Step] = [Asking(told=told(FRESH)), Purging("everything"), Asking(), Asking()]
"""Nothing crosses a hard floor (DESIGN I1)."""

A_PURGE_AND_A_304: list[Step] = [
    Asking(told=told(FRESH, ("etag", '"a"'))),
    Purging("url", "/a"),
    Asking(told=told(confirms=True)),
]

A_PURGE_BEFORE_A_RESTART: list[Step] = [Asking(told=told(FRESH)), Purging("prefix", "/"), Restarting(), Asking()]

A_PURGE_WHILE_IT_IS_FETCHED: list[Step] = [
    Asking(told=told(FRESH, meanwhile=(Purging("everything"),))),
    Asking(told=told(FRESH)),
]

STALE_BUT_MUST_BE_VALIDATED: list[Step] = [
    Asking(told=told(("cache-control", "max-age=5, must-revalidate"))),
    Passing(6),
    Asking(),
    Asking(lines=(("cache-control", "max-stale"),)),
]

STALE_FOR_TOO_LONG: list[Step] = [
    Asking(told=told(("cache-control", "max-age=5, stale-while-revalidate=20, stale-if-error=30"))),
    Passing(26),
    Asking(told=told(("cache-control", "max-age=0"), status=203)),
]

WISHES_OF_CLIENTS: list[Step] = [
    Asking(told=told(FRESH)),
    Asking(),
    Passing(10),
    *(Asking(lines=(("cache-control", wish),), told=told(FRESH)) for wish in ("max-age=5", "min-fresh=95", "no-cache")),
    Asking(lines=(("pragma", "no-cache"),), told=told(FRESH)),
]
"""What is prepared in memory knows nothing of them."""

PARTS_OF_DIFFERENT_REPRESENTATIONS: list[Step] = [
    Asking(lines=(("range", "bytes=0-9"),), told=told(FRESH, ("etag", '"a"'), cuts=True)),
    Asking(lines=(("range", "bytes=10-"),), told=told(FRESH, ("etag", '"b"'), cuts=True)),
    Asking(lines=(("range", "bytes=5-14"),), told=told(FRESH, ("etag", '"b"'), cuts=True)),
    Asking(told=told(FRESH)),
]

A_304_ABOUT_ANOTHER: list[Step] = [
    Asking(lines=(("x-kind", "1"),), told=told(FRESH, ("vary", "x-kind"), ("etag", '"a"'))),
    Asking(lines=(("x-kind", "2"),), told=told(FRESH, ("vary", "x-kind"), ("etag", '"b"'))),
    Asking(lines=(("x-kind", "3"),), told=(*told(("etag", '"c"'), confirms=True), *told(FRESH))),
]
"""It names neither of the two that were asked about."""

INVALIDATED: list[Step] = [
    Asking(told=told(FRESH, ("cache-groups", '"g"'))),
    Asking("/b", told=told(FRESH, ("cache-groups", '"g"'))),
    Asking(method="PUT", told=told(("cache-group-invalidation", '"g"'))),
    Asking(told=told()),
    Asking("/b", told=told()),
]

A_304_THAT_CHANGES_VARY: list[Step] = [
    Asking(told=told(FRESH, ("etag", '"a"'), ("vary", "accept-language"))),
    Asking(lines=(("accept-language", "de"),), told=told(FRESH, ("vary", "x-kind"), confirms=True)),
    Asking(lines=(("x-kind", "1"),), told=told()),
]
"""What the first request said in the field that Vary names now was not remembered."""

A_FAILURE_THAT_OTHERS_WAIT_FOR: list[Step] = [
    Asking(lines=(("x-kind", "1"),), told=told(("vary", "x-kind"), status=503)),
    Asking(lines=(("x-kind", "2"),), told=told(FRESH)),
    Answering(0),
    Asking(lines=(("x-kind", "1"),), told=told(FRESH)),
]
"""It is for those who waited, and only if Vary allows it."""

A_PURGE_OF_ANOTHER_QUERY_AND_A_SWEEP: list[Step] = [
    Asking("/a?x=2", told=told(FRESH, ("no-vary-search", "params"))),
    Asking("/a?x=3", told=told()),
    Purging("url", "/a?x=1"),
    Sweeping(),
    Asking("/a?x=1", told=told(FRESH)),
]
"""What was stored for one query answered the one that was purged, and is not to do so again once the floor is gone."""

A_PURGE_OF_A_PREFIX_OF_ANOTHER_QUERY: list[Step] = [
    Asking("/a?x=2", told=told(FRESH, ("no-vary-search", "params"))),
    Purging("prefix", "/a?x=1"),
    Sweeping(),
    Asking("/a?x=11", told=told(FRESH)),
]

A_304_TO_HEAD_THAT_BRINGS_VARY: list[Step] = [
    Asking(told=told(("cache-control", "max-age=10"), ("last-modified", "@-1000"))),
    Passing(3),
    Asking(
        lines=(("accept-language", "de, en"), ("cache-control", "no-cache")),
        told=told(("cache-control", "max-age=10"), ("vary", "accept-language"), confirms=True),
        method="HEAD",
    ),
]
"""The upstream selected it for this request, whatever its method."""

ALONE: tuple[list[Step], ...] = (
    A_PART_THAT_IS_THE_WHOLE, A_304_FOR_ONE_WHO_WANTS_NOTHING_STORED, A_304_THAT_IS_PRIVATE, A_304_WITH_A_FIELD_FOR_ONE,
    A_304_WITHOUT_A_DATE, A_304_THAT_NARROWS_NO_VARY_SEARCH, VARIANTS_WITH_OTHER_NO_VARY_SEARCH,
    A_PURGE_AND_A_DEAD_UPSTREAM, A_PURGE_AND_A_304, A_PURGE_BEFORE_A_RESTART, A_PURGE_WHILE_IT_IS_FETCHED,
    STALE_BUT_MUST_BE_VALIDATED, STALE_FOR_TOO_LONG, WISHES_OF_CLIENTS, PARTS_OF_DIFFERENT_REPRESENTATIONS,
    A_304_ABOUT_ANOTHER,
    A_304_THAT_CHANGES_VARY, INVALIDATED, A_PURGE_OF_ANOTHER_QUERY_AND_A_SWEEP, A_PURGE_OF_A_PREFIX_OF_ANOTHER_QUERY,
    A_304_TO_HEAD_THAT_BRINGS_VARY,
)  # fmt: skip
TOGETHER: tuple[list[Step], ...] = (A_304_TO_WHAT_WAS_REPLACED, A_FAILURE_THAT_OTHERS_WAIT_FOR)
