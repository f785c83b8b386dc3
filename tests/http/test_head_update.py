from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.connection_fields import CONNECTION_FIELDS
from cdn.http.fields import Fields
from cdn.http.head_update import (
    DESCRIBES_CONTENT,
    HeadEffect,
    effect_of_head,
    most_recent,
    selected_for_update,
    updated_head,
)
from cdn.http.response_head import ResponseHead

EARLY = "Wed, 01 Jan 2020 00:00:00 GMT"
SECOND_LATER = "Wed, 01 Jan 2020 00:00:01 GMT"
LATE = "Thu, 02 Jan 2020 00:00:00 GMT"


def _head(*lines: tuple[str, str], status: int = 200) -> ResponseHead:
    return ResponseHead(status, Fields(lines))


def _304(*lines: tuple[str, str]) -> ResponseHead:
    return _head(*lines, status=304)


# Updating


@pytest.mark.parametrize(
    ("name", "value", "newer"),
    [
        ("test-header", "a", "b"),
        ("content-foo", "a", "b"),
        ("x-content-foo", "a", "b"),
        ("cache-control", "max-age=1", "max-age=3600"),
        ("content-location", "/foo", "/bar"),
        ("content-security-policy", "default-src 'self'", "default-src 'self' cdn.example.com"),
        ("content-type", "text/plain", "text/plain;charset=utf-8"),
        ("expires", EARLY, LATE),
        ("last-modified", EARLY, LATE),
        ("set-cookie", "a=b", "a=c"),
        ("vary", "foo", "bar"),
        ("date", EARLY, LATE),
        ("age", "7", "0"),
    ],
)
def test_what_the_newer_says_counts(name: str, value: str, newer: str) -> None:
    stored = _head(("x", "1"), (name, value), ("y", "2"))
    assert set(updated_head(stored, _304((name, newer))).fields) == {("x", "1"), ("y", "2"), (name, newer)}
    added = updated_head(_head(("x", "1")), _304((name, newer)))
    assert added == _head(("x", "1"), (name, newer))


@pytest.mark.parametrize("name", sorted(DESCRIBES_CONTENT))
def test_what_describes_the_stored_content_stays(name: str) -> None:
    assert updated_head(_head((name, "a")), _304((name, "b"), ("x", "1"))) == _head((name, "a"), ("x", "1"))
    assert updated_head(_head(), _304((name, "b"))) == _head()


def test_the_entity_tag_stays_where_there_is_one() -> None:
    assert updated_head(_head(("etag", 'W/"a"')), _304(("etag", '"a"'))) == _head(("etag", 'W/"a"'))
    assert updated_head(_head(), _304(("etag", '"a"'))) == _head(("etag", '"a"'))


@pytest.mark.parametrize("name", sorted(CONNECTION_FIELDS | {"named"}))
def test_what_concerns_a_connection_is_never_taken_over(name: str) -> None:
    assert updated_head(_head((name, "a")), _304(("connection", "named"), (name, "b"))) in {
        _head(),
        _head(("named", "a")),
    }


def test_lines_are_replaced_together_and_keep_their_order() -> None:
    stored = _head(("set-cookie", "a=1"), ("x", "1"), ("set-cookie", "b=1"), status=203)
    newer = _304(("y", "2"), ("set-cookie", "c=2"), ("set-cookie", "d=2"))
    assert updated_head(stored, newer) == _head(
        ("x", "1"), ("y", "2"), ("set-cookie", "c=2"), ("set-cookie", "d=2"), status=203
    )


def test_an_age_that_is_not_confirmed_goes() -> None:
    assert updated_head(_head(("age", "500"), ("x", "1")), _304()) == _head(("x", "1"))


_NAMES = st.sampled_from(["etag", "age", "date", "content-length", "x", "te", "connection", "vary"])
_HEADS = st.lists(st.tuples(_NAMES, st.sampled_from(["x", "1", "vary"])), max_size=6).map(lambda lines: _head(*lines))


