from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target


def test_a_request_is_a_value() -> None:
    target = Target("/", None, "/")
    fields = Fields((("host", "blog.cdn.localhost:8080"),))
    request = Request("GET", target, "blog.cdn.localhost", 8080, fields, "http")
    assert request == Request("GET", target, "blog.cdn.localhost", 8080, fields, "http")
    with pytest.raises(FrozenInstanceError):
        request.method = "HEAD"  # type: ignore[misc]
