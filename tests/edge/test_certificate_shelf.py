"""Certificates on a node's disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.edge.certificate_shelf import CertificateShelf, ShelfReader, ShelvedCertificate
from cdn.errors import Unavailable

ONE = ShelvedCertificate("aa", "chain one", {"": "c2VhbGVk", "eu": "ZXU="})
OTHER = ShelvedCertificate("bb", "chain two", {"": "b3RoZXI="})


async def test_what_was_put_is_read_by_another_reader_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "certificates.db"
    shelf = await CertificateShelf.open(path)
    reader = ShelfReader(path)
    assert reader.get("aa") is None
    await shelf.put((ONE, OTHER))
    assert reader.get("aa") == ONE
    await shelf.put((ShelvedCertificate("aa", "chain one", {"": "anew"}),))
    found = reader.get("aa")
    assert found is not None
    assert found.sealed_keys == {"": "anew"}
    await shelf.aclose()
    again = await CertificateShelf.open(path)
    assert await again.ids() == {"aa", "bb"}
    await again.remove(("aa", "never there"))
    assert reader.get("aa") is None
    assert reader.get("bb") == OTHER
    reader.close()
    assert reader.get("bb") == OTHER
    reader.close()
    await again.aclose()


async def test_a_damaged_file_is_set_aside_and_one_that_is_away_is_said(tmp_path: Path) -> None:
    path = tmp_path / "certificates.db"
    path.write_bytes(b"no database at all" * 100)
    shelf = await CertificateShelf.open(path)
    assert await shelf.ids() == set()
    assert (tmp_path / "certificates.db.damaged").read_bytes().startswith(b"no database")
    await shelf.put((ONE,))
    await shelf.aclose()
    with pytest.raises(Unavailable, match="cannot be read or kept now"):
        ShelfReader(tmp_path / "nowhere" / "certificates.db").get("aa")
    with pytest.raises(Unavailable):
        await CertificateShelf.open(tmp_path / "nowhere" / "certificates.db")
