"""The head memo: bounded both ways, what is used stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.head_memo import ENTRY_OVERHEAD_BYTES, TOLD_OVERHEAD_BYTES, HeadMemo, Remembered
from cdn.edge.prepared import SiteRuntime, Validators
from cdn.edge.prepared_forms import form_for
from cdn.edge.traffic import Tally, Told
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from tests.edge.engine_application import prepared_of

SITE = SiteRuntime("s", 1)


OVERHEAD_BYTES = ENTRY_OVERHEAD_BYTES + TOLD_OVERHEAD_BYTES


def prepared(line: bytes = b"") -> Remembered:
    return prepared_of(b"x", site=SITE), Told(line, Tally(), 1, None)


def test_it_finds_what_was_put() -> None:
    memo = HeadMemo(10, 10_000, 100)
    kept = prepared()
    memo.put(b"GET a", kept)
    assert memo.get(b"GET a") is kept
    assert memo.get(b"GET b") is None
    memo.forget(b"GET a")
    assert memo.get(b"GET a") is None
    memo.forget(b"GET a")


def test_putting_again_replaces() -> None:
    memo = HeadMemo(10, 10_000, 100)
    first, second = prepared(), prepared()
    memo.put(b"GET a", first)
    memo.put(b"GET a", second)
    assert memo.get(b"GET a") is second
    assert len(memo) == 1


def test_a_long_head_is_not_kept() -> None:
    memo = HeadMemo(10, 10_000, 100)
    memo.put(b"a" * 101, prepared())
    assert len(memo) == 0


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    memo = HeadMemo(100, 1 << 20, 100)
    used, unused = prepared(), prepared()
    memo.put(b"used", used)
    memo.put(b"unused", unused)
    for number in range(1000):
        memo.put(b"%d" % number, prepared())
        assert memo.get(b"used") is used
    assert memo.get(b"unused") is None


def test_forgetting_reaches_the_old_generation() -> None:
    memo = HeadMemo(4, 1 << 20, 100)
    memo.put(b"a", prepared())
    memo.put(b"b", prepared())
    memo.put(b"c", prepared())
    memo.forget(b"a")
    assert memo.get(b"a") is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("pgf"), st.binary(min_size=1, max_size=2)), max_size=60),
    st.integers(2, 8),
    st.integers(2, 8),
)
def test_it_never_holds_more_than_its_bounds_and_never_another_s_response(
    steps: list[tuple[str, bytes]], max_entries: int, max_cost: int
) -> None:
    max_bytes = 2 * max_cost * (OVERHEAD_BYTES + 2)
    memo = HeadMemo(max_entries, max_bytes, 100)
    model: dict[bytes, Remembered] = {}
    for step, head in steps:
        match step:
            case "p":
                model[head] = prepared()
                memo.put(head, model[head])
            case "f":
                model.pop(head, None)
                memo.forget(head)
            case _:
                assert memo.get(head) in (None, model.get(head))
        assert len(memo) <= max_entries
        assert len(memo) * (OVERHEAD_BYTES + 1) <= max_bytes


def test_a_head_is_remembered_when_it_comes_again() -> None:
    memo = HeadMemo(10, 10_000, 1_000)
    kept = prepared()
    memo.offer(b"head", kept)
    assert memo.get(b"head") is None
    memo.offer(b"head", kept)
    assert memo.get(b"head") is kept


def test_what_came_once_is_noted_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.edge.head_memo.MAX_NOTED", 3)
    memo = HeadMemo(10, 10_000, 1_000)
    kept = prepared()
    for number in range(4):
        memo.offer(b"%d" % number, kept)
    memo.offer(b"0", kept)
    assert memo.get(b"0") is None, "it was forgotten that it came"
    memo.offer(b"0", kept)
    assert memo.get(b"0") is kept


def test_what_is_said_of_an_answer_counts() -> None:
    memo = HeadMemo(100, 2 * (OVERHEAD_BYTES + 100), 1_000)
    memo.put(b"a", prepared(b"x" * 50))
    memo.put(b"b", prepared(b"x" * 50))
    memo.put(b"c", prepared(b"x" * 50))
    assert memo.get(b"a") is None


def test_a_form_of_a_response_counts_as_nobody_else_counts_it() -> None:
    whole = prepared_of(b"x", site=SITE, validators=Validators.ENTITY_TAG)
    fields = Fields((("if-none-match", "*"),))
    form = form_for(whole, Request("GET", Target("/", None, "/"), "a.example", None, fields, "http"))
    assert form is not None
    assert form.status == 304
    memo = HeadMemo(100, 2 * (OVERHEAD_BYTES + form.memo_bytes), 1_000)
    memo.put(b"a", (form, Told(b"", Tally(), 0, None)))
    assert len(memo) == 1
    memo.put(b"b", (form, Told(b"", Tally(), 0, None)))
    memo.put(b"c", (form, Told(b"", Tally(), 0, None)))
    assert memo.get(b"a") is None
