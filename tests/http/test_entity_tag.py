from __future__ import annotations

import pytest

from cdn.http.entity_tag import (
    ANY,
    AnyEntityTag,
    EntityTag,
    parse_entity_tag,
    parse_entity_tags,
    strongly_equal,
    weakly_equal,
)

STRONG = EntityTag("a")
WEAK = EntityTag("a", is_weak=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a"', STRONG),
        ('W/"a"', WEAK),
        ('""', EntityTag("")),
        ('"a,b"', EntityTag("a,b")),
        ('"\xe9!"', EntityTag("\xe9!")),
        ('"W/"', EntityTag("W/")),
        ('w/"a"', None),
        ("a", None),
        ('"a', None),
        ('"a""', None),
        ('"a b"', None),
        ('"a"\n', None),
        ('"\x7f"', None),
        ("", None),
    ],
)
def test_one(text: str, expected: EntityTag | None) -> None:
    assert parse_entity_tag(text) == expected
    if expected is not None:
        assert expected.serialise() == text


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("*", ANY),
        (" * ", ANY),
        ('"a"', (STRONG,)),
        ('"a", W/"a" ,"b,c"', (STRONG, WEAK, EntityTag("b,c"))),
        (', ,"a",,\t"b",', (STRONG, EntityTag("b"))),
        ("", ()),
        (" ,", ()),
        ('"a" "b"', None),
        ('"a", b', None),
        ('*, "a"', None),
        ('"a", *', None),
        ('"a"\n', None),
        ('"a', None),
        ("a", None),
    ],
)
def test_list(field: str, expected: tuple[EntityTag, ...] | AnyEntityTag | None) -> None:
    assert parse_entity_tags(field) == expected


def test_a_hostile_list_is_refused_in_linear_time() -> None:
    assert parse_entity_tags('"a" , , , ' * 5000 + "x") is None
    assert parse_entity_tags(", \t" * 10_000 + "x") is None


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [
        (WEAK, WEAK, False, True),
        (WEAK, EntityTag("b", is_weak=True), False, False),
        (WEAK, STRONG, False, True),
        (STRONG, WEAK, False, True),
        (STRONG, STRONG, True, True),
        (STRONG, EntityTag("b"), False, False),
    ],
)
def test_comparisons_of_section_8_8_3_2(one: EntityTag, other: EntityTag, strongly: bool, weakly: bool) -> None:
    assert strongly_equal(one, other) is strongly
    assert weakly_equal(one, other) is weakly
