from __future__ import annotations

import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.cache_control import (
    NO_DIRECTIVES,
    SURROGATE_CAPABILITY,
    SURROGATE_DEVICE,
    RequestDirectives,
    ResponseDirectives,
    request_directives,
    shared_directives,
)
from cdn.http.delta_seconds import MAX_DELTA_S
from cdn.http.fields import Fields
from cdn.http.structured_field import Item, parse_dictionary


def asked(*lines: str) -> RequestDirectives:
    return request_directives(Fields(tuple(("cache-control", line) for line in lines)))


def told(*lines: str) -> ResponseDirectives:
    return shared_directives(Fields(tuple(("cache-control", line) for line in lines)))


def targeted(cdn: str, cache_control: str = "no-store, s-maxage=7") -> ResponseDirectives:
    return shared_directives(Fields((("cache-control", cache_control), ("cdn-cache-control", cdn))))


def surrogate(text: str, cache_control: str = "no-store, s-maxage=7") -> ResponseDirectives:
    return shared_directives(Fields((("cache-control", cache_control), ("surrogate-control", text))))


CACHE_CONTROL = told("no-store, s-maxage=7")


# Requests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NO_DIRECTIVES),
        ("foo, bar=1", NO_DIRECTIVES),
        ("no-cache", RequestDirectives(no_cache=True)),
        ("No-Cache, NO-STORE", RequestDirectives(no_cache=True, no_store=True)),
        ("no-transform,only-if-cached", RequestDirectives(no_transform=True, only_if_cached=True)),
        ("max-age=0", RequestDirectives(max_age_s=0)),
        ('max-age="10"', RequestDirectives(max_age_s=10)),
        ("max-age=10, max-age=5", RequestDirectives(max_age_s=10)),
        ("max-age=99999999999999999999", RequestDirectives(max_age_s=MAX_DELTA_S)),
        ("max-age=-1, min-fresh=1.5, stale-if-error=x", NO_DIRECTIVES),
        ("max-age, min-fresh, stale-if-error", NO_DIRECTIVES),
        ("min-fresh=20", RequestDirectives(min_fresh_s=20)),
        ("stale-if-error=30", RequestDirectives(stale_if_error_s=30)),
        ("max-stale", RequestDirectives(max_stale_s=math.inf)),
        ("max-stale=5", RequestDirectives(max_stale_s=5)),
        ("max-stale=", NO_DIRECTIVES),
        ("max-stale=x", NO_DIRECTIVES),
        ("max-stale=5, max-stale", RequestDirectives(max_stale_s=5)),
    ],
)
def test_what_a_request_asks(text: str, expected: RequestDirectives) -> None:
    assert asked(text) == expected


def test_directives_of_all_lines_count() -> None:
    assert asked("no-cache", "max-age=3") == RequestDirectives(no_cache=True, max_age_s=3)


def test_a_request_without_fields_asks_nothing() -> None:
    assert request_directives(Fields()) is NO_DIRECTIVES


@pytest.mark.parametrize(
    ("lines", "is_no_cache"),
    [
        ((("pragma", "no-cache"),), True),
        ((("pragma", "foo, No-Cache"),), True),
        ((("pragma", "foo"),), False),
        ((("pragma", "no-cache"), ("cache-control", "max-age=1")), False),
        ((("pragma", "no-cache"), ("cache-control", "")), False),
    ],
)
def test_pragma_counts_only_without_cache_control(lines: tuple[tuple[str, str], ...], is_no_cache: bool) -> None:
    assert request_directives(Fields(lines)).no_cache is is_no_cache


