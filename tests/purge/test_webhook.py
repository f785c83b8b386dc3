"""Messages of ours: their form, and when one is tried again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.purge.hook import Direction, InboundHook, Scheme, hook_from
from cdn.purge.hook_signature import Genuine, Message, judge
from cdn.purge.webhook import (
    BACKOFF_S,
    GIVE_UP_S,
    LONGEST_PAUSE_S,
    content_of,
    is_delivered,
    is_refusal,
    message_id,
    pause_s,
    signed_fields,
)


def test_a_message_has_the_form_of_standard_webhooks() -> None:
    content = content_of("deploy.live", 1_795_411_800.25, {"site": "blog", "alias": "production"})
    assert json.loads(content) == {
        "type": "deploy.live",
        "timestamp": "2026-11-23T05:30:00.250Z",
        "data": {"site": "blog", "alias": "production"},
    }


@given(
    secrets=st.lists(st.text(min_size=16, max_size=40), min_size=1, max_size=3, unique=True),
    content=st.binary(max_size=60),
    now=st.integers(1_000_000_000, 2_000_000_000),
)
def test_what_we_sign_is_what_we_would_believe_with_each_secret(secrets: list[str], content: bytes, now: int) -> None:
    fields = dict(signed_fields(secrets, "msg_1", now + 0.9, content))
    hook = hook_from(Direction.IN, {"scheme": "standard", "action": {"do": "purge", "everything": True}})
    assert isinstance(hook, InboundHook)
    assert hook.scheme is Scheme.STANDARD
    for secret in secrets:
        assert judge(hook, (secret,), Message(fields, content), now) == Genuine("msg_1", is_timed=True)


def test_ids_are_the_same_for_the_same_event_and_another_for_each_hook() -> None:
    assert message_id("a", "epoch", 7) == message_id("a", "epoch", 7)
    names = {message_id(hook, epoch, number) for hook in "ab" for epoch in "xy" for number in (1, 11)}
    assert len(names) == 8
    assert message_id("a", "b", "c") != message_id("a", "bc", "")


@pytest.mark.parametrize(
    ("status", "delivered", "refusal"),
    [
        (None, False, False),
        (200, True, False),
        (204, True, False),
        (299, True, False),
        (199, False, False),
        (301, False, True),
        (400, False, True),
        (404, False, True),
        (408, False, False),
        (409, False, False),
        (425, False, False),
        (429, False, False),
        (500, False, False),
        (503, False, False),
    ],
)
def test_what_an_answer_means(status: int | None, delivered: bool, refusal: bool) -> None:
    assert (is_delivered(status), is_refusal(status)) == (delivered, refusal)


@given(failures=st.integers(1, 100), asked_s=st.none() | st.floats(0, 1e9), spread=st.floats(0, 0.999))
def test_pauses_grow_and_are_bounded(failures: int, asked_s: float | None, spread: float) -> None:
    pause = pause_s(failures, asked_s, spread)
    assert BACKOFF_S[0] * 0.9 <= pause <= LONGEST_PAUSE_S * 1.1
    assert pause >= min(asked_s or 0.0, LONGEST_PAUSE_S)
    assert pause_s(failures + 1, None, spread) >= pause_s(failures, None, spread)


def test_a_day_has_some_thirty_tries() -> None:
    now, tries = 0.0, 0
    while now < GIVE_UP_S:
        tries += 1
        now += pause_s(tries, None, 0.5)
    assert 25 <= tries <= 40
