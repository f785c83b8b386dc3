"""Frames that nobody would write: made up by Hypothesis, judged by a plain reading of RFC 9113.

Whatever comes, the server answers with the right error or goes on, never hangs (every read has a bound), and logs no
failure of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.h2 import frames
from tests.h2.frame_client import Ended, FrameClient
from tests.h2.frames import ACK, END_HEADERS, PADDED, PRIORITY, Code, Frame, Kind
from tests.h2.serving import Serving

OPEN, HALF_CLOSED, CLOSED, RESET, IDLE, EVEN = 1, 3, 5, 7, 101, 2
"""Streams of a connection that was prepared: a request that goes on, one whose end has come, one that was answered,
one that the client reset, and those that were never used."""

QUICK = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target],
)
LONG = settings(QUICK, max_examples=6_000)

P, S, C, F = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.STREAM_CLOSED, Code.FLOW_CONTROL_ERROR
Z = Code.COMPRESSION_ERROR

SHORTEST = {Kind.HEADERS: 0, Kind.DATA: 0, Kind.GOAWAY: 8, Kind.PRIORITY_UPDATE: 4}
EXACT = {Kind.PRIORITY: 5, Kind.RST_STREAM: 4, Kind.PING: 8, Kind.WINDOW_UPDATE: 4}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may follow: errors of the connection, errors of the stream, or nothing at all."""

    connection: frozenset[int] = frozenset()
    stream: frozenset[int] = frozenset()
    may_go_on: bool = False


def judge(kind: int, flags: int, stream_id: int, payload: bytes) -> Verdict:
    """A plain reading: one rule after the other, the codes that each allows."""
    if kind not in Kind.__members__.values():
        return Verdict(may_go_on=True)
    size_fault = _size_fault(kind, flags, payload)
    place_fault = _place_fault(kind, stream_id)
    if kind == Kind.PRIORITY and size_fault and not place_fault:
        return Verdict(frozenset({S, P}), frozenset({S}))
    if size_fault or place_fault:
        codes = {S} if size_fault else set()
        codes |= {P} if place_fault or _is_padding_fault(kind, flags, payload) else set()
        if kind == Kind.PUSH_PROMISE:
            codes |= {P}
        return Verdict(frozenset(codes | {P} if size_fault and kind in (Kind.DATA, Kind.HEADERS) else codes))
    return _judge_sound(kind, flags, stream_id, payload)


def _judge_sound(kind: int, flags: int, stream_id: int, payload: bytes) -> Verdict:
    """The frame's own form is right: what it does to the stream or the connection."""
    match kind:
        case Kind.PUSH_PROMISE | Kind.CONTINUATION:
            return Verdict(frozenset({P}))
        case Kind.PING | Kind.GOAWAY | Kind.PRIORITY:
            return Verdict(may_go_on=True)
        case Kind.PRIORITY_UPDATE:
            named = int.from_bytes(payload[:4], "big") & (2**31 - 1)
            is_server_stream = named == 0 or named % 2 == 0
            return Verdict(frozenset({P}) if is_server_stream else frozenset(), may_go_on=named != 0)
        case Kind.SETTINGS:
            return _judge_settings(payload)
        case Kind.RST_STREAM:
            return (
                Verdict(may_go_on=True) if stream_id in (OPEN, HALF_CLOSED, CLOSED, RESET) else Verdict(frozenset({P}))
            )
        case Kind.WINDOW_UPDATE:
            return _judge_window(stream_id, int.from_bytes(payload, "big") & (2**31 - 1))
        case Kind.DATA:
            return _judge_content(stream_id)
        case _:
            return _judge_head(stream_id)


def _judge_settings(payload: bytes) -> Verdict:
    codes = set()
    for identifier, value in Frame(Kind.SETTINGS, 0, 0, payload).settings.items():
        if (
            (identifier == 2 and value > 1)
            or (identifier == 5 and not 16_384 <= value < 2**24)
            or (identifier == 9 and value > 1)
        ):
            codes.add(P)
        if identifier == 4 and value > 2**31 - 1:
            codes.add(F)
    raw = [payload[at : at + 6] for at in range(0, len(payload), 6)]
    is_repeated = len({one[:2] for one in raw}) < len(raw)
    return Verdict(frozenset(codes or ({P, F} if is_repeated else set())), may_go_on=not codes)


