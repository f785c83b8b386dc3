"""Keys of session tickets: how long each lives, and that nothing shows them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.ticket_keys import TICKET_KEY_BYTES, TicketKeyRota, TicketKeys

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
