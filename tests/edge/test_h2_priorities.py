"""Whose content leaves first (RFC 9218)."""

from __future__ import annotations

import pytest

from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_priorities import Priority, Turns, read_priority
from cdn.edge.h2_sender import DIRECT_BYTES, MAX_DIRECT_BYTES
from cdn.edge.h2_streams import Stream, StreamState
from tests.edge import h2_engine_stage as client
from tests.edge.h2_engine_stage import FIELDS, OK, Stage, data_ids

FRAME = 16_384
LARGE = bytes(3 * FRAME)


def wide() -> Stage:
    """A client whose windows never end."""
    stage = Stage(H2Limits(max_control_frames=10**6), client_settings={0x4: 2**30})
    stage.send(client.window_update(0, 2**30))
    return stage


def ask(stage: Stage, priorities: dict[int, str]) -> None:
    for stream_id, value in priorities.items():
        stage.send(client.headers(stream_id, fields=(*FIELDS, ("priority", value)) if value else FIELDS))


def order(priorities: dict[int, str], content: bytes = LARGE) -> list[int]:
    """Streams in the order in which their frames leave when all is ready at once."""
    stage = wide()
    ask(stage, priorities)
    for stream_id in priorities:
        stage.engine.respond(stream_id, OK, content)
    return data_ids(stage.frames())


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("", Priority(3, False)),
        ("u=0", Priority(0, False)),
        ("u=7, i", Priority(7, True)),
        ("i", Priority(3, True)),
        ("i=?0", Priority(3, False)),
        ("u=1,i=?1;x=2, other=9", Priority(1, True)),
        ("u=8", Priority(3, False)),
        ("u=-1, i", Priority(3, True)),
        ("u=1.0", Priority(3, False)),
        ("u=?1", Priority(3, False)),
        ("i=1, u=2", Priority(2, False)),
        ("u=1, u=5", Priority(5, False)),
        ("u=0, i=", Priority(3, False)),
        ("u=(1 2)", Priority(3, False)),
        ("U=1", Priority(3, False)),
        ("u=0" + " " * 100, Priority(0, False)),
        ("u=0" + " " * 200, Priority(3, False)),
        ("u=0, " + "a, " * 10_000 + "i", Priority(3, False)),
    ],
)
def test_what_a_priority_says(text: str, priority: Priority) -> None:
    assert read_priority(text) == priority


def test_what_is_more_urgent_leaves_first() -> None:
    assert order({1: "u=5", 3: "", 5: "u=0", 7: "u=7", 9: "u=2"}) == [5] * 3 + [9] * 3 + [3] * 3 + [1] * 3 + [7] * 3


def test_equals_leave_one_after_the_other() -> None:
    assert order({1: "", 3: "", 5: ""}) == [1] * 3 + [3] * 3 + [5] * 3


def test_equals_leave_in_the_order_in_which_they_were_asked_for() -> None:
    stage = wide()
    ask(stage, {1: "", 3: "", 5: ""})
    for stream_id in (5, 1, 3):
        stage.engine.respond(stream_id, OK, LARGE)
    assert data_ids(stage.frames()) == [1] * 3 + [3] * 3 + [5] * 3


def test_incremental_answers_take_turns() -> None:
    assert order({1: "i", 3: "i", 5: "i"}) == [1, 3, 5] * 3


def test_neither_kind_starves_the_other() -> None:
    assert order({1: "", 3: "i", 5: "i", 7: ""}) == [1, 3, 1, 5, 1, 3, 7, 5, 7, 3, 7, 5]


def test_small_answers_do_not_wait_for_a_large_one() -> None:
    """What was asked for later and is more urgent leaves as soon as the transport takes more."""
    stage = wide()
    ask(stage, {1: "u=5"})
    stage.engine.respond(1, OK, bytes(10 * FRAME))
    assert data_ids(stage.frames(2 * FRAME)) == [1, 1]
    ask(stage, {3: "u=1"})
    stage.engine.respond(3, OK, b"x" * 100)
    assert data_ids(stage.frames(2 * FRAME))[0] == 3


