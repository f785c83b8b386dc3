from __future__ import annotations

from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.fields import Fields
from cdn.http.no_vary_search import (
    MAX_LENGTH,
    NoVarySearch,
    are_equivalent,
    canonical_query,
    parse_no_vary_search,
)


def _parse(*values: str) -> NoVarySearch | None:
    return parse_no_vary_search(Fields(tuple(("no-vary-search", value) for value in values)))


ALL = NoVarySearch(params=True)
ORDER = NoVarySearch(key_order=True)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("key-order", ORDER),
        ("key-order=?1", ORDER),
        ("key-order;x=1", ORDER),
        ("params", ALL),
        ("params=?1", ALL),
        ('params=("a")', NoVarySearch(params=frozenset({"a"}))),
        ('params=("a" "a"  "b";x);y', NoVarySearch(params=frozenset({"a", "b"}))),
        ('params, except=("x")', NoVarySearch(params=True, except_=frozenset({"x"}))),
        ("params, except=()", ALL),
        ('params, key-order, except=("x")', NoVarySearch(True, True, frozenset({"x"}))),
        ('except=("x"), params, key-order=?0', NoVarySearch(params=True, except_=frozenset({"x"}))),
        ('params=("%C3%A9+%E6%B0%97" "a%20b" "%ff")', NoVarySearch(params=frozenset({"é 気", "a b", "\ufffd"}))),
        ('unknown=1.5, params=("a"), other', NoVarySearch(params=frozenset({"a"}))),
        ("params=(), key-order", ORDER),
        ('params=("a"), params', ALL),
    ],
)
def test_what_makes_no_difference(value: str, rule: NoVarySearch) -> None:
    assert _parse(value) == rule
    assert _parse(*value.split(", ")) == rule


@pytest.mark.parametrize(
    "value",
    [
        # Valid, and says that everything counts.
        "",
        "params=?0",
        "params=()",
        "key-order=?0",
        "unknown-key",
        # Invalid.
        'key-order="not a boolean"',
        "key-order=1",
        "key-order=()",
        'params="not a boolean or inner list"',
        "params=(not-a-string)",
        'params=("a" 1)',
        'params=("a"), except=("x")',
        "params=(), except=()",
        'params=?0, except=("x")',
        "params, except=(not-a-string)",
        'params, except="not an inner list"',
        "params, except=?1",
        "params, except",
        'except=("x")',
        "except=()",
        # Not even a dictionary.
        '"a"',
        "params,",
        "Params",
        'params=("é")',
    ],
)
def test_everything_counts(value: str) -> None:
    assert _parse(value) is None


def test_without_the_field_everything_counts() -> None:
    assert _parse() is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, ""),
        ("a=x", "%61=%78"),
        ("a=%C3%A9", "a=%c3%a9"),
        ("a=%f6", "a=%ef%bf%bd"),
        ("a=x&&&&", "a=x"),
        ("a=", "a"),
        ("a=%20", "a=+"),
        ("a=%20&", "a=+"),
        ("b=1&a=1&b=2", "b=1&b=2&a=1"),
    ],
)
def test_equivalent_under_any_rule_that_ignores_order(one: str | None, other: str | None) -> None:
    assert are_equivalent(one, other, ORDER)
    assert are_equivalent(other, one, ORDER)
    assert not are_equivalent(one, other, NoVarySearch())


@pytest.mark.parametrize(
    ("rule", "one", "other", "is_equivalent"),
    [
        (NoVarySearch(), "a&b", "a&b", True),
        (NoVarySearch(), None, None, True),
        (ORDER, "a=1&a=2", "a=2&a=1", False),
        (ORDER, "a=1", "a=1&b", False),
        (ORDER, "a=1%262", "a=1&2", False),
        (ORDER, "a%3D1=", "a=1", False),
        (ALL, "a=1", None, True),
        (ALL, "a=1&b=2", "c", True),
        (NoVarySearch(params=frozenset({"utm"})), "utm=1&a=1", "a=1&utm=2&utm=3", True),
        (NoVarySearch(params=frozenset({"utm"})), "a=1&b=1", "b=1&a=1", False),
        (NoVarySearch(params=frozenset({"utm"})), "UTM=1", None, False),
        (NoVarySearch(True, frozenset({"utm"})), "a=1&utm=5&b=1", "b=1&a=1", True),
        (NoVarySearch(params=True, except_=frozenset({"id"})), "id=1&a=2", "b=2&id=1", True),
        (NoVarySearch(params=True, except_=frozenset({"id"})), "id=1", "id=2", False),
        (NoVarySearch(params=True, except_=frozenset({"id", "p"})), "id=1&p=2", "p=2&id=1", False),
        (NoVarySearch(True, True, frozenset({"id", "p"})), "id=1&p=2", "p=2&x&id=1", True),
        (NoVarySearch(params=frozenset({"é 気"})), "%C3%A9+%E6%B0%97=1", "%C3%A9%20%E6%B0%97=4", True),
    ],
)
def test_equivalence(rule: NoVarySearch, one: str | None, other: str | None, is_equivalent: bool) -> None:
    assert are_equivalent(one, other, rule) is is_equivalent
    assert are_equivalent(other, one, rule) is is_equivalent
    assert (canonical_query(one, rule) == canonical_query(other, rule)) is is_equivalent


def test_the_query_itself_where_everything_counts() -> None:
    assert canonical_query("a&&b", NoVarySearch()) == "a&&b"
    assert canonical_query(None, NoVarySearch()) is None


_QUERIES = st.none() | st.text(alphabet="abé&&==%+6", max_size=12).map(lambda text: quote(text, safe="&=%+"))
_NAMES = st.frozensets(st.sampled_from(["a", "b", "ab", "", "é"]))
_RULES = st.builds(NoVarySearch, st.booleans(), st.booleans() | _NAMES) | st.builds(
    NoVarySearch, st.booleans(), st.just(True), _NAMES
)


@given(_QUERIES, _QUERIES, _RULES)
@settings(deadline=None)
def test_as_the_specification_compares(one: str | None, other: str | None, rule: NoVarySearch) -> None:
    assert are_equivalent(one, other, rule) is _compared_step_by_step(one, other, rule)


@given(_QUERIES, _RULES)
@settings(deadline=None)
def test_a_canonical_query_stands_for_itself(query: str | None, rule: NoVarySearch) -> None:
    canonical = canonical_query(query, rule)
    assert canonical_query(canonical, rule) == canonical
    assert are_equivalent(query, canonical, rule)


def _compared_step_by_step(one: str | None, other: str | None, rule: NoVarySearch) -> bool:
    if rule == NoVarySearch():
        return one == other
    lists = [parse_qsl(query or "", keep_blank_values=True) for query in (one, other)]
    if rule.params is True:
        lists = [[pair for pair in pairs if pair[0] in rule.except_] for pairs in lists]
    elif isinstance(rule.params, frozenset):
        ignored = rule.params
        lists = [[pair for pair in pairs if pair[0] not in ignored] for pairs in lists]
    if rule.key_order:
        lists = [sorted(pairs, key=lambda pair: pair[0]) for pairs in lists]
    return lists[0] == lists[1]


@given(st.text(st.characters(max_codepoint=255), max_size=40))
@settings(deadline=None)
def test_no_value_raises(value: str) -> None:
    rule = _parse(value)
    assert rule != NoVarySearch()


def test_a_long_field_says_nothing() -> None:
    longest = "params" + " " * (MAX_LENGTH - len("params"))
    assert _parse(longest) == ALL
    assert _parse(longest + " ") is None
