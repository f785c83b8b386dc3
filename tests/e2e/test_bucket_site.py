"""A bucket that people fill with `aws s3 sync`, behind the CDN: new content after one purge, and only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.running import Answer, RunningCdn, write_bundle
from tests.servers.aws_cli import sync
from tests.servers.seaweed import S3Server

HOST = "shop.cdn.localhost"


@pytest.fixture
def bucket_site(start_cdn: Callable[..., RunningCdn], s3_server: S3Server) -> tuple[RunningCdn, str]:
    """A site in front of a new bucket; the CDN keeps its own bytes in a folder."""
    cdn = start_cdn("--s3-endpoint", s3_server.endpoint_url, **s3_server.environment())
    bucket = s3_server.new_bucket()
    cdn.run("site", "create", "shop", "--origin", f"s3://{bucket}/www", "--edge-ttl", "1h")
    return cdn, bucket


def test_a_sync_shows_after_one_purge_and_only_then(
    bucket_site: tuple[RunningCdn, str], s3_server: S3Server, tmp_path: Path
) -> None:
    cdn, bucket = bucket_site
    pages = ("/", "/about.html", "/docs/", "/big.bin")
    environ = {**os.environ, **s3_server.environment()}
    big = os.urandom(3_000_000)

    def publish(edition: bytes) -> None:
        folder = write_bundle(
            tmp_path / edition.decode(),
            {
                "/index.html": b"home " + edition,
                "/about.html": b"about " + edition,
                "/docs/index.html": b"docs " + edition,
                "/big.bin": edition + big,
            },
        )
        sync(folder, f"{bucket}/www", s3_server.endpoint_url, environ)

    def seen() -> list[bytes]:
        return [_content(cdn.visit(HOST, page)) for page in pages]

    publish(b"one")
    first = seen()
    assert first == [b"home one", b"about one", b"docs one", b"one" + big]
    publish(b"two")
    assert seen() == first, "nothing changes before the purge"
    assert all("hit" in cdn.visit(HOST, page).cache_status for page in pages)
    receipt = cdn.run("purge", "--site", "shop", "--all")
    assert receipt["complete"]
    assert seen() == [b"home two", b"about two", b"docs two", b"two" + big]


def test_what_a_bucket_lacks_is_the_sites_404(bucket_site: tuple[RunningCdn, str], s3_server: S3Server) -> None:
    cdn, bucket = bucket_site
    store = s3_server.session.client("s3", endpoint_url=s3_server.endpoint_url)
    store.put_object(Bucket=bucket, Key="www/404.html", Body=b"<p>not here</p>", ContentType="text/html")
    store.put_object(Bucket=bucket, Key="secret.txt", Body=b"outside of the prefix")
    store.close()
    for target in ("/nothing.html", "/nothing/", "/secret.txt"):
        answer = cdn.visit(HOST, target)
        assert (answer.status, answer.content) == (404, b"<p>not here</p>"), target
    assert cdn.visit(HOST, "/x", method="POST").status == 405


def test_ranges_and_conditions_of_objects(bucket_site: tuple[RunningCdn, str], s3_server: S3Server) -> None:
    cdn, bucket = bucket_site
    store = s3_server.session.client("s3", endpoint_url=s3_server.endpoint_url)
    store.put_object(Bucket=bucket, Key="www/a.bin", Body=bytes(range(200)))
    store.close()
    part = cdn.visit(HOST, "/a.bin", Range="bytes=10-19")
    assert (part.status, part.content) == (206, bytes(range(10, 20)))
    whole = cdn.visit(HOST, "/a.bin")
    assert whole.content == bytes(range(200))
    assert not [name for name in whole.fields if name.startswith("x-amz-")]
    again = cdn.visit(HOST, "/a.bin", If_None_Match=whole.fields["etag"])
    assert (again.status, again.content) == (304, b"")


def _content(answer: Answer) -> bytes:
    assert answer.status == 200, answer
    return answer.content
