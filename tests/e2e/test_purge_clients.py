"""Vendors' own clients, unmodified, against a running `cdn up`: what they purge is fetched again, nothing else is."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.e2e.running import RunningCdn
from tests.servers.aws_cli import cloudfront_environ, cloudfront_words
from tests.servers.purge_sdk import PurgeSdk

HOST = "blog.cdn.localhost"
PAGES = ("/", "/a.css", "/news/1", "/news/2", "/shop")


class _Upstream(ThreadingHTTPServer):
    """Counts what it is asked. Everything below /news has the tag news, and all pages their path as a tag."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: Counter[str] = Counter()
        self.validated: Counter[str] = Counter()


class _Answer(BaseHTTPRequestHandler):
    server: _Upstream

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        is_known = self.headers.get("If-None-Match") == '"1"'
        self.server.validated.update([self.path] * is_known)
        self.send_response(304 if is_known else 200)
        tags = f"page{self.path.replace('/', '-')}" + (", news" if self.path.startswith("/news") else "")
        for name, value in {"Cache-Control": "max-age=3600", "Cache-Tag": tags, "ETag": '"1"'}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0" if is_known else "2")
        self.end_headers()
        if not is_known:
            self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        return


class Field:
    """A CDN with two sites, of which one is answered from a counting upstream."""

    def __init__(self, cdn: RunningCdn, upstream: _Upstream) -> None:
        self.cdn, self.upstream = cdn, upstream
        self.token = self.token_for("purge:blog")

    def token_for(self, *scopes: str) -> str:
        return str(json.loads(self.cdn.call("POST", "/v1/tokens", {"scopes": scopes}).content)["token"])

    def warm(self) -> None:
        """Fetch what is not stored, and see that all of it is used."""
        for _ in range(2):
            statuses = {self.cdn.visit(HOST, page).status for page in PAGES}
            assert statuses == {200}
        self.upstream.asked.clear()
        self.upstream.validated.clear()

    def fetched_again(self) -> set[str]:
        """Which pages were not served from what is stored."""
        for page in PAGES:
            assert self.cdn.visit(HOST, page).status == 200
        return {page for page in PAGES if self.upstream.asked[page]}

    def assert_receipt(self, sequence: str) -> None:
        receipt = json.loads(self.cdn.call("GET", f"/v1/receipts/{sequence}", token=self.token).content)
        assert receipt["complete"] is True


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    upstream = _Upstream()
    thread = threading.Thread(target=upstream.serve_forever)
    thread.start()
    cdn = RunningCdn(tmp_path_factory.mktemp("up"), options=("--allow-private-upstreams", "--workers", "2"))
    try:
        cdn.start()
        port = upstream.server_address[1]
        cdn.call("POST", "/v1/sites", {"name": "blog", "settings": {"origin": f"http://127.0.0.1:{port}"}})
        cdn.call("POST", "/v1/sites", {"name": "shop"})
        cdn.call("POST", "/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
        yield Field(cdn, upstream)
    finally:
        cdn.stop()
        upstream.shutdown()
        upstream.server_close()
        thread.join()


@pytest.fixture(scope="module")
def sdk(field: Field) -> Iterator[PurgeSdk]:
    with PurgeSdk(field.cdn.control_url) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "pages"),
    [
        ({"purge_everything": True}, set(PAGES)),
        ({"files": ["https://www.example.com/a.css", f"http://{HOST}/news/1"]}, {"/a.css", "/news/1"}),
        ({"files": [{"url": "https://www.example.com/a.css", "headers": {"CF-Device-Type": "mobile"}}]}, {"/a.css"}),
        ({"tags": ["news"]}, {"/news/1", "/news/2"}),
        ({"prefixes": ["www.example.com/news"]}, {"/news/1", "/news/2"}),
        ({"hosts": ["www.example.com"]}, set(PAGES)),
    ],
)
def test_cloudflares_client_purges(field: Field, sdk: PurgeSdk, arguments: dict[str, Any], pages: set[str]) -> None:
    field.warm()
    outcome = sdk.call("cloudflare.purge", field.token, zone_id="blog", **arguments)
    assert not outcome.error, outcome
    assert field.fetched_again() == pages
    assert not field.upstream.validated, "hard: asked anew"
    field.assert_receipt(outcome.result["id"])


