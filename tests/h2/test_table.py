"""docs/http2-conformance.md says which test holds the server to which sentence: no more and no less than there is."""

from __future__ import annotations

from tests.h2.rules import DOCUMENT, END, START, conformance, table, without_rule


def test_the_table_is_that_of_the_tests() -> None:
    written = DOCUMENT.read_text().partition(START)[2].partition(END)[0].strip()
    assert written == table(), "python -m tests.h2.rules writes it anew"


def test_every_test_of_the_walk_stands_in_the_table() -> None:
    assert without_rule() == []


def test_the_walk_goes_through_every_section() -> None:
    """Those of RFC 9113 in which a server must do something."""
    sections = {rule.section for rule, _ in conformance()}
    walked = {
        "3.2", "3.3", "3.4", "4.1", "4.2", "4.3", "4.3.1", "5.1", "5.1.1", "5.1.2", "5.2.1", "5.2.2", "5.3.2", "5.4.1",
        "5.4.2", "5.5", "6.1", "6.2", "6.3", "6.4", "6.5", "6.5.2", "6.5.3", "6.6", "6.7", "6.8", "6.9", "6.9.1",
        "6.9.2", "6.10", "7", "8.1", "8.1.1", "8.2", "8.2.1", "8.2.2", "8.2.3", "8.3", "8.3.1", "8.3.2", "8.4", "8.5",
        "8.6", "8.7", "9.1", "9.1.1", "9.2", "9.2.1", "9.2.2", "9.2.3", "10.3", "10.5.1",
    }  # fmt: skip
    assert walked <= sections


def test_no_two_tests_have_one_id() -> None:
    ids = [test_id for _, test_id in conformance()]
    assert len({(rule, test_id) for rule, test_id in conformance()}) == len(ids)
