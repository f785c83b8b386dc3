from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.target import AbsoluteTarget, Target, TargetFault, encode_path, parse_target


@pytest.mark.parametrize(
    ("raw", "path", "query", "decoded"),
    [
        (b"/", "/", None, "/"),
        (b"/index.html", "/index.html", None, "/index.html"),
        (b"/a/b?c=d&e=/?f", "/a/b", "c=d&e=/?f", "/a/b"),
        (b"/a?", "/a", "", "/a"),
        (b"/.well-known/x", "/.well-known/x", None, "/.well-known/x"),
        (b"/a../b...", "/a../b...", None, "/a../b..."),
        (b"//evil.example/x", "//evil.example/x", None, "//evil.example/x"),
        (b"/a//b/", "/a//b/", None, "/a//b/"),
        (b"/caf%c3%a9", "/caf%C3%A9", None, "/café"),
        ("/café".encode(), "/caf%C3%A9", None, "/café"),
        (b"/%41%7E", "/A~", None, "/A~"),
        (b"/a%2Bb+c", "/a+b+c", None, "/a+b+c"),
        (b"/[slug]/%5Bid%5D", "/%5Bslug%5D/%5Bid%5D", None, "/[slug]/[id]"),
        (b"/a%20b", "/a%20b", None, "/a b"),
        (b"/100%25", "/100%25", None, "/100%"),
        (b"/%252e%252e/", "/%252e%252e/", None, "/%2e%2e/"),
        (b"/%3Fa%23?b", "/%3Fa%23", "b", "/?a#"),
        (b"/s?q=%e2%82%ac%41&r[]=\\..", "/s", "q=%E2%82%ACA&r%5B%5D=%5C..", "/s"),
        ("/s?q=é".encode(), "/s", "q=%C3%A9", "/s"),
        (b"/s?next=%2F..%2F%00", "/s", "next=%2F..%2F%00", "/s"),
    ],
)
def test_origin_form(raw: bytes, path: str, query: str | None, decoded: str) -> None:
    assert parse_target(raw) == Target(path, query, decoded)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", TargetFault.EMPTY),
        (b"*", TargetFault.ASTERISK),
        (b"index.html", TargetFault.UNKNOWN_FORM),
        (b"?q", TargetFault.UNKNOWN_FORM),
        (b"example.com:443", TargetFault.UNKNOWN_FORM),
        (b"ftp://example.com/", TargetFault.UNKNOWN_FORM),
        (b"/a#b", TargetFault.FRAGMENT),
        (b"/a?b#c", TargetFault.FRAGMENT),
        (b"/a b", TargetFault.CONTROL),
        (b"/a\x00b", TargetFault.CONTROL),
        (b"/a\tb", TargetFault.CONTROL),
        (b"/a\r\nHost: x", TargetFault.CONTROL),
        (b"/a\n", TargetFault.CONTROL),
        (b"/a?\x7f", TargetFault.CONTROL),
        (b"/a%", TargetFault.BAD_ESCAPE),
        (b"/a%4", TargetFault.BAD_ESCAPE),
        (b"/a%zz", TargetFault.BAD_ESCAPE),
        (b"/%%41", TargetFault.BAD_ESCAPE),
        (b"/a%u0041", TargetFault.BAD_ESCAPE),
        (b"/a?q=100%", TargetFault.BAD_ESCAPE),
        (b"/a%00", TargetFault.ENCODED_CONTROL),
        (b"/a%0d%0ab", TargetFault.ENCODED_CONTROL),
        (b"/a%7f", TargetFault.ENCODED_CONTROL),
        (b"/a%2fb", TargetFault.ENCODED_SLASH),
        (b"/a%2Fb", TargetFault.ENCODED_SLASH),
        (b"/%2e%2e/b", TargetFault.ENCODED_DOT),
        (b"/.%2E/b", TargetFault.ENCODED_DOT),
        (b"/index%2ehtml", TargetFault.ENCODED_DOT),
        (b"/a%5cb", TargetFault.BACKSLASH),
        (b"/a%5Cb", TargetFault.BACKSLASH),
        (b"/a\\b", TargetFault.BACKSLASH),
        (b"/..", TargetFault.DOT_SEGMENT),
        (b"/.", TargetFault.DOT_SEGMENT),
        (b"/a/../b", TargetFault.DOT_SEGMENT),
        (b"/a/./b?c", TargetFault.DOT_SEGMENT),
        (b"/a%20/../b", TargetFault.DOT_SEGMENT),
        (b"/\xff", TargetFault.NOT_UTF8),
        (b"/%ff", TargetFault.NOT_UTF8),
        (b"/%c0%af", TargetFault.NOT_UTF8),
        (b"/%c0%ae%c0%ae/", TargetFault.NOT_UTF8),
        (b"/%ed%a0%80", TargetFault.NOT_UTF8),
    ],
)
def test_faults(raw: bytes, fault: TargetFault) -> None:
    assert parse_target(raw) is fault