def _judge_window(stream_id: int, increment: int) -> Verdict:
    if stream_id in (IDLE, EVEN):
        return Verdict(frozenset({P}))
    if increment == 0:
        is_alive = stream_id in (OPEN, HALF_CLOSED)
        return Verdict(
            frozenset({P}) if stream_id == 0 else frozenset(), frozenset({P}), may_go_on=not is_alive and stream_id != 0
        )
    over = increment + 65_535 > 2**31 - 1
    if not over:
        return Verdict(may_go_on=True)
    is_alive = stream_id in (OPEN, HALF_CLOSED)
    return Verdict(
        frozenset({F}) if stream_id == 0 else frozenset(), frozenset({F}), may_go_on=stream_id != 0 and not is_alive
    )


def _judge_content(stream_id: int) -> Verdict:
    match stream_id:
        case 1:
            return Verdict(may_go_on=True)
        case 3:
            return Verdict(frozenset({C}), frozenset({C}))
        case 5 | 7:
            return Verdict(frozenset({C, P}), frozenset({C}), may_go_on=True)
        case _:
            return Verdict(frozenset({P}))


def _judge_head(stream_id: int) -> Verdict:
    """The block is seldom one at all."""
    match stream_id:
        case 1:
            return Verdict(frozenset({Z, P}), frozenset({P}), may_go_on=True)
        case 3 | 5 | 7:
            return Verdict(frozenset({Z, C, P}), frozenset({C, P}), may_go_on=True)
        case 101:
            return Verdict(frozenset({Z, P}), frozenset({P}), may_go_on=True)
        case _:
            return Verdict(frozenset({P, Z}))


def _size_fault(kind: int, flags: int, payload: bytes) -> bool:
    size = len(payload)
    if kind in EXACT:
        return size != EXACT[Kind(kind)]
    if kind == Kind.SETTINGS:
        return bool(size % 6) or bool(flags & ACK and size)
    if kind == Kind.PUSH_PROMISE:
        return size < 4
    return size < SHORTEST.get(Kind(kind), 0) or _is_padding_fault(kind, flags, payload)


def _is_padding_fault(kind: int, flags: int, payload: bytes) -> bool:
    if kind not in (Kind.DATA, Kind.HEADERS):
        return False
    fixed = 5 if kind == Kind.HEADERS and flags & PRIORITY else 0
    if not flags & PADDED:
        return len(payload) < fixed
    return not payload or payload[0] + 1 + fixed > len(payload)


def _place_fault(kind: int, stream_id: int) -> bool:
    is_of_connection = kind in (Kind.SETTINGS, Kind.PING, Kind.GOAWAY, Kind.PRIORITY_UPDATE)
    if kind == Kind.WINDOW_UPDATE:
        return False
    return (stream_id == 0) != is_of_connection


def prepared(serving: Serving) -> FrameClient:
    """A connection whose streams are in every state."""
    client = serving.connect()
    client.gives_windows = False
    client.start()
    client.send(
        frames.headers(OPEN, client.block(client.fields("/counted/walk", "POST")), END_HEADERS),
        frames.headers(HALF_CLOSED, client.block(client.fields("/held/walk"))),
        frames.headers(CLOSED, client.block(client.fields("/a"))),
        frames.headers(RESET, client.block(client.fields("/held/walk", "POST")), END_HEADERS),
        frames.rst_stream(RESET),
    )
    client.response(CLOSED)
    client.barrier()
    return client


def outcome(client: FrameClient, octets: bytes) -> tuple[int | None, dict[int, int]]:
    """Send, and see: the code of the connection's end, if it ended, and the resets."""
    client.send(octets)
    ended: int | None = None
    try:
        client.barrier()
    except Ended:
        pass
    else:
        return None, {at: known.reset for at, known in client.responses.items() if known.reset is not None}
    for said in client.goaways:
        ended = said.code
    assert ended is not None, "a connection that ends says why"
    return ended, {at: known.reset for at, known in client.responses.items() if known.reset is not None}


KINDS = st.one_of(st.sampled_from([*Kind]), st.integers(0, 255))
STREAMS = st.sampled_from([0, OPEN, HALF_CLOSED, CLOSED, RESET, IDLE, EVEN])
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 1, 3, 4, 5, 6, 7, 8, 9, 12]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "big")),
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 2, 16_383, 16_384, 2**24 - 1, 2**24, 2**31 - 1, 2**31])),
        max_size=4,
    ).map(lambda pairs: frames.settings(pairs)[9:]),
)
FLAGS = st.one_of(st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 0x20, 0x2D]), st.integers(0, 255))


