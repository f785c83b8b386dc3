"""Lines of keys in TOML files, against documents whose lines are known."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.sites.toml_lines import line_of, lines_of

TRICKY = '''# [comment] = 1
a = 1 # = [
"b.c" = "x = [ # \\" "

[ t . "u.v" ]  # table
d = [ 1, # ] "
  2,
]
e = """
f = 3
[no.table]
""\\""""""
g = \'\'\'
h = "\'\'\'\'
i.j = { k = 1, l = "}" }
[[many]]
m = 1
[[many]]
m = 2
'''


def test_known_lines() -> None:
    tomllib.loads(TRICKY)
    assert lines_of(TRICKY) == {
        ("a",): 2,
        ("b.c",): 3,
        ("t", "u.v"): 5,
        ("t", "u.v", "d"): 6,
        ("t", "u.v", "e"): 9,
        ("t", "u.v", "g"): 13,
        ("t", "u.v", "i", "j"): 15,
        ("many",): 16,
        ("many", "m"): 17,
        ("many", 0): 16,
        ("many", 0, "m"): 17,
        ("many", 1): 18,
        ("many", 1, "m"): 19,
    }


def test_what_has_no_line_has_that_of_what_is_around_it() -> None:
    lines = lines_of(TRICKY)
    assert line_of(lines, ("t", "u.v", "i", "j", "k")) == 15
    assert line_of(lines, ("t", "u.v", "missing")) == 5
    assert line_of(lines, ("nowhere",)) is None


VALUES = st.sampled_from(
    ["1", "true", '"a # b"', "'[x] = 1'", "[\n 1,\n 2 ]", '"""\n[y]\nz = 1\n"""', "'''\n\"\n'''", "{ q = '=' }", '""']
)


@given(st.lists(st.tuples(st.booleans(), VALUES, st.sampled_from(["", " # c [ = '", "\n", "\n# d = 1"]))))
def test_every_key_is_found_where_it_was_written(parts: list[tuple[bool, str, str]]) -> None:
    text = ""
    table: tuple[str, ...] = ()
    expected: dict[tuple[str, ...], int] = {}
    for number, (is_table, value, after) in enumerate(parts):
        line = text.count("\n") + 1
        if is_table:
            table = (f"t{number}",)
            text += f"[t{number}]{after}\n"
            expected[table] = line
        else:
            text += f"k{number} = {value}{after}\n"
            expected[(*table, f"k{number}")] = line
    document: Any = tomllib.loads(text)
    assert document is not None
    assert lines_of(text) == expected


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n# comments", "a = 1"])
def test_short_documents(text: str) -> None:
    assert lines_of(text) == ({("a",): 1} if text == "a = 1" else {})