# Cache-Control of responses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ResponseDirectives()),
        (",, ,", ResponseDirectives()),
        ("foo, bar=baz, =, =1, @", ResponseDirectives()),
        ("no-store", ResponseDirectives(no_store=True)),
        ("NO-STORE=1", ResponseDirectives(no_store=True)),
        ("no-store; private", ResponseDirectives(no_store=True)),
        ("public", ResponseDirectives(public=True)),
        ("public=1", ResponseDirectives()),
        ('public=""', ResponseDirectives()),
        ("public;x", ResponseDirectives()),
        ("public=1, public", ResponseDirectives(public=True)),
        ("immutable", ResponseDirectives(immutable=True)),
        ("immutable=no", ResponseDirectives()),
        ("must-revalidate,proxy-revalidate", ResponseDirectives(must_revalidate=True, proxy_revalidate=True)),
        ("must-understand, no-transform", ResponseDirectives(must_understand=True, no_transform=True)),
        ("s-maxage=1, max-age=2", ResponseDirectives(s_maxage_s=1, max_age_s=2)),
        ("stale-while-revalidate=3", ResponseDirectives(stale_while_revalidate_s=3)),
        ("stale-if-error=4", ResponseDirectives(stale_if_error_s=4)),
        ("stale-if-error=x", ResponseDirectives(stale_if_error_s=0)),
        ("private", ResponseDirectives(private=True)),
        ("private=a", ResponseDirectives(private_fields=frozenset({"a"}))),
        ('no-cache="A, b ,,c"', ResponseDirectives(no_cache_fields=frozenset({"a", "b", "c"}))),
        ('no-cache="a\\b"', ResponseDirectives(no_cache_fields=frozenset({"ab"}))),
        ('no-cache=""', ResponseDirectives(no_cache=True)),
        ("no-cache=", ResponseDirectives(no_cache=True)),
        ('no-cache=" , "', ResponseDirectives(no_cache=True)),
        ('no-cache="a b"', ResponseDirectives(no_cache=True)),
        ('no-cache="a;b"', ResponseDirectives(no_cache=True)),
        ('no-cache ="a"', ResponseDirectives(no_cache=True)),
        ('no-cache="a", no-cache', ResponseDirectives(no_cache=True, no_cache_fields=frozenset({"a"}))),
        ('private="a", private="b"', ResponseDirectives(private_fields=frozenset({"a", "b"}))),
    ],
)
def test_what_cache_control_tells(text: str, expected: ResponseDirectives) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("text", "max_age_s"),
    [
        ("max-age=3600", 3600),
        ("MaX-aGe=3600", 3600),
        ('max-age="3600"', 3600),
        ("max-age=003600", 3600),
        ("max-age=2147483647", 2**31 - 1),
        ("max-age=2147483648", 2**31),
        ("max-age=99999999999", 2**31),
        ("max-age=" + "9" * 5000, 2**31),
        ("max-age=" + "0" * 5000, 0),
        ("foobar,\tmax-age=3600", 3600),
        ("max-age=1, max-age=1800", 1),
        ("max-age=1800, max-age=1", 1800),
        # What is no time makes the response stale.
        ("max-age", 0),
        ("max-age=", 0),
        ('max-age=""', 0),
        ('max-age="', 0),
        ('max-age="12', 0),
        ('max-age=12"', 0),
        ("max-age=-3600", 0),
        ("max-age=+3600", 0),
        ("max-age=3600.0", 0),
        ("max-age=a3600", 0),
        ("max-age=3600a", 0),
        ("max-age=3600;", 0),
        ("max-age='3600'", 0),
        ("max-age =3600", 0),
        ("max-age= 3600", 0),
        ("max-age=３６００", 0),
        ("max-age=x, max-age=60", 0),
        # What stands in quotes is no directive,
        ('extension="max-age=3600", max-age=1', 1),
        ('max-age=1, extension="max-age=3600"', 1),
        ('extension="a, max-age=3600"', None),
        ('extension="a\\", max-age=3600"', None),
        # unless the quotes never end.
        ('extension="a, max-age=1', 1),
        ('a="b", extension="a, max-age=1\\', 0),
        ('extension="a, max-age=1, b="c", d', 1),
    ],
)
def test_lifetimes(text: str, max_age_s: int | None) -> None:
    assert told(text).max_age_s == max_age_s


