"""The plain model against examples that stand in the RFCs, so that what it forbids is what they forbid."""

from __future__ import annotations

import pytest

from tests.model import plain_message
from tests.model.history import Exchange, History, Moment, Purge, Visit, octets, owners
from tests.model.plain_cache import PlainCache
from tests.model.plain_message import Lines
from tests.model.plain_stored import age, lifetime, stored_from

START = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date that RFC 9110 section 5.6.7 writes in three ways."""


def exchange(*answer: tuple[str, str], at: float = START, asked: Lines = (), **more: object) -> Exchange:
    """An answer of 20 octets, received at once, as the first thing that happened."""
    made = Exchange(1, 1, "GET", "http", "/a", asked, Moment(1, at, 1), Moment(2, at, 1), 200, content=octets(1, 20))
    for name, value in more.items():
        setattr(made, name, value)
    made.answer = (*answer, (f"x-seen-{made.number}", "1"), ("x-content", str(made.number)))
    if made.status == 304:
        made.answer = made.answer[:-1]
    return made


def not_modified(etag: str, *, asked_with: str, sequence: int) -> Exchange:
    made = exchange(("etag", etag), asked=(("if-none-match", asked_with),), number=2, status=304, content=b"")
    made.asked, made.answered = Moment(6, START, sequence), Moment(7, START, sequence)
    return made


def reuse(
    stored: Exchange, *lines: tuple[str, str], after_s: float = 5, updates: tuple[Exchange, ...] = (), **more: object
) -> Visit:
    """A later request that is answered with it, as a cache should."""
    at = stored.answered.at + after_s
    fields = stored_from(stored, list(updates)).lines
    shown = tuple(line for line in fields if line[0] != "age")
    seen = tuple((f"x-seen-{each.number}", "1") for each in updates if (f"x-seen-{each.number}", "1") not in fields)
    told = (*shown, *seen, ("age", str(int(age(stored_from(stored, list(updates)), at)))))
    visit = Visit(
        2,
        "GET",
        "http",
        "/a",
        lines,
        Moment(10, at, 1),
        Moment(11, at, 1),
        Moment(12, at, 1),
        200,
        told,
        stored.content,
    )
    for name, value in more.items():
        setattr(visit, name, value)
    return visit


def said(visit: Visit, *exchanges: Exchange, purges: tuple[Purge, ...] = (), visits: tuple[Visit, ...] = ()) -> str:
    visited = {each.number: each for each in (visit, *visits)}
    history = History({each.number: each for each in exchanges}, visited, list(purges))
    return "; ".join(PlainCache(history).objections(visit))


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_is_written_in_three_ways(text: str) -> None:
    assert plain_message.date(text) == START


@pytest.mark.parametrize("text", ["0", "", "yesterday", "1994-11-06T08:49:37Z"])
def test_everything_else_is_no_date(text: str) -> None:
    assert plain_message.date(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max-age=60", (("max-age", "60"),)),
        ('Max-Age="60" , no-store', (("max-age", "60"), ("no-store", None))),
        ('private="a, b", public', (("private", "a, b"), ("public", None))),
        ('no-cache="a', (("no-cache", ""),)),
        (",, no-cache", (("no-cache", None),)),
        ("max-age =60", (("max-age", ""),)),
    ],
)
def test_directives(text: str, expected: tuple[tuple[str, str | None], ...]) -> None:
    assert plain_message.directives(text).given == expected


def test_an_unfinished_quote_hides_no_directive() -> None:
    assert "no-store" in plain_message.directives('private="a, no-store')


@pytest.mark.parametrize("text", [None, "", "MAX-AGE=1", "max-age=1,", "max-age=", "max-age=1 no-store"])
def test_a_targeted_field_that_is_no_dictionary_counts_for_nothing(text: str | None) -> None:
    assert plain_message.targeted(text) is None


def test_a_targeted_field_counts_alone() -> None:
    told = plain_message.targeted("max-age=1, no-store, max-age=5;x=1, private=?0")
    assert told is not None
    assert dict(told.given) == {"max-age": "5", "no-store": None}


# RFC 9111 section 4.2.1: the first of these that is there


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((("cache-control", "max-age=60, s-maxage=30"), ("expires", "Sun, 06 Nov 1994 08:49:47 GMT")), 30),
        ((("cache-control", "max-age=60"), ("expires", "Sun, 06 Nov 1994 08:49:47 GMT")), 60),
        ((("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "Sun, 06 Nov 1994 08:49:38 GMT")), 9),
        ((("expires", "0"), ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")), 0),
        ((("cache-control", "max-age=ten"),), 0),
        ((("cache-control", "max-age=10"), ("cdn-cache-control", "max-age=20")), 20),
        ((("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("cdn-cache-control", "public")), 0),
        ((("last-modified", "Sun, 06 Nov 1994 08:32:57 GMT"),), 100),
        ((), 0),
    ],
)
def test_lifetimes(lines: Lines, expected: float) -> None:
    assert lifetime(stored_from(exchange(*lines), [])) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), 7),
        ((("age", "50"),), 52 + 5),
        ((("age", "x"),), 7),
        ((("age", "50, 3"),), 52 + 5),
        ((("date", "Sun, 06 Nov 1994 08:49:07 GMT"),), 32 + 5),
        ((("date", "Sun, 06 Nov 1994 08:50:07 GMT"),), 7),
    ],
)
def test_ages(lines: Lines, expected: float) -> None:
    """Received after two seconds, used five seconds later."""
    stored = exchange(*lines, answered=Moment(2, START + 2, 1))
    assert age(stored_from(stored, []), START + 7) == expected


# What a cache should do is allowed


def test_a_fresh_response_is_used() -> None:
    stored = exchange(("cache-control", "max-age=10"))
    assert said(reuse(stored), stored) == ""


FORBIDDEN: dict[str, tuple[Lines, Lines, Lines]] = {
    # what is forbidden: the answer, the request it was asked for with, the request it is used for
    "stale": ((("cache-control", "max-age=5"),), (), ()),
    "no-store": ((("cache-control", "max-age=10, no-store"),), (), ()),
    "private": ((("cache-control", "max-age=10, private"),), (), ()),
    "validated each time": ((("cache-control", "max-age=10, no-cache"),), (), ()),
    "in spite of s-maxage": ((("cache-control", "s-maxage=1"),), (), (("cache-control", "max-stale"),)),
    "in spite of must-revalidate": (
        (("cache-control", "max-age=1, must-revalidate, stale-while-revalidate=60"),),
        (),
        (),
    ),
    "Authorization": ((("cache-control", "max-age=10"),), (("authorization", "Basic eA=="),), ()),
    "its request said no-store": ((("cache-control", "max-age=10"),), (("cache-control", "no-store"),), ()),
    "Vary": ((("cache-control", "max-age=10"), ("vary", "x-kind")), (("x-kind", "1"),), (("x-kind", "2"),)),
    "Vary: *": ((("cache-control", "max-age=10"), ("vary", "*")), (), ()),
    "client did not want it: no-cache": ((("cache-control", "max-age=10"),), (), (("pragma", "no-cache"),)),
    "client did not want it: max-age": ((("cache-control", "max-age=10"),), (), (("cache-control", "max-age=4"),)),
    "client did not want it: min-fresh": ((("cache-control", "max-age=10"),), (), (("cache-control", "min-fresh=6"),)),
}


@pytest.mark.parametrize("why", FORBIDDEN)
def test_what_is_forbidden(why: str) -> None:
    answer, asked, wanted = FORBIDDEN[why]
    stored = exchange(*answer, asked=asked)
    assert why in said(reuse(stored, *wanted), stored)


ALLOWED: dict[str, tuple[Lines, Lines, Lines]] = {
    "a client that takes it stale": ((("cache-control", "max-age=1"),), (), (("cache-control", "max-stale=4"),)),
    "stale while it is validated": ((("cache-control", "max-age=1, stale-while-revalidate=4"),), (), ()),
    "authorised, for all": ((("cache-control", "max-age=10, public"),), (("authorization", "x"),), ()),
    "understood": ((("cache-control", "max-age=10, no-store, must-understand"),), (), ()),
    "choices in another order": (
        (("cache-control", "max-age=10"), ("vary", "accept-language")),
        (("accept-language", "de, en"),),
        (("accept-language", "EN,de"),),
    ),
}


@pytest.mark.parametrize("why", ALLOWED)
def test_what_is_allowed(why: str) -> None:
    answer, asked, wanted = ALLOWED[why]
    stored = exchange(*answer, asked=asked)
    assert said(reuse(stored, *wanted), stored) == ""


@pytest.mark.parametrize("name", ["private", "no-cache"])
def test_fields_for_one_client_are_not_for_others(name: str) -> None:
    stored = exchange(("cache-control", f'max-age=10, {name}="x-secret"'), ("x-secret", "yes"))
    visit = reuse(stored)
    assert said(visit, stored) == ""
    visit.answer = (*visit.answer, ("x-secret", "yes"))
    assert said(visit, stored) == "x-secret is not for others"


def test_an_age_that_is_too_small() -> None:
    stored = exchange(("cache-control", "max-age=10"))
    visit = reuse(stored)
    visit.answer = tuple(("age", "4") if line[0] == "age" else line for line in visit.answer)
    assert "Age is ['4'], and it is 5 at least" in said(visit, stored)


def test_another_key() -> None:
    stored = exchange(("cache-control", "max-age=10"))
    assert "is about /a" in said(reuse(stored, target="/b"), stored)
    assert "is about /a" in said(reuse(stored, scheme="https"), stored)


def test_an_address_that_no_vary_search_makes_the_same() -> None:
    stored = exchange(("cache-control", "max-age=10"), ("no-vary-search", 'params=("x")'), target="/a?x=1&y=2")
    assert said(reuse(stored, target="/a?x=7&y=2"), stored) == ""
    assert "is about" in said(reuse(stored, target="/a?x=1&y=3"), stored)


# Purges and invalidation


@pytest.mark.parametrize(
    ("purge", "is_covered"),
    [
        (("everything", ""), True),
        (("url", "/a"), True),
        (("url", "/b"), False),
        (("prefix", "/"), True),
        (("tag", "t"), True),
        (("tag", "u"), False),
    ],
)
def test_a_hard_floor_is_never_crossed_also_not_by_a_304(purge: tuple[str, str], is_covered: bool) -> None:
    stored = exchange(("cache-control", "max-age=10"), ("cache-tag", "t"), ("etag", '"a"'))
    update = not_modified('"a"', asked_with='"a"', sequence=2)
    floor = Purge(5, 2, *purge, is_soft=False)
    for updates in ((), (update,)):
        visit = reuse(stored, updates=updates)
        assert ("purge at 2" in said(visit, stored, *updates, purges=(floor,))) == is_covered


def test_a_soft_floor_makes_stale_and_a_304_fresh_again() -> None:
    stored = exchange(("cache-control", "max-age=10"), ("etag", '"a"'))
    update = not_modified('"a"', asked_with='"a"', sequence=2)
    floor = Purge(5, 2, "everything", "", is_soft=True)
    assert "soft purge" in said(reuse(stored), stored, purges=(floor,))
    assert said(reuse(stored, updates=(update,)), stored, update, purges=(floor,)) == ""


def test_an_unsafe_method_invalidates() -> None:
    stored = exchange(("cache-control", "max-age=10"), ("cache-groups", '"g"'))
    sent = Visit(1, "PUT", "http", "/", (), Moment(5, START, 1), Moment(8, START, 1))
    for answer, target, is_invalid in (
        ((), "/a", True),
        ((("location", "/a"),), "/b", True),
        ((("cache-group-invalidation", '"g"'),), "/b", True),
        ((), "/b", False),
    ):
        unsafe = exchange(*answer, number=2, method="PUT", target=target)
        unsafe.visit = sent.number
        unsafe.asked, unsafe.answered = Moment(6, START, 1), Moment(7, START, 1)
        assert ("invalidated" in said(reuse(stored), stored, unsafe, visits=(sent,))) == is_invalid
        unsafe.status = 500
        assert said(reuse(stored), stored, unsafe, visits=(sent,)) == ""


def test_a_304_about_another_representation_updates_nothing() -> None:
    stored = exchange(("cache-control", "max-age=10"), ("etag", '"a"'))
    update = not_modified('"b"', asked_with='"a", "b"', sequence=1)
    assert "was no update of 1" in said(reuse(stored, updates=(update,)), stored, update)


# Content


def test_the_content_of_one_under_the_head_of_another() -> None:
    stored = exchange(("cache-control", "max-age=10"))
    other = exchange(("cache-control", "max-age=10"), number=2, content=octets(2, 20))
    assert "octets of 2 under the head of 1" in said(reuse(stored, content=other.content), stored, other)


def test_the_validator_of_another() -> None:
    stored = exchange(("cache-control", "max-age=10"), ("etag", '"a"'))
    visit = reuse(stored)
    visit.answer = tuple(("etag", '"b"') if line[0] == "etag" else line for line in visit.answer)
    assert "etag is" in said(visit, stored)


@pytest.mark.parametrize(
    ("asked", "is_right"),
    [
        ((("if-none-match", 'W/"a"'),), True),
        ((("if-none-match", '"b"'), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")), False),
        ((("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),), True),
        ((("if-modified-since", "Sat, 05 Nov 1994 08:49:37 GMT"),), False),
        ((), False),
    ],
)
def test_not_modified(asked: Lines, is_right: bool) -> None:
    modified = ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")
    stored = exchange(("cache-control", "max-age=10"), ("etag", '"a"'), modified)
    found = said(reuse(stored, *asked, status=304, content=b""), stored)
    assert (found == "") == is_right


@pytest.mark.parametrize(
    ("asked", "told", "span", "is_right"),
    [
        ("bytes=0-4", "bytes 0-4/20", (0, 5), True),
        ("bytes=-5", "bytes 15-19/20", (15, 20), True),
        ("bytes=0-4", "bytes 0-5/20", (0, 6), False),
        ("bytes=0-4", "bytes 0-4/20", (1, 6), False),
        ("bytes=0-4", "bytes 0-4/21", (0, 5), False),
        ("bytes=0-4", "bytes 0-4/20", (0, 4), False),
    ],
)
def test_ranges(asked: str, told: str, span: tuple[int, int], is_right: bool) -> None:
    stored = exchange(("cache-control", "max-age=10"))
    visit = reuse(stored, ("range", asked), status=206, content=stored.content[slice(*span)])
    visit.answer = (*visit.answer, ("content-range", told))
    assert (said(visit, stored) == "") == is_right


def test_octets_tell_whose_they_are_and_where_they_stood() -> None:
    content = octets(5, 20)
    assert owners(content, 0) == owners(content[3:9], 3) == {5}
    assert owners(content[3:9], 2) is None
    assert owners(content[:4] + octets(6, 20)[4:], 0) == {5, 6}
