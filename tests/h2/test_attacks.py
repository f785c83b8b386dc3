"""Attacks on real sockets: each is bounded, in what the server keeps and in how long it listens, and others are served
meanwhile.

An attack is a number of bursts from several connections at once. After each burst a visitor on another connection is
answered, and the memory that the process has of its own is read. What a connection may cost stands at each attack.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import ACK, END_HEADERS, END_STREAM, MAX_WINDOW, Code, Frame, Kind, Setting
from tests.h2.serving import Serving

ATTACKERS = 4
BURSTS = 12
MOST_BURSTS = 100
"""An attack goes on for that long, unless the server ends it."""

HELD_BACK_BYTES = 1 << 20
"""Of what an attacker could not send, because the server does not read: then it says nothing new."""

KIB, MIB = 1024, 1 << 20

CALM = (Code.ENHANCE_YOUR_CALM,)


@dataclass(slots=True)
class Attacker:
    """A connection that sends without ever waiting. It reads only with `reads`."""

    client: FrameClient
    reads: bool = True
    unsent: bytes = b""
    has_ended: bool = False
    came: list[Frame] = field(default_factory=list)

    def push(self, octets: bytes) -> None:
        """Send what can be sent now."""
        if len(self.unsent) < HELD_BACK_BYTES:
            self.unsent += octets
        connected = self.client.socket
        while self.unsent and not self.has_ended and select.select((), (connected,), (), 0)[1]:
            connected.setblocking(False)
            try:
                self.unsent = self.unsent[connected.send(self.unsent[:65_536]) :]
            except BlockingIOError:
                return
            except OSError:
                self.has_ended = True
            finally:
                connected.settimeout(20)

    def read_what_is_here(self) -> None:
        while self.reads and not self.has_ended and select.select((self.client.socket,), (), (), 0)[0]:
            read = self.client.read()
            if read is None:
                self.has_ended = True
            else:
                self.came.append(read)

    def read_to_end(self) -> None:
        """The server has to end the connection. What it said is here even if it went long ago."""
        self.came += self.client.read_to_end()

    @property
    def reason(self) -> int | None:
        """The code that the connection ended with."""
        codes = [read.code for read in self.came if read.is_of(Kind.GOAWAY)]
        return codes[-1] if codes else None


Burst = Callable[[FrameClient, int], bytes]


@dataclass(frozen=True, slots=True)
class Attack:
    """`burst(client, number)` makes octets. The connection ends with one of `codes`; without any it may stay.

    `each_bytes`: what one connection may cost the process at most.
    """

    burst: Burst
    codes: tuple[Code, ...] = CALM
    each_bytes: int = MIB
    settings: tuple[tuple[int, int], ...] = ()
    reads: bool = True
    requests_seen: int | None = None
    """How many requests of a connection reach the application at most."""


def play(serving: Serving, attack: Attack, *, attackers: int = ATTACKERS) -> list[Attacker]:
    """All bursts. Asserts that others are served, and what it costs."""
    visitor = serving.connect().start()
    visitor.expect_service()
    tasks = serving.state()["tasks"]
    answered = serving.state()["answered"]
    hostile = [Attacker(serving.connect().start(attack.settings), attack.reads) for _ in range(attackers)]
    before = peak = serving.memory_bytes()
    for number in range(MOST_BURSTS if attack.codes else BURSTS):
        for one in hostile:
            one.push(attack.burst(one.client, number))
        visitor.expect_service()
        for one in hostile:
            one.read_what_is_here()
        peak = max(peak, serving.memory_bytes())
        if number >= BURSTS and all(one.has_ended for one in hostile):
            break
    assert peak - before <= attackers * attack.each_bytes, f"{(peak - before) // KIB // attackers} KiB each"
    if attack.codes:
        for one in hostile:
            one.read_to_end()
            assert one.reason in attack.codes, one.came[-3:]
    if attack.requests_seen is not None:
        assert serving.state()["answered"] - answered <= attackers * attack.requests_seen
    for one in hostile:
        one.client.abort()
    serving.wait_until(lambda state: state["tasks"] <= tasks)
    return hostile


def requests(client: FrameClient, count: int, path: str, then: Callable[[int], bytes] = lambda _: b"") -> bytes:
    """That many requests, each followed by what `then` makes."""
    parts = []
    for _ in range(count):
        stream_id, head = client.head(path)
        parts += [head, then(stream_id)]
    return b"".join(parts)


def on_one_stream(path: str, flags: int, rest: Callable[[int], bytes]) -> Burst:
    """The first burst opens a stream with a head, all send `rest` on it."""

    def burst(client: FrameClient, number: int) -> bytes:
        if number == 0:
            client.next_id()
        opening = frames.headers(1, client.block(client.fields(path, "POST")), flags) if number == 0 else b""
        return opening + rest(1)

    return burst


def bomb(client: FrameClient, number: int) -> bytes:
    """Fields that are one octet each and 4,000 in the table (CVE-2016-6581)."""
    first = number == 0
    entry = frames.entry("x", "v" * 4000) if first else b""
    stream_id = client.next_id()
    return frames.headers(stream_id, frames.plain_block(client.fields()) + entry + b"\xbe" * 12_000)


def small_fields(client: FrameClient, number: int) -> bytes:
    """Sixteen thousand fields of the static table in each block."""
    return frames.headers(client.next_id(), frames.plain_block(client.fields()) + b"\x90" * 16_000)


def whole_tables(client: FrameClient, number: int) -> bytes:
    """Blocks that push everything out of the table, and change its size, again and again."""
    block = frames.plain_block(client.fields())
    entries = b"".join(frames.entry(f"{at:02}", "v" * 400) for at in range(30))
    return b"".join(frames.headers(client.next_id(), b"\x20\x3f\xe1\x1f" + block + entries) for _ in range(10))


def beyond_the_limit(client: FrameClient, number: int) -> bytes:
    """Streams that are refused."""
    return requests(client, 200, "/held/beyond")


FLOODS: dict[str, Attack] = {
    "rapid-reset": Attack(lambda c, n: requests(c, 100, "/held/rapid", frames.rst_stream), requests_seen=400),
    "rapid-reset-of-uploads": Attack(
        lambda c, n: b"".join(
            frames.headers(at := c.next_id(), c.block(c.fields("/counted/reset", "POST")), END_HEADERS)
            + frames.data(at, b"x" * 100, 0)
            + frames.rst_stream(at)
            for _ in range(100)
        ),
        requests_seen=400,
    ),
    "made-you-reset-by-increment": Attack(
        lambda c, n: requests(c, 100, "/held/made", lambda at: frames.window_update(at, 0)), requests_seen=400
    ),
    "made-you-reset-by-overflow": Attack(
        lambda c, n: requests(c, 100, "/held/made", lambda at: frames.window_update(at, MAX_WINDOW)), requests_seen=400
    ),
    "made-you-reset-by-data": Attack(
        lambda c, n: requests(c, 100, "/held/made", lambda at: frames.data(at, b"x")), requests_seen=400
    ),
    "made-you-reset-by-headers": Attack(
        lambda c, n: requests(c, 100, "/held/made", lambda at: frames.headers(at, b"\x82")), requests_seen=400
    ),
    "made-you-reset-by-priority": Attack(
        lambda c, n: requests(c, 100, "/held/made", lambda at: frames.frame(Kind.PRIORITY, 0, at, b"\0")),
        (*CALM, Code.FRAME_SIZE_ERROR),
        requests_seen=400,
    ),
    "malformed-requests": Attack(
        lambda c, n: b"".join(c.head("/a", "GET", [("connection", "close")])[1] for _ in range(100)), requests_seen=0
    ),
    "refused-streams": Attack(beyond_the_limit, requests_seen=130),
    "continuation": Attack(
        lambda c, n: (
            (frames.headers(1, b"", END_STREAM) if n == 0 else b"") + frames.continuation(1, b"\x90" * 9, 0) * 500
        )
    ),
    "continuation-empty": Attack(
        lambda c, n: (frames.headers(1, b"", END_STREAM) if n == 0 else b"") + frames.continuation(1, b"", 0) * 500
    ),
    "continuation-large": Attack(
        lambda c, n: (
            (frames.headers(1, b"", END_STREAM) if n == 0 else b"")
            + frames.continuation(1, b"\0\x01a\x7f\x81\x7f" + b"v" * 16_378, 0) * 8
        )
    ),
    "empty-data": Attack(on_one_stream("/counted/empty", END_HEADERS, lambda at: frames.data(at, b"", 0) * 500)),
    "padding-alone": Attack(
        on_one_stream(
            "/counted/pad", END_HEADERS, lambda at: frames.data(at, frames.padded(b"", 0), frames.PADDED) * 500
        )
    ),
    "ping": Attack(lambda c, n: frames.ping() * 500),
    "ping-unread": Attack(lambda c, n: frames.ping() * 500, reads=False),
    "settings": Attack(lambda c, n: frames.settings() * 500),
    "settings-unread": Attack(lambda c, n: frames.settings() * 500, reads=False),
    "settings-large": Attack(lambda c, n: frames.settings([(0xF000 + at, at) for at in range(2_700)]) * 50),
    "settings-windows": Attack(
        lambda c, n: b"".join(frames.settings({Setting.INITIAL_WINDOW_SIZE: at % 2 * 1000}) for at in range(500))
    ),
    "priority": Attack(lambda c, n: b"".join(frames.priority(2 * at + 1, 0) for at in range(500))),
    "priority-update": Attack(lambda c, n: b"".join(frames.priority_update(2 * at + 1, b"u=1") for at in range(500))),
    "window-update": Attack(lambda c, n: frames.window_update(0, 1) * 500),
    "tiny-windows": Attack(
        on_one_stream("/stream", END_HEADERS | END_STREAM, lambda at: frames.window_update(at, 1) * 500),
        settings=((Setting.INITIAL_WINDOW_SIZE, 0),),
    ),
    "resets-of-closed": Attack(
        on_one_stream("/a", END_HEADERS | END_STREAM, lambda at: frames.rst_stream(at) * 500),
    ),
    "pongs": Attack(lambda c, n: frames.ping(flags=ACK) * 500),
    "unknown-frames": Attack(lambda c, n: frames.frame(0xBA) * 500),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_their_connection(serving: Serving, name: str) -> None:
    play(serving, FLOODS[name])


def test_a_flood_over_tls_ends_its_connection(serving: Serving) -> None:
    client = serving.connect("tls").start()
    visitor = serving.connect("tls").start()
    for _ in range(BURSTS):
        client.send(requests(client, 100, "/held/tls", frames.rst_stream))
        visitor.expect_service()
    assert client.expect_connection_error(Code.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(Attack(bomb, codes=(), each_bytes=2 * MIB), id="references"),
        pytest.param(Attack(small_fields, codes=(), each_bytes=2 * MIB), id="many-fields"),
        pytest.param(Attack(whole_tables, codes=(), each_bytes=2 * MIB), id="evictions"),
    ],
)
def test_blocks_that_grow_cost_what_they_may(serving: Serving, attack: Attack) -> None:
    """431 or an end; never the hundreds of megabytes that they ask for."""
    play(serving, attack)


def test_a_bomb_is_answered_431_and_the_table_stays_in_step(serving: Serving) -> None:
    client = serving.connect().start()
    client.send(bomb(client, 0))
    assert client.response(1).status == 431
    client.send(frames.headers(client.next_id(), frames.plain_block(client.fields("/head")) + b"\xbe"))
    told = client.response(3)
    assert b'["x", "vvvv' in told.content, "the entry is in the table"


@pytest.mark.parametrize(
    ("path", "each_bytes"),
    [("/stream", 4 * MIB), ("/sized", 2 * MIB), ("/big", MIB)],
)
def test_answers_without_windows_cost_little(serving: Serving, path: str, each_bytes: int) -> None:
    """A hundred answers of a megabyte each, and no room for one octet of them."""
    attack = Attack(
        lambda c, n: requests(c, 10, path),
        codes=(),
        each_bytes=each_bytes,
        settings=((Setting.INITIAL_WINDOW_SIZE, 0),),
    )
    play(serving, attack)


@pytest.mark.parametrize("path", ["/stream", "/sized", "/big"])
def test_a_client_that_does_not_read_costs_little(serving: Serving, path: str) -> None:
    """Windows for everything, and nothing is taken from the socket: a part of 16 KiB of each stream may be here."""
    attack = Attack(
        lambda c, n: (frames.window_update(0, 2**30) if n == 0 else b"") + requests(c, 10, path),
        codes=(),
        each_bytes=4 * MIB,
        settings=((Setting.INITIAL_WINDOW_SIZE, 2**30),),
        reads=False,
    )
    play(serving, attack)


@pytest.mark.parametrize("path", ["/a", "/16k", "/bytes/20000"])
def test_answers_that_nobody_reads_stop(serving: Serving, path: str) -> None:
    """Requests without end, small answers, and nothing is taken from the socket: sooner or later streams are refused,
    or nothing more is read."""
    attack = Attack(
        lambda c, n: (frames.window_update(0, 2**30) if n == 0 else b"") + requests(c, 1000, path),
        codes=(),
        each_bytes=4 * MIB,
        settings=((Setting.INITIAL_WINDOW_SIZE, 2**30),),
        reads=False,
    )
    play(serving, attack)


def test_uploads_that_nobody_reads_cost_what_the_windows_say(serving: Serving) -> None:
    def burst(client: FrameClient, number: int) -> bytes:
        stream_id, head = client.head("/read-held/flood", "POST", is_end=False)
        return head + frames.data(stream_id, b"x" * 16_384, 0) * 3

    play(serving, Attack(burst, codes=(Code.FLOW_CONTROL_ERROR,), each_bytes=MIB))


def test_content_of_closed_streams_is_bounded(serving: Serving) -> None:
    def burst(client: FrameClient, number: int) -> bytes:
        if number:
            return frames.data(1, b"x" * 16_000, 0) * 8
        stream_id, head = client.head("/held/closed", "POST", is_end=False)
        return head + frames.rst_stream(stream_id)

    codes = (Code.STREAM_CLOSED, Code.FLOW_CONTROL_ERROR, Code.ENHANCE_YOUR_CALM, Code.PROTOCOL_ERROR)
    play(serving, Attack(burst, codes=codes, each_bytes=MIB))


def test_many_large_heads_cost_what_the_limits_say(serving: Serving) -> None:
    """As many requests as may be open, each with as many fields as it may have."""

    def burst(client: FrameClient, number: int) -> bytes:
        fields = frames.plain_block([*client.fields("/held/large"), *((f"x-{at}", "v" * 330) for at in range(48))])
        return b"".join(
            frames.headers(at := client.next_id(), fields[:16_000], END_STREAM)
            + frames.continuation(at, fields[16_000:])
            for _ in range(10)
        )

    play(serving, Attack(burst, codes=(), each_bytes=8 * MIB))


def test_others_are_served_while_all_attacks_go_on(serving: Serving) -> None:
    """All floods at once, against a visitor that asks for everything."""
    hostile = [(Attacker(serving.connect().start(attack.settings), attack.reads), attack) for attack in FLOODS.values()]
    visitor = serving.connect().start()
    for number in range(BURSTS):
        for attacker, attack in hostile:
            attacker.push(attack.burst(attacker.client, number))
        visitor.expect_service()
        assert visitor.ask("/big").is_whole
        assert visitor.ask("/echo", "POST", content=b"x" * 1000).status == 200
