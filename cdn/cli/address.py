"""HOST:PORT as it is typed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 asks for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """`127.0.0.1:8080`, `[::1]:8080` or `:8080` (every address). Raises ValueError with a sentence."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not an address: write HOST:PORT, like 127.0.0.1:8080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not an address: write an IPv6 address in brackets, like [::1]:8080")
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - the user asked for every address
