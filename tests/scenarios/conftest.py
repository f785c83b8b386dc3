"""One edge serves every scenario of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.running import RunningCdn
from tests.scenarios.site import Sites


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Sites on one `cdn up`."""
    cdn = RunningCdn(tmp_path_factory.mktemp("scenarios"), options=("--allow-private-upstreams",))
    try:
        cdn.start()
        yield Sites(cdn)
    finally:
        cdn.stop()
