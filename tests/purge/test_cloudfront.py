"""Invalidation batches: what is read of one, what it purges, and that answers are XML whatever is in them."""

from __future__ import annotations

import contextlib
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import CdnError
from cdn.purge.cloudfront import (
    MAX_PATHS_READ,
    MAX_REFERENCE_CHARS,
    NAMESPACE,
    BadBatch,
    Batch,
    BatchTooLarge,
    InvalidationView,
    error_xml,
    invalidation_xml,
    invalidations_xml,
    purge_of,
    read_batch,
)
from cdn.purge.request import PurgeRequest

_xml_chars = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")
_xml_text = st.text(_xml_chars, min_size=1, max_size=20).filter(str.strip)


def batch_xml(paths: list[str], reference: str, quantity: int | None = None, namespace: str = NAMESPACE) -> bytes:
    items = "".join(f"<Path>{escape(path)}</Path>" for path in paths)
    count = len(paths) if quantity is None else quantity
    return (
        f'<InvalidationBatch xmlns="{namespace}"><Paths><Quantity>{count}</Quantity>'
        f"<Items>{items}</Items></Paths><CallerReference>{escape(reference)}</CallerReference></InvalidationBatch>"
    ).encode()


@given(st.lists(_xml_text, min_size=1, max_size=5), _xml_text)
def test_a_batch_is_read_as_it_was_written(paths: list[str], reference: str) -> None:
    assert read_batch(batch_xml(paths, reference)) == Batch(tuple(paths), reference)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_else_is_refused_with_a_sentence(raw: bytes) -> None:
    with contextlib.suppress(BadBatch, BatchTooLarge):  # with nothing else
        read_batch(raw)


@given(st.lists(_xml_text, min_size=1, max_size=3), st.data())
def test_a_batch_with_a_piece_changed_is_read_or_refused(paths: list[str], data: st.DataObject) -> None:
    raw = bytearray(batch_xml(paths, "r"))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(BadBatch, BatchTooLarge):
        read_batch(bytes(raw))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "MissingBody"),
        (b" \n", "MissingBody"),
        (b"<InvalidationBatch>", "MalformedInput"),
        (b"{}", "MalformedInput"),
        (b"<Other/>", "MalformedInput"),
        (b"<InvalidationBatch/>", "MalformedInput"),
        (batch_xml(["/a"], "r").replace(b"<Quantity>1</Quantity>", b"<Quantity>1</Quantity>" * 2), "MalformedInput"),
        (batch_xml(["/a"], "r").replace(b"<Items>", b"text<Items>"), "MalformedInput"),
        (batch_xml(["/a"], "r").replace(b"<Path>", b"<Path><b/>"), "MalformedInput"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + batch_xml(["/a"], "r"), "MalformedInput"),
        (b'<?xml version="1.0" encoding="nonsense"?>' + batch_xml(["/a"], "r"), "MalformedInput"),
        (batch_xml(["/a"], "r", quantity=2), "InconsistentQuantities"),
        (batch_xml([], "r"), "InvalidArgument"),
        (batch_xml(["/a"], " "), "InvalidArgument"),
        (batch_xml(["/a"], "r" * (MAX_REFERENCE_CHARS + 1)), "InvalidArgument"),
    ],
)
def test_what_is_no_batch_is_named(raw: bytes, code: str) -> None:
    with pytest.raises(BadBatch) as refused:
        read_batch(raw)
    assert refused.value.code == code


def test_an_entity_is_never_expanded() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(9))
    raw = f"<!DOCTYPE l [{laughs}]>".encode() + batch_xml(["/&l8;"], "r").replace(b"&amp;", b"&")
    with pytest.raises(BadBatch) as refused:
        read_batch(raw)
    assert "document type" in refused.value.message


def test_other_namespaces_of_the_vendor_and_none_are_read_too() -> None:
    for namespace in ("http://cloudfront.amazonaws.com/doc/2018-11-05/", ""):
        assert read_batch(batch_xml(["/a"], "r", namespace=namespace)) == Batch(("/a",), "r")


def test_more_than_a_purge_names_is_too_large() -> None:
    paths = [f"/{number}" for number in range(1001)]
    assert len(read_batch(batch_xml(paths[:1000], "r")).paths) == 1000
    with pytest.raises(BatchTooLarge):
        read_batch(batch_xml(paths, "r"))


@pytest.mark.parametrize(
    ("paths", "purge"),
    [
        (("/a", "b/c"), PurgeRequest(urls=("/a", "/b/c"))),
        (("/a?b=c",), PurgeRequest(urls=("/a?b=c",))),
        (("/img/*", "/img/a*"), PurgeRequest(prefixes=("/img/", "/img/a"))),
        (("/a.jpg?x=*",), PurgeRequest(prefixes=("/a.jpg",))),
        (("/*",), PurgeRequest(everything=True)),
        (("*", "/a"), PurgeRequest(urls=("/a",), everything=True)),
        (("/",), PurgeRequest(urls=("/",))),
    ],
)
def test_paths_are_urls_prefixes_or_everything(paths: tuple[str, ...], purge: PurgeRequest) -> None:
    assert purge_of(paths) == purge


@pytest.mark.parametrize("path", ["", "/a*b", "/a**", "*/a", "https://www.example.com/a", "//x://y"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(BadBatch) as refused:
        purge_of(["/good", path])
    assert refused.value.code == "InvalidArgument"


@given(st.lists(st.text(max_size=10), min_size=1, max_size=4))
def test_a_wildcard_covers_at_least_what_the_vendor_says(paths: list[str]) -> None:
    """Whatever is not refused names each path: as itself, as what it begins with, or as everything."""
    try:
        purge = purge_of(paths)
    except CdnError:
        return
    for path in paths:
        whole = path if path.startswith("/") else f"/{path}"
        stem = whole.removesuffix("*")
        covered = purge.everything or whole in purge.urls or any(stem.startswith(prefix) for prefix in purge.prefixes)
        assert covered


def test_batches_are_the_same_in_any_order_of_paths() -> None:
    assert Batch(("/a", "/b"), "r").is_same(Batch(("/b", "/a"), "r"))
    assert not Batch(("/a", "/a"), "r").is_same(Batch(("/a", "/b"), "r"))
    assert not Batch(("/a",), "r").is_same(Batch(("/a",), "s"))


@given(st.lists(st.text(), min_size=1, max_size=3), st.text(), st.text())
def test_answers_are_well_formed_whatever_they_carry(paths: list[str], reference: str, code: str) -> None:
    view = InvalidationView("I1", True, 1_800_000_000.123, Batch(tuple(paths), reference))
    root = ET.fromstring(invalidation_xml(view))
    assert root.tag == f"{{{NAMESPACE}}}Invalidation"
    assert root.findtext(f"{{{NAMESPACE}}}CreateTime") == "2027-01-15T08:00:00.123Z"
    assert len(root.findall(f".//{{{NAMESPACE}}}Path")) == len(paths)
    listed = ET.fromstring(invalidations_xml([view], marker=reference, most=1, has_more=True))
    assert listed.findtext(f"{{{NAMESPACE}}}NextMarker") == "I1"
    error = ET.fromstring(error_xml(code, reference, "id", is_ours=False))
    assert error.findtext(f".//{{{NAMESPACE}}}Type") == "Sender"


def test_of_far_too_many_paths_the_rest_is_not_read() -> None:
    whole = batch_xml(["/a"] * (MAX_PATHS_READ + 1), "r")
    with pytest.raises(BatchTooLarge, match="far more"):
        read_batch(whole[: whole.index(b"</Items>")] + b"<no XML")
