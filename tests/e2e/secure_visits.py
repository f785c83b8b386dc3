"""Visitors by https, who believe the roots that a test names and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.running import Answer

TIMEOUT_S = 20.0

PATIENCE_S = 30.0
"""A certificate takes a second; a busy machine takes longer."""


def port_of(https_url: str) -> int:
    port = urlsplit(https_url).port
    assert port is not None
    return port


def trusting(root_file: Path) -> ssl.SSLContext:
    """Believes this root only, and looks at names."""
    context = ssl.create_default_context(cafile=str(root_file))
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextlib.contextmanager
def connected(https_url: str, host: str, trust: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A connection for `host`, whose certificate was verified. Raises OSError."""
    with (
        socket.create_connection(("127.0.0.1", port_of(https_url)), TIMEOUT_S) as plain,
        trust.wrap_socket(plain, server_hostname=host) as secret,
    ):
        yield secret


def asked(secret: ssl.SSLSocket, host: str, target: str = "/") -> Answer:
    """One request on a connection that stays open."""
    secret.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    response = http.client.HTTPResponse(secret)
    response.begin()
    content = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


def visit(https_url: str, host: str, trust: ssl.SSLContext, target: str = "/") -> Answer:
    """One request on a connection of its own. Raises OSError, which a certificate that is not believed is too."""
    with connected(https_url, host, trust) as secret:
        return asked(secret, host, target)


def visit_once_there(
    https_url: str, host: str, trust: ssl.SSLContext, target: str = "/", *, patience_s: float = PATIENCE_S
) -> Answer:
    """The first answer over https with a certificate that is believed."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return visit(https_url, host, trust, target)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def shown_certificate(https_url: str, host: str, trust: ssl.SSLContext) -> bytes:
    """In DER form."""
    with connected(https_url, host, trust) as secret:
        return secret.getpeercert(binary_form=True) or b""
