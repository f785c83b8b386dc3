"""Which records a domain needs, for each kind of name and of host."""

from __future__ import annotations

import pytest

from cdn.control.domain_names import checked_domain, is_apex, twin_of
from cdn.control.domain_records import MAX_ADDRESSES, WILDCARD_NOTE, Surroundings, wanted_records
from cdn.control.public_suffixes import is_public_suffix
from cdn.errors import InvalidInput

TARGET = "blog.cdn.example"


def told(domain: str, *, token: str | None = "t", **around: object) -> list[tuple[str, str, str, bool]]:
    surroundings = Surroundings(TARGET, is_apex(domain, is_public_suffix), **around)  # type: ignore[arg-type]
    return [(each.type, each.name, each.value, each.instead) for each in wanted_records(domain, token, surroundings)]


def test_a_subdomain_and_a_wildcard_lead_here_by_name() -> None:
    txt = ("TXT", "_cdn-verify.www.example.com", "cdn-verify=t", False)
    assert told("www.example.com") == [txt, ("CNAME", "www.example.com", TARGET, False)]
    assert told("*.example.com") == [
        ("TXT", "_cdn-verify.example.com", "cdn-verify=t", False),
        ("CNAME", "*.example.com", TARGET, False),
    ]
    assert told("www.example.com", token=None) == [("CNAME", "www.example.com", TARGET, False)]


def test_a_wildcard_says_what_its_certificate_needs() -> None:
    around = Surroundings(TARGET, is_apex=False)
    notes = {name: wanted_records(name, None, around)[0].note for name in ("*.example.com", "www.example.com")}
    assert notes == {"*.example.com": WILDCARD_NOTE, "www.example.com": ""}
    assert "our name servers" in WILDCARD_NOTE


def test_an_apex_has_an_alias_or_the_addresses_of_nodes() -> None:
    assert told("example.com", addresses=("192.0.2.1", "2001:db8::1"))[1:] == [
        ("ALIAS", "example.com", TARGET, False),
        ("A", "example.com", "192.0.2.1", True),
        ("AAAA", "example.com", "2001:db8::1", False),
    ]
    many = tuple(f"192.0.2.{number}" for number in range(20))
    assert len(told("example.com", addresses=many)) == 2 + MAX_ADDRESSES


def test_what_lies_in_a_zone_of_ours_has_an_alias_there() -> None:
    surroundings = Surroundings(TARGET, True, zone="example.com", addresses=("192.0.2.1",))
    ownership, pointing = wanted_records("example.com", "t", surroundings)
    assert (pointing.type, pointing.value) == ("ALIAS", TARGET)
    assert "cdn zone import" in pointing.note
    assert "answered here" in ownership.note


@pytest.mark.parametrize(
    ("domain", "twin"),
    [
        ("example.com", "www.example.com"),
        ("www.example.com", "example.com"),
        ("www.example.co.uk", "example.co.uk"),
        ("www.com", "www.www.com"),
        ("a.example.com", None),
        ("www.a.example.com", None),
        ("*.example.com", None),
    ],
)
def test_twins(domain: str, twin: str | None) -> None:
    assert twin_of(domain, is_public_suffix) == twin
    assert twin is None or twin_of(twin, is_public_suffix) in (domain, None)


@pytest.mark.parametrize("name", ["com", "co.uk", "*.co.uk", "github.io", "*.github.io", "GitHub.io."])
def test_nobody_claims_what_strangers_register_below(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_domain(name, is_public_suffix)


def test_wildcards_and_letters_of_other_scripts_have_one_form() -> None:
    assert checked_domain(" *.B\u00fccher.Example. ", is_public_suffix) == "*.xn--bcher-kva.example"
