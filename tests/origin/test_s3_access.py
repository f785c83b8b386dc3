"""Where buckets are, who asks for them, and what S3 may answer besides objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import boto3
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, CredentialRetrievalError

from cdn.errors import InvalidInput
from cdn.http.response_head import ResponseHead
from cdn.origin.endpoint import Endpoint
from cdn.origin.outbound import OutboundRule
from cdn.origin.s3_access import S3Access
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse, UpstreamTimeouts
from cdn.origin.upstreams import Upstreams
from cdn.sites.origin import BucketOrigin
from tests.origin.scripted_server import Peer, ScriptedServer, serving

SESSION = boto3.Session("AKID", "secret", "token", region_name="eu-west-1")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


class FakeSession:
    """A session whose chain does what a test says, in the thread it is asked in."""

    region_name: str | None = None

    def __init__(self, get: Callable[[], Credentials | None]) -> None:
        self.asked = 0
        self._get = get

    def get_credentials(self) -> Credentials | None:
        self.asked += 1
        return self._get()


def access_with(get: Callable[[], Credentials | None]) -> tuple[S3Access, FakeSession]:
    session = FakeSession(get)
    return S3Access("http://127.0.0.1:1", session), session  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bucket", "region", "host", "path"),
    [
        ("photos", "eu-west-1", "photos.s3.eu-west-1.amazonaws.com", ""),
        ("photos.example", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/photos.example"),
        ("photos", "cn-north-1", "photos.s3.cn-north-1.amazonaws.com.cn", ""),
    ],
)
async def test_buckets_of_aws_are_names(bucket: str, region: str, host: str, path: str) -> None:
    place = await S3Access(None, boto3.Session("a", "b", region_name=region)).place(bucket, 5)
    assert place.endpoint == Endpoint("https", host, 443, is_operators=True)
    assert (place.host, place.path, place.region) == (host, path, region)


@pytest.mark.parametrize(
    ("url", "endpoint", "host"),
    [
        ("http://127.0.0.1:8333", Endpoint("http", "127.0.0.1", 8333, is_operators=True), "127.0.0.1:8333"),
        ("https://minio.internal/", Endpoint("https", "minio.internal", 443, is_operators=True), "minio.internal"),
        ("http://[::1]:80", Endpoint("http", "::1", 80, is_operators=True), "[::1]"),
    ],
)
async def test_buckets_of_others_are_paths(url: str, endpoint: Endpoint, host: str) -> None:
    place = await S3Access(url, SESSION).place("photos", 5)
    assert (place.endpoint, place.host, place.path) == (endpoint, host, "/photos")


async def test_the_endpoint_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.internal:9000")
    place = await S3Access(None, SESSION).place("photos", 5)
    assert place.host == "s3.internal:9000"


@pytest.mark.parametrize("url", ["s3.internal", "ftp://a", "https://", "https://a/b", "https://a:b", "https://a?b"])
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="no S3 endpoint"):
        S3Access(url)


async def test_requests_are_signed_with_the_token() -> None:
    access = S3Access(None, SESSION)
    place = await access.place("photos", 5)
    fields = dict(await access.sign("GET", place, "/a%20b", 5))
    assert fields["x-amz-security-token"] == "token"
    assert fields["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "/eu-west-1/s3/aws4_request" in fields["authorization"]
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in fields["authorization"]


async def test_without_credentials_nothing_is_signed() -> None:
    access, _ = access_with(lambda: None)
    place = await access.place("photos", 5)
    assert await access.sign("GET", place, "/a", 5) == ()
    assert place.region == "us-east-1"


async def test_reading_without_credentials_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    access, session = access_with(lambda: None)
    for _ in range(3):
        access.forget_identity()
        await access.place("photos", 5)
    assert session.asked == 3
    (said,) = [record for record in caplog.records if record.name == "cdn.origin.s3_access"]
    assert said.levelname == "WARNING"
    assert "as anybody may" in said.message
    assert "set AWS_ACCESS_KEY_ID" in said.message
    caplog.clear()
    signing, _ = access_with(lambda: Credentials("a", "b"))
    await signing.place("photos", 5)
    assert not caplog.records


async def test_the_chain_is_asked_once_for_all_who_wait_and_again_when_s3_refused() -> None:
    gate = threading.Event()

    def get() -> Credentials:
        assert threading.current_thread() is not threading.main_thread()
        assert gate.wait(10)
        return Credentials("a", "b")

    access, session = access_with(get)
    waiting = [asyncio.create_task(access.place("photos", 5)) for _ in range(10)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*waiting)
    await access.place("photos", 5)
    assert session.asked == 1
    access.forget_identity()
    await access.place("photos", 5)
    assert session.asked == 2


@pytest.mark.parametrize(
    "fault",
    [
        CredentialRetrievalError(provider="metadata", error_msg="nobody there"),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "nobody there"}}, "AssumeRole"),
        ValueError("nobody there"),
        OSError("nobody there"),
    ],
)
async def test_a_chain_that_fails_is_a_fault(fault: Exception) -> None:
    def fail() -> Credentials:
        raise fault

    failing, _ = access_with(fail)
    with pytest.raises(UpstreamBroken, match="nobody there") as broken:
        await failing.place("photos", 5)
    assert broken.value.fault is UpstreamFault.CREDENTIALS


async def test_a_chain_that_hangs_is_a_fault() -> None:
    gate = threading.Event()

    def hang() -> None:
        gate.wait(10)

    hanging, _ = access_with(hang)
    with pytest.raises(UpstreamBroken) as broken:
        await hanging.place("photos", 0.02)
    assert broken.value.fault is UpstreamFault.CREDENTIALS
    gate.set()
    await hanging.aclose()


class Bucket:
    """A scripted S3: answers each request from `answers`, and notes what was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []

    async def script(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            self.heads.append(head)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await peer.say(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.startswith(b"HEAD") else answer)

    @property
    def lines(self) -> list[bytes]:
        return [head.partition(b"\r\n")[0] for head in self.heads]


def document(status: str, code: str, more: str = "", fields: str = "") -> bytes:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret detail</Message>{more}</Error>"
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(text)}\r\n\r\n{text}".encode()