def test_every_fault_says_what_is_wrong() -> None:
    assert all(fault.value.endswith(".") and len(fault.value) > 20 for fault in TargetFault)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"http://a.example/x?y", AbsoluteTarget("a.example", Target("/x", "y", "/x"), "http")),
        (b"HTTPS://A.example:8443", AbsoluteTarget("A.example:8443", Target("/", None, "/"), "https")),
        (b"http://a.example?y", AbsoluteTarget("a.example", Target("/", "y", "/"), "http")),
        (b"http://[::1]:80/%41", AbsoluteTarget("[::1]:80", Target("/A", None, "/A"), "http")),
        (b"http:///x", TargetFault.BAD_HOST),
        (b"http://user:pass@a.example/", TargetFault.BAD_HOST),
        (b"http://a.example\\.evil/", TargetFault.BAD_HOST),
        (b"http://a.exa%6Dple/", TargetFault.BAD_HOST),
        (b"http://a.example/%zz", TargetFault.BAD_ESCAPE),
        (b"http://a.example/a b", TargetFault.CONTROL),
        (b"http://a.example\n/", TargetFault.CONTROL),
        (b"http://a.example#x", TargetFault.FRAGMENT),
        (b"http://a.example/../x", TargetFault.DOT_SEGMENT),
    ],
)
def test_absolute_form(raw: bytes, expected: AbsoluteTarget | TargetFault) -> None:
    assert parse_target(raw) == expected


@given(st.binary(max_size=40).map(lambda raw: b"/" + raw) | st.binary(max_size=40))
def test_whatever_passes_is_in_normal_form(raw: bytes) -> None:
    parsed = parse_target(raw)
    target = parsed.target if isinstance(parsed, AbsoluteTarget) else parsed
    if isinstance(target, TargetFault):
        return
    assert target.path.startswith("/")
    assert not {".", ".."} & set(target.decoded_path.split("/"))
    assert not any(char <= "\x1f" or char in "\x7f\\" for char in target.decoded_path)
    assert target.path.count("/") == target.decoded_path.count("/")
    again = target.path if target.query is None else f"{target.path}?{target.query}"
    assert parse_target(again.encode("ascii")) == target


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\."), max_size=20))
def test_one_path_has_one_encoding(text: str) -> None:
    path = "/" + text
    assert unquote(encode_path(path)) == path
    escaped_whole = "/".join("".join(f"%{octet:02x}" for octet in part.encode()) for part in path.split("/"))
    assert parse_target(escaped_whole.encode()) == parse_target(encode_path(path).encode())
    assert parse_target(encode_path(path).encode()) == Target(encode_path(path), None, path)


@pytest.mark.parametrize("raw", [b"/%41", b"/?%41", b"/?%e2%82%ac", b"/?%20"])
def test_escapes_are_not_read_one_by_one(raw: bytes) -> None:
    start, escapes = raw.split(b"%", 1)
    few, many = (_calls_made(parse_target, start + b"%" + b"%".join([escapes] * count)) for count in (10, 1200))
    assert many == few


@given(
    st.lists(st.integers(0, 255).map(lambda octet: f"%{octet:02x}") | st.sampled_from(["a", "%4A", "x"]), max_size=6)
)
def test_escapes_mean_what_the_library_says(pieces: list[str]) -> None:
    text = "/" + "".join(pieces)
    match parse_target(f"{text}?{text}".encode()):
        case Target(path, query, decoded):
            assert decoded.encode() == unquote_to_bytes(text)
            assert path == quote(decoded, safe="/:@!$&'()*+,;=-._~")
            assert query is not None
            assert unquote_to_bytes(query) == unquote_to_bytes(text)
        case TargetFault.NOT_UTF8:
            with pytest.raises(UnicodeDecodeError):
                unquote_to_bytes(text).decode()
        case fault:
            assert fault in {
                TargetFault.ENCODED_CONTROL,
                TargetFault.ENCODED_SLASH,
                TargetFault.ENCODED_DOT,
                TargetFault.BACKSLASH,
            }


def _calls_made(function: Callable[[bytes], object], raw: bytes) -> int:
    """How many functions are called, those of C too, to read `raw`."""
    calls = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    function(raw)  # what is made once is made
    sys.setprofile(note)
    try:
        function(raw)
    finally:
        sys.setprofile(None)
    return calls
