"""Certificates that owners bring: what is taken, and what is said of what is not."""

from __future__ import annotations

from base64 import encodebytes
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given
from hypothesis import strategies as st

from cdn.errors import InvalidInput, TooLarge
from cdn.tls.certificate import (
    MAX_CERTIFICATES,
    MAX_CHAIN_BYTES,
    MAX_NAMES,
    covers,
    read_certificate,
    require_valid,
)
from cdn.tls.certificate_key import MAX_KEY_BYTES
from tests.tls.chains import DAY_S, NOW, Signed, Wish, authority, key_pem, openssl, signed

ROOT = authority("root")
MIDDLE = authority("middle", ROOT)
LEAF = signed(Wish(("www.example.com", "*.Example.com")), MIDDLE)
LOCKED = LEAF.key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
)


def refusal(chain: str, key: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_certificate(chain, key)
    assert "PRIVATE KEY-----\nM" not in str(caught.value)
    return caught.value


def of(wish: Wish) -> InvalidInput:
    one = signed(wish, MIDDLE)
    return refusal(one.chain, key_pem(one.key))


def test_a_chain_and_its_key_are_read() -> None:
    read = read_certificate(LEAF.chain, key_pem(LEAF.key))
    assert read.names == ("www.example.com", "*.example.com")
    assert (read.not_before, read.not_after) == (NOW - DAY_S, NOW + 89 * DAY_S)
    assert read.chain == LEAF.chain
    assert read.key == key_pem(LEAF.key)
    assert "BEGIN PRIVATE KEY" not in repr(read)


def test_openssl_says_the_same_of_it(tmp_path: Path) -> None:
    read = read_certificate(LEAF.chain, key_pem(LEAF.key))
    (tmp_path / "chain.pem").write_text(read.chain)
    (tmp_path / "root.pem").write_text(ROOT.pem)
    alone = read_certificate(LEAF.pem, key_pem(LEAF.key))
    fingerprint = openssl("x509", "-noout", "-fingerprint", "-sha256", given=read.chain.encode()).stdout.decode()
    assert fingerprint.partition("=")[2].strip().replace(":", "").lower() == alone.certificate_id
    assert read.certificate_id != alone.certificate_id, "nodes that have the one are to take the other"
    ends = openssl("x509", "-noout", "-enddate", given=read.chain.encode()).stdout.decode().partition("=")[2].strip()
    at = datetime.strptime(ends, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()
    assert at == read.not_after
    verified = openssl(
        *("verify", "-attime", str(int(NOW)), "-CAfile", tmp_path / "root.pem"),
        *("-untrusted", tmp_path / "chain.pem", "-verify_hostname", "www.example.com", tmp_path / "chain.pem"),
    )
    assert verified.returncode == 0, verified.stderr


def test_a_root_at_the_end_and_a_certificate_that_signed_itself_are_taken() -> None:
    assert read_certificate(LEAF.chain + ROOT.pem, key_pem(LEAF.key)).names[0] == "www.example.com"
    alone = signed(Wish(("a.example",), common_name="a.example", is_authority=True))
    assert read_certificate(alone.pem, key_pem(alone.key)).names == ("a.example",)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65_537, 2048)],
    ids=["P-384", "RSA"],
)
def test_keys_of_other_kinds_are_taken(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    one = signed(Wish(("a.example",), key=key), MIDDLE)
    old_form = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert read_certificate(one.chain, old_form).key == key_pem(key)


def test_a_key_in_the_chains_file_goes_no_further() -> None:
    pasted = f"# all in one\n{key_pem(LEAF.key).decode()}{LEAF.chain}"
    read = read_certificate(pasted, key_pem(LEAF.key))
    assert read.chain == LEAF.chain
    assert "PRIVATE" not in read.chain


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (key_pem(ROOT.key), "The key does not belong to the certificate"),
        (LOCKED, "locked by a passphrase"),
        (b"", "not in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not in PEM form, or damaged"),
        (b"x" * (MAX_KEY_BYTES + 1), f"at most {MAX_KEY_BYTES}"),
        (
            x25519.X25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "something else than signing",
        ),
    ],
    ids=["another", "locked", "empty", "garbage", "long", "X25519"],
)
def test_what_is_wrong_with_a_key_is_said(key: bytes, says: str) -> None:
    fault = refusal(LEAF.chain, key)
    assert says in fault.message
    assert fault.field == "key"