OBJECT = b'HTTP/1.1 200 OK\r\nx-amz-id-2: a\r\nETag: "a"\r\nContent-Length: 5\r\n\r\nhello'


async def ask(server: ScriptedServer, method: str = "GET", target: str = "/a.txt") -> tuple[ResponseHead, bytes]:
    upstreams = Upstreams(OutboundRule(), s3_endpoint=f"http://127.0.0.1:{server.port}", session=SESSION)
    try:
        upstream = upstreams.of(BucketOrigin("photos", "p"), UpstreamTimeouts())
        response = await upstream.send(UpstreamRequest(method, target, (("host", "a"),)), lambda head: None)
        content = b"".join([part async for part in response.content])
        assert upstreams.open_connections == upstreams.idle_connections
        return response.head, content
    finally:
        await upstreams.aclose()


async def fault_of(server: ScriptedServer, method: str = "GET") -> UpstreamFault:
    with pytest.raises(UpstreamBroken) as broken:
        await ask(server, method)
    assert "secret detail" not in broken.value.message
    return broken.value.fault


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["400 Bad Request", "301 Moved Permanently", "307 Temporary Redirect"])
async def test_a_bucket_in_another_region_is_found(status: str, method: str) -> None:
    told = document(status, "AuthorizationHeaderMalformed", "<Region>ap-south-1</Region>")
    answers = (told, told, OBJECT) if method == "HEAD" else (told, OBJECT)
    bucket = Bucket(*answers)
    async with serving(bucket.script) as server:
        head, content = await ask(server, method)
    assert (head.status, content) == (200, b"hello" if method == "GET" else b"")
    assert head.fields.lines == (("etag", '"a"'), ("content-length", "5"))
    assert b"/eu-west-1/s3/" in bucket.heads[0]
    assert b"/ap-south-1/s3/" in bucket.heads[-1]