def test_a_quote_that_never_ends_hides_nothing() -> None:
    assert told('a="b", c="d, no-store', "private").no_store
    assert told('a="\\", no-store').no_store


def test_lines_are_read_as_one() -> None:
    assert told("max-age=3600", "s-maxage=1") == ResponseDirectives(max_age_s=3600, s_maxage_s=1)


def test_long_values_are_read_like_short_ones() -> None:
    padding = "x" * 300
    assert told(f"max-age=5, {padding}") == told("max-age=5")
    assert asked(f"max-age=5, {padding}") == asked("max-age=5")


# CDN-Cache-Control


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max-age=60", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=60;x=1, foobar", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=99999999999", ResponseDirectives(max_age_s=2**31, is_targeted=True)),
        ("max-age=1, max-age=2", ResponseDirectives(max_age_s=2, is_targeted=True)),
        ('max-age="60"', ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("max-age=60.0", ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("max-age=-60", ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("max-age", ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("max-age=(60)", ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("private", ResponseDirectives(private=True, is_targeted=True)),
        ("no-cache=?1, no-store=?0", ResponseDirectives(no_cache=True, is_targeted=True)),
        ('no-cache="a, b"', ResponseDirectives(no_cache_fields=frozenset({"a", "b"}), is_targeted=True)),
        ("private=a", ResponseDirectives(private_fields=frozenset({"a"}), is_targeted=True)),
        ("private=(a b)", ResponseDirectives(private=True, is_targeted=True)),
        ("no-store=:AA==:", ResponseDirectives(no_store=True, is_targeted=True)),
        ("public=1", ResponseDirectives(is_targeted=True)),
        ("public, s-maxage=5", ResponseDirectives(public=True, s_maxage_s=5, is_targeted=True)),
        ("foobar", ResponseDirectives(is_targeted=True)),
    ],
)
def test_a_targeted_field_stands_for_cache_control(text: str, expected: ResponseDirectives) -> None:
    assert targeted(text) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "max-age=60, &&&&&", "Max-Age=60", "max-age =60", "max-age= 60", "max-age=60,"]
)
def test_a_malformed_or_empty_targeted_field_is_ignored(text: str) -> None:
    assert targeted(text) == CACHE_CONTROL


def test_the_first_usable_targeted_field_counts() -> None:
    fields = Fields((("x-first", "MAX-AGE=1"), ("x-second", "max-age=2"), ("x-third", "max-age=3")))
    assert shared_directives(fields, ("x-none", "x-first", "x-second", "x-third")).max_age_s == 2
    assert shared_directives(fields) == ResponseDirectives()


def test_a_targeted_field_goes_before_surrogate_control() -> None:
    fields = Fields((("surrogate-control", "max-age=1"), ("cdn-cache-control", "max-age=2")))
    assert shared_directives(fields).max_age_s == 2


# Surrogate-Control


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max-age=60", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("foobar, MaX-aGe=60", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=60+30", ResponseDirectives(max_age_s=60, stale_while_revalidate_s=30, is_targeted=True)),
        ("max-age=60+", ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("max-age =60", ResponseDirectives(max_age_s=0, is_targeted=True)),
        ("no-store", ResponseDirectives(no_store=True, is_targeted=True)),
        ("no-store-remote", ResponseDirectives(no_store=True, is_targeted=True)),
        ('content="ESI/1.0", max-age=60', ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=60;cdn", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=60 ; cdn , max-age=5", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=5, max-age=60;cdn", ResponseDirectives(max_age_s=60, is_targeted=True)),
        ("max-age=5, no-store;other", ResponseDirectives(max_age_s=5, is_targeted=True)),
        ("max-age=5, stale-if-error=9", ResponseDirectives(max_age_s=5, stale_if_error_s=9, is_targeted=True)),
        ("private", ResponseDirectives(private=True, is_targeted=True)),
        ("stale-while-revalidate=60=60+5", ResponseDirectives(stale_while_revalidate_s=0, is_targeted=True)),
    ],
)
def test_surrogate_control_stands_for_cache_control(text: str, expected: ResponseDirectives) -> None:
    assert surrogate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "foo", "max-age=60;other", "max-age=60;", "max-age=60;cdn;x", 'content="ESI/1.0"']
)
def test_surrogate_control_for_others_is_ignored(text: str) -> None:
    assert surrogate(text) == CACHE_CONTROL


