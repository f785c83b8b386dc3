from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.search_params import search_params
from cdn.sites.query_policy import AllowQuery, DropQuery, KeepQuery, QueryPolicy, SortQuery, apply_query_policy

ALLOW = AllowQuery(("id", "é x", "a[]"))


@pytest.mark.parametrize(
    ("policy", "query", "expected"),
    [
        (KeepQuery(), None, None),
        (KeepQuery(), "", ""),
        (KeepQuery(), "b=1&&a", "b=1&&a"),
        (DropQuery(), None, None),
        (DropQuery(), "", None),
        (DropQuery(), "a=1", None),
        (SortQuery(), None, None),
        (SortQuery(), "", None),
        (SortQuery(), "&", None),
        (SortQuery(), "b=1&a=2&b=0&&a=1", "a=2&a=1&b=1&b=0"),
        (SortQuery(), "b&%61=2&a=1", "%61=2&a=1&b"),
        (SortQuery(), "b=%20+x&a", "a&b=%20+x"),
        (ALLOW, None, None),
        (ALLOW, "", None),
        (ALLOW, "utm=1", None),
        (ALLOW, "utm=1&id=3&utm=2&id=2", "id=3&id=2"),
        (ALLOW, "ID=1&id", "id"),
        (ALLOW, "%C3%A9+x=1&%C3%A9%20x=2&a%5B%5D=3&%69d=4", "%C3%A9+x=1&%C3%A9%20x=2&a%5B%5D=3&%69d=4"),
        (AllowQuery(()), "a=1", None),
        (AllowQuery(("",)), "=1&a", "=1"),
    ],
)
def test_policies(policy: QueryPolicy, query: str | None, expected: str | None) -> None:
    assert apply_query_policy(policy, query) == expected


_QUERIES = st.none() | st.text(alphabet="ab&=%61+é", max_size=20)
_POLICIES = st.sampled_from([KeepQuery(), SortQuery(), DropQuery(), AllowQuery(("a",)), AllowQuery(("b", "aa"))])


@given(_POLICIES, _QUERIES)
@settings(deadline=None)
def test_a_result_stays(policy: QueryPolicy, query: str | None) -> None:
    once = apply_query_policy(policy, query)
    assert apply_query_policy(policy, once) == once


@given(_QUERIES, st.sets(st.sampled_from(["a", "b", "aa", ""])))
@settings(deadline=None)
def test_allowed_parameters_keep_their_values_and_order(query: str | None, names: set[str]) -> None:
    kept = apply_query_policy(AllowQuery(tuple(names)), query)
    assert search_params(kept) == [pair for pair in search_params(query) if pair[0] in names]


@given(_QUERIES)
@settings(deadline=None)
def test_sorting_keeps_every_parameter_and_the_order_among_equal_names(query: str | None) -> None:
    kept = apply_query_policy(SortQuery(), query)
    assert search_params(kept) == sorted(search_params(query), key=lambda pair: pair[0])


def test_what_is_no_policy_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        apply_query_policy(cast(QueryPolicy, "keep"), "a=1")
