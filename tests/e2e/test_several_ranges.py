"""Several ranges of a bundle's files, asked for over the wire (RFC 9110 section 15.3.7.2)."""

from __future__ import annotations

import email.parser
import email.policy
import random

import pytest

from tests.e2e.running import Answer, RunningCdn, write_bundle

SMALL = b"".join(b"line %d of the log\n" % at for at in range(200))
LARGE = random.Random(5).randbytes(3 * 1024 * 1024 + 11)


@pytest.fixture(scope="module")
def host(running: RunningCdn, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A site with a file that is held in memory and one that is streamed."""
    running.run("site", "create", "parts")
    folder = write_bundle(tmp_path_factory.mktemp("parts") / "site", {"/log.txt": SMALL, "/film.mp4": LARGE})
    assert running.run("deploy", str(folder), "--site", "parts")["receipt"]["complete"]
    return "parts.cdn.localhost"


def parts_of(answer: Answer) -> dict[str, bytes]:
    """Content by Content-Range, as Python's own MIME parser reads it."""
    head = f"content-type: {answer.fields['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.content)
    parts: dict[str, bytes] = {}
    for part in message.iter_parts():
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        parts[part["content-range"]] = octets
    return parts


@pytest.mark.parametrize(("path", "content"), [("/log.txt", SMALL), ("/film.mp4", LARGE)])
def test_parts_come_in_the_order_asked_for(running: RunningCdn, host: str, path: str, content: bytes) -> None:
    length = len(content)
    for expected in ("fwd=", "hit"):
        answer = running.visit(host, path, range=f"bytes=-5, 0-9, 1000-{length - 1000}")
        assert answer.status == 206
        assert expected in answer.cache_status
        assert "content-range" not in answer.fields
        assert int(answer.fields["content-length"]) == len(answer.content)
        assert list(parts_of(answer).items()) == [
            (f"bytes {length - 5}-{length - 1}/{length}", content[-5:]),
            (f"bytes 0-9/{length}", content[:10]),
            (f"bytes 1000-{length - 1000}/{length}", content[1000 : length - 999]),
        ]
    assert running.visit(host, path).content == content


def test_what_is_abusive_is_answered_whole(running: RunningCdn, host: str) -> None:
    for field in ("bytes=" + ",".join(["0-"] * 50), "bytes=" + ",".join(f"{at * 100}-{at * 100}" for at in range(70))):
        answer = running.visit(host, "/log.txt", range=field)
        assert (answer.status, answer.content) == (200, SMALL)


def test_if_range_and_head(running: RunningCdn, host: str) -> None:
    etag = running.visit(host, "/log.txt").fields["etag"]
    several = "bytes=0-9,1000-1009"
    assert running.visit(host, "/log.txt", range=several, if_range=etag).status == 206
    assert running.visit(host, "/log.txt", range=several, if_range='"other"').status == 200
    assert running.visit(host, "/log.txt", method="HEAD", range=several).status == 200
    assert running.visit(host, "/log.txt", range="bytes=9999-,8888-").status == 416
