"""Presigned uploads: our signer against botocore's, and against the real server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Literal
from unittest.mock import patch

import aiohttp
import boto3
import pytest
from botocore.config import Config

from cdn.errors import InvalidInput
from cdn.origin.directory import DirectoryStore
from cdn.origin.presign import PutSigner, SigningKey, checksum_of
from cdn.origin.s3 import S3Store
from cdn.origin.store import StoreUnavailable, UploadTarget
from tests.origin.content import target_of
from tests.servers.seaweed import S3Server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:
        yield session


@pytest.mark.parametrize(
    ("endpoint_url", "style", "region"),
    [
        (None, "auto", "eu-west-1"),
        (None, "auto", "us-east-1"),
        (None, "path", "eu-central-1"),
        ("http://127.0.0.1:4711", "path", "us-east-1"),
        ("http://store.example:80", "path", "us-east-1"),
        ("https://store.example:443/base", "path", "us-east-1"),
        ("https://[::1]:8333", "path", "us-east-1"),
    ],
)
@pytest.mark.parametrize("token", [None, "a/session+token="])
@pytest.mark.parametrize("prefix", ["", "some/pre=fi+x@1/"])
def test_the_signature_is_botocores(
    endpoint_url: str | None, style: Literal["auto", "path"], region: str, token: str | None, prefix: str
) -> None:
    client = _session(token).client(
        "s3",
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(signature_version="s3v4", s3={"addressing_style": style}),
    )
    content = b"content"
    target = target_of(content, "sites/s1/blobs/ab/a=b+c@d_e-f.g")
    parameters = {
        "Bucket": "a-bucket",
        "Key": prefix + target.key,
        "ChecksumSHA256": checksum_of(target.digest),
        "IfNoneMatch": "*",
        "ContentLength": target.size_bytes,
    }
    template_parameters = {"Bucket": "a-bucket", "Key": f"{prefix}template"}
    with patch("botocore.auth.get_current_datetime", return_value=_moment()):
        expected = client.generate_presigned_url("put_object", Params=parameters, ExpiresIn=600)
        template = client.generate_presigned_url("put_object", Params=template_parameters, ExpiresIn=600)
    client.close()
    signer = PutSigner.from_template(template, "template", SigningKey("AKIDEXAMPLE", "secret/key+", token), 600)
    (signed,) = signer.sign([target])
    place, _, query = expected.partition("?")
    our_place, _, our_query = signed.url.partition("?")
    assert our_place == place
    assert sorted(our_query.split("&")) == sorted(query.split("&"))


@lru_cache
def _session(token: str | None) -> boto3.Session:
    return boto3.Session("AKIDEXAMPLE", "secret/key+", token)


def _moment() -> object:
    import datetime

    return datetime.datetime(2026, 1, 2, 3, 4, 5)


async def test_a_presigned_put_stores_and_then_says_412(s3_store: S3Store, http: aiohttp.ClientSession) -> None:
    contents = [f"content {number}".encode() * 1000 for number in range(3)]
    targets = [target_of(content) for content in contents]
    puts = await s3_store.presign(targets, expires_s=600)
    for content, target, put in zip(contents, targets, puts, strict=True):
        async with http.put(put.url, data=content, headers=put.fields) as answer:
            assert answer.status == 200
        async with http.put(put.url, data=content, headers=put.fields) as answer:
            assert answer.status == 412
        assert await s3_store.get(target.key) == content


async def test_a_presigned_put_takes_nothing_else(s3_store: S3Store, http: aiohttp.ClientSession) -> None:
    content = b"content"
    target = target_of(content)
    (put,) = await s3_store.presign([target], expires_s=600)
    other = {**put.fields, "x-amz-checksum-sha256": checksum_of(hashlib.sha256(b"coNtent").hexdigest())}
    for url, fields, sent in (
        (put.url, put.fields, b"coNtent"),
        (put.url, other, b"coNtent"),
        (put.url, {}, content),
        (put.url, {**put.fields, "content-length": "8"}, b"content!"),
        (put.url.replace(target.key, "another"), put.fields, content),
        (put.url.partition("?")[0], put.fields, content),
    ):
        async with http.put(url, data=sent, headers=fields) as answer:
            assert 400 <= answer.status < 500
        assert await s3_store.head(target.key) is None
    assert await s3_store.head("another") is None


async def test_the_real_store_takes_direct_uploads_and_the_probe_leaves_nothing(s3_store: S3Store) -> None:
    assert await s3_store.takes_direct_uploads()
    assert [facts async for facts in s3_store.scan("")] == []


async def test_presigning_ten_thousand_takes_at_most_three_seconds(s3_store: S3Store) -> None:
    targets = [target_of(str(number).encode()) for number in range(1000)]
    before = time.process_time()
    assert len(await s3_store.presign(targets, expires_s=600)) == 1000
    assert time.process_time() - before < 0.3


async def test_a_key_that_is_no_plain_path_is_not_signed(s3_store: S3Store) -> None:
    with pytest.raises(InvalidInput, match="key"):
        await s3_store.presign([UploadTarget("../other-site", "0" * 64, 1)], expires_s=600)


async def test_without_credentials_presigning_says_so(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, f"{tmp_path}/none")
    store = S3Store("bucket", endpoint_url=s3_server.endpoint_url)
    with pytest.raises(StoreUnavailable, match="credentials"):
        await store.presign([target_of(b"x")], expires_s=600)
    with pytest.raises(StoreUnavailable, match="credentials"):
        await store.get("a")
    await store.aclose()


async def test_a_directory_takes_no_direct_uploads(directory_store: DirectoryStore) -> None:
    assert not await directory_store.takes_direct_uploads()
    with pytest.raises(StoreUnavailable, match="send the content to control"):
        await directory_store.presign([target_of(b"x")], expires_s=600)
