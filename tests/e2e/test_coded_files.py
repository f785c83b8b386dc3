"""Coded forms of deployed files, as visitors see them: by one process and by workers."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from cdn.origin.layout import blob_key, variants_key
from tests.e2e.running import Answer, RunningCdn, write_bundle

PATIENCE_S = 30.0

APP = "".join(f"export const name{n} = 'a line of a program {n * n}';\n" for n in range(700)).encode()
LARGE = "".join(f"{n}: text that is different in every line, {n * 7919 % 10007}\n" for n in range(24_000)).encode()
READY = brotli.compress(LARGE, quality=4)
PAGE = b"<!doctype html><title>home</title>" + b"<p>a paragraph that is said again</p>\n" * 40
FILES = {
    "/index.html": PAGE,
    "/404.html": PAGE.replace(b"home", b"not here"),
    "/app.js": APP,
    "/large.txt": LARGE,
    "/large.txt.br": READY,
    "/photo.png": APP,
    "/poison.css": APP + b"/* css */",
    "/poison.css.br": brotli.compress(b"body { color: of somebody else }" * 40),
}
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "zstd": lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
    "": lambda raw: raw,
}


class Site:
    """A site whose files are coded by now."""

    def __init__(self, cdn: RunningCdn, name: str, files: dict[str, bytes], folder: Path) -> None:
        self.cdn = cdn
        self.name = name
        self.host = f"{name}.cdn.localhost"
        self.id = cdn.run("site", "create", name)["id"]
        cdn.run("deploy", str(write_bundle(folder, files)), "--site", name)

    def ask(self, target: str, accept: str = "", **more: str) -> Answer:
        fields = {**more, **({"Accept_Encoding": accept} if accept else {"Accept_Encoding": "identity"})}
        return self.cdn.visit(self.host, target, **fields)

    def until_coded(self, target: str, accept: str = "br") -> Answer:
        """Control's processes need a while, nobody waits for them."""
        end = time.monotonic() + PATIENCE_S
        while "content-encoding" not in (answer := self.ask(target, accept)).fields:
            assert time.monotonic() < end, f"{target} was not coded: {self.cdn.run('status')['counters']}"
            time.sleep(0.05)
        return answer

    def blob(self, content: bytes) -> Path:
        key = blob_key(self.id, hashlib.sha256(content).hexdigest())
        return self.cdn.folder / "data" / "store" / "objects" / key


