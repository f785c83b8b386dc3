"""Templates: what they come to, and that nothing in a message makes them mean something else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.purge.hook_template import MAX_VISITED, TemplateFault, TooManyValues, parse_pointer, parse_template

# RFC 6901 section 5.
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_pointers_are_those_of_the_rfc(pointer: str, value: Any) -> None:
    assert list(parse_pointer(pointer).values(RFC)) == [value]


@pytest.mark.parametrize("pointer", ["/foo/2", "/foo/-1", "/foo/01", "/foo/-", "/foo/bar", "/none", "/foo/0/x", "/a"])
def test_what_is_not_there_is_nothing(pointer: str) -> None:
    assert list(parse_pointer(pointer).values(RFC)) == []


@pytest.mark.parametrize("text", ["", "x", "foo/bar", "/~", "/~2", "/a~", "/*/*/*", "/a" * 17, "/" + "a" * 3000])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(TemplateFault):
        parse_pointer(text)


PUSH = {
    "repository": {"name": "site", "id": 7, "private": True, "topics": []},
    "commits": [{"modified": ["a.md", "b c.md"], "added": []}, {"modified": ["d/e?.md", "a.md"], "added": ["new"]}],
}


def filled(text: str, *, most: int = 100, is_path: bool = False) -> tuple[str, ...]:
    return parse_template(text).filled(PUSH, most=most, is_path=is_path)


def test_a_text_is_filled_in_once_for_each_value() -> None:
    assert filled("plain") == ("plain",)
    assert filled("repo-{/repository/name}-{/repository/id}") == ("repo-site-7",)
    assert filled("{/repository/private}") == ("true",)
    assert filled("/docs/{/commits/*/modified/*}", is_path=True) == ("/docs/a.md", "/docs/b%20c.md", "/docs/d/e%3F.md")
    assert filled("{/commits/*/modified/*}", is_path=True) == ("a.md", "b c.md", "d/e?.md"), "it is the whole text"
    assert filled("{/commits/*/added/*}") == ("new",)
    assert filled("{/repository/topics/*}") == (), "an empty list comes to nothing"
    assert filled("{/repository/name}{/commits/*/added/*}") == ("sitenew",)


@pytest.mark.parametrize("text", ["{/none}", "{/repository}", "{/commits}", "{/repository/topics}"])
def test_a_message_that_lacks_what_a_template_names_is_a_fault(text: str) -> None:
    with pytest.raises(TemplateFault):
        filled(text)


@pytest.mark.parametrize("text", ["", "{", "}", "{}", "{x}", "{/a}}", "{{/a}", "{/a", "x" * 3000, "{/a}" * 9])
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(TemplateFault):
        parse_template(text)


def test_more_texts_than_may_be_made_are_too_many() -> None:
    message = {"a": [str(number) for number in range(40)]}
    template = parse_template("{/a/*}{/a/*}")
    with pytest.raises(TooManyValues):
        template.filled(message, most=1000)
    assert len(template.filled(message, most=1600)) <= 1600
    with pytest.raises(TooManyValues):
        parse_template("{/a/*}").filled(message, most=39)


@pytest.mark.parametrize("element", ["the same", {"without": "it"}])
def test_only_so_much_of_a_message_is_looked_at(element: Any) -> None:
    """However few texts come of it: a message of 10 MB has a million elements."""
    template = parse_template("{/a/*/*}" if isinstance(element, str) else "{/a/*/name}")
    elements = [element] if isinstance(element, str) else element
    template.filled({"a": [elements] * (MAX_VISITED // 2)}, most=1)
    with pytest.raises(TooManyValues):
        template.filled({"a": [elements] * (MAX_VISITED + 1)}, most=1)


def test_no_text_is_longer_than_what_can_be_purged() -> None:
    message = {"a": ["x" * 8000]}
    with pytest.raises(TemplateFault, match="more than 8192 letters"):
        parse_template("{/a/*}{/a/*}").filled(message, most=1000)
    assert parse_template("/{/a/*}").filled(message, most=1)


def test_one_value_is_one() -> None:
    assert parse_template("{/repository/name}").single(PUSH) == "site"
    with pytest.raises(TemplateFault):
        parse_template("{/commits/*/modified/*}").single(PUSH)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(message=JSON, text=st.text(alphabet="{}/*~01ab x", max_size=20))
def test_whatever_comes_ends_in_texts_or_a_fault(message: Any, text: str) -> None:
    try:
        texts = parse_template(text).filled(message, most=50, is_path=True)
    except TemplateFault:
        return
    assert len(texts) <= 50
    assert all(isinstance(each, str) for each in texts)


@given(value=st.text(max_size=30))
def test_a_value_within_a_path_stays_a_part_of_it(value: str) -> None:
    """No query, no fragment, no new field: what is filled in is read back as it was."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        with pytest.raises(TemplateFault):
            parse_template("/x/{/v}").filled({"v": value}, most=1, is_path=True)
        return
    (text,) = parse_template("/x/{/v}").filled({"v": value}, most=1, is_path=True)
    assert text.startswith("/x/")
    assert unquote(text[3:]) == value
    assert not set(text) & set("?# \r\n\\")


@given(message=JSON)
def test_every_leaf_is_found_by_its_pointer(message: Any) -> None:
    for segments, leaf in _leaves(json.loads(json.dumps(message))):
        if len(segments) > 16 or "*" in segments:
            continue
        pointer = "".join("/" + each.replace("~", "~0").replace("/", "~1") for each in segments)
        if pointer:
            assert list(parse_pointer(pointer).values(message)) == [leaf]


def _leaves(value: Any, segments: tuple[str, ...] = ()) -> Any:
    match value:
        case dict():
            for name, each in value.items():
                yield from _leaves(each, (*segments, name))
        case list():
            for number, each in enumerate(value):
                yield from _leaves(each, (*segments, str(number)))
        case _:
            yield segments, value
