"""An authority of the test's own, and an issuer that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cdn.tls.acme.authority import Authority
from cdn.tls.acme.issuer import AcmeIssuer
from tests.servers.small_authority import SmallAuthority, small_authority
from tests.tls.acme.remembered import Remembered

MakeIssuer = Callable[..., AcmeIssuer]


@pytest.fixture
async def small() -> AsyncIterator[SmallAuthority]:
    async with small_authority() as authority:
        yield authority


@pytest.fixture
async def make_issuer(small: SmallAuthority) -> AsyncIterator[MakeIssuer]:
    """Of `small`, with other settings where they are given; closed at the end."""
    async with AsyncExitStack() as open_ones:

        def make(memory: Remembered | None = None, **settings: Any) -> AcmeIssuer:
            issuer = AcmeIssuer(Authority(f"{small.url}/dir", **settings), memory or Remembered())
            open_ones.push_async_callback(issuer.aclose)
            return issuer

        yield make
