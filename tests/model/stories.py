"""Strategies: what upstreams and clients say, drawn from little so that it meets."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.model.plain_message import Lines
from tests.model.script import Answering, Asking, Passing, Purging, Restarting, Step, Sweeping, Told

TARGETS = (*("/a",) * 8, "/a?x=1", "/a?x=2", "/b")
SEARCHES = ("/a?x=1", "/a?x=2", "/a?x=1&y=1", "/a?y=1&x=2")
TAGS = ('"a"', '"a"', '"a"', '"b"', 'W/"a"', 'W/"b"', "a")
LIFETIMES = (
    *("max-age=10", "max-age=10", "max-age=100", "max-age=100", "s-maxage=10", "s-maxage=60", "max-age=0"),
    *("max-age=10", "max-age=60", "max-age=100", "max-age=100", "", "max-age=5, stale-while-revalidate=20"),
    *("max-age=5, stale-while-revalidate=20", "max-age=0, stale-while-revalidate=100", "max-age=5, must-revalidate"),
    *("MAX-AGE=10", 'max-age="10"', "max-age=ten", "max-age=-1", "max-age=1.5", "max-age", "max-age=99999999999"),
)
DIRECTIVES = (
    *("no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand"),
    *('no-cache="x-secret"', 'private="x-secret"', 'private=""', "no-cache=x-secret", "immutable", "no-transform"),
    *("stale-while-revalidate=20", "stale-if-error=20", "stale-if-error=0", "unknown=1", ""),
)
FOR_CDNS = (
    *("max-age=10", "max-age=100", "no-store", "max-age=100, private", "no-cache", "max-age=10;x=1"),
    *("max-age=100, must-revalidate", "max-age=ten", 'max-age="10"', "MAX-AGE=100", "max-age=100,"),
    *("no-store=?0, max-age=10", ""),
)
WISHES = (
    *("no-cache", "no-store", "max-age=0", "max-age=5", "max-age=50", "max-stale", "max-stale=15", "min-fresh=5"),
    *("only-if-cached", "stale-if-error=15", "max-age=5, max-stale", "max-stale=x", "no-cache, stale-if-error=100"),
)
RANGES = (
    "bytes=0-4",
    "bytes=5-9",
    "bytes=3-7",
    "bytes=10-",
    "bytes=-5",
    "bytes=0-",
    "bytes=99-",
    "bytes=0-3,12-15",
    "x=0-1",
)
MODIFIED = ("@-1000", "@-1000", "@-100", "@0", "yesterday")
STATUSES = (200, 200, 203, 204, 301, 302, 404, 410, 299, 400, 500, 503, 503)

VALIDATORS = (("etag", TAGS), ("last-modified", MODIFIED))
TOLD = (
    ("vary", ("x-kind", "accept-language", "x-kind, cookie", "X-Kind", "*", "x-kind, *", "accept-encoding")),
    ("vary", ("x-kind", "accept-language", "x-kind, cookie")),
    ("expires", ("@10", "@100", "@-10", "0", "@0")),
    ("age", ("5", "50", "-1", "x", "5, 50", "5;x", "99999999999")),
    ("date", ("@-20", "@20", "@-5", "never")),
    ("cdn-cache-control", FOR_CDNS),
    ("set-cookie", ("a=1",)),
    ("x-secret", ("yes",)),
    ("cache-tag", ("t", "u", "t,u")),
    ("cache-groups", ('"g"', '"g", "h"', "g")),
    ("cache-group-invalidation", ('"g"', '"h"', "g")),
    ("no-vary-search", ("params", 'params=("x")', 'params, except=("x")', "key-order", "?1")),
    ("content-location", ("/a", "/b")),
    ("location", ("/a", "/b")),
    ("retry-after", ("5", "100", "@50")),
    ("content-type", ("text/plain",)),
)
ASKED = (
    ("x-kind", ("1", "2")),
    ("x-kind", ("1", "2")),
    ("accept-language", ("de, en", "en,DE", "fr", "de;q=0.5, en")),
    ("accept-encoding", ("gzip", "br;q=0.5, gzip", "identity")),
    ("cookie", ("a=1", "a=2")),
    ("authorization", ("Basic eA==",)),
    ("cache-control", WISHES),
    ("cache-control", WISHES),
    ("pragma", ("no-cache",)),
)
CONDITIONAL = (
    ("if-none-match", (*TAGS, "*", '"a", "b"', '"a-gzip"')),
    ("if-modified-since", ("@-1000", "@-100", "@-2000", "@0", "x")),
    ("if-match", ('"a"', "*", 'W/"a"')),
    ("if-unmodified-since", ("@-1000", "@-2000")),
    ("range", RANGES),
    ("range", RANGES),
    ("if-range", ('"a"', 'W/"a"', '"b"', "@-1000")),
)
SECONDS = (3, 5, 6, 9, 10, 11, 15, 20, 25, 60, 99, 100, 120, 90_000)


Choices = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of fields, each with values that it may have."""


