from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.structured_field import (
    BareItem,
    Date,
    DisplayString,
    InnerList,
    Item,
    Member,
    Token,
    parse_dictionary,
    parse_item,
    parse_list,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("042", 42),
        ("-999999999999999", -999_999_999_999_999),
        ("999999999999999", 999_999_999_999_999),
        ("1.5", Decimal("1.5")),
        ("-0.001", Decimal("-0.001")),
        ("999999999999.999", Decimal("999999999999.999")),
        ('""', ""),
        ('"a b"', "a b"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ("a", Token("a")),
        ("*", Token("*")),
        ("A1!#$%&'*+-.^_`|~:/", Token("A1!#$%&'*+-.^_`|~:/")),
        ("::", b""),
        (":aGVsbG8=:", b"hello"),
        (":aGVsbG8:", b"hello"),
        (":/+Ah:", b"\xff\xe0\x21"),
        (":iZ==:", b"\x89"),  # bits that stand for nothing may be set
        ("?1", True),
        ("?0", False),
        ("@1659578233", Date(1_659_578_233)),
        ("@-1", Date(-1)),
        ('%"f%c3%bc"', DisplayString("fü")),
        ('%"%22 %25"', DisplayString('" %')),
        ("  a  ", Token("a")),
    ],
)
def test_bare_items(text: str, value: BareItem) -> None:
    item = parse_item(text)
    assert item is not None
    assert (type(item.value), item.value, dict(item.parameters)) == (type(value), value, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t1",
        "1\t",
        "1 2",
        "1,2",
        "-",
        "--1",
        "-a",
        "+1",
        "1000000000000000",
        "1.",
        ".1",
        "1.2345",
        "1.2.3",
        "1000000000000.1",
        "1e3",
        "3600a",
        "１",
        '"',
        '"a',
        '"a\\',
        r'"\a"',
        '"a\tb"',
        '"é"',
        "'a'",
        "a,",
        "a;",
        "a;A",
        "a;b=",
        "a; b c",
        "é",
        ":a:",
        ":aGVsbG8==:",
        ":aGVsbG8===:",
        ":aG=sbG8=:",
        ":aGVsbG8",
        ":aGVs bG8=:",
        ":_-8=:",
        "?",
        "?2",
        "?T",
        "@",
        "@1.5",
        "@a",
        "%",
        '%"',
        '%"a',
        '%"%C3%BC"',
        '%"%c3"',
        '%"%zz"',
        '%"ü"',
        "(1 2)",
        "&&&&&",
    ],
)
def test_malformed_items(text: str) -> None:
    assert parse_item(text) is None


def test_parameters_are_kept_in_order_and_the_last_of_a_name_counts() -> None:
    item = parse_item('a;b; c="x";b=1;*d.-_=?0')
    assert item is not None
    assert list(item.parameters.items()) == [("b", 1), ("c", "x"), ("*d.-_", False)]
    assert item.parameters["b"] is not True


def item(value: BareItem, **parameters: BareItem) -> Item:
    return Item(value, parameters)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", ()),
        ("  ", ()),
        ("a", (item(Token("a")),)),
        ("a,b \t,\t c", (item(Token("a")), item(Token("b")), item(Token("c")))),
        ("a\t", (item(Token("a")),)),
        ("()", (InnerList((), {}),)),
        ("(  )", (InnerList((), {}),)),
        ("(a  1;x );y=2, b", (InnerList((item(Token("a")), item(1, x=True)), {"y": 2}), item(Token("b")))),
    ],
)
def test_lists(text: str, members: tuple[Member, ...]) -> None:
    assert parse_list(text) == members


@pytest.mark.parametrize(
    "text",
    [",", "a,", "a, ", ",a", "a,,b", "a b", "(", "(a", "(a,b)", "(a(b))", "(a\tb)", '("a""b")', "(a b);C", "é"],
)
def test_malformed_lists(text: str) -> None:
    assert parse_list(text) is None


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", {}),
        ("a", {"a": item(True)}),
        ("a;x=1, b=?0", {"a": item(True, x=1), "b": item(False)}),
        ("c=(1 2);y", {"c": InnerList((item(1), item(2)), {"y": True})}),
        ("a=1, b=2, a=3", {"a": item(3), "b": item(2)}),
        ("max-age=60, foobar", {"max-age": item(60), "foobar": item(True)}),
    ],
)
def test_dictionaries(text: str, members: Mapping[str, Member]) -> None:
    assert parse_dictionary(text) == members


