"""A name server of a test's own: addresses for every name, and what a test sets."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL_S = 0


class Names:
    """Answers over UDP in a thread of its own. Every name is at 127.0.0.1 unless something else is set for it.

    `with Names() as names: names.set("_acme-challenge.example.com", "TXT", '"value"')`
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], list[str]] = {}
        self._faults: dict[str, dns.rcode.Rcode] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="names of a test", daemon=True)
        self.asked: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        """As `-dnsserver` takes it."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def set(self, name: str, kind: str, *rdatas: str) -> None:
        """All records of one name and type, in the form of zone files; none: there are none."""
        self._records[(name.lower(), kind)] = list(rdatas)

    def fail(self, name: str, code: dns.rcode.Rcode) -> None:
        """Whatever is asked of the name is answered with that code."""
        self._faults[name.lower()] = code

    def __enter__(self) -> Names:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                packet, source = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            self._socket.sendto(self._answer(dns.message.from_wire(packet)).to_wire(), source)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | dns.flags.AA
        if name in self._faults:
            response.set_rcode(self._faults[name])
            return response
        default = ["127.0.0.1"] if kind == "A" else []
        rdatas = self._records.get((name, kind), default)
        if rdatas:
            response.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", kind, *rdatas))
        return response
