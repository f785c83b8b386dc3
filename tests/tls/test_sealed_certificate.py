"""Certificates in the store: which nodes open them, and how they come by other keys."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.tls.certificate import MAX_CHAIN_BYTES, Certificate, read_certificate
from cdn.tls.sealed import KeyRing, Purpose, SealingKey, make_key_file
from cdn.tls.sealed_certificate import MAX_GROUPS, MAX_OBJECT_BYTES, NO_REGION, CertificateObject, RingSet
from tests.tls.chains import Wish, key_pem, signed

LEAF = signed(Wish(("a.example",), common_name="a.example"))
CERTIFICATE = read_certificate(LEAF.pem, key_pem(LEAF.key))


def ring(*octets: int) -> KeyRing:
    """With keys of these octets, the first one seals."""
    return KeyRing([SealingKey(bytes([octet]) * 32) for octet in octets], f"ring {octets}")


CONTROL = RingSet({NO_REGION: ring(1), "eu": ring(2), "us": ring(3)})


def test_only_the_nodes_it_is_for_open_it() -> None:
    kept = CONTROL.seal(CERTIFICATE, ["eu"])
    assert RingSet({"eu": ring(2)}).opened(kept.certificate_id, kept.sealed_keys) == CERTIFICATE.key
    for other in (RingSet({"us": ring(3)}), RingSet({NO_REGION: ring(1)}), RingSet({})):
        with pytest.raises(InvalidInput, match="sealed for eu, and no ring"):
            other.opened(kept.certificate_id, kept.sealed_keys)
    with pytest.raises(InvalidInput, match="not in ring"):
        RingSet({"eu": ring(3)}).opened(kept.certificate_id, kept.sealed_keys)


def test_a_key_opens_as_that_of_its_own_certificate_alone() -> None:
    kept = CONTROL.seal(CERTIFICATE, ["eu"])
    with pytest.raises(InvalidInput, match="sealed as something else"):
        CONTROL.opened("0" * 64, kept.sealed_keys)
    account = base64.b64encode(ring(2).sealed(b"key", Purpose.ACCOUNT_KEY, kept.certificate_id)).decode()
    with pytest.raises(InvalidInput, match="sealed as something else"):
        CONTROL.opened(kept.certificate_id, {"eu": account})


def test_nothing_of_the_key_is_in_what_is_kept() -> None:
    raw = CONTROL.seal(CERTIFICATE, CONTROL).to_bytes()
    body = b"".join(CERTIFICATE.key.splitlines()[1:-1])
    assert body[:24] not in raw
    assert all(
        body[:24] not in base64.b64decode(each) for each in CONTROL.seal(CERTIFICATE, ["eu"]).sealed_keys.values()
    )
    assert CertificateObject.from_bytes(raw, CERTIFICATE.certificate_id).chain == CERTIFICATE.chain


def test_one_that_does_not_open_leaves_the_others() -> None:
    kept = CONTROL.seal(CERTIFICATE, ["eu", "us"])
    damaged = {**kept.sealed_keys, "eu": "no base64!"}
    assert CONTROL.opened(kept.certificate_id, damaged) == CERTIFICATE.key
    with pytest.raises(InvalidInput, match=r"for eu is not in base64; .*, which is not in ring"):
        CONTROL.opened(kept.certificate_id, {"eu": "no base64!", "us": kept.sealed_keys["eu"]})


@pytest.mark.parametrize(
    ("regions", "groups"),
    [
        ((), ("", "eu", "us")),
        (("eu",), ("eu",)),
        (("eu", "af"), ("", "eu")),
        (("af", "as"), ("",)),
        (("",), ("",)),
    ],
)
def test_groups_of_a_sites_regions(regions: tuple[str, ...], groups: tuple[str, ...]) -> None:
    assert CONTROL.groups_of(regions) == groups


def test_a_region_that_nobody_has_a_ring_for_has_no_group() -> None:
    few = RingSet({"eu": ring(2)})
    assert few.group_of("us") is None
    assert few.groups_of(("us",)) == ()
    with pytest.raises(InvalidInput, match="no nodes have a key file"):
        few.seal(CERTIFICATE, few.groups_of(("us",)))


def test_rotation_seals_anew_once() -> None:
    """The new key is added everywhere as the last line, then is the first, then the old one goes."""
    kept = CONTROL.seal(CERTIFICATE, CONTROL)
    added = RingSet({**CONTROL, "eu": ring(2, 9)})
    assert added.resealed(kept, added) is None
    moved = RingSet({**CONTROL, "eu": ring(9, 2)})
    anew = moved.resealed(kept, moved)
    assert anew is not None
    assert anew.chain == kept.chain
    assert moved.resealed(anew, moved) is None
    gone = RingSet({"eu": ring(9)})
    assert gone.opened(anew.certificate_id, anew.sealed_keys) == CERTIFICATE.key
    with pytest.raises(InvalidInput, match="which is not in"):
        gone.opened(kept.certificate_id, kept.sealed_keys)


def test_a_site_that_moves_is_sealed_for_its_new_region_alone() -> None:
    kept = CONTROL.seal(CERTIFICATE, ["eu"])
    moved = CONTROL.resealed(kept, CONTROL.groups_of(("us",)))
    assert moved is not None
    assert moved.sealed_keys.keys() == {"us"}
    assert RingSet({"us": ring(3)}).opened(moved.certificate_id, moved.sealed_keys) == CERTIFICATE.key


def test_what_nobody_opens_is_not_sealed_anew() -> None:
    kept = RingSet({"eu": ring(7)}).seal(CERTIFICATE, ["eu"])
    with pytest.raises(InvalidInput, match="which is not in"):
        CONTROL.resealed(kept, ["eu"])
    damaged = CertificateObject(kept.certificate_id, kept.chain, {"eu": "no base64!"})
    with pytest.raises(InvalidInput, match="not in base64"):
        CONTROL.resealed(damaged, ["eu"])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"certificate_id":"a","chain":"","sealed_keys":{},"format":2}',
        b'{"certificate_id":"b","chain":"","sealed_keys":{}}',
        b'{"certificate_id":"a","chain":"","sealed_keys":{"eu":1}}',
        msgspec.json.encode({"certificate_id": "a", "chain": "x" * (MAX_CHAIN_BYTES + 1), "sealed_keys": {}}),
        b'{"certificate_id":"a","chain":"","sealed_keys":{},"more":"%s"}' % (b"x" * MAX_OBJECT_BYTES),
    ],
)
def test_another_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"certificate [ab]"):
        CertificateObject.from_bytes(raw, "a")


def test_an_object_that_would_not_be_read_is_not_written() -> None:
    big = CertificateObject("a", "", {str(number): "x" * 3000 for number in range(MAX_GROUPS)})
    with pytest.raises(InvalidInput, match="use ECDSA keys"):
        big.to_bytes()


@given(st.binary(max_size=300))
def test_any_object_is_read_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        CertificateObject.from_bytes(raw, "a")


def test_rings_come_from_files(tmp_path: Path) -> None:
    files = {NO_REGION: tmp_path / "edge.key", "eu": tmp_path / "eu.key"}
    for path in files.values():
        make_key_file(path)
    read = RingSet.read(files)
    kept = read.seal(CERTIFICATE, read)
    assert RingSet.read({"eu": files["eu"]}).opened(kept.certificate_id, kept.sealed_keys) == CERTIFICATE.key
    with pytest.raises(InvalidInput, match=r"missing.key"):
        RingSet.read({"eu": tmp_path / "missing.key"})


def test_there_are_not_too_many() -> None:
    with pytest.raises(InvalidInput, match=f"at most {MAX_GROUPS}"):
        RingSet({str(number): ring(1) for number in range(MAX_GROUPS + 1)})


@given(st.binary(min_size=1, max_size=300), st.sets(st.sampled_from(["", "eu", "us"]), min_size=1))
def test_whatever_is_sealed_opens(key: bytes, groups: set[str]) -> None:
    certificate = Certificate("c" * 64, ("a.example",), 0.0, 1.0, "", key)
    kept = CertificateObject.from_bytes(CONTROL.seal(certificate, groups).to_bytes(), "c" * 64)
    assert kept.sealed_keys.keys() == groups
    assert CONTROL.is_current(kept.sealed_keys, groups)
    for group in groups:
        assert RingSet({group: CONTROL[group]}).opened("c" * 64, kept.sealed_keys) == key
