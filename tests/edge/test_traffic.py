"""Answers are counted once each: by protocol, class of status and outcome, and by how long they took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cdn.edge.access_line import MAX_LINE_BYTES, encode_words
from cdn.edge.access_log import AccessLog
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.latency import BOUNDS_S, Latency
from cdn.edge.outcome import Outcome
from cdn.edge.refusal import Refusal, Refused
from cdn.edge.traffic import HTTP_1_1, HTTP_2, Answered, Traffic
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target

REQUEST = Request("GET", Target("/x", None, "/x"), "a.example", None, Fields(()), "http")
MISS = "cdn; fwd=uri-miss; fwd-status=200; stored"


def answered(took_s: float, *, first_byte_at: float | None = 10.0, **more: object) -> Answered:
    return Answered(REQUEST, 200, 7, HTTP_2, MISS, 10.0 - took_s, first_byte_at, **more)  # type: ignore[arg-type]


def test_hits_and_all_else_are_counted_by_what_came_of_them() -> None:
    traffic = Traffic()
    part = traffic.visitor_part("192.0.2.1", "http")
    assert part, "whoever keeps it may ask whether it has been made"
    page = traffic.told(REQUEST, 200, 100, HTTP_1_1)
    for _ in range(3):
        traffic.hit(1.0, part, page)
    traffic.hit(1.0, part, traffic.told(REQUEST, 404, 10, HTTP_2))
    traffic.answered(10.0, part, answered(0.03))
    traffic.refused(1.0, part, Refused(Refusal.MALFORMED_HOST), HTTP_1_1)
    traffic.refused(1.0, part, Refused(Refusal.APPLICATION_FAILED), HTTP_1_1)
    numbers = traffic.numbers()
    assert {name: value for name, value in numbers.items() if name.startswith(("requests", "content"))} == {
        f"requests {HTTP_1_1} 2 {Outcome.HIT}": 3,
        f"requests {HTTP_2} 4 {Outcome.HIT}": 1,
        f"requests {HTTP_2} 2 {Outcome.MISS}": 1,
        f"requests {HTTP_1_1} 4 {Outcome.REFUSED}": 1,
        f"requests {HTTP_1_1} 5 {Outcome.FAILED}": 1,
        f"content_bytes {HTTP_1_1}": 300,
        f"content_bytes {HTTP_2}": 17,
    }


def test_hits_are_in_the_lowest_bucket_and_what_broke_off_is_in_none() -> None:
    traffic = Traffic()
    page = traffic.told(REQUEST, 200, 100, HTTP_1_1)
    for _ in range(5):
        traffic.hit(1.0, b"-", page)
    traffic.answered(10.0, b"-", answered(0.03, first_byte_at=9.972))
    traffic.answered(10.0, b"-", answered(60.0, first_byte_at=9.0, is_complete=False))
    traffic.answered(10.0, b"-", answered(1.0, first_byte_at=None, is_complete=False))
    traffic.refused(1.0, b"-", Refused(Refusal.HEAD_TIMEOUT), HTTP_1_1)
    numbers = traffic.numbers()
    assert {name: value for name, value in numbers.items() if name.startswith("first_byte")} == {
        "first_byte 0": 5,
        "first_byte 1": 1,
        "first_byte_us": 2000,
    }
    assert {name: value for name, value in numbers.items() if name.startswith("whole")} == {
        "whole 0": 5,
        "whole 5": 1,
        "whole_us": 30_000,
    }


@pytest.mark.parametrize("size_bytes", [0, 1, 100, 3000, 5000])
async def test_words_that_are_added_to_one_line_say_what_told_with_them_says(tmp_path: Path, size_bytes: int) -> None:
    words = encode_words("user_agent", "u" * size_bytes)
    path = tmp_path / "access.log"
    log = AccessLog.open(AccessLogSettings(path))
    assert log is not None
    traffic = Traffic(log)
    part = traffic.visitor_part("192.0.2.1", "http")
    plain = traffic.told(REQUEST, 200, 100, HTTP_1_1)
    long = Request("GET", Target("/" + "x" * 5000, None, ""), "a.example", None, Fields(()), "http")
    for told in (plain, traffic.told(long, 200, 100, HTTP_1_1)):
        dressed = told.with_words(words)
        traffic.hit_in_words(1.0, part, told, words)
        if dressed is not None:
            traffic.hit(1.0, part, dressed)
    await log.aclose()
    lines = path.read_bytes().splitlines(keepends=True)
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    shown = [json.loads(each, object_pairs_hook=pairs) for each in lines]
    if size_bytes < 5000:
        assert shown[0] == shown[1]
        assert shown[0].get("user_agent", "") == "u" * size_bytes
    else:
        assert shown[0]["cut"] is True
        assert shown[1]["cut"] is True
    counted = traffic.numbers()
    assert counted[f"requests {HTTP_1_1} 2 hit"] == counted["log written"] == len(lines)
    assert counted[f"content_bytes {HTTP_1_1}"] == 100 * len(lines)


def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without its time, whose members have names of their own."""
    assert len(dict(members)) == len(members)
    return {name: value for name, value in members if name != "time"}


def test_a_bucket_holds_what_is_on_its_bound() -> None:
    latency = Latency()
    for bound in BOUNDS_S:
        latency.observe(bound)
    latency.observe(BOUNDS_S[-1] + 1)
    assert latency.counts == [1] * (len(BOUNDS_S) + 1)
    assert latency.sum_s == sum(BOUNDS_S) + BOUNDS_S[-1] + 1