@pytest.fixture(scope="module", params=[1, 2], ids=["one-process", "workers"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("coded")
    cdn = RunningCdn(folder, options=("--workers", str(request.param)))
    cdn.start()
    try:
        site = Site(cdn, "blog", FILES, folder / "bundle")
        site.until_coded("/large.txt")
        yield site
    finally:
        cdn.stop()


@pytest.mark.parametrize("accept", ["br", "gzip", "zstd", "", "br;q=0, gzip", "gzip, deflate, br, zstd"])
@pytest.mark.parametrize(("target", "content"), [("/app.js", APP), ("/", PAGE), ("/large.txt", LARGE)])
def test_every_form_is_the_file_and_says_so_each_time(site: Site, target: str, content: bytes, accept: str) -> None:
    answers = [site.ask(target, accept) for _ in range(4)]
    for answer in answers:
        coding = answer.fields.get("content-encoding", "")
        assert (coding == "") == (accept == "")
        assert coding in accept
        assert "br" not in coding or "br;q=0" not in accept
        assert DECODE[coding](answer.content) == content
        assert answer.fields["vary"] == "Accept-Encoding"
        assert answer.fields["content-length"] == str(len(answer.content))
        assert answer.fields["etag"] == answers[0].fields["etag"]
    assert "hit" in answers[-1].cache_status
    head = site.cdn.visit(site.host, target, method="HEAD", Accept_Encoding=accept or "identity")
    varying = {"date", "age", "cache-status", "connection"}
    told = {name: value for name, value in answers[-1].fields.items() if name not in varying}
    assert {name: value for name, value in head.fields.items() if name not in varying} == told


def test_curl_reads_what_it_asked_for(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "got"
    for path, content in (("/app.js", APP), ("/large.txt", LARGE), ("/", PAGE)):
        command = (
            "curl",
            "-sS",
            "--compressed",
            "-o",
            str(target),
            "-w",
            "%{size_download}",
            "-H",
            f"Host: {site.host}",
        )
        done = subprocess.run((*command, site.cdn.http_url + path), capture_output=True, text=True, check=True)
        assert target.read_bytes() == content
        assert int(done.stdout) < len(content) / 2


def test_every_form_has_an_entity_tag_of_its_own(site: Site) -> None:
    tags = {accept: site.ask("/app.js", accept).fields["etag"] for accept in ("br", "gzip", "zstd", "")}
    assert len(set(tags.values())) == 4
    for accept in tags:
        for other, tag in tags.items():
            status = site.ask("/app.js", accept, If_None_Match=tag).status
            assert status == (304 if other == accept else 200)
    told = site.ask("/app.js", "br", If_None_Match=tags["br"])
    assert (told.fields["etag"], told.fields["vary"], told.content) == (tags["br"], "Accept-Encoding", b"")


def test_ranges_are_of_the_form_that_is_sent(site: Site) -> None:
    for target in ("/app.js", "/large.txt"):
        whole = site.ask(target, "br")
        part = site.ask(target, "br", Range="bytes=100-299", If_Range=whole.fields["etag"])
        assert (part.status, part.content) == (206, whole.content[100:300])
        assert part.fields["content-range"] == f"bytes 100-299/{len(whole.content)}"
        assert part.fields["content-encoding"] == "br"
        identity = site.ask(target, "br", Range="bytes=100-299", If_Range=site.ask(target).fields["etag"])
        assert (identity.status, identity.content) == (200, whole.content), "the tag is of another form"


def test_images_and_what_is_coded_already_are_sent_as_they_are(site: Site) -> None:
    for target in ("/photo.png", "/large.txt.br"):
        answer = site.ask(target, "br")
        assert (answer.fields.get("content-encoding"), answer.fields.get("vary")) == (None, None)
        assert answer.content == FILES[target]


def test_what_came_along_is_used_when_it_is_its_source_and_only_then(site: Site) -> None:
    assert site.ask("/large.txt", "br").content == READY
    poisoned = site.until_coded("/poison.css")
    assert brotli.decompress(poisoned.content) == FILES["/poison.css"]


def test_a_page_that_stands_in_for_an_absent_one_is_coded_too(site: Site) -> None:
    answer = site.ask("/nowhere", "gzip")
    assert (answer.status, answer.fields.get("content-encoding")) == (404, "gzip")
    assert gzip.decompress(answer.content) == FILES["/404.html"]


def test_a_purge_is_one_of_every_form(site: Site) -> None:
    for accept in ("br", "gzip", ""):
        site.ask("/app.js", accept)
        assert "hit" in site.ask("/app.js", accept).cache_status
    site.cdn.run("purge", "--site", site.name, "--url", "/app.js", "--wait", "10s")
    for accept in ("br", "gzip", ""):
        assert "hit" not in site.ask("/app.js", accept).cache_status
        assert "hit" in site.ask("/app.js", accept).cache_status


# What goes wrong


def test_a_form_that_the_store_lost_or_damaged_is_made_anew_and_nobody_sees_an_error(
    site: Site, tmp_path: Path
) -> None:
    cdn = site.cdn
    content = APP + b"// lost\n"
    lost = Site(cdn, "lost", {"/app.js": content, "/other.js": APP + b"// damaged\n"}, tmp_path / "lost")
    coded = lost.until_coded("/app.js", "gzip")
    lost.blob(coded.content).unlink()
    damaged = lost.until_coded("/other.js", "zstd")
    cdn.run("purge", "--site", "lost", "--all", "--wait", "10s")
    other = lost.blob(damaged.content)
    other.write_bytes(b"\0" * len(damaged.content))
    for target, accept in (("/app.js", "gzip"), ("/other.js", "zstd")):
        answer = lost.ask(target, accept)
        assert answer.status == 200
        assert "content-encoding" not in answer.fields, "as it is, for now"
        assert answer.fields["vary"] == "Accept-Encoding"
    end = time.monotonic() + PATIENCE_S
    while not (lost.blob(coded.content).exists() and other.exists() and other.read_bytes() == damaged.content):
        assert time.monotonic() < end, cdn.run("status")["counters"]
        time.sleep(0.05)


def test_kill_9_in_the_middle_costs_nothing(start_cdn: Callable[..., RunningCdn], tmp_path: Path) -> None:
    """What control was doing it goes on with, and what it had announced is there at once."""
    cdn = start_cdn()
    files = {f"/{n}.js": APP + b"// %d\n" % n for n in range(25)}
    site = Site(cdn, "blog", files, tmp_path / "bundle")
    site.until_coded("/0.js")
    cdn.kill()
    cdn.start()
    site.until_coded("/0.js")
    for number in range(25):
        answer = site.until_coded(f"/{number}.js")
        assert brotli.decompress(answer.content) == files[f"/{number}.js"]
    objects = cdn.folder / "data" / "store" / "objects"
    assert list((objects / variants_key(site.id, "")).iterdir())
