"""The edge's TLS listener with the certificates of a folder, alone in a process (`python -m bench.tls_server`)."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import uvloop

from bench.worker_process import serve
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.prepared import Prepared
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.tls_source import CertificateMaterial
from cdn.edge.visitor import Visitor
from cdn.errors import NotFound
from cdn.http.request import Request


class Nothing:
    """An application that is asked nothing: the bench shakes hands."""

    def recall(self, request: Request, now: float) -> Prepared | None:
        return None

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        raise NotFound("there is nothing here")


class FolderSource:
    """`DOMAIN.pem` and `DOMAIN.key`, read when a handshake asks, as from a node's disk."""

    def __init__(self, folder: Path, domains: frozenset[str]) -> None:
        self._folder = folder
        self._domains = domains

    def certificate_id(self, server_name: str) -> str | None:
        return server_name if server_name in self._domains else None

    def material(self, certificate_id: str) -> CertificateMaterial | None:
        return CertificateMaterial(
            (self._folder / f"{certificate_id}.pem").read_bytes(), (self._folder / f"{certificate_id}.key").read_bytes()
        )

    def alpn_answer(self, server_name: str) -> bytes | None:
        return None


async def main() -> None:
    """Settings: `folder`. Answers with its port."""
    listeners: list[Listener] = []

    async def answer(question: dict[str, Any]) -> Any:
        folder = Path(question["folder"])
        domains = frozenset(line.split()[0] for line in (folder / "digests").read_text().splitlines())
        contexts = TlsContexts(FolderSource(folder, domains))
        listeners.append(await Listener.start("127.0.0.1", 0, Nothing(), HttpLimits(), tls=contexts))
        gc.freeze()
        return {"port": listeners[0].port}

    await serve(answer)
    for listener in listeners:
        await listener.aclose()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
