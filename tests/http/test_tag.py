from __future__ import annotations

from cdn.http.tag import MAX_TAG_BYTES, MAX_TAGS, OVERFLOW_TAG, parse_tags


def test_both_fields_each_in_its_own_form() -> None:
    assert parse_tags(("a, b c ,,A", "d"), ("e f\t g", " a ")) == ("a", "b c", "A", "d", "e", "f", "g")
    assert parse_tags((), ()) == ()
    assert parse_tags(("", " , "), ("",)) == ()


def test_utf8_on_the_wire_reads_as_text() -> None:
    assert parse_tags(("café".encode().decode("latin-1"),), ()) == ("café",)
    assert parse_tags(("caf\xe9",), ()) == ("café",)
    assert parse_tags(("€",), ()) == ("€",)


def test_tags_that_no_purge_can_name_are_not_kept() -> None:
    longest = "a" * MAX_TAG_BYTES
    assert parse_tags((f"{longest},{longest}b,c",), ("é" * 128 + " " + "é" * 129,)) == (longest, "c", "é" * 128)


def test_too_many_tags_end_in_the_one_that_every_purge_covers() -> None:
    exactly = tuple(f"t{number}" for number in range(MAX_TAGS))
    assert parse_tags((",".join(exactly),), ()) == exactly
    more = parse_tags((",".join(exactly),), ("one-more",))
    assert more == (*exactly[:-1], OVERFLOW_TAG)
