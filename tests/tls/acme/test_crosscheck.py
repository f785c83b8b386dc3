"""Our reading of the RFCs beside another's: the library `acme` from the Python index, and the examples of the RFCs."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from acme import challenges, jws, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from josepy.jwk import JWKEC, JWKOct
from josepy.jws import JWS

from cdn.errors import InvalidInput
from cdn.tls.acme import account
from cdn.tls.acme.authority import Authority, ExternalAccount
from cdn.tls.acme.base64url import base64url, is_base64url
from cdn.tls.acme.challenge import key_authorization, shown_value
from cdn.tls.acme.jws import AccountKey, external_account_binding, signed
from cdn.tls.acme.order import new_order
from cdn.tls.acme.renewal_info import certificate_identifier
from cdn.tls.issuer import ChallengeMethod

KEY = AccountKey.make()
THEIRS = JWKEC(key=KEY.private)
TOKENS = st.binary(min_size=1, max_size=64)


@given(TOKENS)
def test_key_authorizations_agree(token: bytes) -> None:
    ours = key_authorization(base64url(token), KEY.thumbprint())
    assert challenges.HTTP01(token=token).key_authorization(THEIRS) == ours
    assert challenges.HTTP01(token=token).validation(THEIRS) == shown_value(ChallengeMethod.HTTP, ours)
    assert challenges.DNS01(token=token).validation(THEIRS) == shown_value(ChallengeMethod.DNS, ours)


def test_tls_alpn_shows_the_digest_that_dns_shows() -> None:
    """RFC 8737 3 and RFC 8555 8.4 take the same SHA-256; the library has dropped tls-alpn-01."""
    authorization = key_authorization("token", KEY.thumbprint())
    assert shown_value(ChallengeMethod.TLS_ALPN, authorization) == shown_value(ChallengeMethod.DNS, authorization)
    assert len(base64.urlsafe_b64decode(shown_value(ChallengeMethod.TLS_ALPN, authorization) + "=")) == 32


def test_thumbprints_agree() -> None:
    for _ in range(20):
        key = AccountKey.make()
        theirs = JWKEC(key=key.private)
        assert base64url(theirs.thumbprint(hash_function=hashes.SHA256)) == key.thumbprint()
        assert AccountKey.read(key.pem()).thumbprint() == key.thumbprint()


@given(st.none() | st.dictionaries(st.text(), st.text() | st.integers(0, 9)), st.booleans())
def test_their_library_reads_what_we_sign(payload: dict[str, str | int] | None, has_account: bool) -> None:
    account = "https://a.example/acct/1" if has_account else None
    content = signed(KEY, payload, url="https://a.example/x", nonce=base64url(b"once"), account_url=account)
    read = jws.JWS.json_loads(content.decode())
    assert read.verify(THEIRS.public_key())
    header = read.signature.combined
    assert (header.nonce, header.url, header.kid) == (b"once", "https://a.example/x", account)
    assert (header.jwk is None) == has_account
    assert read.payload == b"" if payload is None else json.loads(read.payload) == payload
    other = JWKEC(key=ec.generate_private_key(ec.SECP256R1())).public_key()
    assert not read.verify(other)


def test_external_account_bindings_agree() -> None:
    mac_key, url = bytes(range(48)), "https://a.example/new-account"
    ours = external_account_binding(KEY, key_id="kid-1", mac_key=mac_key, url=url)
    directory = messages.Directory({"newAccount": url})
    theirs = messages.ExternalAccountBinding.from_data(
        THEIRS.public_key(), "kid-1", base64url(mac_key), directory, "HS256"
    )
    assert ours["signature"] != ""
    assert _plain(ours["protected"]) == _plain(theirs["protected"])
    assert _plain(ours["payload"]) == _plain(theirs["payload"])
    assert JWS.from_json(ours).verify(JWKOct(key=mac_key))


def test_the_certificate_identifier_of_the_rfc() -> None:
    """RFC 9773 4.1: its example, from the octets that it gives."""
    identifier = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_identifier(_certificate(0x8765_4321, identifier)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@given(st.integers(1, 2**159 - 1))
def test_serial_numbers_as_der_has_them(serial: int) -> None:
    found = certificate_identifier(_certificate(serial, b"\x01" * 20))
    assert found is not None
    octets = base64.urlsafe_b64decode(found.partition(".")[2] + "==")
    assert int.from_bytes(octets, "big", signed=True) == serial
    assert len(octets) == 1 or octets[0] or octets[1] & 0x80, "no octet more than it takes"


def test_a_certificate_that_does_not_say_who_signed_it_has_none() -> None:
    assert certificate_identifier(_certificate(7, None)) is None


@given(st.binary(max_size=80))
def test_base64url(octets: bytes) -> None:
    text = base64url(octets)
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == octets
    assert is_base64url(text) == bool(octets)


def test_what_an_order_asks_for() -> None:
    plain = {"identifiers": [{"type": "dns", "value": "example.com"}]}
    assert new_order(["example.com"], profile="", replaces=None) == plain
    assert new_order(["example.com"], profile="p", replaces="r") == plain | {"profile": "p", "replaces": "r"}


@pytest.mark.parametrize("url", ["http://a.example/dir", "ftp://a.example/", "a.example", "https://", ""])
def test_what_is_no_directory(url: str) -> None:
    with pytest.raises(InvalidInput, match="give an https:// URL"):
        Authority(url)


@pytest.mark.parametrize(
    "url", ["https://a.example/dir", "http://127.0.0.1:14000/dir", "http://localhost/d", "http://[::1]/"]
)
def test_what_is_one(url: str) -> None:
    assert Authority(url).account_name == url


def test_an_account_elsewhere() -> None:
    external = ExternalAccount.read("kid-1", base64.urlsafe_b64encode(b"\xff" * 32).decode())
    assert external.mac_key == b"\xff" * 32
    assert "\\xff" not in repr(external)
    assert Authority("https://a.example/dir", external_account=external).account_name == "https://a.example/dir#kid-1"
    for text in ("", "!!", "c2hvcnQ", "a" * 33):
        with pytest.raises(InvalidInput, match="the key of the external account kid-1"):
            ExternalAccount.read("kid-1", text)


def test_keys_that_are_none() -> None:
    for pem in ("", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(InvalidInput, match="the account's key"):
            AccountKey.read(pem)
    assert KEY.pem().splitlines()[1] not in repr(KEY)
    assert KEY.pem().splitlines()[1] not in repr(account._Document(KEY.pem(), "https://acme.test/account/1"))


def _plain(text: str) -> object:
    return json.loads(base64.urlsafe_b64decode(text + "=="))


def _certificate(serial: int, identifier: bytes | None) -> x509.Certificate:

    name, at = x509.Name([]), datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, KEY.private.public_key(), serial, at, at)
    if identifier is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
    return builder.sign(KEY.private, hashes.SHA256())
