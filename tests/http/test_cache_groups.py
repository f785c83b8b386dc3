from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.cache_groups import MAX_GROUP_LENGTH, MAX_GROUPS, cache_groups, invalidated_groups
from cdn.http.fields import Fields
from cdn.http.tag import OVERFLOW_TAG

READERS = [("cache-groups", cache_groups), ("cache-group-invalidation", invalidated_groups)]
both = pytest.mark.parametrize(("name", "read"), READERS)
Reader = Callable[[Fields], tuple[str, ...]]


@both
def test_groups_of_all_lines_each_once(name: str, read: Reader) -> None:
    assert read(Fields()) == ()
    assert read(Fields(((name, ""),))) == ()
    assert read(Fields(((name, '"a"'),))) == ("a",)
    lines = ((name, '"b c";x=1;y, "A"'), (name, '"a", "b c"'), (name, r'"\"\\"'))
    assert read(Fields(lines)) == ("b c", "A", "a", '"\\')


@both
@pytest.mark.parametrize("value", ["a", '"a", b', '"a", ("b")', '"a" "b"', '"a",', '"a', "1", '"a", :YQ==:', '"\xe9"'])
def test_a_field_with_anything_but_strings_counts_as_none(name: str, read: Reader, value: str) -> None:
    assert read(Fields(((name, value),))) == ()


@both
def test_one_field_is_not_the_other(name: str, read: Reader) -> None:
    other = {"cache-groups": "cache-group-invalidation"}.get(name, "cache-groups")
    assert read(Fields(((other, '"a"'),))) == ()


@both
def test_32_groups_of_32_characters_at_least(name: str, read: Reader) -> None:
    groups = tuple(f"{number:032}" for number in range(32))
    assert read(_listed(name, groups)) == groups


@both
def test_what_is_too_long_is_no_group(name: str, read: Reader) -> None:
    assert read(_listed(name, ("a" * (MAX_GROUP_LENGTH + 1), "b" * MAX_GROUP_LENGTH))) == ("b" * MAX_GROUP_LENGTH,)


def test_a_response_in_too_many_groups_escapes_no_invalidation() -> None:
    groups = tuple(f"{number}" for number in range(MAX_GROUPS + 1))
    assert cache_groups(_listed("cache-groups", groups[:-1])) == groups[:-1]
    assert cache_groups(_listed("cache-groups", groups)) == (*groups[: MAX_GROUPS - 1], OVERFLOW_TAG)


def test_no_more_groups_are_invalidated_than_a_response_can_be_in() -> None:
    groups = tuple(f"{number}" for number in range(MAX_GROUPS + 1))
    assert invalidated_groups(_listed("cache-group-invalidation", groups)) == groups[:-1]


@both
@given(value=st.text(st.characters(max_codepoint=255), max_size=30))
@settings(deadline=None)
def test_no_value_raises(name: str, read: Reader, value: str) -> None:
    assert all(group.isascii() for group in read(Fields(((name, value),))))


def _listed(name: str, groups: tuple[str, ...]) -> Fields:
    return Fields(tuple((name, f'"{group}"') for group in groups))


def test_a_field_that_is_too_long_is_not_read_and_every_invalidation_covers_it() -> None:
    long = ", ".join(f'"group-{number}"' for number in range(2000))
    assert cache_groups(Fields((("cache-groups", long),))) == (OVERFLOW_TAG,)
    assert invalidated_groups(Fields((("cache-group-invalidation", long),))) == ()
