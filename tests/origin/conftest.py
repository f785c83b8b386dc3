"""The two stores, so that one suite runs over both."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.origin.directory import DirectoryStore
from cdn.origin.s3 import S3Store
from cdn.origin.store import ObjectStore
from tests.servers.seaweed import S3Server


@pytest.fixture
async def directory_store(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path / "store")
    yield store
    await store.aclose()


@pytest.fixture(scope="session")
def s3_bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
async def s3_store(s3_server: S3Server, s3_bucket: str) -> AsyncIterator[S3Store]:
    store = S3Store(
        s3_bucket, f"some/{secrets.token_hex(8)}", endpoint_url=s3_server.endpoint_url, session=s3_server.session
    )
    yield store
    await store.aclose()


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return found
