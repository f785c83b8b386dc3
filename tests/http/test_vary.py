from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cdn.http.fields import Fields
from cdn.http.vary import MAX_VARY_NAMES, Selecting, normal_value, selecting, vary_names


def selects(stored: Selecting, request_fields: Fields) -> bool:
    """Whether a request says the same in every selecting field as the one that `stored` was made of."""
    return selecting(tuple(name for name, _ in stored), request_fields) == stored


def _fields(*lines: tuple[str, str]) -> Fields:
    return Fields(lines)


def _vary(*values: str) -> tuple[str, ...] | None:
    return vary_names(Fields(tuple(("vary", value) for value in values)))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((), ()),
        (("",), ()),
        ((" , ,",), ()),
        (("Foo",), ("foo",)),
        (("foo, bar,FOO",), ("bar", "foo")),
        (("b", "", "a"), ("a", "b")),
        (("Foo\t,  Accept-Encoding ",), ("accept-encoding", "foo")),
    ],
)
def test_the_names_of_all_lines_each_once(values: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert _vary(*values) == names


@pytest.mark.parametrize(
    "values",
    [("*",), ("*, *",), ("*", "*"), (", *",), ("", "*"), ("*, Foo",), ("Foo, *",), ("Foo", "\t*")],
)
def test_a_star_anywhere_suits_no_other_request(values: tuple[str, ...]) -> None:
    assert _vary(*values) is None


@pytest.mark.parametrize("value", ["foo bar", "foo; bar", '"foo"', "fo\xf6", "foo,b(r", "foo:"])
def test_a_malformed_name_suits_no_other_request(value: str) -> None:
    assert _vary(value) is None


def test_too_many_names_suit_no_other_request() -> None:
    names = [f"f{number:03}" for number in range(MAX_VARY_NAMES + 1)]
    assert _vary(", ".join(names[:-1])) == tuple(names[:-1])
    assert _vary(", ".join(names[:-1]), names[0]) == tuple(names[:-1])
    assert _vary(", ".join(names)) is None


def test_a_request_is_selected_by_every_named_field() -> None:
    stored = selecting(("bar", "foo"), _fields(("foo", "1"), ("bar", "abc"), ("other", "2")))
    assert stored == (("bar", "abc"), ("foo", "1"))
    assert selects(stored, _fields(("bar", "abc"), ("other", "3"), ("foo", "1")))
    assert not selects(stored, _fields(("bar", "abc"), ("foo", "2")))
    assert not selects(stored, _fields(("foo", "1")))
    assert not selects(stored, _fields(("foo", "1"), ("bar", "ABC")))
    assert selects((), _fields(("foo", "1")))


def test_absent_is_not_empty() -> None:
    absent, empty = selecting(("foo",), _fields()), selecting(("foo",), _fields(("foo", "")))
    assert absent == (("foo", None),)
    assert selects(absent, _fields(("bar", "1")))
    assert not selects(absent, _fields(("foo", "")))
    assert selects(empty, _fields(("foo", "")))
    assert not selects(empty, _fields())


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("foo", "1,2", "1, 2"),
        ("foo", "1 ,\t2", "1,2"),
        ("foo", '"a , b" ,c', '"a , b",c'),
        ("accept-language", "en, de", "de, en"),
        ("accept-language", "en, de", "eN, De"),
        ("accept-language", "en, de", " en ,   de"),
        ("accept-language", "en, de", "de,,en,de"),
        ("accept-language", "en;q=0.5, de", "de;q=1.000, en ; Q=0.50"),
        ("accept-language", "en;q=0", "en;q=0."),
        ("accept-language", "de-AT;q=0.001,*;q=0", "*;q=0.000,de-at;q=0.001"),
        ("accept-encoding", "gzip, br", "BR,gzip"),
        ("accept-encoding", "", " ,"),
    ],
)
def test_same_meaning(name: str, value: str, same: str) -> None:
    stored = selecting((name,), _fields((name, value)))
    assert selects(stored, _fields((name, same)))
    assert normal_value(name, value) == normal_value(name, same)


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("foo", "1, 2", "2, 1"),
        ("foo", "1", "1,"),
        ("foo", "1, 2", "1 2"),
        ("foo", '"a, b"', '"a,b"'),
        ("foo", '"a, b', '"a,b'),
        ("foo", "a", "A"),
        ("user-agent", "A (b, c)", "A (b,c)"),
        ("cookie", "a=1, 2", "a=1,2"),
        ("accept-language", "en, de", "en"),
        ("accept-language", "en;q=0.5", "en"),
        ("accept-language", "en;q=0.5, de", "en, de;q=0.5"),
        ("accept-language", "en;q=0", ""),
        ("accept-language", "de, en", "de, en;q=0.999"),
        ("accept-encoding", "", "identity"),
        # In what is malformed nothing is known to mean the same.
        ("accept-language", "de; q=2, en", "en, de; q=2"),
        ("accept-language", "de;level=1", "DE;level=1"),
        ("accept-language", "de;q=0.5555", "de;q=0.555"),
        ("accept-language", "de;q=1.1, en", "en, de;q=1.1"),
        ("accept-language", "de at", "DE at"),
        ("accept-language", ";q=1", ""),
        ("accept-language", "de;", "de"),
        # Weighed twice: a server may take the first or the last.
        ("accept-encoding", "br;q=0, gzip, br", "br, gzip, br;q=0"),
    ],
)
def test_other_meaning(name: str, value: str, other: str) -> None:
    assert not selects(selecting((name,), _fields((name, value))), _fields((name, other)))


