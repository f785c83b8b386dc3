"""One server process for the tests of HTTP/2, and clients that are closed with each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.h2.frame_client import FrameClient
from tests.h2.serving import Serving

TRANSPORTS = ("plain",) if "CDN_H2_REFERENCE" in os.environ else ("plain", "tls")


@pytest.fixture(scope="session")
def serving_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving.reference() or Serving.launch(tmp_path_factory.mktemp("h2"))
    yield serving
    serving.stop()


@pytest.fixture
def serving(serving_process: Serving) -> Iterator[Serving]:
    """The server; whatever a test did, it has logged no failure but those that its application has on purpose."""
    before = len(serving_process.words())
    yield serving_process
    serving_process.close_clients()
    words = serving_process.words()[before:]
    assert words.count("Traceback") == words.count("on purpose\n"), words[-4000:]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Prior knowledge on a plain connection, and TLS by ALPN."""
    return str(request.param)


@pytest.fixture
def connect(serving: Serving, transport: str) -> Callable[[], FrameClient]:
    """Makes connections on which nothing was sent."""
    return lambda: serving.connect(transport)


@pytest.fixture
def client(connect: Callable[[], FrameClient]) -> FrameClient:
    """A connection that is ready for requests."""
    return connect().start()