async def test_a_region_that_does_not_help_is_a_fault() -> None:
    told = document("301 Moved", "PermanentRedirect", fields="x-amz-bucket-region: ap-south-1\r\n")
    bucket = Bucket(told)
    async with serving(bucket.script) as server:
        assert await fault_of(server) is UpstreamFault.BUCKET
    assert len(bucket.heads) == 2


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        ("403 Forbidden", "SignatureDoesNotMatch", UpstreamFault.CREDENTIALS),
        ("403 Forbidden", "RequestTimeTooSkewed", UpstreamFault.CREDENTIALS),
        ("400 Bad Request", "ExpiredToken", UpstreamFault.CREDENTIALS),
        ("404 Not Found", "NoSuchBucket", UpstreamFault.BUCKET),
        ("400 Bad Request", "InvalidRequest", UpstreamFault.BUCKET),
        ("405 Method Not Allowed", "MethodNotAllowed", UpstreamFault.BUCKET),
        ("403 Forbidden", "AccountProblem", UpstreamFault.CREDENTIALS),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_the_operator_has_to_mend_is_a_fault(
    status: str, code: str, fault: UpstreamFault, method: str
) -> None:
    bucket = Bucket(document(status, code))
    async with serving(bucket.script) as server:
        assert await fault_of(server, method) is fault


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_may_not_be_read_is_missing(method: str) -> None:
    bucket = Bucket(document("403 Forbidden", "AccessDenied"))
    async with serving(bucket.script) as server:
        head, content = await ask(server, method)
    assert head.status == 404
    assert content == (b"404 Not Found\n" if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_busy_s3_is_told_without_its_document(method: str) -> None:
    bucket = Bucket(document("503 Slow Down", "SlowDown", fields="Retry-After: 7\r\nServer: S3\r\n"))
    async with serving(bucket.script) as server:
        head, content = await ask(server, method)
    assert (head.status, content) == (503, b"")
    assert head.fields.lines == (("retry-after", "7"), ("content-length", "0"))
    assert len(bucket.heads) == 1


async def test_an_error_document_without_end_is_not_read_to_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.say(b"1000\r\n" + bytes(4096) + b"\r\n")

    async with serving(script) as server:
        assert await fault_of(server) is UpstreamFault.BUCKET


async def test_a_double_slash_is_never_a_redirect() -> None:
    missing = document("404 Not Found", "NoSuchKey")
    bucket = Bucket(missing, missing)
    async with serving(bucket.script) as server:
        head, _ = await ask(server, target="//evil.example")
    assert head.status == 404
    assert bucket.lines == [b"GET /photos/p//evil.example HTTP/1.1", b"GET /photos/p/404.html HTTP/1.1"]


async def test_no_field_of_a_visitor_reaches_the_bucket_but_ranges_and_conditions() -> None:
    bucket = Bucket(OBJECT)
    async with serving(bucket.script) as server:
        upstreams = Upstreams(OutboundRule(), s3_endpoint=f"http://127.0.0.1:{server.port}", session=SESSION)
        fields = (
            ("host", "www.example"),
            ("cookie", "a=b"),
            ("authorization", "Basic x"),
            ("x-amz-acl", "public-read"),
            ("accept-encoding", "gzip"),
            ("if-none-match", '"b"'),
        )
        upstream = upstreams.of(BucketOrigin("photos"), UpstreamTimeouts())
        response: UpstreamResponse = await upstream.send(UpstreamRequest("GET", "/a", fields), lambda head: None)
        await response.content.aclose()
        await upstreams.aclose()
    names = sorted(line.partition(b":")[0] for line in bucket.heads[0].split(b"\r\n")[1:-2])
    assert names == [
        b"authorization",
        b"host",
        b"if-none-match",
        b"x-amz-content-sha256",
        b"x-amz-date",
        b"x-amz-security-token",
    ]
    assert f"host: 127.0.0.1:{server.port}".encode() in bucket.heads[0]
    assert b"Basic" not in bucket.heads[0]
