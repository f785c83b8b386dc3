"""Clients that only shake hands: a process of its own, on a core of its own (`python -m bench.tls_load`)."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

from bench.tls_certificates import zipf
from bench.worker_process import serve

THREADS = 8
"""Handshakes at one time."""

TIMEOUT_S = 20.0


class Failures(list[str]):
    """What went wrong, in words."""


def shake(port: int, names: list[str], digests: dict[str, str] | None, failures: Failures) -> None:
    """One full TLS 1.3 handshake for each name; with `digests`, each has to show the name's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # digests say which certificate it has to be
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    for name in names:
        try:
            secret = context.wrap_socket(socket.create_connection(("127.0.0.1", port), TIMEOUT_S), server_hostname=name)
            shown = hashlib.sha256(secret.getpeercert(binary_form=True) or b"").hexdigest()
            if secret.session_reused or (digests is not None and shown != digests[name]):
                failures.append(f"{name}: resumed, or another certificate")
            plain = socket.socket(fileno=secret.detach())
            plain.settimeout(TIMEOUT_S)
            plain.shutdown(socket.SHUT_WR)  # the server has all of the handshake, and then the end
            while plain.recv(65536):
                pass
            plain.close()
        except OSError as exc:
            failures.append(f"{name}: {exc}")


async def main() -> None:
    """Settings: `folder` (certificates), `domains`. Questions: `port`, `count`, `seed`, `own` (its own certificate)."""
    told: dict[str, Any] = {}
    digests: dict[str, str] = {}
    held: list[ssl.SSLSocket] = []

    async def answer(question: dict[str, Any]) -> Any:
        if not told:
            told.update(question)
            for line in (Path(told["folder"]) / "digests").read_text().splitlines():
                name, _, digest = line.partition(" ")
                digests[name] = digest
            return {}
        if "hold" in question:
            return await asyncio.to_thread(hold, question["port"], list(_visits(question)), held)
        return await asyncio.to_thread(_shake_all, question)

    def _visits(question: dict[str, Any]) -> list[str]:
        return list(zipf(told["domains"], question.get("count") or question["hold"], question["seed"]))

    def _shake_all(question: dict[str, Any]) -> Any:
        names, failures = _visits(question), Failures()
        expected = digests if question["own"] else None
        threads = [
            threading.Thread(target=shake, args=(question["port"], names[each::THREADS], expected, failures))
            for each in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"handshakes": len(names) - len(failures), "failures": failures[:5]}

    await serve(answer)


def hold(port: int, names: list[str], held: list[ssl.SSLSocket]) -> Any:
    """Connections that stay open and ask nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name in names:
        held.append(context.wrap_socket(socket.create_connection(("127.0.0.1", port), TIMEOUT_S), server_hostname=name))
    return {"held": len(held)}


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