def test_a_contradiction_stays_as_it_is() -> None:
    assert normal_value("accept-encoding", "br;q=0 ,br") == "br;q=0, br"
    assert normal_value("accept-encoding", "BR,br;q=0") == "BR, br;q=0"


def test_long_values_are_normal_too() -> None:
    names = [f"x-{number}" for number in range(1000)]
    assert normal_value("accept-language", ",".join(reversed(names))) == ", ".join(sorted(names))


def test_several_lines_are_one_list() -> None:
    one = selecting(("accept-language", "foo"), _fields(("foo", "1, 2"), ("accept-language", "en, de")))
    assert selects(one, _fields(("accept-language", "de"), ("foo", "1"), ("accept-language", "en"), ("foo", "2")))


_WEIGHTS = st.sampled_from(["", ";q=1", ";q=0.5", "; Q=0.50", ";q=0", ";q=0.001", ";q=2", ";x=1"])
_LISTS = st.lists(st.tuples(st.sampled_from(["de", "EN", "*", "fr-ch", "x y", ""]), _WEIGHTS), max_size=5)


@given(
    st.sampled_from(["accept-encoding", "accept-language", "foo", "cookie"]), st.text(st.characters(max_codepoint=255))
)
@settings(deadline=None)
def test_normal_values_are_their_own_normal_form(name: str, value: str) -> None:
    normal = normal_value(name, value.strip(" \t"))
    assert normal_value(name, normal) == normal


@given(_LISTS, st.sampled_from([",", " , ", ",,"]))
@settings(deadline=None)
def test_weighted_lists_against_a_plain_reading(members: list[tuple[str, str]], separator: str) -> None:
    value = separator.join(choice + weight for choice, weight in members).strip(" ")
    normal = normal_value("accept-language", value)
    assert normal_value("accept-language", normal) == normal
    read = _plain_reading(members)
    assume(read is not None)
    for order in itertools.islice(itertools.permutations(members), 24):
        other = ",".join(choice.upper() + weight for choice, weight in order)
        assert normal_value("accept-language", other) == normal
    assert _plain_reading([(choice, mark + rest) for choice, mark, rest in _parts(normal)]) == read


def _parts(value: str) -> list[tuple[str, str, str]]:
    return [member.strip().partition(";") for member in value.split(",")]


def _plain_reading(members: list[tuple[str, str]]) -> set[tuple[str, float]] | None:
    """The pairs of member and weight; None when the list is malformed or contradicts itself."""
    pairs = set()
    for choice, parameter in members:
        if not choice and not parameter:
            continue
        name, _, weight = parameter.strip("; ").lower().partition("=")
        if not choice or " " in choice or (parameter and name != "q") or float(weight or 1) > 1:
            return None
        pairs.add((choice.lower(), float(weight or 1)))
    return pairs if len({choice for choice, _ in pairs}) == len(pairs) else None


@pytest.mark.parametrize("name", ["accept-language", "accept-encoding", "foo"])
def test_long_values_stay_as_they_are(name: str) -> None:
    assert normal_value(name, "b,a," * 2000 + "c") != "b,a," * 2000 + "c"
    assert normal_value(name, "b,a," * 2100 + "c") == "b,a," * 2100 + "c"
