"""Pebble, the test authority of the ACME working world (Debian package `pebble`): runs beside the demo and benches."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

START_TIMEOUT_S = 15.0
NAME = "127.0.0.1"


class PebbleFailed(Exception):
    """It did not start."""


@dataclass(frozen=True, slots=True)
class RunningPebble:
    """`ca_file` is the authority of the directory's own certificate, `root_file` of those that it signs."""

    directory_url: str
    ca_file: Path
    root_file: Path


def find_pebble() -> str | None:
    """The program; None: it is not installed."""
    return shutil.which("pebble")


@contextlib.contextmanager
def running_pebble(
    folder: Path, *, dns: str, http_port: int, https_port: int, is_quick: bool = False, core: int | None = None
) -> Iterator[RunningPebble]:
    """Validates names that `dns` (HOST:PORT) knows, at these ports. Raises PebbleFailed.

    It waits and refuses nonces at random, as it does by default, unless `is_quick`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca_file = _own_certificate(folder)
    port, management = _free_ports(2)
    config = {
        "listenAddress": f"{NAME}:{port}",
        "managementListenAddress": f"{NAME}:{management}",
        "certificate": str(folder / "pebble.pem"),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": http_port,
        "tlsPort": https_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    environ = dict(os.environ)
    if is_quick:
        environ |= {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    words = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", dns]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    with (folder / "pebble.log").open("w") as log:
        process = subprocess.Popen([*pinned, *words], env=environ, stdout=log, stderr=log)
    try:
        root = _fetch(f"https://{NAME}:{management}/roots/0", ca_file, process)
        (folder / "root.pem").write_bytes(root)
        _fetch(f"https://{NAME}:{port}/dir", ca_file, process)
        yield RunningPebble(f"https://{NAME}:{port}/dir", ca_file, folder / "root.pem")
    finally:
        process.terminate()
        process.wait(10)


def _own_certificate(folder: Path) -> Path:
    """What Pebble shows at its directory, by an authority of its own."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble")])
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble authority")])
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def begun(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=3))
        )

    root = begun(authority, keys[0]).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    names = [x509.IPAddress(ipaddress.ip_address(NAME)), x509.DNSName("localhost")]
    leaf = begun(name, keys[1]).add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.sign(keys[0], hashes.SHA256()).public_bytes(pem))
    (folder / "pebble.pem").write_bytes(leaf.sign(keys[0], hashes.SHA256()).public_bytes(pem))
    (folder / "pebble.key").write_bytes(
        keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem"


def _fetch(url: str, ca_file: Path, process: subprocess.Popen[bytes]) -> bytes:
    """Raises PebbleFailed when it does not answer."""
    context = ssl.create_default_context(cafile=str(ca_file))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310 - https
            return bytes(answer.read())
        time.sleep(0.05)
    raise PebbleFailed(f"pebble does not answer at {url}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        return [int(held.enter_context(socket.create_server((NAME, 0))).getsockname()[1]) for _ in range(count)]
