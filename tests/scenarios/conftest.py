"""One edge of each size serves every scenario of a test process: in one process, and in a node process with workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.running import RunningCdn
from tests.scenarios.shielded import running_shielded
from tests.scenarios.site import Sites


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Sites on one `cdn up`."""
    with _running(tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="session")
def sites_of_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Sites on one `cdn up` with workers."""
    with _running(tmp_path_factory, "--workers", "2") as made:
        yield made


@pytest.fixture(scope="session")
def sites_behind_a_shield(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Sites on an edge that asks another one."""
    with running_shielded(tmp_path_factory.mktemp("shielded")) as cdn:
        yield Sites(cdn)


@contextmanager
def _running(folders: pytest.TempPathFactory, *options: str) -> Iterator[Sites]:
    cdn = RunningCdn(folders.mktemp("scenarios"), options=("--allow-private-upstreams", *options))
    try:
        cdn.start()
        yield Sites(cdn)
    finally:
        cdn.stop()
