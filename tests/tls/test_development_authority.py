"""The authority of a developer's machine, judged by the openssl command."""

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cdn.errors import InvalidInput
from cdn.tls.development_authority import DevelopmentAuthority, how_to_trust
from cdn.tls.issuer import Challenge, Issued, IssueRefused, IssueRequest

NOW = 1_790_000_000.0


class NobodyLooks:
    async def present(self, challenge: Challenge) -> None:
        raise AssertionError("it asks for no proof")

    async def withdraw(self, challenge: Challenge) -> None:
        raise AssertionError("it asks for no proof")


def wanted(*names: str) -> IssueRequest:
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return IssueRequest(names, csr.public_bytes(serialization.Encoding.DER), ())


async def test_what_it_signs_openssl_verifies_for_its_names_alone(tmp_path: Path) -> None:
    authority = DevelopmentAuthority.open(tmp_path / "authority", lambda: NOW)
    outcome = await authority.issue(wanted("cdn.localhost", "*.cdn.localhost"), NobodyLooks())
    assert isinstance(outcome, Issued)
    chain = tmp_path / "chain.pem"
    chain.write_text(outcome.chain)
    verify = ["openssl", "verify", "-attime", str(int(NOW)), "-x509_strict", "-purpose", "sslserver"]
    for name, is_right in (("cdn.localhost", True), ("a.cdn.localhost", True), ("a.b.cdn.localhost", False)):
        said = subprocess.run(
            [*verify, "-CAfile", str(authority.root_file), "-verify_hostname", name, str(chain)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode == 0) is is_right, said.stderr
    assert stat.S_IMODE((tmp_path / "authority/root.key").stat().st_mode) == 0o600
    assert all(line.isprintable() for line in how_to_trust(authority.root_file))


async def test_the_root_stays_the_same(tmp_path: Path) -> None:
    first = DevelopmentAuthority.open(tmp_path, lambda: NOW).root_file.read_bytes()
    assert DevelopmentAuthority.open(tmp_path, lambda: NOW + 86_400).root_file.read_bytes() == first


def test_those_who_begin_together_have_one_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: DevelopmentAuthority.open(tmp_path, lambda: NOW), range(8)))
    assert len({each.root_file.read_bytes() for each in opened}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root.key", "root.pem"]


def test_a_key_without_its_certificate_is_made_anew(tmp_path: Path) -> None:
    """As a crash between the two leaves it; nobody can have trusted that root yet."""
    DevelopmentAuthority.open(tmp_path, lambda: NOW)
    (tmp_path / "root.pem").unlink()
    assert DevelopmentAuthority.open(tmp_path, lambda: NOW).root_file.exists()


async def test_a_request_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    authority = DevelopmentAuthority.open(tmp_path, lambda: NOW)
    request = wanted("a.example")
    broken = bytearray(request.csr)
    broken[-3] ^= 1
    for csr in (bytes(broken), b"no request"):
        assert isinstance(await authority.issue(IssueRequest(("a.example",), csr, ()), NobodyLooks()), IssueRefused)


@pytest.mark.parametrize("damage", ["garbage", "another key", "open", "old"])
def test_what_is_wrong_with_its_files_is_said(tmp_path: Path, damage: str) -> None:
    DevelopmentAuthority.open(tmp_path / "a", lambda: NOW)
    now = NOW
    match damage:
        case "garbage":
            (tmp_path / "a/root.pem").write_text("garbage")
        case "another key":
            DevelopmentAuthority.open(tmp_path / "b", lambda: NOW)
            (tmp_path / "b/root.key").replace(tmp_path / "a/root.key")
        case "open":
            (tmp_path / "a/root.key").chmod(0o640)
        case _:
            now += 3600 * 86_400
    with pytest.raises(InvalidInput, match="remove"):
        DevelopmentAuthority.open(tmp_path / "a", lambda: now)