@given(_HEADS, _HEADS)
@settings(deadline=None)
def test_updating_twice_is_updating_once(stored: ResponseHead, newer: ResponseHead) -> None:
    once = updated_head(stored, newer)
    assert sorted(updated_head(once, newer).fields) == sorted(once.fields)
    assert once.fields.get("content-length") == stored.fields.get("content-length")


# Selecting what a 304 updates

A, B = _head(("etag", '"a"'), ("date", EARLY)), _head(("etag", '"b"'), ("date", EARLY))
WEAK_A = _head(("etag", 'W/"a"'), ("date", EARLY))


def test_a_strong_tag_means_all_that_have_it() -> None:
    assert selected_for_update([A, B, WEAK_A, A], _304(("etag", '"a"')), False) == (0, 3)


@pytest.mark.parametrize("is_sole", [True, False])
def test_a_strong_tag_that_nothing_has_updates_nothing(is_sole: bool) -> None:
    assert selected_for_update([B], _304(("etag", '"a"')), is_sole) == ()
    assert selected_for_update([_head(("date", LATE))], _304(("etag", '"a"')), is_sole) == ()
    assert selected_for_update([], _304(("etag", '"a"')), False) == ()


def test_another_tag_outweighs_the_same_date() -> None:
    """A server that compares dates only may answer 304 for content it has changed since."""
    stored = _head(("etag", '"a"'), ("last-modified", EARLY), ("date", LATE))
    assert selected_for_update([stored], _304(("etag", '"b"'), ("last-modified", EARLY)), True) == ()


def test_a_weak_tag_means_the_most_recent_that_has_it() -> None:
    recent = _head(("etag", '"a"'), ("date", LATE))
    assert selected_for_update([WEAK_A, recent, A, B], _304(("etag", 'W/"a"')), False) == (1,)
    assert selected_for_update([B], _304(("etag", 'W/"a"')), True) == ()


def test_a_strong_tag_for_a_weak_one_counts_for_what_alone_was_validated() -> None:
    """Servers that weaken the tag of what they compress answer 304 with the strong one."""
    assert selected_for_update([WEAK_A], _304(("etag", '"a"')), True) == (0,)
    assert selected_for_update([WEAK_A], _304(("etag", '"a"')), False) == ()


@pytest.mark.parametrize(("tag", "other"), [("a", '"a"'), ("a", "b"), ('w/"a"', 'W/"a"'), ('"a"', "a")])
def test_malformed_tags_are_the_same_only_as_text(tag: str, other: str) -> None:
    assert selected_for_update([_head(("etag", tag))], _304(("etag", tag)), False) == (0,)
    assert selected_for_update([_head(("etag", tag))], _304(("etag", other)), True) == ()


def test_a_date_long_before_the_response_is_strong() -> None:
    strong = _head(("last-modified", EARLY), ("date", SECOND_LATER))
    weak = _head(("last-modified", EARLY), ("date", EARLY))
    other = _head(("last-modified", SECOND_LATER), ("date", LATE))
    newer = _304(("last-modified", EARLY), ("date", LATE))
    assert selected_for_update([strong, weak, other, strong], newer, False) == (0, 3)
    assert selected_for_update([weak, other, weak], newer, False) == (2,)
    assert selected_for_update([other], newer, True) == ()
    assert selected_for_update([_head(("etag", '"a"'), *strong.fields)], newer, False) == (0,)


@pytest.mark.parametrize("modified", ["yesterday", ""])
def test_a_malformed_date_is_weak(modified: str) -> None:
    stored = _head(("last-modified", modified), ("date", LATE))
    assert selected_for_update([stored, stored], _304(("last-modified", modified)), False) == (1,)


def test_without_validators_there_must_be_no_doubt() -> None:
    plain = _head(("date", LATE))
    assert selected_for_update([plain], _304(), False) == (0,)
    assert selected_for_update([plain, plain], _304(), False) == ()
    assert selected_for_update([A], _304(), False) == ()
    assert selected_for_update([A], _304(), True) == (0,)
    assert selected_for_update([_head(("last-modified", EARLY))], _304(), False) == ()
    assert selected_for_update([], _304(), True) == ()


