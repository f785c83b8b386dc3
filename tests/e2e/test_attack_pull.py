"""What hostile upstreams, visitors and owners of sites try against a real edge."""

from __future__ import annotations

import http.client
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from cdn.edge.uploads import MAX_UPLOADS_PER_SITE
from tests.e2e.hostile_upstream import Asked, HostileUpstream, response
from tests.e2e.running import Answer, RunningCdn, exchange

WAIT_S = 8


@pytest.fixture(scope="module")
def cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCdn]:
    """One `cdn up` that lets sites have upstreams on this machine."""
    cdn = RunningCdn(tmp_path_factory.mktemp("attacked"), options=("--allow-private-upstreams",))
    cdn.start()
    yield cdn
    cdn.stop()


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    hostile = HostileUpstream()
    hostile.start()
    yield hostile
    hostile.stop()


def site_of(cdn: RunningCdn, upstream: HostileUpstream, name: str, **settings: Any) -> str:
    """The host of a new site that the edge knows by now."""
    origin = {"origin": f"http://127.0.0.1:{upstream.port}", **settings}
    made = cdn.call("POST", "/v1/sites", {"name": name, "settings": origin})
    assert made.status == 201, made
    receipt = cdn.call("POST", f"/v1/sites/{name}/purges?wait={WAIT_S}", {"urls": ["/is-known"]})
    assert receipt.status == 200, receipt
    return f"{name}.cdn.localhost"


def is_hit(answer: Answer) -> bool:
    return "hit" in answer.cache_status


# Visitors who want what others get to be theirs


def test_content_of_a_get_poisons_nothing(cdn: RunningCdn, upstream: HostileUpstream) -> None:
    """RFC 9110 section 9.3.1: some upstreams read it, and no key tells of it."""
    host = site_of(cdn, upstream, "fat-get")
    upstream.answers[""] = lambda asked: response(b"said " + asked.content, "Cache-Control: max-age=60")
    fat = exchange(cdn.http_url, "GET", "/", {"Host": host}, b"evil")
    assert (fat.content, "detail=request-content" in fat.cache_status) == (b"said evil", True)
    assert cdn.visit(host).content == b"said "
    assert is_hit(cdn.visit(host))
    again = exchange(cdn.http_url, "GET", "/", {"Host": host}, b"evil")
    assert again.content == b"said evil"
    assert cdn.visit(host).content == b"said "


def test_a_field_hidden_by_connection_does_not_choose_for_others(cdn: RunningCdn, upstream: HostileUpstream) -> None:
    """RFC 9110 section 7.6.1: upstream never saw the language, so its answer is not the one in that language."""
    host = site_of(cdn, upstream, "hidden-field")

    def answer(asked: Asked) -> bytes:
        return response((asked.value("x-language") or "none").encode(), "Cache-Control: max-age=60", "Vary: X-Language")

    upstream.answers[""] = answer
    for _ in range(3):
        assert cdn.visit(host, X_Language="de", Connection="x-language").content == b"none"
    assert cdn.visit(host, X_Language="de").content == b"de"
    assert cdn.visit(host).content == b"none"


# What was meant for one

