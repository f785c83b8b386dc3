"""How much one token may purge of a site in a minute."""

from __future__ import annotations

import contextlib

import pytest

from cdn.control.purge_rate import MAX_CALLERS, PurgeRate
from cdn.errors import TooLarge, TooMany
from cdn.purge.request import PurgeRequest
from tests.control.control_room import Clock, ControlMaker


def _urls(count: int) -> PurgeRequest:
    return PurgeRequest(urls=tuple(f"/{number}" for number in range(count)))


def test_a_minutes_worth_may_be_purged_at_once_and_then_as_much_as_time_brings() -> None:
    clock = Clock(100.0)
    rate = PurgeRate({"URLs": 60}, clock)
    rate.take("token:a", "s", _urls(60))
    with pytest.raises(TooMany) as refused:
        rate.take("token:a", "s", _urls(10))
    assert refused.value.retry_after_s == 10
    clock.now += 9.5
    with pytest.raises(TooMany):
        rate.take("token:a", "s", _urls(10))
    clock.now += 0.5
    rate.take("token:a", "s", _urls(10))
    clock.now += 3600
    rate.take("token:a", "s", _urls(60))
    with pytest.raises(TooMany):
        rate.take("token:a", "s", _urls(1))


def test_another_token_and_another_site_have_their_own() -> None:
    rate = PurgeRate({"URLs": 5}, Clock())
    rate.take("token:a", "s", _urls(5))
    rate.take("token:b", "s", _urls(5))
    rate.take("token:a", "t", _urls(5))
    for token, site in (("token:a", "s"), ("token:b", "s"), ("token:a", "t")):
        with pytest.raises(TooMany):
            rate.take(token, site, _urls(1))


def test_a_purge_that_is_refused_for_one_kind_uses_up_none_of_another() -> None:
    rate = PurgeRate({"URLs": 5, "whole sites": 1}, Clock())
    rate.take("token:a", "s", PurgeRequest(everything=True))
    for _ in range(3):
        with pytest.raises(TooMany):
            rate.take("token:a", "s", PurgeRequest(urls=("/1", "/2", "/3", "/4", "/5"), everything=True))
    rate.take("token:a", "s", _urls(5))


def test_what_no_minute_allows_is_too_large_rather_than_too_early() -> None:
    rate = PurgeRate({"prefixes": 2}, Clock())
    with pytest.raises(TooLarge):
        rate.take("token:a", "s", PurgeRequest(prefixes=("/a", "/b", "/c")))


def test_kinds_without_a_limit_are_not_counted() -> None:
    rate, taken = PurgeRate({"tags": 0, "URLs": 1}, Clock()), 0
    for _ in range(1000):
        with contextlib.suppress(TooMany):
            rate.take("token:a", "s", PurgeRequest(tags=("t",) * 1000))
            taken += 1
    assert taken == 1000
    rate.take("token:a", "s", _urls(1))
    with pytest.raises(TooMany):
        rate.take("token:a", "s", _urls(1))


def test_callers_beyond_the_bound_are_forgotten() -> None:
    rate = PurgeRate({"URLs": 1}, Clock())
    for number in range(MAX_CALLERS + 1):
        rate.take(f"token:{number}", "s", _urls(1))
    rate.take("token:0", "s", _urls(1))
    with pytest.raises(TooMany):
        rate.take(f"token:{MAX_CALLERS}", "s", _urls(1))


async def test_the_native_api_says_429_and_when_to_come_back(make_control: ControlMaker) -> None:
    control = await make_control(max_purged_urls_per_minute=2)
    await control.api.post("/v1/sites", {"name": "blog"})
    assert (await control.api.post("/v1/sites/blog/purges", {"urls": ["/a", "/b"]})).status == 200
    before = control.plane.state.position
    refused = await control.api.post("/v1/sites/blog/purges", {"urls": ["/c"]})
    assert (refused.status, refused.fields["Retry-After"]) == (429, "30")
    assert control.plane.state.position == before, "nothing was recorded"
    assert (await control.api.post("/v1/sites/blog/purges", {"tags": ["t"] * 500})).status == 200
    assert (await control.api.post("/v1/sites/blog/purges", {"urls": ["nonsense"]})).status == 400


async def test_what_is_refused_for_its_content_costs_nothing(make_control: ControlMaker) -> None:
    control = await make_control(max_purged_urls_per_minute=1)
    await control.api.post("/v1/sites", {"name": "blog"})
    for _ in range(3):
        assert (await control.api.post("/v1/sites/blog/purges", {"urls": ["nonsense"]})).status == 400
    assert (await control.api.post("/v1/sites/blog/purges", {"urls": ["/a"]})).status == 200


@pytest.mark.parametrize("prefix", ["/", "/*", "http://blog.cdn.localhost/"])
async def test_a_whole_site_is_one_by_whatever_name(make_control: ControlMaker, prefix: str) -> None:
    control = await make_control(max_purges_of_everything_per_minute=1)
    await control.api.post("/v1/sites", {"name": "blog"})
    statuses = [
        (await control.api.post("/v1/sites/blog/purges", wanted)).status
        for wanted in ({"prefixes": [prefix]}, {"prefixes": [prefix]}, {"everything": True}, {"prefixes": ["/a"]})
    ]
    assert statuses == [200, 429, 429, 200]
