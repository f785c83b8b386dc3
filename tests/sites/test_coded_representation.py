"""Coded forms as they are answered: representations of their own, under the same names and tags."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from cdn.http.fields import FieldLines, Fields
from cdn.sites.coded_representation import (
    coded_representation,
    codings_of,
    may_have_forms,
    varied_representation,
)
from cdn.sites.header_rule import HeaderRule
from cdn.sites.manifest import FileEntry
from cdn.sites.representation import Representation, representation_of
from cdn.sites.settings import SiteSettings


def entry(name: str, size_bytes: int = 5000) -> FileEntry:
    return FileEntry(hashlib.sha256(name.encode()).hexdigest(), size_bytes)


SOURCE, FORM = entry("source"), entry("form", 1000)


def page(*rules: HeaderRule, status: int = 200, path: str = "/app.js") -> Representation:
    return representation_of(path, SOURCE, SiteSettings(header_rules=rules), status)


def fields(representation: Representation) -> Fields:
    return Fields(representation.fields)


def with_fields(*lines: tuple[str, str]) -> Representation:
    given: FieldLines = lines
    plain = page()
    names = {name for name, _ in given}
    return replace(plain, fields=(*(line for line in plain.fields if line[0] not in names), *given))


def test_a_coded_form_has_an_entity_tag_of_its_own() -> None:
    identity, coded = page(), coded_representation(page(), "br", FORM)
    assert coded.entity_tag is not None
    assert not coded.entity_tag.is_weak
    assert coded.entity_tag != identity.entity_tag
    assert fields(coded).get("etag") == f'"{FORM.digest[:32]}"'
    assert fields(coded).get("content-encoding") == "br"
    assert fields(coded).get("content-type") == fields(identity).get("content-type")


def test_names_tags_and_lifetimes_are_those_of_the_file() -> None:
    identity = page(HeaderRule("/*", (("cache-tag", "a b"),)))
    coded = coded_representation(identity, "zstd", FORM)
    assert replace(coded, fields=identity.fields, entity_tag=identity.entity_tag) == identity


@pytest.mark.parametrize("made", [varied_representation, lambda one: coded_representation(one, "br", FORM)])
@pytest.mark.parametrize(
    ("said", "told"),
    [((), "Accept-Encoding"), ((("vary", "Cookie"),), "Cookie, Accept-Encoding"), ((("vary", "*"),), "*")],
)
def test_every_form_says_that_there_are_others(made: object, said: FieldLines, told: str) -> None:
    assert callable(made)
    assert fields(made(with_fields(*said))).get("vary") == told


def test_a_page_that_stands_in_for_an_absent_one_is_coded_without_a_validator() -> None:
    coded = coded_representation(page(status=404, path="/404.html"), "gzip", FORM)
    assert (coded.status, coded.entity_tag, fields(coded).get("etag")) == (404, None, None)
    assert fields(coded).get("content-encoding") == "gzip"
    assert may_have_forms(page(status=404, path="/404.html"), 5000)


def test_digests_of_the_identity_form_are_left_out() -> None:
    coded = coded_representation(with_fields(("repr-digest", "sha-256=:x:"), ("x-kept", "1")), "br", FORM)
    assert fields(coded).get("repr-digest") is None
    assert fields(coded).get("x-kept") == "1"


@pytest.mark.parametrize(
    "said",
    [
        ("content-encoding", "br"),
        ("cache-control", "public, no-transform"),
        ("content-type", "image/png"),
        ("signature-input", 'sig=("@method")'),
    ],
)
def test_what_may_not_be_transformed_has_no_forms(said: tuple[str, str]) -> None:
    assert may_have_forms(page(), 5000)
    assert not may_have_forms(with_fields(said), 5000)
    assert not may_have_forms(page(), 255), "too small for any"


def test_the_smallest_form_is_liked_best() -> None:
    forms = {"zstd": entry("z", 90), "br": entry("b", 80), "gzip": entry("g", 90)}
    assert codings_of(forms) == ("br", "zstd", "gzip")
    assert codings_of({}) == ()