@dataclass(frozen=True)
class Theme:
    """What one script is about: few fields of many, so that those it has meet each other often.

    `is_odd`: answers may be errors, late or broken. `is_restless`: purges come while the upstream is asked.
    """

    targets: tuple[str, ...]
    lifetimes: tuple[str, ...]
    told: Choices
    asked: Choices
    conditional: Choices
    methods: tuple[str, ...]
    is_odd: bool
    is_restless: bool


EVERYDAY = ("max-age=10", "max-age=100", "max-age=100")
SOON_STALE = (
    *("max-age=5, stale-while-revalidate=20", "max-age=5, stale-if-error=20", "max-age=5, must-revalidate"),
    *("max-age=100, s-maxage=5", "max-age=0, stale-while-revalidate=100"),
)
IN_PART_PRIVATE = ('max-age=100, private="x-secret"', 'max-age=100, no-cache="x-secret"', "max-age=100, no-cache")
SELECTED = (("vary", ("x-kind", "accept-language", "x-kind, accept-language", "X-Kind")),)
SELECTING = (("x-kind", ("1", "2")), ("accept-language", ("de, en", "en,DE", "fr")))
IN_PARTS = (("range", RANGES), ("range", RANGES[:4]), ("if-range", ('"a"', 'W/"a"', '"b"', "@-1000")))
GROUPED = (
    ("cache-groups", ('"g"', '"g", "h"')),
    ("cache-group-invalidation", ('"g"', '"h"')),
    ("cache-tag", ("t", "g")),
)
SEARCHED = (("no-vary-search", ("params", 'params=("x")', 'params, except=("x")', "key-order", "?1")),)

PLOTS: tuple[tuple[tuple[str, ...], Choices, Choices, Choices], ...] = (
    (EVERYDAY, (), (), ()),
    (SOON_STALE, (), (), ()),
    (SOON_STALE, (), (), ()),
    (SOON_STALE, (), (("cache-control", WISHES),), ()),
    (EVERYDAY, SELECTED, SELECTING, ()),
    (EVERYDAY, (), (("authorization", ("Basic eA==",)), ("cookie", ("a=1", "a=2"))), ()),
    (EVERYDAY, (("etag", TAGS),), (), IN_PARTS),
    (IN_PART_PRIVATE, (("x-secret", ("yes",)),), (), ()),
    (EVERYDAY, GROUPED, (), ()),
    (EVERYDAY, SEARCHED, (), ()),
    (LIFETIMES, (), (), ()),
)
"""Lifetimes, and fields of answers, requests and conditional requests, that a script has at least."""

METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "MEND", "OPTIONS")


