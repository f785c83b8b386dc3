"""Sites in a bucket of a real S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from cdn.http.fields import FieldLines
from cdn.http.response_head import ResponseHead
from cdn.origin.outbound import OutboundRule
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamTimeouts
from cdn.origin.upstreams import Upstreams
from cdn.sites.origin import BucketOrigin, HttpOrigin, parse_origin
from tests.servers.seaweed import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOST = (("host", "www.example"),)
BIG = bytes(range(256)) * 16 * 1024


@pytest.fixture(scope="module")
def client(s3_server: S3Server) -> Iterator[S3Client]:
    made: S3Client = s3_server.session.client(
        "s3", endpoint_url=s3_server.endpoint_url, config=Config(s3={"addressing_style": "path"})
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server, client: S3Client) -> str:
    name = s3_server.new_bucket()

    def put(key: str, content: bytes, content_type: str) -> None:
        client.put_object(
            Bucket=name,
            Key=key,
            Body=content,
            ContentType=content_type,
            CacheControl="max-age=60",
            Metadata={"secret": "of the owner"},
        )

    put("site/index.html", b"<h1>home</h1>", "text/html")
    put("site/docs/index.html", b"<h1>docs</h1>", "text/html")
    put("site/v1.2/index.html", b"<h1>v1.2</h1>", "text/html")
    put("site/a b+c~\u00e9.txt", b"odd name", "text/plain")
    put("site/big.bin", BIG, "application/octet-stream")
    put("site/404.html", b"<h1>nothing here</h1>", "text/html")
    put("bare/only.txt", b"bare", "text/plain")
    put("outside.txt", b"outside of the prefix", "text/plain")
    return name


@pytest.fixture
async def upstreams(s3_server: S3Server) -> AsyncIterator[Upstreams]:
    # No private network is allowed: the endpoint is the operator's own.
    made = Upstreams(OutboundRule(), s3_endpoint=s3_server.endpoint_url, session=s3_server.session)
    yield made
    await made.aclose()


class Answer:
    def __init__(self, head: ResponseHead, content: bytes, size_bytes: int | None) -> None:
        self.status = head.status
        self.fields = head.fields
        self.content = content
        self.size_bytes = size_bytes


async def ask(
    upstreams: Upstreams, origin: BucketOrigin, target: str, fields: FieldLines = (), method: str = "GET"
) -> Answer:
    upstream = upstreams.of(origin, UpstreamTimeouts())
    response = await upstream.send(UpstreamRequest(method, target, (*HOST, *fields)), lambda head: None)
    parts = [part async for part in response.content]
    await response.content.aclose()
    return Answer(response.head, b"".join(parts), response.content.size_bytes)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/", b"<h1>home</h1>"),
        ("/index.html", b"<h1>home</h1>"),
        ("/docs/", b"<h1>docs</h1>"),
        ("/a%20b%2Bc~%C3%A9.txt", b"odd name"),
        ("/a%20b+c%7e%c3%a9.txt", b"odd name"),
        ("/big.bin", BIG),
    ],
)
async def test_paths_are_keys_below_the_prefix(upstreams: Upstreams, bucket: str, target: str, content: bytes) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), target)
    assert (answer.status, answer.content, answer.size_bytes) == (200, content, len(content))
    assert answer.fields.get("cache-control") == "max-age=60"
    assert answer.fields.get("etag") == f'"{hashlib.md5(content).hexdigest()}"'


async def test_fields_of_s3_stay_with_it(upstreams: Upstreams, bucket: str) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html")
    names = {name for name, _ in answer.fields}
    assert not {name for name in names if name.startswith(("x-", "server"))}
    assert {"content-type", "content-length", "etag", "last-modified", "date"} <= names


async def test_head_says_what_get_says(upstreams: Upstreams, bucket: str) -> None:
    origin = BucketOrigin(bucket, "site")
    for target in ("/big.bin", "/docs", "/missing"):
        got = await ask(upstreams, origin, target)
        head = await ask(upstreams, origin, target, method="HEAD")
        assert (head.status, head.content, head.size_bytes) == (got.status, b"", 0)
        differing = {"date", "connection"}
        assert {line for line in head.fields if line[0] not in differing} == {
            line for line in got.fields if line[0] not in differing
        }


async def test_ranges_and_conditions_reach_the_bucket(upstreams: Upstreams, bucket: str) -> None:
    origin = BucketOrigin(bucket, "site")
    ranged = await ask(upstreams, origin, "/big.bin", (("range", "bytes=256-511"),))
    assert (ranged.status, ranged.content) == (206, BIG[256:512])
    assert ranged.fields.get("content-range") == f"bytes 256-511/{len(BIG)}"
    tag = ranged.fields.get("etag") or ""
    since = ranged.fields.get("last-modified") or ""
    assert (await ask(upstreams, origin, "/big.bin", (("if-none-match", tag),))).status == 304
    assert (await ask(upstreams, origin, "/big.bin", (("if-modified-since", since),))).status == 304
    failed = await ask(upstreams, origin, "/big.bin", (("if-match", '"other"'),))
    assert (failed.status, failed.content, failed.fields.get("content-length")) == (412, b"", "0")
    beyond = await ask(upstreams, origin, "/big.bin", (("range", f"bytes={len(BIG)}-"),))
    assert (beyond.status, beyond.content) == (416, b"")


async def test_a_range_with_if_range_is_answered_whole(upstreams: Upstreams, bucket: str) -> None:
    fields = (("range", "bytes=0-1"), ("if-range", '"other"'))
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html", fields)
    assert (answer.status, answer.content) == (200, b"<h1>home</h1>")


async def test_a_folder_without_its_slash_is_redirected(upstreams: Upstreams, bucket: str) -> None:
    for target, location in (("/docs", "/docs/"), ("/v1.2?a=b", "/v1.2/?a=b")):
        answer = await ask(upstreams, BucketOrigin(bucket, "site"), target)
        assert (answer.status, answer.fields.get("location"), answer.content) == (308, location, b"")


async def test_what_is_missing_gets_the_page_of_the_bucket(upstreams: Upstreams, bucket: str) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), "/no/such/page")
    assert (answer.status, answer.content) == (404, b"<h1>nothing here</h1>")
    assert answer.fields.get("content-type") == "text/html"
    assert {"etag", "last-modified", "cache-control"}.isdisjoint(name for name, _ in answer.fields)


async def test_without_such_a_page_it_is_plain(upstreams: Upstreams, bucket: str) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "bare"), "/missing")
    assert (answer.status, answer.content) == (404, b"404 Not Found\n")
    assert b"<Error>" not in answer.content


@pytest.mark.parametrize(
    "target", ["/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/./index.html", "/" + "a" * 1100]
)
async def test_nothing_outside_of_the_prefix_is_reached(upstreams: Upstreams, bucket: str, target: str) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), target)
    assert answer.status == 404


@pytest.mark.parametrize(
    "query", ["acl", "versions", "uploads", "location", "policy", "X-Amz-Expires=1", "partNumber=1"]
)
async def test_a_query_means_nothing_to_the_bucket(upstreams: Upstreams, bucket: str, query: str) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), f"/?{query}")
    assert (answer.status, answer.content) == (200, b"<h1>home</h1>")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
async def test_a_bucket_is_only_read(upstreams: Upstreams, bucket: str, method: str) -> None:
    answer = await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html", method=method)
    assert (answer.status, answer.fields.get("allow")) == (405, "GET, HEAD")
    assert (await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html")).status == 200


async def test_the_store_itself_is_refused(s3_server: S3Server, bucket: str) -> None:
    upstreams = Upstreams(
        OutboundRule(), s3_endpoint=s3_server.endpoint_url, own_bucket=bucket, session=s3_server.session
    )
    with pytest.raises(UpstreamBroken, match="store of this CDN") as broken:
        await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html")
    assert broken.value.fault is UpstreamFault.BUCKET
    await upstreams.aclose()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_bucket_that_does_not_exist_is_a_fault(upstreams: Upstreams, method: str) -> None:
    with pytest.raises(UpstreamBroken, match="does not exist") as broken:
        await ask(upstreams, BucketOrigin("no-such-bucket-at-all"), "/index.html", method=method)
    assert broken.value.fault is UpstreamFault.BUCKET


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_wrong_credentials_are_a_fault_and_no_missing_page(s3_server: S3Server, bucket: str, method: str) -> None:
    session = boto3.Session("wrong-access-key", "wrong-secret-key", region_name="us-east-1")
    upstreams = Upstreams(OutboundRule(), s3_endpoint=s3_server.endpoint_url, session=session)
    with pytest.raises(UpstreamBroken, match="InvalidAccessKeyId") as broken:
        await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html", method=method)
    assert broken.value.fault is UpstreamFault.CREDENTIALS
    await upstreams.aclose()


async def test_a_user_does_not_reach_the_endpoint_through_a_kept_connection(
    s3_server: S3Server, upstreams: Upstreams, bucket: str
) -> None:
    await ask(upstreams, BucketOrigin(bucket, "site"), "/index.html")
    assert upstreams.idle_connections == 1
    origin = parse_origin(s3_server.endpoint_url)
    assert isinstance(origin, HttpOrigin)
    with pytest.raises(UpstreamBroken) as broken:
        await upstreams.of(origin, UpstreamTimeouts()).send(UpstreamRequest("GET", "/", HOST), lambda head: None)
    assert broken.value.fault is UpstreamFault.FORBIDDEN_ADDRESS


async def test_content_that_is_not_read_to_its_end_costs_its_connection(upstreams: Upstreams, bucket: str) -> None:
    upstream = upstreams.of(BucketOrigin(bucket, "site"), UpstreamTimeouts())
    response = await upstream.send(UpstreamRequest("GET", "/big.bin", HOST), lambda head: None)
    assert upstreams.open_connections == 1
    await response.content.aclose()
    assert upstreams.open_connections == 0
    with pytest.raises(UpstreamBroken):
        [part async for part in response.content]
