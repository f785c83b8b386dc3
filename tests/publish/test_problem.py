from __future__ import annotations

import json

import pytest

from cdn.errors import (
    CdnError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from cdn.publish.endpoint import NotControl
from cdn.publish.problem import MAX_DETAILS, error_from_answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, InvalidInput),
        (409, Conflict),
        (413, TooLarge),
        (422, Unprocessable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (599, Unavailable),
    ],
)
def test_each_status_is_the_error_it_was(status: int, kind: type[CdnError]) -> None:
    error = error_from_answer(status, b'{"detail": "It is so."}')
    assert type(error) is kind
    assert error.message == "It is so."


def test_field_and_details_come_along() -> None:
    content = json.dumps({"detail": "No.", "field": "manifest.files", "details": ["a", 5, "b"]}).encode()
    error = error_from_answer(422, content)
    assert isinstance(error, Unprocessable)
    assert (error.field, error.details) == ("manifest.files", ("a", "b"))


def test_the_title_stands_in_for_a_detail() -> None:
    assert error_from_answer(404, b'{"title": "Not found"}').message == "Not found"


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"\xff\xfe", b'{"detail": 5, "title": null}', b"{" * 100_000]
)
def test_what_is_no_problem_document_is_still_a_sentence(content: bytes) -> None:
    assert error_from_answer(502, content).message == "control answered with status 502 and did not say why"


def test_details_are_bounded() -> None:
    content = json.dumps({"details": ["x"] * (MAX_DETAILS + 1)}).encode()
    error = error_from_answer(400, content)
    assert isinstance(error, InvalidInput)
    assert len(error.details) == MAX_DETAILS


@pytest.mark.parametrize("status", [404, 405, 501])
def test_what_knows_nothing_of_control_is_said_to_be_something_else(status: int) -> None:
    error = error_from_answer(status, b"<html>Not Found</html>")
    assert isinstance(error, NotControl)
    assert f"status {status} is no control plane" in error.message
