"""An upstream that sends whatever octets it is told to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

SILENCE_S = 30.0
"""How long a connection waits for anything; longer than every test."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came; field names in lower case."""

    method: str
    target: str
    lines: tuple[tuple[str, str], ...]
    content: bytes

    def value(self, name: str) -> str | None:
        """All lines of that name, joined."""
        values = [value for line_name, value in self.lines if line_name == name]
        return ", ".join(values) if values else None


Answer = Callable[[Asked], bytes | Iterable[bytes]]
"""The octets to send, at once or piece by piece. After pieces the connection is closed."""


def response(content: bytes = b"", *lines: str, status: str = "200 OK") -> bytes:
    """A well-formed response with these field lines."""
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(content)}"]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + content


@dataclass(slots=True)
class HostileUpstream:
    """Listens from `start` to `stop`. `answers` maps paths without query, or "" for all others, to what is answered."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    _server: socket.socket | None = None

    def start(self) -> None:
        """Take connections."""
        self._server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def stop(self) -> None:
        """Take none any more."""
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()

    def asked_for(self, path: str) -> list[Asked]:
        """The requests for a path, whatever their query."""
        return [asked for asked in self.asked if asked.target.partition("?")[0] == path]

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(SILENCE_S)
        with client, contextlib.suppress(OSError), client.makefile("rb") as reader:
            while True:
                asked = _read(reader)
                if asked is None:
                    return
                self.asked.append(asked)
                answer = self.answers.get(asked.target.partition("?")[0]) or self.answers[""]
                sent = answer(asked)
                if isinstance(sent, bytes):
                    client.sendall(sent)
                    continue
                for piece in sent:
                    client.sendall(piece)
                return


def _read(reader: object) -> Asked | None:
    line: bytes = reader.readline()  # type: ignore[attr-defined]
    if not line:
        return None
    method, target, _ = line.decode("latin-1").rstrip("\r\n").split(" ")
    lines = []
    while True:
        line = reader.readline()  # type: ignore[attr-defined]
        if line in (b"\r\n", b""):
            break
        name, _, value = line.decode("latin-1").rstrip("\r\n").partition(":")
        lines.append((name.lower(), value.strip(" \t")))
    fields = dict(lines)
    content = b""
    if "content-length" in fields:
        content = reader.read(int(fields["content-length"]))  # type: ignore[attr-defined]
    elif "transfer-encoding" in fields:
        while size := int(reader.readline(), 16):  # type: ignore[attr-defined]
            content += reader.read(size)  # type: ignore[attr-defined]
            reader.readline()  # type: ignore[attr-defined]
        reader.readline()  # type: ignore[attr-defined]
    return Asked(method, target, tuple(lines), content)