VALIDATED = 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n{}\r\n\r\n'


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("Cache-Control: private, max-age=60\r\nX-User: alice", {}),
        ("Cache-Control: no-store\r\nX-User: alice", {}),
        ("Cache-Control: max-age=0\r\nX-User: alice\r\nSet-Cookie: session=alice", {}),
        ("Cache-Control: max-age=60\r\nX-User: alice\r\nSet-Cookie: session=alice", {"stores_set_cookie": False}),
        ("Cache-Control: max-age=60\r\nX-User: alice\r\nVary: *", {}),
    ],
    ids=["private", "no-store", "cookie", "refused-cookie", "vary-star"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_head_that_may_not_be_stored_updates_nothing(
    cdn: RunningCdn,
    upstream: HostileUpstream,
    request: pytest.FixtureRequest,
    said: str,
    settings: dict[str, Any],
    method: str,
) -> None:
    """RFC 9111 section 3.2: by a 304, or the answer to HEAD, a response would become what must not be stored."""
    host = site_of(cdn, upstream, f"update-{request.node.callspec.id.lower()}", **settings)

    def answer(asked: Asked) -> bytes:
        if asked.value("cookie") is None:
            return response(b"page", 'ETag: "a"', "Cache-Control: max-age=0, stale-if-error=60")
        if asked.method == "HEAD":
            return f'HTTP/1.1 200 OK\r\nETag: "a"\r\n{said}\r\nContent-Length: 4\r\n\r\n'.encode()
        return (
            VALIDATED.format(said).encode() if asked.value("if-none-match") else response(b"page", *said.split("\r\n"))
        )

    upstream.answers[""] = answer
    assert cdn.visit(host).content == b"page"
    alice = cdn.visit(host, method=method, Cookie="alice")
    assert (alice.status, alice.fields["x-user"]) == (200, "alice")
    for _ in range(2):
        other = cdn.visit(host)
        assert (other.status, other.content) == (200, b"page")
        assert "x-user" not in other.fields
        assert "set-cookie" not in other.fields


def test_what_a_304_tells_the_authorised_is_not_for_others(cdn: RunningCdn, upstream: HostileUpstream) -> None:
    """RFC 9111 section 3.5."""
    host = site_of(cdn, upstream, "authorised-304")

    def answer(asked: Asked) -> bytes:
        lines = ("X-User: alice",) if asked.value("authorization") else ()
        if asked.value("if-none-match"):
            return VALIDATED.format("\r\n".join(("Cache-Control: max-age=60", *lines))).encode()
        return response(b"page", 'ETag: "a"', "Cache-Control: max-age=0", *lines)

    upstream.answers[""] = answer
    assert cdn.visit(host).content == b"page"
    assert cdn.visit(host, Authorization="Basic YTph").fields["x-user"] == "alice"
    assert "x-user" not in cdn.visit(host).fields


def test_fields_that_a_304_keeps_from_others_are_not_stored(cdn: RunningCdn, upstream: HostileUpstream) -> None:
    """RFC 9111 section 5.2.2.7."""
    host = site_of(cdn, upstream, "listed-304")

    def answer(asked: Asked) -> bytes:
        if asked.value("if-none-match"):
            return VALIDATED.format('Cache-Control: max-age=60, private="x-user"\r\nX-User: alice').encode()
        return response(b"page", 'ETag: "a"', "Cache-Control: max-age=0")

    upstream.answers[""] = answer
    for _ in range(3):
        assert "x-user" not in cdn.visit(host, Cookie="alice").fields
    assert is_hit(cdn.visit(host))


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
@pytest.mark.parametrize("line", ['ETag: "a"', "Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT", "X-Nothing: said"])
def test_a_session_is_not_handed_to_the_next_visitor(
    cdn: RunningCdn, upstream: HostileUpstream, request: pytest.FixtureRequest, status: str, line: str
) -> None:
    """A page that sets a cookie and says nothing of caches: an entity tag, or a guess, hands the cookie to nobody."""
    number = sum(request.node.callspec.id.encode())
    host = site_of(cdn, upstream, f"session-{number}", edge_ttl_s=60)

    def answer(asked: Asked) -> bytes:
        if asked.value("if-none-match"):
            return VALIDATED.format("X-Nothing: said").encode()
        who = asked.value("x-who")
        return response(b"page", line, *([f"Set-Cookie: session={who}"] if who else []), status=status)

    upstream.answers[""] = answer
    assert cdn.visit(host, X_Who="alice").fields["set-cookie"] == "session=alice"
    assert "set-cookie" not in cdn.visit(host).fields


# Upstreams that cost more than they give


def test_upstreams_that_break_off_do_not_fill_the_log(cdn: RunningCdn, upstream: HostileUpstream) -> None:
    """Each of them would write a page, as often as anybody asks."""
    host = site_of(cdn, upstream, "breaks-off")
    upstream.answers[""] = lambda asked: [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"]
    log = cdn.folder / "up.log"
    before = log.stat().st_size
    for number in range(20):
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            cdn.visit(host, f"/{number}")
    written = log.read_bytes()[before:].decode()
    assert written.count("in the middle of its content") == 1
    assert "Traceback" not in written


def test_visitors_who_send_slowly_hold_no_connections_that_others_need(
    cdn: RunningCdn, upstream: HostileUpstream
) -> None:
    """An upstream takes a hundred connections at most; the site waits ten seconds for one here."""
    host = site_of(cdn, upstream, "slow-content", connect_timeout_s=10)
    upstream.answers[""] = lambda asked: response(b"ok")
    address = urlsplit(cdn.http_url)
    with ExitStack() as stack:

        def send(length: int) -> socket.socket:
            client = stack.enter_context(socket.create_connection((address.hostname or "", address.port)))
            client.settimeout(5)
            client.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\nabc".encode())
            return client

        for _ in range(110):
            send(1000)
        uploads = [send(1_000_000) for _ in range(MAX_UPLOADS_PER_SITE + 1)]
        answered, _, _ = select.select(uploads, [], [], 5)
        assert [client.recv(12) for client in answered] == [b"HTTP/1.1 503"]
        begun = time.monotonic()
        assert cdn.visit(host).content == b"ok"
        assert cdn.visit(host, method="POST").content == b"ok"
        assert time.monotonic() - begun < 5, "nobody had to wait for a connection"


def test_what_an_upstream_says_unasked_answers_nobody(cdn: RunningCdn, upstream: HostileUpstream) -> None:
    """A second response behind the first would be the answer to the next request on that connection."""
    host = site_of(cdn, upstream, "unasked")
    upstream.answers["/first"] = lambda asked: response(b"first") + response(b"evil", "Cache-Control: max-age=60")
    upstream.answers["/next"] = lambda asked: response(b"next", "Cache-Control: no-store")
    for _ in range(10):
        assert cdn.visit(host, "/first").content == b"first"
        assert cdn.visit(host, "/next").content == b"next"


CHUNK = 1024 * 1024


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_content_that_ends_at_the_border_of_a_chunk_is_whole(
    cdn: RunningCdn, upstream: HostileUpstream, size: int, framing: str
) -> None:
    host = site_of(cdn, upstream, f"border-{framing}-{size}")
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"

    def answer(asked: Asked) -> bytes | list[bytes]:
        match framing:
            case "length":
                return response(content, "Cache-Control: max-age=60")
            case "chunked":
                chunk = b"%x\r\n%b\r\n" % (size, content) if size else b""
                return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
            case _:
                return [head + b"\r\n", content]

    upstream.answers[""] = answer
    assert cdn.visit(host).content == content
    again = cdn.visit(host)
    assert (again.content == content, is_hit(again)) == (True, True)
    if size:
        assert cdn.visit(host, Range="bytes=-2").content == content[-2:]


# Owners who point at what is inside


def test_two_sites_that_are_each_others_upstream_go_round_once(cdn: RunningCdn) -> None:
    """RFC 8586, also within one network."""
    edge_port = urlsplit(cdn.http_url).port
    for name, other in (("ring-a", "ring-b"), ("ring-b", "ring-a")):
        settings = {"origin": f"http://127.0.0.1:{edge_port}", "upstream_host": f"{other}.cdn.localhost"}
        assert cdn.call("POST", "/v1/sites", {"name": name, "settings": settings}).status == 201
        assert cdn.call("POST", f"/v1/sites/{name}/purges?wait={WAIT_S}", {"urls": ["/x"]}).status == 200
    assert cdn.visit("ring-a.cdn.localhost").status == 508


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCdn]:
    """One `cdn up` as an operator starts it who does not trust every owner of a site."""
    cdn = RunningCdn(tmp_path_factory.mktemp("guarded"))
    cdn.start()
    yield cdn
    cdn.stop()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST.", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
        *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"),
        *("[fec0::1]", "[fd00::1]", "10.0.0.1", "169.254.169.254", "100.100.100.200", "255.255.255.255"),
    ],
)
def test_addresses_inside_are_not_connected_to(guarded: RunningCdn, upstream: HostileUpstream, host: str) -> None:
    """DESIGN I15, whatever way the address is written."""
    upstream.answers[""] = lambda asked: response(b"inside")
    name = "inside-" + host.encode().hex()[:50]
    origin = {"origin": f"http://{host}:{upstream.port}"}
    assert guarded.call("POST", "/v1/sites", {"name": name, "settings": origin}).status == 201
    assert guarded.call("POST", f"/v1/sites/{name}/purges?wait={WAIT_S}", {"urls": ["/x"]}).status == 200
    answer = guarded.visit(f"{name}.cdn.localhost")
    assert (answer.status, "forbidden-address" in answer.cache_status) == (502, True)
    assert upstream.asked == []


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0x7f.1", "u@127.0.0.1", "127.0.0.1%00", "[fe80::1%25lo]"],
)
def test_other_spellings_of_addresses_are_refused(guarded: RunningCdn, host: str) -> None:
    """What a resolver might take for an address and we would take for a name."""
    made = guarded.call("POST", "/v1/sites", {"name": "spelled", "settings": {"origin": f"http://{host}:80"}})
    assert made.status == 400
