from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.pull_key import MAX_PLACE_LENGTH, PullKey
from cdn.edge.pull_searches import MAX_RULES, MAX_SEARCHES, Searches
from cdn.http.no_vary_search import NoVarySearch, are_equivalent

ORDER = NoVarySearch(key_order=True)


def key(name: str) -> PullKey:
    return PullKey("s1", f"http  {name}", name)


QUERIES = st.sampled_from(["", "?", "?a=1", "?b=2&a=1", "?a=1&b=2", "?c=3&a=1", "?c=4&a=1", "?a=%31"])
RULES = st.sampled_from(
    [
        None,
        ORDER,
        NoVarySearch(params=True),
        NoVarySearch(params=frozenset({"c"})),
        NoVarySearch(key_order=True, params=True, except_=frozenset({"a"})),
    ]
)


@given(st.lists(st.tuples(st.sampled_from(["/x", "/y"]), QUERIES, RULES), max_size=20), QUERIES)
def test_they_are_those_that_the_rule_of_each_makes_equivalent(
    notes: list[tuple[str, str, NoVarySearch | None]], query: str
) -> None:
    searches, plain = Searches(), dict[str, NoVarySearch]()
    for path, stored, rule in notes:
        searches.note(key(path + stored), rule)
        plain.pop(path + stored, None)
        if rule is not None:
            plain[path + stored] = rule

    def query_of(name: str) -> str | None:
        _, mark, after = name.partition("?")
        return after if mark else None

    expected = [
        name
        for name, rule in reversed(plain.items())
        if name.partition("?")[0] == "/x"
        and name != f"/x{query}"
        and are_equivalent(query_of(f"/x{query}"), query_of(name), rule)
    ]
    assert searches.equivalent_names(key(f"/x{query}")) == expected


def test_a_path_has_few_queries_and_rules() -> None:
    searches = Searches()
    for number in range(MAX_SEARCHES + 5):
        searches.note(key(f"/x?a=1&b={number}"), NoVarySearch(params=frozenset({"b"})))
    assert len(searches.equivalent_names(key("/x?a=1"))) == MAX_SEARCHES
    for number in range(MAX_RULES):
        searches.note(key(f"/x?c={number}"), NoVarySearch(params=frozenset({"c", f"d{number}"})))
    assert len(searches.equivalent_names(key("/x?a=1"))) == 0
    assert len(searches.equivalent_names(key("/x"))) == MAX_RULES


def test_long_queries_and_rules_push_others_out() -> None:
    searches = Searches(max_bytes=20_000)
    searches.note(key("/old?a=1&b=2"), ORDER)
    assert searches.equivalent_names(key("/old?b=2&a=1")) == ["/old?a=1&b=2"]
    searches.note(key("/new?a=1&b=" + "2" * 8_000), ORDER)
    assert searches.equivalent_names(key("/old?b=2&a=1")) == ["/old?a=1&b=2"]
    searches.note(key("/new?c=1"), NoVarySearch(params=frozenset({"x" * 12_000})))
    assert searches.equivalent_names(key("/old?b=2&a=1")) == []
    for _ in range(100):  # what left does not count for ever
        searches.note(key("/new?c=1"), NoVarySearch(params=frozenset({"x" * 12_000})))
        searches.note(key("/new?c=1"), None)
    searches.note(key("/old?a=1&b=2"), ORDER)
    assert searches.equivalent_names(key("/old?b=2&a=1")) == ["/old?a=1&b=2"]


def test_the_place_of_a_key_is_short_and_its_own() -> None:
    """What visitors write is remembered for many keys."""
    long = [key("/" + "x" * MAX_PLACE_LENGTH + end) for end in ("a", "b")]
    assert len({each.place for each in long}) == 2
    assert all(len(each.place[1]) <= MAX_PLACE_LENGTH for each in long)
    assert key("/a").place == ("s1", "http  /a")
    assert key("/a").place != PullKey("s2", "http  /a", "/a").place
