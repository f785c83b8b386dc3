"""One name server for all tests here: each only asks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.dns.interop.name_server import CDN_ZONE, NameServer, served


@dataclass(frozen=True)
class Served:
    server: NameServer
    port: int

    @property
    def anchors(self) -> list[str]:
        """The DS records of the zones above which there is nothing here."""
        return [*self.server.ds("example.org"), *self.server.ds(CDN_ZONE)]


@pytest.fixture(scope="module")
def signed() -> Iterator[Served]:
    server = NameServer()
    server.sign_everything()
    assert not server.book.faults
    assert not server.signers.faults
    with served(server.responder) as port:
        yield Served(server, port)
