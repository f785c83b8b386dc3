"""Origins are read strictly, and written back in one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.origin import (
    BUNDLE,
    MAX_ORIGIN_OCTETS,
    MAX_PREFIX_OCTETS,
    BucketOrigin,
    BundleOrigin,
    HttpOrigin,
    Origin,
    parse_authority,
    parse_origin,
)


@pytest.mark.parametrize(
    ("text", "origin", "normal"),
    [
        ("bundle", BUNDLE, "bundle"),
        ("https://example.com", HttpOrigin("https", "example.com", 443), "https://example.com"),
        ("https://example.com/", HttpOrigin("https", "example.com", 443), "https://example.com"),
        ("HTTPS://Example.COM.:443/", HttpOrigin("https", "example.com", 443), "https://example.com"),
        ("https://example.com:", HttpOrigin("https", "example.com", 443), "https://example.com"),
        ("https://example.com:80", HttpOrigin("https", "example.com", 80), "https://example.com:80"),
        ("http://example.com:80/a", HttpOrigin("http", "example.com", 80, "/a"), "http://example.com/a"),
        ("http://localhost:8000", HttpOrigin("http", "localhost", 8000), "http://localhost:8000"),
        ("http://10.0.0.1/x/y/", HttpOrigin("http", "10.0.0.1", 80, "/x/y"), "http://10.0.0.1/x/y"),
        ("http://[::0001]:81", HttpOrigin("http", "[::1]", 81), "http://[::1]:81"),
        ("https://a-b_c.example", HttpOrigin("https", "a-b_c.example", 443), "https://a-b_c.example"),
        ("https://xn--bcher-kva.example", HttpOrigin("https", "xn--bcher-kva.example", 443), None),
        ("https://h/b\u00fcro", HttpOrigin("https", "h", 443, "/b%C3%BCro"), "https://h/b%C3%BCro"),
        ("https://h/%7euser/a%20b", HttpOrigin("https", "h", 443, "/~user/a%20b"), "https://h/~user/a%20b"),
        ("https://h/a@b", HttpOrigin("https", "h", 443, "/a@b"), "https://h/a@b"),
        ("s3://bucket", BucketOrigin("bucket"), "s3://bucket"),
        ("s3://bucket/", BucketOrigin("bucket"), "s3://bucket"),
        ("S3://my.bucket-1/a/b c/", BucketOrigin("my.bucket-1", "a/b c"), "s3://my.bucket-1/a/b c"),
        ("s3://bucket/b\u00fcro", BucketOrigin("bucket", "b\u00fcro"), "s3://bucket/b\u00fcro"),
        ("s3://" + "b" * 63, BucketOrigin("b" * 63), None),
    ],
)
def test_what_is_read(text: str, origin: Origin, normal: str | None) -> None:
    assert parse_origin(text) == origin
    assert str(origin) == (normal or text)
    assert parse_origin(str(origin)) == origin


def test_the_authority_names_the_port_where_it_is_not_usual() -> None:
    assert HttpOrigin("https", "h", 443, "/a").authority == "h"
    assert HttpOrigin("https", "h", 80).authority == "h:80"
    assert HttpOrigin("http", "[::1]", 81).authority == "[::1]:81"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no origin: give bundle, https://HOST"),
        ("Bundle", "is no origin"),
        ("example.com", "is no origin"),
        ("https:/example.com", "is no origin"),
        ("ftp://example.com", "is no origin"),
        ("s3:bucket", "is no origin"),
        (" https://example.com", "is no origin"),
        ("https://", "is no host with an optional port"),
        ("https:///a", "is no host with an optional port"),
        ("https://a..b", "is no host with an optional port"),
        ("https://a b", "is no host with an optional port"),
        ("https://a\\b", "is no host with an optional port"),
        ("https://" + "a." * 130 + "b", "is no host with an optional port"),
        ("https://h:0", "port from 1 to 65535"),
        ("https://h:65536", "port from 1 to 65535"),
        ("https://h:http", "port from 1 to 65535"),
        ("https://[::1", "is no host"),
        ("https://[::1%25eth0]", "is no host"),
        ("https://[12345::]", "is no host"),
        ("https://b\u00fccher.example", "ASCII form, which starts with xn--"),
        ("https://127.1", "ends in a number and is no IPv4 address"),
        ("https://2130706433", "ends in a number"),
        ("https://0x7f000001", "ends in a number"),
        ("https://0177.0.0.1", "ends in a number"),
        ("https://1.2.3.4.5", "ends in a number"),
        ("https://h?a=b", "has a query"),
        ("https://h/a?", "has a query"),
        ("https://h/a#b", "has a fragment"),
        ("https://h/a/../b", '".." segment'),
        ("https://h/.", '"." or ".." segment'),
        ("https://h/%2e%2e/b", "encoded dot"),
        ("https://h/a%2Fb", "encoded slash"),
        ("https://h/a//b", "empty segment"),
        ("https://h//", "empty segment"),
        ("https://h/a b", "whitespace"),
        ("https://h/a%0ab", "encoded control"),
        ("https://h/%zz", "no two hexadecimal digits"),
        ("https://h/%ff", "not UTF-8"),
        ("https://h/\ud800", "lone surrogate"),
        ("https://h/" + "a" * MAX_PREFIX_OCTETS, f"more than {MAX_PREFIX_OCTETS} octets"),
        ("https://h/" + "a" * MAX_ORIGIN_OCTETS, f"at most {MAX_ORIGIN_OCTETS} octets"),
        ("https://h/" + "\u00fc" * 1100, f"at most {MAX_ORIGIN_OCTETS} octets"),
        ("s3://", "is no bucket"),
        ("s3:///prefix", "is no bucket"),
        ("s3://ab", "is no bucket"),
        ("s3://" + "b" * 64, "is no bucket"),
        ("s3://Bucket", "is no bucket"),
        ("s3://buck_et", "is no bucket"),
        ("s3://-bucket", "is no bucket"),
        ("s3://bucket-", "is no bucket"),
        ("s3://user@bucket", "is no bucket"),
        ("s3://bucket:80", "is no bucket"),
        ("s3://a..b", "two dots in a row"),
        ("s3://192.168.5.4", "looks like an IPv4 address"),
        ("s3://xn--bucket", "reserved by S3"),
        ("s3://sthree-bucket", "reserved by S3"),
        ("s3://bucket--x-s3", "reserved by S3"),
        ("s3://bucket.mrap", "reserved by S3"),
        ("s3://bucket/a?versionId=1", "has a query"),
        ("s3://bucket/a#b", "has a fragment"),
        ("s3://bucket/a%20b", "without escapes"),
        ("s3://bucket//a", "empty segment"),
        ("s3://bucket/a//", "empty segment"),
        ("s3://bucket/../a", '"." or ".." segment'),
        ("s3://bucket/a\nb", "control character"),
        ("s3://bucket/\ud800", "not valid UTF-8"),
        ("s3://bucket/" + "a" * MAX_PREFIX_OCTETS, f"at most {MAX_PREFIX_OCTETS} are allowed"),
    ],
)
def test_what_is_refused_and_what_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_origin(text)
    assert said in caught.value.message


@pytest.mark.parametrize("text", ["https://user:geheim@h/a", "https://geheim@h", "http://@h", "https://a:geheim@@h"])
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match="user or a password") as caught:
        parse_origin(text)
    assert "geheim" not in caught.value.message


def test_a_host_for_the_host_field() -> None:
    host = parse_authority("WWW.Example.com:8080")
    assert (host.name, host.port) == ("www.example.com", 8080)
    for text in ("", "a/b", "a@b", "a:b", "7"):
        with pytest.raises(InvalidInput):
            parse_authority(text)


@given(st.text("htps3:/.@-%?#\\ab1\u00fc\n[]", max_size=30).map("https://{}".format) | st.text(max_size=30))
def test_whatever_is_taken_has_one_form(text: str) -> None:
    try:
        origin = parse_origin(text)
    except InvalidInput:
        return
    assert parse_origin(str(origin)) == origin
    assert str(parse_origin(str(origin))) == str(origin)
    if isinstance(origin, HttpOrigin):
        assert origin.prefix == "" or (origin.prefix.startswith("/") and not origin.prefix.endswith("/"))
    assert BundleOrigin() == BUNDLE
