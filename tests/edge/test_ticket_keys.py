"""Keys of session tickets: how long each lives, and that nothing shows them."""

from __future__ import annotations

import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.kept_tickets import KeptTickets, found_in
from cdn.edge.ticket_keys import MAX_KEPT_BYTES, TICKET_KEY_BYTES, TicketKeyRota, TicketKeys

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def numbered() -> TicketKeyRota:
    numbers = itertools.count(1)
    return TicketKeyRota(0.0, lambda size: next(numbers).to_bytes(size, "big"))


def test_a_key_encrypts_for_half_a_day_and_is_read_for_two_hours_more() -> None:
    rota = numbered()
    first = rota.keys(0.0)
    assert rota.keys(12 * HOUR_S - 1) is first
    second = rota.keys(12 * HOUR_S)
    assert second.previous == first.current != second.current
    assert rota.keys(14 * HOUR_S - 1) is second
    assert rota.keys(14 * HOUR_S) == TicketKeys(second.current)


def test_after_a_long_sleep_nothing_old_is_read() -> None:
    rota = numbered()
    first = rota.keys(0.0)
    later = rota.keys(100 * HOUR_S)
    assert later.previous is None
    assert later.current != first.current


@given(st.lists(st.floats(1.0, 2 * DAY_S), max_size=60))
def test_no_key_lives_longer_than_a_day(steps: list[float]) -> None:
    rota, now = numbered(), 0.0
    seen: dict[bytes, float] = {}
    for step in [0.0, *steps]:
        for at in (now + step * part / 4 for part in range(1, 5)):
            keys = rota.keys(at)
            for key in (keys.current, keys.previous):
                if key is not None:
                    assert at - seen.setdefault(key, at) <= DAY_S
        now += step


def test_keys_are_whole_and_are_not_shown() -> None:
    with pytest.raises(ValueError, match="80 octets"):
        TicketKeys(b"short")
    with pytest.raises(ValueError, match="80 octets"):
        TicketKeys(bytes(TICKET_KEY_BYTES), b"")
    assert "secret" not in repr(TicketKeys(b"secret".ljust(TICKET_KEY_BYTES)))


@given(st.floats(0.0, 20 * HOUR_S), st.floats(0.0, 20 * HOUR_S))
def test_the_next_process_goes_on_as_this_one_would(ended_at: float, rest_s: float) -> None:
    rota = numbered()
    rota.keys(ended_at)
    following = TicketKeyRota(ended_at, bytes)
    following.resume(rota.kept(), ended_at)
    assert following.keys(ended_at) == rota.keys(ended_at)
    at = ended_at + rest_s
    goes_on, went_on = following.keys(at), rota.keys(at)
    assert (goes_on.previous, goes_on.current == bytes(TICKET_KEY_BYTES)) == (
        went_on.previous,
        went_on.current != rota_current(ended_at),
    )


def rota_current(at: float) -> bytes:
    return numbered().keys(at).current


@pytest.mark.parametrize(
    "kept",
    [b"", b"cdn-tickets-1", numbered().kept()[:-1], b"x" + numbered().kept(), numbered().kept() + bytes(1)],
)
def test_what_is_no_key_is_left(kept: bytes) -> None:
    rota = numbered()
    before = rota.keys(1.0)
    rota.resume(kept, 1.0)
    assert rota.keys(1.0) is before


@pytest.mark.parametrize("now", [-1.0, 14 * HOUR_S, 1000 * HOUR_S])
def test_keys_of_another_time_are_left(now: float) -> None:
    rota = TicketKeyRota(now, bytes)
    rota.resume(numbered().kept(), now)
    assert rota.keys(now).current == bytes(TICKET_KEY_BYTES)


def test_what_is_kept_waits_in_a_socket() -> None:
    kept = KeptTickets()
    assert found_in((kept.socket,)) is None
    for text in (b"first", b"second"):
        kept.put(text)
    held = kept.socket.dup()
    kept.close()
    kept.close()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert found_in((listening,)) is None
        assert [found_in((listening, held)) for _ in range(2)] == [b"second", b"second"]
    held.close()


def test_the_longest_that_is_kept_fits() -> None:
    rota = numbered()
    rota.keys(12 * HOUR_S)
    assert len(rota.kept()) <= MAX_KEPT_BYTES