@st.composite
def themes(draw: st.DrawFn) -> Theme:
    lifetimes, told, asked, conditional = draw(st.sampled_from(PLOTS))
    if lifetimes is LIFETIMES:
        lifetimes = tuple(draw(st.lists(st.sampled_from(LIFETIMES), min_size=1, max_size=3)))
    most = draw(st.sampled_from((0, 0, 2, 3)))
    return Theme(
        targets=SEARCHES if told is SEARCHED else TARGETS,
        lifetimes=lifetimes,
        told=told + _few(draw, TOLD, most),
        asked=asked + _few(draw, ASKED, most // 2),
        conditional=conditional + _few(draw, CONDITIONAL, most // 2),
        methods=METHODS if told is GROUPED or draw(st.integers(0, 3)) == 3 else ("GET",),
        is_odd=draw(st.integers(0, 2)) == 2,
        is_restless=draw(st.integers(0, 3)) == 3,
    )


def _few(draw: st.DrawFn, choices: Choices, most: int) -> Choices:
    chosen = draw(st.lists(st.integers(0, len(choices) - 1), max_size=most))
    return tuple(choices[each] for each in chosen)


def _some(draw: st.DrawFn, choices: Choices, one_in: int) -> Lines:
    """Each of these fields once in a while; never is what it shrinks to."""
    found: dict[str, str] = {}
    for name, values in choices:
        drawn = draw(st.integers(0, one_in * len(values) - 1)) - (one_in - 1) * len(values)
        if drawn >= 0:
            found[name] = values[drawn]
    return tuple(found.items())


def _cache_control(draw: st.DrawFn, theme: Theme) -> Lines:
    given = [draw(st.sampled_from(theme.lifetimes))]
    if theme.is_odd and draw(st.integers(0, 2)) == 2:
        given += draw(st.lists(st.sampled_from((*DIRECTIVES, *LIFETIMES)), min_size=1, max_size=2))
        if draw(st.booleans()):
            return (("cache-control", given.pop()), ("cache-control", ", ".join(given)))
    return () if given == [""] else (("cache-control", ", ".join(given)),)


def _told(draw: st.DrawFn, theme: Theme) -> Told:
    """An answer of the upstream."""
    lines = _cache_control(draw, theme) + _some(draw, VALIDATORS, 2) + _some(draw, theme.told, 2)
    is_odd = theme.is_odd and draw(st.booleans())
    return Told(
        lines=lines,
        status=draw(st.sampled_from(STATUSES)) if is_odd else 200,
        size_bytes=draw(st.sampled_from((20, 21, 0, 300))) if is_odd else 20,
        confirms=draw(st.integers(0, 2)) < 2,
        cuts=any(name == "range" for name, _ in theme.conditional) or draw(st.booleans()),
        breaks=draw(st.sampled_from(("", "", "head", "content"))) if is_odd else "",
        delay_s=draw(st.sampled_from((0, 0, 2, 15))) if is_odd else 0,
        meanwhile=(draw(purging()),) if theme.is_restless and draw(st.booleans()) else (),
        is_dated=draw(st.integers(0, 5)) < 5,
    )


def _asking(draw: st.DrawFn, theme: Theme) -> Asking:
    return Asking(
        target=draw(st.sampled_from(theme.targets)),
        lines=_some(draw, theme.asked, 2) + _some(draw, theme.conditional, 2),
        told=tuple(_told(draw, theme) for _ in range(draw(st.sampled_from((1, 1, 1, 2, 2, 0))))),
        method=draw(st.sampled_from(theme.methods)),
        scheme=draw(st.sampled_from(("http", "http", "http", "https"))) if theme.is_odd else "http",
    )


SCOPES = (
    *(("everything", ""), ("everything", ""), ("url", "/a"), ("url", "/a?x=1"), ("prefix", "/a"), ("prefix", "/b")),
    *(("tag", "t"), ("tag", "g")),
)


def purging() -> st.SearchStrategy[Purging]:
    return st.builds(
        lambda scope, is_soft: Purging(scope[0], scope[1], is_soft), st.sampled_from(SCOPES), st.booleans()
    )


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """One client after another."""
    theme = draw(themes())
    script: list[Step] = []
    for _ in range(draw(st.integers(4, 14))):
        match draw(st.integers(0, 12)):
            case 7 | 8 | 9:
                script.append(Passing(draw(st.sampled_from(SECONDS))))
            case 10 | 11:
                script.append(draw(purging()))
            case 12:
                script.append(Restarting() if draw(st.booleans()) else Sweeping())
            case _:
                script.append(_asking(draw, theme))
    return script


@st.composite
def overlapping_steps(draw: st.DrawFn) -> list[Step]:
    """Clients side by side, and an upstream that answers them in any order."""
    theme = draw(themes())
    script: list[Step] = []
    for _ in range(draw(st.integers(6, 18))):
        match draw(st.integers(0, 11)):
            case 5 | 6 | 7 | 8 | 9:
                script.append(Answering(draw(st.integers(0, 3))))
            case 10:
                script.append(Passing(draw(st.sampled_from(SECONDS))))
            case 11:
                script.append(draw(purging()))
            case _:
                script.append(_asking(draw, theme))
    return script
