"""Who is sent where: from http to https, and from one name to its twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdn.edge.https_rules import HttpsRules, bundle_place, with_hsts
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import AnswerRemoved, AnswerSet, CertificateRemoved, SiteChanged
from cdn.sites.site import Site
from tests.edge.certificate_stage import ZONE, Known, certificate_set, new_ring

HOST = "www.example.com"


def asked(host: str = HOST, scheme: str = "http", path: str = "/a", query: str | None = None) -> Request:
    return Request("GET", Target(path, query, path), host, 8080 if scheme == "http" else None, Fields(()), scheme)


def known_at(path: Path, **settings: Any) -> tuple[Known, Site]:
    known = Known()
    if settings:
        known.tell(SiteChanged("s1", settings))
    known.domain(HOST)
    known.tell(certificate_set(HOST, "s1", {"": new_ring(path)}))
    known.tell(certificate_set(f"*.{ZONE}", "", {"": new_ring(path)}))
    site = known.view.catalog.site("s1")
    assert site is not None
    return known, site


def led(rules: HttpsRules, site: Site, request: Request) -> str | None:
    return rules.location(request, site) if rules.moves(request, site) else None


def test_http_leads_to_https_where_the_name_has_a_certificate(tmp_path: Path) -> None:
    known, site = known_at(tmp_path)
    known.domain("bare.example.com")
    rules = HttpsRules(known.view, known.certificates, 443)
    assert led(rules, site, asked(query="q=1")) == "https://www.example.com/a?q=1"
    assert led(rules, site, asked(scheme="https")) is None
    assert led(rules, site, asked("bare.example.com")) is None
    assert led(rules, site, asked(f"blog.{ZONE}")) is None
    assert led(rules, site, asked(path="/.well-known/acme-challenge/token")) is None
    rules.https_port = 8443
    assert led(rules, site, asked()) == "https://www.example.com:8443/a"
    rules.https_port = None
    assert led(rules, site, asked()) is None


def test_a_record_of_a_certificate_makes_what_was_prepared_be_looked_at_again(tmp_path: Path) -> None:
    known, _ = known_at(tmp_path)
    before = known.view.runtime("s1").generation
    known.tell(CertificateRemoved(HOST))
    assert known.view.runtime("s1").generation == before + 1
    known.tell(certificate_set(HOST, "s1", {"": new_ring(tmp_path)}))
    assert known.view.runtime("s1").generation == before + 2
    known.tell(CertificateRemoved(f"*.{ZONE}"))
    assert known.view.runtime("s1").generation == before + 2


@pytest.mark.parametrize(("policy", "zone_leads", "own_leads"), [("always", True, True), ("off", False, False)])
def test_the_sites_owner_decides(tmp_path: Path, policy: str, zone_leads: bool, own_leads: bool) -> None:
    known, site = known_at(tmp_path, https=policy)
    rules = HttpsRules(known.view, known.certificates, 443)
    assert (led(rules, site, asked(f"blog.{ZONE}")) is not None) == zone_leads
    assert (led(rules, site, asked()) is not None) == own_leads


def test_one_of_two_names_leads_to_the_other_at_once_to_the_right_scheme(tmp_path: Path) -> None:
    known, site = known_at(tmp_path)
    known.domain("example.com", redirect_to=HOST)
    rules = HttpsRules(known.view, known.certificates, 443)
    for scheme in ("http", "https"):
        assert led(rules, site, asked("example.com", scheme)) == "https://www.example.com/a"
    known.tell(CertificateRemoved(HOST))
    assert led(rules, site, asked("example.com")) == "http://www.example.com:8080/a"
    assert led(rules, site, asked("example.com", "https")) == "http://www.example.com/a"


def test_two_names_that_lead_to_each_other_are_both_answered(tmp_path: Path) -> None:
    known, site = known_at(tmp_path, https="off")
    known.domain("example.com", redirect_to=HOST)
    known.domain(HOST, redirect_to="example.com")
    known.domain("lost.example.com", redirect_to="gone.example.com")
    rules = HttpsRules(known.view, known.certificates, 443)
    for host in ("example.com", HOST, "lost.example.com"):
        assert led(rules, site, asked(host)) is None


def test_an_authority_is_answered_for_its_name_and_token_while_that_counts(tmp_path: Path) -> None:
    known, _ = known_at(tmp_path)
    rules = HttpsRules(known.view, known.certificates, None)
    known.tell(AnswerSet("http-01", "new.example.com", "token", "token.thumb", 2000.0))
    request = asked("new.example.com", path="/.well-known/acme-challenge/token")
    assert rules.answer_of_challenge(request, 1000.0) == "token.thumb"
    assert rules.answer_of_challenge(request, 2000.0) is None
    assert rules.answer_of_challenge(asked(path="/.well-known/acme-challenge/token"), 1000.0) is None
    assert rules.answer_of_challenge(asked("new.example.com", path="/token"), 1000.0) is None
    known.tell(AnswerRemoved("http-01", "new.example.com", "token"))
    assert rules.answer_of_challenge(request, 1000.0) is None


def test_browsers_are_told_over_https_alone_and_hits_are_kept_apart(tmp_path: Path) -> None:
    _, site = known_at(tmp_path, hsts_s=60)
    fields = (("strict-transport-security", "max-age=1"), ("etag", '"a"'))
    assert with_hsts(fields, asked(), site) == fields
    told = with_hsts(fields, asked(scheme="https"), site)
    assert told == (("etag", '"a"'), ("strict-transport-security", "max-age=60"))
    assert bundle_place(asked(), site) != bundle_place(asked(scheme="https"), site)
    _, plain = known_at(tmp_path)
    assert with_hsts(fields, asked(scheme="https"), plain) == fields
    assert bundle_place(asked(), plain) == bundle_place(asked(scheme="https"), plain)
