"""Which certificate a handshake is answered with, and what it is told that cannot be."""

from __future__ import annotations

import base64
from pathlib import Path

from cdn.edge.certificate_shelf import CertificateShelf, ShelfReader
from cdn.edge.certificate_source import CertificateSource
from cdn.journal.record import AnswerSet, CertificateRemoved, CertificateSet, DomainRemoved
from tests.edge.certificate_stage import ZONE, Clock, Known, certificate_set, new_ring
from tests.edge.tls_material import certificate_for


def source_of(known: Known, path: Path, ring_name: str = "edge-key") -> tuple[CertificateSource, list[str]]:
    missing: list[str] = []
    ring = new_ring(path, ring_name)
    reader = ShelfReader(path / "certificates.db")
    return CertificateSource(known.certificates, reader, ring, ("eu", ""), Clock().clocks(), missing.append), missing


async def test_a_name_has_its_own_certificate_then_a_wildcards_then_the_zones(tmp_path: Path) -> None:
    known, ring = Known(), new_ring(tmp_path)
    source, _ = source_of(known, tmp_path)
    for name in ("www.example.com", "*.example.com"):
        known.domain(name)
        known.tell(certificate_set(name, "s1", {"": ring}))
    known.tell(certificate_set(f"*.{ZONE}", "", {"": ring}))
    ids = {facts.name: facts.certificate_id for facts in known.certificates.certificates()}
    assert source.certificate_id("www.example.com") == ids["www.example.com"]
    assert source.certificate_id("shop.example.com") == ids["*.example.com"]
    assert source.certificate_id("a.shop.example.com") is None
    assert source.certificate_id("example.com") is None
    assert source.certificate_id(f"blog.{ZONE}") == ids[f"*.{ZONE}"]
    assert source.certificate_id("") == ids[f"*.{ZONE}"]
    known.tell(CertificateRemoved("www.example.com"))
    assert source.certificate_id("www.example.com") == ids["*.example.com"]
    known.tell(DomainRemoved("*.example.com", "s1"))
    assert source.certificate_id("www.example.com") is None


async def test_the_key_is_opened_from_the_record_and_from_the_disk(tmp_path: Path) -> None:
    known, ring = Known(), new_ring(tmp_path)
    shelf = await CertificateShelf.open(tmp_path / "certificates.db")
    source, missing = source_of(known, tmp_path)
    known.domain("www.example.com")
    change = certificate_set("www.example.com", "s1", {"": ring})
    known.tell(change)
    expected = certificate_for("www.example.com")
    assert source.material(change.certificate_id) == expected
    await shelf.put(known.certificates.arrived())
    known.certificates.shelved(known.certificates.arrived())
    assert known.certificates.arrived() == ()
    assert source.material(change.certificate_id) == expected
    assert b"PRIVATE KEY" not in (tmp_path / "certificates.db-wal").read_bytes()
    assert not missing
    await shelf.aclose()


async def test_what_is_not_here_is_asked_for_and_what_is_for_others_is_not(tmp_path: Path) -> None:
    known, other = Known(), new_ring(tmp_path, "other-key")
    shelf = await CertificateShelf.open(tmp_path / "certificates.db")
    source, missing = source_of(known, tmp_path)
    assert source.material("00" * 32) is None
    assert missing == ["00" * 32]
    known.domain("www.example.com")
    for rings in ({"us": other}, {"": other}):
        known.tell(certificate_set("www.example.com", "s1", rings))
        (arrived,) = known.certificates.arrived()
        assert source.material(arrived.certificate_id) is None
    change = known.certificates.arrived()[0]
    broken = CertificateSet(
        "www.example.com", change.certificate_id, "s1", (), 0, 1, "t", change.chain, {"": "not base64!"}
    )
    known.tell(broken)
    assert source.material(change.certificate_id) is None
    assert (source.missing, source.unopened) == (1, 3)
    assert missing == ["00" * 32]
    await shelf.aclose()


async def test_the_regions_own_key_goes_before_the_one_for_all_others(tmp_path: Path) -> None:
    known, ring, other = Known(), new_ring(tmp_path), new_ring(tmp_path, "other-key")
    source, _ = source_of(known, tmp_path)
    known.domain("www.example.com")
    change = certificate_set("www.example.com", "s1", {"": other, "eu": ring})
    known.tell(change)
    assert source.material(change.certificate_id) == certificate_for("www.example.com")


async def test_the_answer_of_tls_alpn_is_the_recorded_digest(tmp_path: Path) -> None:
    known = Known()
    source, _ = source_of(known, tmp_path)
    digest = bytes(range(32))
    value = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    known.tell(AnswerSet("tls-alpn-01", "www.example.com", "", value, 2000.0))
    known.tell(AnswerSet("tls-alpn-01", "over.example.com", "", value, 1000.0))
    known.tell(AnswerSet("tls-alpn-01", "short.example.com", "", "AAAA", 2000.0))
    known.tell(AnswerSet("http-01", "http.example.com", "", value, 2000.0))
    assert source.alpn_answer("www.example.com") == digest
    for name in ("over.example.com", "short.example.com", "http.example.com", "other.example.com"):
        assert source.alpn_answer(name) is None
