"""Names, labels, domains and patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.domain import MAX_ZONE_OCTETS, normalise_domain, normalise_zone
from cdn.sites.name import (
    MAX_NAME_OCTETS,
    MAX_PAIR_OCTETS,
    PRODUCTION,
    check_alias,
    check_pair,
    check_site_name,
    host_label,
    split_label,
)
from cdn.sites.pattern import MAX_STARS, check_pattern, matches


@pytest.mark.parametrize("name", ["a", "blog", "my-blog-2", "2024", "a" * MAX_NAME_OCTETS])
def test_names_that_fit_a_host(name: str) -> None:
    assert check_site_name(name) == name
    assert check_alias(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "a--b", "Blog", "a.b", "a_b", "bl\u00f6g", "a b", "a\n", "a" * (MAX_NAME_OCTETS + 1), "\u0661"],
)
def test_names_that_do_not(name: str) -> None:
    for check, field in ((check_site_name, "name"), (check_alias, "alias")):
        with pytest.raises(InvalidInput) as caught:
            check(name)
        assert caught.value.field == field


def test_an_alias_must_not_make_an_encoded_name() -> None:
    assert check_site_name("xn") == "xn"
    with pytest.raises(InvalidInput, match="encoded name"):
        check_alias("xn")


def test_alias_and_site_fill_one_label_at_most() -> None:
    check_pair("a" * 31, "b" * 30)
    assert len(host_label("b" * 30, "a" * 31)) == 63
    with pytest.raises(InvalidInput, match=r"62 octets together.*at most 31"):
        check_pair("a" * 32, "b" * 30)
    check_pair(PRODUCTION, "b" * MAX_NAME_OCTETS)


NAMES = st.from_regex(re.compile(r"[a-z0-9]{1,6}(-[a-z0-9]{1,6}){0,2}"), fullmatch=True)


@given(NAMES, NAMES)
def test_a_label_names_one_alias_and_site(alias: str, site: str) -> None:
    assert split_label(host_label(site, alias)) == (alias, site)
    assert split_label(host_label(site, PRODUCTION)) == (PRODUCTION, site)
    assert len(alias) + len(site) <= MAX_PAIR_OCTETS


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Example.COM", "example.com"),
        (" www.example.com. ", "www.example.com"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--strae-oqa.de", "xn--strae-oqa.de"),
        ("\u65e5\u672c\u3002jp", "xn--wgv71a.jp"),
        ("\uff37\uff37\uff37.example.com", "www.example.com"),
        ("1.2.3.4a", "1.2.3.4a"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_domains_have_one_form(text: str, domain: str) -> None:
    assert normalise_domain(text) == domain
    assert normalise_domain(domain) == domain


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty label"),
        (".", "empty label"),
        ("localhost", "single label"),
        ("a..b", "empty label"),
        ("\u00e9..b", "not a domain name"),
        (".example.com", "empty label"),
        ("example.com..", "empty label"),
        ("https://example.com", "bare domain"),
        ("example.com:8080", "bare domain"),
        ("example.com/x", "bare domain"),
        ("user@example.com", "bare domain"),
        ("*.example.com", "wildcard"),
        ("192.0.2.1", "IP address"),
        ("\uff11\uff19\uff12.0.2.1", "IP address"),
        ("example.0x7f", "IP address"),
        ("2001:db8::1", "IP address"),
        ("[2001:db8::1]", "IP address"),
        ("-a.example", "inner hyphens"),
        ("a-.example", "inner hyphens"),
        ("a_b.example", "inner hyphens"),
        ("a b.example", "inner hyphens"),
        ("a\x00.example", "inner hyphens"),
        ("a" * 64 + ".example", "at most 63"),
        ("\u00e9" * 64 + ".example", "not a domain name"),
        (".".join(["a" * 63] * 4), "at most 253"),
        ("a" * 600, "at most 253"),
        ("stra\u00dfe.de", "xn-- form"),
        ("xn--\u00e9.example", "not a domain name"),
        ("xn--0000000000000.example", "encoded label"),
        ("xn--www-.example", "inner hyphens"),
        ("xn---u8xia8m.example", "another way"),
        ("xn--b\u00fccher.example", "not a domain name"),
        ("xn--.example", "inner hyphens"),
        ("\ud800.example", "not a domain name"),
    ],
)
def test_what_is_no_domain(text: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(fault)) as caught:
        normalise_domain(text)
    assert caught.value.field == "domain"


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("*.example.com", "*.example.com"),
        (" *.B\u00fccher.example. ", "*.xn--bcher-kva.example"),
        ("www.example.com", "www.example.com"),
    ],
)
def test_a_wildcard_where_one_may_be(text: str, domain: str) -> None:
    assert normalise_domain(text, may_be_wildcard=True) == domain


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("*", "wildcard"),
        ("*.", "empty label"),
        ("*.com", "single label"),
        ("*.*.example.com", "wildcard"),
        ("a.*.example.com", "wildcard"),
        ("a*.example.com", "wildcard"),
        ("*.192.0.2.1", "IP address"),
        ("*." + ".".join(["a" * 63] * 3 + ["b" * 60]), "has 254 octets"),
    ],
)
def test_what_is_no_wildcard(text: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(fault)):
        normalise_domain(text, may_be_wildcard=True)


@given(st.text(max_size=40))
def test_any_text_is_a_domain_in_normal_form_or_refused(text: str) -> None:
    try:
        domain = normalise_domain(text)
    except InvalidInput:
        return
    assert re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", domain)
    assert normalise_domain(domain) == domain


@pytest.mark.parametrize("pattern", ["/", "*", "/blog/*", "*.css", "/a*b*c", "/\u00e9*", "/" + "*" * MAX_STARS])
def test_patterns(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["", "blog/*", "/a\n", "/\ud800", "/" + "a" * 1024, "/" + "*" * (MAX_STARS + 1)])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("/blog/*", "/blog/"), ("/blog/*", "/blog/a/b"), ("*.css", "/a/b.css"), ("/a*c", "/abc"), ("/a", "/a")],
)
def test_a_pattern_covers(pattern: str, path: str) -> None:
    assert matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"), [("/blog/*", "/blog"), ("/a", "/ab"), ("/ab*ba", "/aba"), ("/a*x*c", "/abc")]
)
def test_a_pattern_does_not_cover(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_matching_is_what_a_regular_expression_says(pattern: str, path: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert matches(pattern, path) == (re.fullmatch(expression, path) is not None)


@pytest.mark.parametrize(
    ("zone", "normal"),
    [
        ("CDN.Localhost.", "cdn.localhost"),
        ("localhost", "localhost"),
        (" b\u00fccher.example ", "xn--bcher-kva.example"),
    ],
)
def test_zones_have_one_form(zone: str, normal: str) -> None:
    assert normalise_zone(zone) == normal


@pytest.mark.parametrize("zone", ["", ".", "..", "a b", "a..b", ".a", "-a", "a:80", "*.a", "127.0.0.1", "a\n.b", "a_b"])
def test_what_sites_cannot_be_named_in_is_no_zone(zone: str) -> None:
    with pytest.raises(InvalidInput):
        normalise_zone(zone)


def test_a_zone_leaves_room_for_a_site() -> None:
    longest = ".".join(["a" * 62, "b" * 62, "c" * 62, "d" * (MAX_ZONE_OCTETS - 3 * 63)]).strip(".")
    assert len(longest) <= MAX_ZONE_OCTETS
    assert normalise_zone(longest) == longest
    for longer in (longest + "e" * (MAX_ZONE_OCTETS + 1 - len(longest)), "a." * 1000 + "a"):
        with pytest.raises(InvalidInput, match="octets"):
            normalise_zone(longer)
