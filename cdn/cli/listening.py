"""Addresses of this machine: as others reach them, and as settings name them when they cannot be used."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from cdn.cli.address import Address
from cdn.errors import Conflict


def reachable(address: Address) -> Address:
    """Where this machine itself reaches what listens on `address`."""
    return {"0.0.0.0": Address("127.0.0.1", address.port), "::": Address("::1", address.port)}.get(  # noqa: S104
        address.host, address
    )


@contextlib.contextmanager
def naming(option: str, address: Address | str) -> Iterator[None]:
    """Names the option when its address cannot be listened on. Raises Conflict."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}:
            raise
        reason = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be used ({os.strerror(exc.errno)})"
        raise Conflict(f"the address {address} {reason}: give another one with {option}") from exc