def test_cloudflares_client_invalidates_softly_and_finds_its_zone(field: Field, sdk: PurgeSdk) -> None:
    field.warm()
    (zone,) = sdk.call("cloudflare.zones", field.token, name="www.example.com").result
    assert sdk.call("cloudflare.zone", field.token, zone_id=zone["id"]).result["name"] == "www.example.com"
    outcome = sdk.call("cloudflare.invalidate", field.token, zone_id=zone["id"], tags=["news"])
    assert not outcome.error, outcome
    assert field.fetched_again() == {"/news/1", "/news/2"}
    assert set(field.upstream.validated.elements()) == {"/news/1", "/news/2"}
    assert sdk.call("cloudflare.verify", field.token).result["status"] == "active"


def test_cloudflares_client_raises_its_own_errors(field: Field, sdk: PurgeSdk) -> None:
    def error(token: str, **arguments: Any) -> tuple[str, int]:
        outcome = sdk.call("cloudflare.purge", token, **arguments)
        assert outcome.document["success"] is False
        assert outcome.document["errors"][0]["message"]
        return outcome.error, outcome.status

    shop = field.token_for("purge:shop")
    assert error("cdn_0_0", zone_id="blog", purge_everything=True) == ("AuthenticationError", 401)
    assert error(shop, zone_id="blog", purge_everything=True) == ("PermissionDeniedError", 403)
    assert error(shop, zone_id="nobody", purge_everything=True) == ("PermissionDeniedError", 403)
    assert error(shop, zone_id="shop", files=[f"http://{HOST}/a.css"]) == ("BadRequestError", 400)
    assert error(field.token_for("admin"), zone_id="nobody", purge_everything=True) == ("NotFoundError", 404)


@pytest.mark.parametrize(
    ("call", "arguments", "pages"),
    [
        ("purge_all", {"service_id": "blog"}, set(PAGES)),
        ("purge_tag", {"service_id": "blog", "surrogate_key": "news"}, {"/news/1", "/news/2"}),
        ("bulk_purge_tag", {"service_id": "blog", "surrogate_keys": ["page-shop", "page-a.css"]}, {"/shop", "/a.css"}),
        ("purge_single_url", {"cached_url": f"{HOST}/news/2"}, {"/news/2"}),
        ("purge_single_url", {"cached_url": "www.example.com/"}, {"/"}),
    ],
)
def test_fastlys_client_purges(
    field: Field, sdk: PurgeSdk, call: str, arguments: dict[str, Any], pages: set[str]
) -> None:
    field.warm()
    outcome = sdk.call(f"fastly.{call}", field.token, **arguments)
    assert not outcome.error, outcome
    assert field.fetched_again() == pages
    assert not field.upstream.validated
    field.assert_receipt(outcome.result.get("id") or outcome.result["page-shop"])


def test_fastlys_client_purges_softly_and_raises_its_own_errors(field: Field, sdk: PurgeSdk) -> None:
    field.warm()
    wanted = {"service_id": "blog", "surrogate_key": "news"}
    assert not sdk.call("fastly.purge_tag", field.token, **wanted, fastly_soft_purge=1).error
    assert field.fetched_again() == {"/news/1", "/news/2"}
    assert set(field.upstream.validated.elements()) == {"/news/1", "/news/2"}
    shop = field.token_for("purge:shop")
    for token, arguments, error, status in (
        ("cdn_0_0", wanted, "UnauthorizedException", 401),
        (shop, wanted, "ForbiddenException", 403),
        (field.token_for("admin"), {**wanted, "service_id": "nobody"}, "NotFoundException", 404),
    ):
        outcome = sdk.call("fastly.purge_tag", token, **arguments)
        assert (outcome.error, outcome.status) == (error, status)
        assert outcome.document["msg"]
    outcome = sdk.call("fastly.purge_single_url", shop, cached_url=f"{HOST}/")
    assert (outcome.error, outcome.status) == ("ForbiddenException", 403)