@pytest.mark.parametrize(
    "text",
    [",", "A", "Max-Age=1", "a=", "a =1", "a= 1", "a=1,", "a=1, ", "a=1;", "a=1 b", "a=(1", "a=(1)x", "1=a"],
)
def test_malformed_dictionaries(text: str) -> None:
    assert parse_dictionary(text) is None


# An independent writer of section 4.1: what it writes must be read as what it was


def written(value: BareItem) -> str:
    match value:
        case bool():
            return "?1" if value else "?0"
        case int() | Decimal():
            return str(value)
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case Token(text=text):
            return text
        case bytes():
            return f":{base64.b64encode(value).decode()}:"
        case Date(epoch_s=epoch_s):
            return f"@{epoch_s}"
        case DisplayString(text=text):
            return '%"' + "".join(f"%{octet:02x}" for octet in text.encode()) + '"'


def written_parameters(parameters: Mapping[str, BareItem]) -> str:
    return "".join(f"; {name}" + ("" if value is True else f"={written(value)}") for name, value in parameters.items())


def written_member(member: Member) -> str:
    match member:
        case Item(value=value, parameters=parameters):
            return written(value) + written_parameters(parameters)
        case InnerList(items=items, parameters=parameters):
            return f"({' '.join(map(written_member, items))})" + written_parameters(parameters)


def typed(member: Member) -> object:
    """The same with the types beside the values, because True equals 1."""
    parameters = [(name, type(value), value) for name, value in member.parameters.items()]
    if isinstance(member, InnerList):
        return [typed(item) for item in member.items], parameters
    return type(member.value), member.value, parameters


BARE_ITEMS = st.one_of(
    st.booleans(),
    st.integers(-999_999_999_999_999, 999_999_999_999_999),
    st.decimals(-999_999_999_999, 999_999_999_999, places=3),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8),
    st.from_regex(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]{0,8}", fullmatch=True).map(Token),
    st.binary(max_size=8),
    st.integers(-999_999_999_999_999, 999_999_999_999_999).map(Date),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(DisplayString),
)
KEYS = st.from_regex(r"[a-z*][a-z0-9_\-.*]{0,6}", fullmatch=True)
ITEMS = st.builds(Item, BARE_ITEMS, st.dictionaries(KEYS, BARE_ITEMS, max_size=2))
MEMBERS = ITEMS | st.builds(
    InnerList, st.lists(ITEMS, max_size=3).map(tuple), st.dictionaries(KEYS, BARE_ITEMS, max_size=2)
)


@given(ITEMS)
def test_reads_every_item_that_is_written(item: Item) -> None:
    read = parse_item(written_member(item))
    assert read is not None
    assert typed(read) == typed(item)


@given(st.lists(MEMBERS, max_size=4))
def test_reads_every_list_that_is_written(members: list[Member]) -> None:
    read = parse_list(", ".join(map(written_member, members)))
    assert read is not None
    assert [typed(member) for member in read] == [typed(member) for member in members]


@given(st.dictionaries(KEYS, MEMBERS, max_size=4))
def test_reads_every_dictionary_that_is_written(members: dict[str, Member]) -> None:
    read = parse_dictionary(",".join(f"{key}={written_member(member)}" for key, member in members.items()))
    assert read is not None
    assert [(key, typed(member)) for key, member in read.items()] == [(k, typed(m)) for k, m in members.items()]


@given(st.text() | st.text('ab1-.*;=,:?@%"\\( )\t'))
def test_nothing_raises(text: str) -> None:
    for parse in (parse_item, parse_list, parse_dictionary):
        parse(text)


@pytest.mark.parametrize("parse", [parse_item, parse_list, parse_dictionary])
@pytest.mark.parametrize(
    "unit",
    ['"', '"\\', '\\"', ";a", "; ", "(", "( ", "a,", "a=(1 ", '%"%aa', "%", ":a", "1", "-", " ", "\t,", "a;b="],
)
def test_hostile_fields_take_linear_time(parse: Callable[[str], object], unit: str) -> None:
    started = time.process_time()
    for lead in ("", "a=", "(", '"', "a=("):
        parse(lead + unit * (40_000 // len(unit)) + "\x00")
    assert time.process_time() - started < 2.0  # quadratic time would be minutes