def test_a_fault_of_a_key_carries_nothing_of_it() -> None:
    body = key_pem(LEAF.key).decode().splitlines()[1]
    fault = refusal(LEAF.chain, f"-----BEGIN PRIVATE KEY-----\n{body[:-4]}\n-----END PRIVATE KEY-----\n".encode())
    assert fault.__cause__ is None
    assert body[:20] not in str(fault)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (ec.generate_private_key(ec.SECP521R1()), "on the curve secp521r1"),
        (rsa.generate_private_key(65_537, 1024), "has 1024 bits"),
    ],
    ids=["P-521", "RSA 1024"],
)
def test_keys_that_browsers_refuse_are_refused(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, says: str) -> None:
    assert says in of(Wish(("a.example",), key=key)).message


def test_ed25519_is_refused(tmp_path: Path) -> None:
    """Which no browser speaks, and openssl makes."""
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", key)
    made = openssl(
        *("req", "-x509", "-new", "-key", key, "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example"),
    )
    fault = refusal(made.stdout.decode(), key.read_bytes())
    assert "of the kind Ed25519" in fault.message
    assert isinstance(serialization.load_pem_private_key(key.read_bytes(), None), ed25519.Ed25519PrivateKey)


RSA_ROOT = signed(Wish(common_name="old", is_authority=True, key=rsa.generate_private_key(65_537, 2048)))

ODD = signed(Wish(("www.example.com",), key=LEAF.key), authority("\x1b[31m"))

STRANGER = authority("middle", ROOT)
"""Another authority of the same name."""

BELOW_A_LEAF = signed(Wish(("b.example",)), signed(Wish(("a.example",), common_name="a.example"), MIDDLE))


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("", "not in PEM form"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not in PEM form"),
        ("é" * 10, "not in PEM form"),
        ("x" * (MAX_CHAIN_BYTES + 1), f"at most {MAX_CHAIN_BYTES}"),
        (LEAF.pem + ROOT.pem, "not in order: certificate 1 is signed by CN=middle"),
        (LEAF.pem + STRANGER.pem, "although this has the right name, CN=middle"),
        (ODD.pem + MIDDLE.pem, "certificate 1 is signed by CN=?[31m,"),
        (LEAF.pem + MIDDLE.pem * MAX_CERTIFICATES, f"{MAX_CERTIFICATES + 1} certificates"),
    ],
    ids=["empty", "garbage", "no ASCII", "long", "a gap", "a stranger", "control characters", "many"],
)
def test_what_is_wrong_with_a_chain_is_said(chain: str, says: str) -> None:
    fault = refusal(chain, key_pem(LEAF.key))
    assert says in fault.message
    assert fault.field == "certificate"


def test_a_chain_that_begins_at_the_wrong_end_is_told() -> None:
    fault = refusal(MIDDLE.pem + LEAF.pem, key_pem(LEAF.key))
    assert "belongs to certificate 2 of the chain: give that one first" in fault.message
    assert fault.field == "certificate"


def test_what_no_authority_signed_is_refused() -> None:
    fault = refusal(BELOW_A_LEAF.chain, key_pem(BELOW_A_LEAF.key))
    assert "certificate 2 of the chain, CN=a.example, is no authority's" in fault.message.lower().replace(
        "cn=a", "CN=a"
    )


@pytest.mark.parametrize("with_it", [True, False], ids=["with its authority", "alone"])
@pytest.mark.parametrize("signer", [MIDDLE, RSA_ROOT], ids=["ECDSA", "RSA"])
def test_signatures_that_browsers_refuse_are_refused(tmp_path: Path, signer: Signed, *, with_it: bool) -> None:
    """SHA-1: openssl signs with it still, cryptography does not."""
    (tmp_path / "ca.pem").write_text(signer.pem)
    (tmp_path / "ca.key").write_bytes(key_pem(signer.key))
    (tmp_path / "names").write_text("subjectAltName=DNS:a.example\n")
    (tmp_path / "key").write_bytes(key_pem(LEAF.key))
    asked = openssl("req", "-new", "-key", tmp_path / "key", "-subj", "/CN=a.example").stdout
    made = openssl(
        *("x509", "-req", "-sha1", "-CA", tmp_path / "ca.pem", "-CAkey", tmp_path / "ca.key", "-set_serial", "7"),
        *("-extfile", tmp_path / "names"),
        given=asked,
    )
    chain = made.stdout.decode() + (signer.pem if with_it else "")
    assert "signed with sha1" in refusal(chain, key_pem(LEAF.key)).message


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(common_name="a.example"), "names no domain as a subject alternative name"),
        (Wish(("a.example",), others=(x509.IPAddress(ip_address("192.0.2.1")),)), "is for 192.0.2.1"),
        (Wish(others=(x509.RFC822Name("a@a.example"),)), "is for a@a.example"),
        (Wish(("a..example",)), "'a..example', which is no name"),
        (Wish(("a.*.example",)), "which is no name"),
        (Wish(("*",)), "which is no name"),
        (Wish((f"{'a' * 64}.example",)), "which is no name"),
        (Wish((".".join(["abcdefghi"] * 26),)), "which is no name"),
        (Wish(tuple(f"{number}.example" for number in range(MAX_NAMES + 1))), f"is for {MAX_NAMES + 1} names"),
        (
            Wish(("a.example",), extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),)),
            "lacks the extended key usage serverAuth",
        ),
        (Wish(("a.example",), extensions=(x509.TLSFeature([x509.TLSFeatureType.status_request]),)), "must-staple"),
        (Wish(("a.example",), common_name="below", is_authority=True), "CN=below, is an authority's"),
    ],
    ids=[
        "no name",
        "address",
        "mail",
        "empty label",
        "star inside",
        "star",
        "label",
        "long",
        "many",
        "use",
        "staple",
        "authority",
    ],
)
def test_certificates_of_another_use_are_refused(wish: Wish, says: str) -> None:
    fault = of(wish)
    assert says in fault.message
    assert fault.field == "certificate"
    assert isinstance(fault, TooLarge) is ("names" in says and "is for" in says)