_TAGS = st.sampled_from([None, '"a"', '"b"', 'W/"a"', "a"])
_DATES = st.sampled_from([None, EARLY, SECOND_LATER, LATE, "now"])


def _described(tag: str | None, modified: str | None, date: str | None) -> ResponseHead:
    named = (("etag", tag), ("last-modified", modified), ("date", date))
    return _head(*((name, value) for name, value in named if value is not None))


_DESCRIBED = st.builds(_described, _TAGS, _DATES, _DATES)


@given(st.lists(_DESCRIBED, max_size=4), _DESCRIBED)
@settings(deadline=None)
def test_only_what_shares_a_validator_is_updated(stored: list[ResponseHead], newer: ResponseHead) -> None:
    chosen = selected_for_update(stored, newer, False)
    assert list(chosen) == sorted(set(chosen))
    theirs = {name: newer.fields.get(name) for name in ("etag", "last-modified")}
    for index in chosen:
        ours = stored[index].fields
        if theirs == {"etag": None, "last-modified": None}:
            assert len(stored) == 1
            assert "etag" not in ours
            assert "last-modified" not in ours
        elif theirs["etag"] is not None and "etag" in ours:
            assert theirs["etag"].removeprefix("W/") == (ours.get("etag") or "").removeprefix("W/")
        else:
            assert theirs["last-modified"] == ours.get("last-modified") is not None


# HEAD


@pytest.mark.parametrize("status", [204, 206, 301, 304, 404, 410, 500])
def test_only_200_says_anything_about_what_is_stored(status: int) -> None:
    assert effect_of_head(A, 3, _head(("etag", '"b"'), status=status)) is HeadEffect.NOTHING


@pytest.mark.parametrize(
    ("newer", "effect"),
    [
        ((), HeadEffect.UPDATES),
        ((("x", "1"),), HeadEffect.UPDATES),
        ((("etag", '"a"'), ("last-modified", EARLY), ("content-length", "3")), HeadEffect.UPDATES),
        ((("etag", '"b"'),), HeadEffect.INVALIDATES),
        ((("etag", 'W/"a"'),), HeadEffect.INVALIDATES),
        ((("last-modified", LATE),), HeadEffect.INVALIDATES),
        ((("etag", '"a"'), ("last-modified", LATE)), HeadEffect.INVALIDATES),
        ((("content-length", "4"),), HeadEffect.INVALIDATES),
        ((("content-length", "many"),), HeadEffect.INVALIDATES),
        ((("etag", '"a"'), ("content-length", "4")), HeadEffect.INVALIDATES),
    ],
)
def test_head_updates_what_it_describes(newer: tuple[tuple[str, str], ...], effect: HeadEffect) -> None:
    stored = _head(("etag", '"a"'), ("last-modified", EARLY))
    assert effect_of_head(stored, 3, _head(*newer)) is effect


@pytest.mark.parametrize(("status", "effect"), [(206, HeadEffect.UPDATES), (404, HeadEffect.INVALIDATES)])
def test_what_is_there_now_was_not_there_or_only_in_part(status: int, effect: HeadEffect) -> None:
    assert effect_of_head(_head(status=status), 3, _head()) is effect


def test_a_validator_that_is_new_makes_stale() -> None:
    assert effect_of_head(_head(), 3, _head(("etag", '"a"'))) is HeadEffect.INVALIDATES


# The most recent


def test_the_latest_date_wins_and_of_equals_the_last() -> None:
    early, late, none, bad = _head(("date", EARLY)), _head(("date", LATE)), _head(), _head(("date", "soon"))
    assert most_recent([early, late, early]) == 1
    assert most_recent([late, early, late, none]) == 2
    assert most_recent([early, none, bad]) == 0
    assert most_recent([none, bad]) == 1
    assert most_recent([_head(("date", "Wednesday, 01-Jan-20 00:00:00 GMT")), _head(("date", LATE)), early]) == 1


def test_the_most_recent_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError):
        most_recent([])