def walk(serving: Serving, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    if kind in (Kind.HEADERS, Kind.PUSH_PROMISE):
        flags |= END_HEADERS
    verdict = judge(kind, flags, stream_id, payload)
    client = prepared(serving)
    ended, resets = outcome(client, frames.frame(kind, flags, stream_id, payload))
    said = f"{ended=} {resets=} {verdict=}"
    if ended is not None:
        assert ended in verdict.connection, said
    elif resets:
        assert set(resets) <= {stream_id}, said
        assert set(resets.values()) <= verdict.stream | ({Code.NO_ERROR} if verdict.may_go_on else set()), said
    else:
        assert verdict.may_go_on, said
    client.close()


@given(kind=KINDS, flags=FLAGS, stream_id=STREAMS, payload=PAYLOADS)
@example(kind=Kind.PRIORITY_UPDATE, flags=0, stream_id=0, payload=b"\0\0\0\0")
@example(kind=Kind.DATA, flags=PADDED, stream_id=OPEN, payload=b"\x01\0")
@QUICK
def test_a_frame_meets_the_right_error(serving: Serving, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    walk(serving, kind, flags, stream_id, payload)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@given(kind=KINDS, flags=FLAGS, stream_id=STREAMS, payload=PAYLOADS)
@LONG
def test_frames_meet_the_right_error(serving: Serving, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    walk(serving, kind, flags, stream_id, payload)


FRAMES = st.builds(
    lambda kind, flags, word, payload, length: frames.frame(kind, flags, word, payload, length=length),
    KINDS,
    FLAGS,
    st.one_of(STREAMS, st.integers(0, 2**32 - 1)),
    PAYLOADS,
    st.one_of(st.none(), st.none(), st.none(), st.integers(0, 2**24 - 1)),
)
STORIES = st.lists(st.one_of(FRAMES, FRAMES, FRAMES, st.binary(max_size=30)), min_size=1, max_size=12)


def tell(serving: Serving, story: list[bytes], *, is_begun: bool) -> None:
    """Send it all, and the end of it: the server ends the connection or waits for the rest of a frame."""
    client = prepared(serving) if is_begun else serving.connect()
    client.send(frames.rst_stream(HALF_CLOSED) if is_begun else frames.PREFACE, *story)
    client.end_sending()
    came = client.read_to_end()
    codes = [read.code for read in came if read.is_of(Kind.GOAWAY)]
    assert set(codes) <= {*map(int, Code)}
    client.close()


@given(story=STORIES, is_begun=st.booleans())
@QUICK
def test_any_octets_end_in_an_answer(serving: Serving, story: list[bytes], is_begun: bool) -> None:
    tell(serving, story, is_begun=is_begun)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@given(story=STORIES, is_begun=st.booleans())
@LONG
def test_many_octets_end_in_an_answer(serving: Serving, story: list[bytes], is_begun: bool) -> None:
    tell(serving, story, is_begun=is_begun)


@given(cuts=st.lists(st.integers(1, 400), max_size=40), transport=st.sampled_from(["plain", "tls"]))
@settings(QUICK, max_examples=25)
def test_any_cut_is_the_same_conversation(serving: Serving, cuts: list[int], transport: str) -> None:
    client = serving.connect(transport)
    client.gives_windows = False
    said = [frames.PREFACE, frames.settings()]
    for path in ("/a", "/16k", "/head", "/bytes/30000"):
        said.append(client.head(path)[1])
    upload, head = client.head("/echo", "POST", is_end=False)
    said += [head, frames.data(upload, frames.padded(b"one", 20), PADDED), frames.ping(), frames.data(upload, b"two")]
    octets = b"".join(said)
    at = 0
    for cut in cuts:
        client.send(octets[at : at + cut])
        at += cut
    client.send(octets[at:])
    assert client.response(upload).content.endswith(b" onetwo")
    assert client.response(1).content == b"hello"
    assert len(client.response(3).content) == 16_384
    assert client.response(5).status == 200
    assert len(client.response(7).content) == 30_000
    client.close()