def test_the_method_purge_purges_the_url_that_is_visited(field: Field) -> None:
    field.warm()
    answer = field.cdn.visit(HOST, "/news/1", method="PURGE", Fastly_Key=field.token)
    assert (answer.status, json.loads(answer.content)["status"]) == (200, "ok")
    assert field.fetched_again() == {"/news/1"}
    assert not field.upstream.validated
    field.assert_receipt(json.loads(answer.content)["id"])
    field.warm()
    soft = field.cdn.visit("www.example.com", "/shop", method="PURGE", Fastly_Key=field.token, Fastly_Soft_Purge="1")
    assert soft.status == 200
    assert field.fetched_again() == {"/shop"}
    assert set(field.upstream.validated.elements()) == {"/shop"}


def test_the_method_purge_needs_a_token_of_the_site(field: Field) -> None:
    field.warm()
    shop = field.token_for("purge:shop")
    assert field.cdn.visit(HOST, "/shop", method="PURGE").status == 401
    assert field.cdn.visit(HOST, "/shop", method="PURGE", Fastly_Key="cdn_0_0").status == 401
    assert field.cdn.visit(HOST, "/shop", method="PURGE", Fastly_Key=shop).status == 403
    assert field.cdn.visit("nobody.example", "/shop", method="PURGE", Fastly_Key=shop).status == 404
    assert field.fetched_again() == set()
    assert field.cdn.visit("shop.cdn.localhost", "/", method="PURGE", Fastly_Key=shop).status == 200


def test_what_was_acknowledged_is_there_after_a_kill(start_cdn: Callable[..., RunningCdn]) -> None:
    """With boto3: the invalidation, its reference and that it is complete."""
    cdn = start_cdn()
    cdn.call("POST", "/v1/sites", {"name": "blog"})
    key = json.loads(cdn.call("POST", "/v1/tokens", {"scopes": ["purge:blog"], "aws": True}).content)["aws"]

    def client() -> Any:
        return boto3.client(
            "cloudfront",
            endpoint_url=cdn.control_url,
            region_name="us-east-1",
            aws_access_key_id=key["access_key_id"],
            aws_secret_access_key=key["secret_access_key"],
        )

    batch = {"Paths": {"Quantity": 2, "Items": ["/a%20b", "/%C3%BC/*"]}, "CallerReference": "release & 1"}
    made = client().create_invalidation(DistributionId="blog", InvalidationBatch=batch)
    cdn.kill()
    cdn.start()
    again = client().create_invalidation(DistributionId="blog", InvalidationBatch=batch)
    assert again["Invalidation"]["Id"] == made["Invalidation"]["Id"]
    client().get_waiter("invalidation_completed").wait(DistributionId="blog", Id=made["Invalidation"]["Id"])
    shown = client().get_invalidation(DistributionId="blog", Id=made["Invalidation"]["Id"])["Invalidation"]
    assert (shown["Status"], shown["InvalidationBatch"]) == ("Completed", batch)
    assert shown["CreateTime"] == made["Invalidation"]["CreateTime"]
    (listed,) = client().list_invalidations(DistributionId="blog")["InvalidationList"]["Items"]
    assert listed["Id"] == made["Invalidation"]["Id"]


def test_aws_invalidates_waits_shows_and_lists(field: Field, tmp_path: Path) -> None:
    key = field.cdn.run("token", "create", "--scope", "purge:blog", "--aws")["aws"]
    environ = cloudfront_environ(tmp_path, key["access_key_id"], key["secret_access_key"])

    def aws(*words: str, secret: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            cloudfront_words(field.cdn.control_url, *words),
            env=environ if secret is None else {**environ, "AWS_SECRET_ACCESS_KEY": secret},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    field.warm()
    of = ("--distribution-id", "blog")
    made = aws("create-invalidation", *of, "--paths", "/news/*", "/a.css")
    assert made.returncode == 0, made.stderr
    invalidation = json.loads(made.stdout)["Invalidation"]
    waited = aws("wait", "invalidation-completed", *of, "--id", invalidation["Id"])
    assert waited.returncode == 0, waited.stderr
    assert field.fetched_again() == {"/news/1", "/news/2", "/a.css"}
    listed = json.loads(aws("list-invalidations", *of).stdout)["InvalidationList"]
    assert [(one["Id"], one["Status"]) for one in listed["Items"]] == [(invalidation["Id"], "Completed")]
    refused = aws("create-invalidation", "--distribution-id", "shop", "--paths", "/*")
    assert "AccessDenied" in refused.stderr
    forged = aws("create-invalidation", *of, "--paths", "/*", secret="wrong")
    assert "SignatureDoesNotMatch" in forged.stderr