def test_the_client_thinks_better_of_it() -> None:
    stage = wide()
    ask(stage, {1: "", 3: "", 5: ""})
    for stream_id in (1, 3, 5):
        stage.engine.respond(stream_id, OK, LARGE)
    assert data_ids(stage.frames(FRAME)) == [1]
    stage.send(client.priority_update(5, b"u=1"), client.priority_update(1, b"u=6"))
    assert data_ids(stage.frames()) == [5] * 3 + [3] * 3 + [1] * 2


def test_a_priority_that_comes_before_its_request() -> None:
    stage = wide()
    stage.send(client.priority_update(3, b"u=0"), client.priority_update(3, b"u=1"))
    ask(stage, {1: "", 3: "u=7"})
    stage.send(client.priority_update(1, b"u=2"))
    for stream_id in (1, 3):
        stage.engine.respond(stream_id, OK, LARGE)
    assert data_ids(stage.frames()) == [3] * 3 + [1] * 3, "and it counts more than the field"


def test_a_priority_of_an_answered_stream_means_nothing() -> None:
    stage = wide()
    ask(stage, {1: ""})
    stage.engine.respond(1, OK, b"x")
    stage.frames()
    assert stage.send(client.priority_update(1, b"u=0")) == []
    assert stage.engine.is_idle


def test_a_stream_without_window_gives_its_turn_away() -> None:
    stage = Stage(client_settings={0x4: FRAME})
    ask(stage, {1: "u=0", 3: "u=6"})
    stage.engine.respond(1, OK, LARGE)
    stage.engine.respond(3, OK, b"x" * 10)
    assert data_ids(stage.frames()) == [1, 3]


def test_small_answers_leave_in_the_order_of_requests_while_they_leave_at_once() -> None:
    stage = wide()
    ask(stage, dict.fromkeys(range(1, 101, 2), "u=1") | dict.fromkeys(range(101, 151, 2), "u=6"))
    for stream_id in range(1, 151, 2):
        stage.engine.respond(stream_id, OK, b"x" * 8000)
    frames = stage.frames()
    assert data_ids(frames) == list(range(1, 151, 2))


def test_much_that_is_ready_is_sorted() -> None:
    """The first of them are in the order of requests, whatever they are; of the rest the urgent ones go first."""
    stage = wide()
    ids = list(range(1, 81, 2))
    ask(stage, {stream_id: "u=6" if stream_id < 41 else "u=1" for stream_id in ids})
    for stream_id in ids:
        stage.engine.respond(stream_id, OK, bytes(FRAME))
    sent = data_ids(stage.frames())
    direct = MAX_DIRECT_BYTES // FRAME
    assert sent[:direct] == ids[:direct]
    assert sent[direct:] == [*ids[20:], *ids[direct:20]]
    mixed = order({stream_id: "u=6" if stream_id % 4 == 1 else "u=1" for stream_id in ids}, bytes(FRAME))
    first = DIRECT_BYTES // FRAME + 1
    assert mixed[:first] == ids[:first]
    assert [stream_id % 4 for stream_id in mixed[first + 1 :]] == sorted(
        (stream_id % 4 for stream_id in mixed[first + 1 :]), reverse=True
    )


def test_turns_keep_count() -> None:
    turns = Turns()
    streams = [
        Stream(at, StreamState.OPEN, [("priority", value)], 1) for at, value in ((5, "u=1"), (3, "u=1, i"), (1, ""))
    ]
    for stream in streams * 2:
        turns.add(stream)
    turns.remove(streams[0])
    turns.remove(streams[0])
    turns.change(streams[0], Priority(0, True))
    turns.change(streams[2], Priority(0, True))
    assert [turns.take(), turns.take(), turns.take()] == [streams[2], streams[1], None]
    assert not turns