def test_names_for_servers_are_taken() -> None:
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    one = signed(Wish(("a_b.example", "A.example", "a.example"), extensions=(uses,)), MIDDLE)
    assert read_certificate(one.chain, key_pem(one.key)).names == ("a_b.example", "a.example")


@pytest.mark.parametrize(
    ("leaf", "middle", "says"),
    [
        ((-2, 2), (-2, 2), None),
        ((-2, 0), (-2, 2), "The certificate was good until 2026-09-21"),
        ((1, 2), (-2, 2), "The certificate is good from 2026-09-22"),
        ((-2, 2), (-2, -1), "Certificate 2 of the chain was good until"),
        ((-2, 2), (1, 2), "Certificate 2 of the chain is good from"),
    ],
)
def test_it_has_to_be_good_now(leaf: tuple[int, int], middle: tuple[int, int], says: str | None) -> None:
    """An old root counts for nothing: whoever trusts it has it."""
    root = signed(Wish(common_name="root", is_authority=True, not_after=NOW - 1))
    above = _lasting(Wish(common_name="m", is_authority=True), middle, root)
    one = _lasting(Wish(("a.example",)), leaf, above)
    read = read_certificate(one.chain + root.pem, key_pem(one.key))
    if says is None:
        require_valid(read, NOW)
        return
    with pytest.raises(InvalidInput) as caught:
        require_valid(read, NOW)
    assert says in caught.value.message
    assert caught.value.field == "certificate"


def _lasting(wish: Wish, days: tuple[int, int], by: Signed) -> Signed:
    wish.not_before, wish.not_after = (NOW + day * DAY_S for day in days)
    return signed(wish, by)


DER = LEAF.certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@example(11, 1)  # a version that there is not
@example(14, 128)  # a negative serial number
@example(len(DER) - len(LEAF.certificate.signature) - 1, 1)  # the count of the signature's unused bits
@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_a_flipped_octet_is_another_certificate_or_a_refusal(at: int, by: int) -> None:
    """Never another exception, and never the same certificate."""
    damaged = bytearray(DER)
    damaged[at] ^= by
    pem = as_pem(bytes(damaged))
    try:
        read = read_certificate(pem + MIDDLE.pem, key_pem(LEAF.key))
    except InvalidInput:
        return
    raise AssertionError(f"octet {at} is not covered by the signature: {read.names}")


def as_pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{encodebytes(der).decode()}-----END CERTIFICATE-----\n"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.text(max_size=400), st.binary(max_size=400))
def test_anything_is_read_or_refused(chain: str, key: bytes) -> None:
    refusal(chain, key)
    refusal(f"-----BEGIN CERTIFICATE-----\n{chain}\n-----END CERTIFICATE-----", key)
    refusal(LEAF.chain, b"-----BEGIN PRIVATE KEY-----\n" + key + b"\n-----END PRIVATE KEY-----")


@pytest.mark.parametrize(
    ("names", "domain", "is_covered"),
    [
        (("a.example",), "a.example", True),
        (("*.example",), "a.example", True),
        (("*.example",), "example", False),
        (("*.example",), "a.b.example", False),
        (("*.example",), "*.example", True),
        (("a.example",), "*.example", False),
        ((), "a", False),
    ],
)
def test_a_wildcard_stands_for_one_label(names: tuple[str, ...], domain: str, is_covered: bool) -> None:
    assert covers(names, domain) is is_covered