def test_upstreams_are_told_the_name_that_directives_are_aimed_at() -> None:
    capability = parse_dictionary(SURROGATE_CAPABILITY)
    assert capability == {SURROGATE_DEVICE: Item("Surrogate/1.0", {})}


# Every text

DIRECTIVES = st.sampled_from(
    ["no-store", "no-cache", "private", "public", "max-age=5", "s-maxage=6", 'no-cache="a"', 'x="no-store, public"']
)
PLAIN = re.compile(r'([a-z-]+)(?:=(?:"([^"]*)"|([^",]*)))?')


@given(st.lists(DIRECTIVES))
def test_well_formed_directives_are_read_as_a_plain_reading_does(directives: list[str]) -> None:
    seen = [(match[1], match[2] or match[3]) for match in map(PLAIN.fullmatch, directives) if match is not None]
    expected = ResponseDirectives(
        no_store=("no-store", None) in seen,
        no_cache=("no-cache", None) in seen,
        no_cache_fields=frozenset({"a"} if ("no-cache", "a") in seen else ()),
        private=("private", None) in seen,
        public=("public", None) in seen,
        max_age_s=5 if ("max-age", "5") in seen else None,
        s_maxage_s=6 if ("s-maxage", "6") in seen else None,
    )
    assert told(", ".join(directives)) == expected
    assert told(*directives) == expected


@given(st.text() | st.text('no-cache=privtmxg",;\\ \t05+@'))
def test_nothing_raises(text: str) -> None:
    asked(text)
    told(text)
    targeted(text)
    surrogate(text)
    request_directives(Fields((("pragma", text),)))


@given(st.text('a=",\\ \t'))
def test_whatever_stands_before_it_no_store_after_a_comma_counts_unless_quoted(text: str) -> None:
    is_quoted = re.fullmatch(r'(?:[^"]|"(?:[^"\\]|\\.)*")*"(?:[^"\\]|\\.)*', text) is not None
    if not is_quoted:
        assert told(f"{text}, no-store").no_store


@pytest.mark.parametrize("unit", ['"', '\\"', '"\\', ",", " ", "a=", '",', 'a="b",', "0", "a", "\t,", "+1", ";"])
def test_hostile_fields_take_linear_time(unit: str) -> None:
    started = time.process_time()
    for lead in ("", '"', '"\\', "max-age=", "no-cache=", 'no-cache="'):
        text = lead + unit * (15_000 // len(unit)) + "\\"
        told(text)
        surrogate(text)
        asked(text)
    assert time.process_time() - started < 2.0  # quadratic time would be minutes


def test_a_targeted_field_that_is_too_long_counts_as_malformed() -> None:
    fields = Fields((("cdn-cache-control", "max-age=5, " + ", ".join(f"x{n}" for n in range(3000))),))
    assert not shared_directives(fields).is_targeted


@pytest.mark.parametrize("name", ["cache-control", "pragma"])
def test_what_a_request_asks_is_not_read_without_end(name: str) -> None:
    def ask(text: str) -> RequestDirectives:
        return request_directives(Fields(((name, text),)))

    assert ask("a, " * 300 + "no-cache").no_cache
    assert ask("no-cache, " + "a, " * 10_000).no_cache
    assert ask("a, " * 10_000 + "no-cache") == NO_DIRECTIVES
