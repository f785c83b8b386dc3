from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.fields import Fields
from cdn.http.invalidation import invalidated_targets
from cdn.http.request import Request
from cdn.http.target import Target

TARGET = Target("/things/", None, "/things/")


def paths(method: str, status: int, *lines: tuple[str, str]) -> list[str]:
    request = Request(method, TARGET, "www.example.com", None, Fields(), "http")
    return [target.path for target in invalidated_targets(request, status, Fields(lines))]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "X", "get", "QUERY"])
@pytest.mark.parametrize("status", [200, 204, 299, 303, 399])
def test_an_unsafe_request_that_did_not_fail_invalidates_its_target(method: str, status: int) -> None:
    assert paths(method, status) == ["/things/"]


@pytest.mark.parametrize("status", [100, 199, 400, 404, 500, 599])
def test_one_that_failed_invalidates_nothing(status: int) -> None:
    assert paths("POST", status, ("location", "/new")) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH"])
def test_a_safe_one_invalidates_nothing(method: str) -> None:
    assert paths(method, 200, ("location", "/new"), ("content-location", "/new")) == []


def test_location_and_content_location_on_the_same_origin_too() -> None:
    lines = (
        ("content-location", "http://www.example.com/content"),
        ("location", "new"),
        ("location", "https://www.example.com/other-scheme"),
        ("location", "http://example.com/other-host"),
        ("location", "/%zz"),
        ("content-location", "."),
    )
    assert paths("POST", 201, *lines) == ["/things/", "/things/new", "/content"]


@given(st.lists(st.tuples(st.sampled_from(["location", "content-location"]), st.text())))
def test_the_target_is_first_and_none_comes_twice(lines: list[tuple[str, str]]) -> None:
    found = paths("DELETE", 200, *lines)
    assert found[0] == "/things/"
    assert len(found) <= 1 + len(lines)
