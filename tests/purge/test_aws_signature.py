"""Signatures of AWS clients: the vendor's examples, its own signer as the other opinion, and what must not pass."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cdn.purge.aws_signature import MAX_SKEW_S, BadSignature, SignedRequest, read_claim, verify

EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
EXAMPLE_NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
SECRET = "test-secret"


def _example(service: str, signed: str, signature: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )


@pytest.mark.parametrize(
    ("service", "query", "fields", "authorization"),
    [
        (  # "get-vanilla" of the test suite that AWS published
            "service",
            "",
            [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")],
            _example("service", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ),
        (  # the worked example of the documentation
            "iam",
            "Action=ListUsers&Version=2010-05-08",
            [
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            _example(
                "iam",
                "content-type;host;x-amz-date",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ),
    ],
)
def test_the_vendors_examples_pass(service: str, query: str, fields: list[tuple[str, str]], authorization: str) -> None:
    request = SignedRequest("GET", "/", query, [*fields, ("authorization", authorization)], b"")
    verify(request, read_claim(request.fields, service), EXAMPLE_SECRET, EXAMPLE_NOW)


def _signed(
    method: str = "POST",
    path: str = "/2020-05-31/distribution/blog/invalidation",
    query: str = "",
    content: bytes = b"<a/>",
    extra: dict[str, str] | None = None,
    service: str = "cloudfront",
) -> tuple[SignedRequest, float]:
    """A request as botocore signs it, and when."""
    url = f"http://127.0.0.1:8700{path}{'?' + query if query else ''}"
    sent: Any = AWSRequest(method=method, url=url, data=content, headers={"Content-Type": "text/xml", **(extra or {})})
    signer: Any = botocore.auth.SigV4Auth(Credentials("id", SECRET), service, "us-east-1")
    signer.add_auth(sent)
    fields = [("host", "127.0.0.1:8700"), *((name.lower(), value) for name, value in sent.headers.items())]
    at = datetime.strptime(sent.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    return SignedRequest(method, path, query, fields, content), at


def _check(request: SignedRequest, now: float, secret: str = SECRET) -> None:
    verify(request, read_claim(request.fields, "cloudfront"), secret, now)


_names = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    segments=st.lists(
        st.text("abc-_.~ %+ü*'()", min_size=1, max_size=6).filter(lambda one: one.strip(".")), max_size=4
    ),
    query=st.lists(st.tuples(_names, _names), max_size=4),
    content=st.binary(max_size=40),
    extra=st.dictionaries(st.sampled_from(["x-amz-meta", "x-amz-b", "accept"]), st.text(" abc", max_size=6)),
)
def test_whatever_the_vendors_client_signs_passes(
    method: str, segments: list[str], query: list[tuple[str, str]], content: bytes, extra: dict[str, str]
) -> None:
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    request, at = _signed(method, path, urlencode(query, quote_via=quote, safe=""), content, extra)
    _check(request, at)


def test_a_field_of_several_lines_and_spaces_counts_as_it_is_written_down() -> None:
    request, at = _signed(extra={"x-amz-meta": "  a   b  "})
    _check(request, at)


@given(data=st.data())
def test_nothing_that_is_signed_can_be_changed(data: st.DataObject) -> None:
    request, at = _signed(query="Marker=a&MaxItems=2", extra={"x-amz-meta": "one"})
    changed = data.draw(
        st.sampled_from(
            [
                dataclasses.replace(request, method="GET"),
                dataclasses.replace(request, raw_path=request.raw_path.replace("blog", "shop")),
                dataclasses.replace(request, raw_query="Marker=b&MaxItems=2"),
                dataclasses.replace(request, raw_query=""),
                dataclasses.replace(request, content=b"<b/>"),
                _with(request, "host", "elsewhere"),
                _with(request, "content-type", "text/plain"),
                _with(request, "x-amz-meta", "two"),
                dataclasses.replace(request, fields=[*request.fields, ("x-amz-meta", "two")]),
                dataclasses.replace(request, fields=[*request.fields, ("x-amz-more", "two")]),
                dataclasses.replace(request, fields=[*request.fields, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]),
            ]
        )
    )
    with pytest.raises(BadSignature):
        _check(changed, at)


@given(position=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
def test_another_signature_does_not_pass(position: int, digit: str) -> None:
    request, at = _signed()
    (value,) = request.values("authorization")
    head, _, signature = value.rpartition("=")
    other = signature[:position] + digit + signature[position + 1 :]
    changed = _with(request, "authorization", f"{head}={other}")
    if other == signature:
        _check(changed, at)
        return
    with pytest.raises(BadSignature) as refused:
        _check(changed, at)
    assert refused.value.code == "SignatureDoesNotMatch"


def test_another_secret_does_not_pass() -> None:
    request, at = _signed()
    with pytest.raises(BadSignature) as refused:
        _check(request, at, "other")
    assert "secret access key" in refused.value.message


def test_five_minutes_off_is_too_much_either_way() -> None:
    request, at = _signed()
    for now in (at - MAX_SKEW_S, at + MAX_SKEW_S):
        _check(request, now)
    for now, word in ((at - MAX_SKEW_S - 1, "not yet current"), (at + MAX_SKEW_S + 1, "expired")):
        with pytest.raises(BadSignature) as refused:
            _check(request, now)
        assert word in refused.value.message


def test_a_digest_of_the_content_that_is_said_has_to_be_right() -> None:
    right = hashlib.sha256(b"<a/>").hexdigest()
    request, at = _signed(extra={"X-Amz-Content-SHA256": right})
    _check(request, at)
    for wrong in ("UNSIGNED-PAYLOAD", hashlib.sha256(b"<b/>").hexdigest()):
        request, at = _signed(extra={"X-Amz-Content-SHA256": wrong})
        with pytest.raises(BadSignature):
            _check(request, at)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "MissingAuthenticationToken"),
        ("Bearer cdn_1_2", "IncompleteSignature"),
        ("AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/cloudfront/aws4_request", "IncompleteSignature"),
        (_example("cloudfront", "host;x-amz-date", "0" * 63), "IncompleteSignature"),
        (_example("cloudfront", "host;x-amz-date", "0" * 64) + " " * 5000, "IncompleteSignature"),
        (_example("s3", "host;x-amz-date", "0" * 64), "SignatureDoesNotMatch"),
        (_example("cloudfront", "x-amz-date", "0" * 64), "SignatureDoesNotMatch"),
        (_example("cloudfront", "host", "0" * 64), "SignatureDoesNotMatch"),
        (_example("cloudfront", "x-amz-date;host", "0" * 64), "SignatureDoesNotMatch"),
        (_example("cloudfront", "host;host;x-amz-date", "0" * 64), "SignatureDoesNotMatch"),
    ],
)
def test_claims_that_are_none(authorization: str | None, code: str) -> None:
    fields = [("host", "h"), ("x-amz-date", "20150830T123600Z")]
    if authorization is not None:
        fields.append(("authorization", authorization))
    with pytest.raises(BadSignature) as refused:
        read_claim(fields, "cloudfront")
    assert refused.value.code == code


def test_two_claims_are_none() -> None:
    request, _ = _signed()
    with pytest.raises(BadSignature):
        read_claim([*request.fields, ("authorization", request.values("authorization")[0])], "cloudfront")


@pytest.mark.parametrize("date", [None, "yesterday", "20150230T123600Z", "20150831T123600Z"])
def test_times_that_are_none_or_another_days(date: str | None) -> None:
    fields = [("host", "h"), *([("x-amz-date", date)] if date else [])]
    fields.append(("authorization", _example("cloudfront", "host;x-amz-date" if date else "host", "0" * 64)))
    request = SignedRequest("GET", "/", "", fields, b"")
    with pytest.raises(BadSignature):
        verify(request, read_claim(fields, "cloudfront"), SECRET, EXAMPLE_NOW)


def _with(request: SignedRequest, name: str, value: str) -> SignedRequest:
    fields = [(field, value if field == name else old) for field, old in request.fields]
    return dataclasses.replace(request, fields=fields)
