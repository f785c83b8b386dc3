"""The way of a custom domain: every step, every fault, and what no order of events can bring about."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.sites import onboarding as module
from cdn.sites.onboarding import (
    DAY_S,
    FRESH_S,
    GIVE_UP_S,
    LAPSE_S,
    MIN_DENIALS,
    Asked,
    Due,
    Event,
    Looked,
    Onboarding,
    OrderFailed,
    Recorded,
    Rules,
    Stage,
    Wanted,
    advance,
    begin,
    fault_of,
    from_document,
    hindrance,
    released_at,
    stage_of,
    to_document,
    waits_for,
)

RULES = Rules()
NOW = 1_800_000_000.0
RIGHT = Looked(is_shown=True, leads_here=True, may_sign=True)
MISSING = Looked(is_shown=False, leads_here=True, may_sign=True, ownership_says="ns1 says: nothing.")


class Way:
    """A domain, and the clock."""

    def __init__(self, domain: str = "www.example.com", rules: Rules = RULES, *, has_token: bool = True) -> None:
        self.rules = rules
        self.now = NOW
        self.state = begin(domain, self.now, has_token=has_token)
        self.wanted = Wanted.NOTHING

    def on(self, event: Event, after_s: float = 0.0) -> Wanted:
        self.now += after_s
        self.state, self.wanted = advance(self.state, event, self.now, self.rules)
        return self.wanted

    @property
    def stage(self) -> Stage:
        return stage_of(self.state, self.rules)

    @property
    def fault(self) -> str | None:
        return fault_of(self.state, self.rules)

    @property
    def wait(self) -> str:
        return waits_for(self.state, self.rules)

    @property
    def next_s(self) -> float:
        assert self.state.next_try_at is not None
        return self.state.next_try_at - self.now

    def live(self) -> Way:
        self.on(RIGHT)
        self.on(Recorded(is_owned=True, has_certificate=True))
        assert self.stage is Stage.LIVE
        return self


def test_from_nothing_to_https() -> None:
    way = Way()
    assert (way.stage, way.wait) == (Stage.ADDED, "its name servers are asked for the TXT record")
    assert way.on(Due()) is Wanted.LOOK
    assert way.on(RIGHT) is Wanted.VERIFY
    assert way.wait == "its record is seen, and being written down"
    assert way.on(Recorded(is_owned=True, has_certificate=False)) is Wanted.ORDER
    assert (way.stage, way.wait) == (Stage.ISSUING, "its certificate is being got")
    assert way.on(Recorded(is_owned=True, has_certificate=True)) is Wanted.NOTHING
    assert (way.stage, way.fault, way.wait) == (Stage.LIVE, None, "")
    assert way.on(RIGHT, way.next_s) is Wanted.NOTHING
    assert way.next_s == DAY_S
    assert way.on(Due(), DAY_S) is Wanted.LOOK


def test_there_are_no_other_events() -> None:
    with pytest.raises(AssertionError):
        advance(begin("www.example.com", NOW), cast(Event, "now"), NOW, RULES)


def test_an_administrators_word_needs_no_token() -> None:
    way = Way(has_token=False)
    assert way.on(Looked(None, True, True)) is Wanted.VERIFY
    way.on(Recorded(is_owned=True, has_certificate=False))
    for _ in range(20):
        assert way.on(replace(MISSING, is_shown=False), 5 * DAY_S) is not Wanted.RELEASE
    assert released_at(way.state, RULES) is None


def test_looks_become_rarer_and_end_until_somebody_asks() -> None:
    way = Way()
    intervals = []
    while True:
        assert way.on(MISSING) is Wanted.NOTHING
        if way.state.next_try_at is None:
            break
        intervals.append(way.next_s)
        assert way.on(Due(), way.next_s) is Wanted.LOOK
    assert intervals == sorted(intervals)
    assert intervals[0] == 5.0
    assert way.now - NOW >= GIVE_UP_S
    assert len(intervals) < 600
    assert way.on(Due(), 400 * DAY_S) is Wanted.NOTHING
    assert way.on(Asked()) is Wanted.LOOK
    assert way.on(MISSING) is Wanted.NOTHING
    assert (way.next_s, way.fault, way.wait) == (5.0, "ns1 says: nothing.", "")


def test_jitter_spreads_looks() -> None:
    state = begin("www.example.com", NOW)
    late, _ = advance(state, MISSING, NOW, RULES, jitter=0.5)
    assert late.next_try_at == NOW + 5.25


def test_a_domain_that_leads_elsewhere_is_verified_and_waits() -> None:
    way = Way()
    astray = Looked(True, False, True, pointing_says="It leads to 192.0.2.7.")
    assert way.on(astray) is Wanted.VERIFY
    assert way.on(Recorded(True, False)) is Wanted.NOTHING
    assert (way.stage, way.fault) == (Stage.VERIFIED, "It leads to 192.0.2.7.")
    assert way.on(astray, 40 * DAY_S) is Wanted.NOTHING
    assert way.next_s == DAY_S  # what is ours is looked at for ever
    assert way.on(RIGHT, DAY_S) is Wanted.ORDER


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (Looked(True, True, False, caa_says="CAA: other.example."), "CAA: other.example."),
        (Looked(True, True, False), "A CAA record forbids our authority to sign for it."),
        (Looked(True, False, True), "It does not point here yet."),
        (Looked(True, None, True), "No name server could say where it points."),
        (Looked(True, None, None, pointing_says="No answer."), "No answer."),
    ],
)
def test_what_hinders_an_order(look: Looked, says: str) -> None:
    way = Way()
    way.on(look)
    assert way.on(Recorded(True, False)) is Wanted.NOTHING
    assert (way.stage, hindrance(way.state, RULES), way.fault) == (Stage.VERIFIED, says, says)


def test_what_nobody_could_say_stands_as_it_stood() -> None:
    way = Way()
    way.on(RIGHT)
    way.on(Recorded(True, False))
    assert way.on(Looked(None, None, None), 10.0) is Wanted.ORDER
    assert way.stage is Stage.ISSUING
    way = Way()
    assert way.on(Looked(None, None, None)) is Wanted.NOTHING
    way.on(RIGHT)
    assert way.on(Looked(None, True, True)) is Wanted.NOTHING, "what is not seen now verifies nothing"


def test_a_name_in_a_zone_of_ours_need_not_lead_here() -> None:
    way = Way()
    way.on(Looked(True, False, True, has_our_dns=True, pointing_says="It leads elsewhere."))
    assert way.on(Recorded(True, False)) is Wanted.ORDER
    assert way.fault is None


def test_a_wildcard_needs_our_dns() -> None:
    way = Way("*.example.com")
    assert way.state.is_wildcard
    way.on(RIGHT)
    assert way.on(Recorded(True, False)) is Wanted.NOTHING
    assert "no name servers of ours answer for example.com" in (way.fault or "")
    assert way.on(replace(RIGHT, has_our_dns=True), 60.0) is Wanted.ORDER


def test_an_authority_that_does_not_look() -> None:
    way = Way("*.example.com", Rules(is_validated=False))
    way.on(Looked(True, False, False))
    assert way.on(Recorded(True, False)) is Wanted.ORDER


def test_a_verified_domain_that_was_not_looked_at_is_looked_at_first() -> None:
    way = Way(has_token=False)
    assert way.on(Recorded(True, False)) is Wanted.LOOK
    assert (way.stage, way.fault) == (Stage.VERIFIED, None)
    assert way.wait == "its name servers are asked where it points"
    assert hindrance(way.state, RULES) == "It was not looked at yet."


def test_an_order_that_fails_is_tried_again_at_its_time() -> None:
    way = Way()
    way.on(RIGHT)
    way.on(Recorded(True, False))
    assert way.on(OrderFailed("rateLimited: too many", way.now + 600.0)) is Wanted.NOTHING
    assert (way.stage, way.fault, way.state.order_failures, way.next_s) == (
        Stage.ISSUING,
        "rateLimited: too many",
        1,
        600.0,
    )
    assert way.on(Asked(), 10.0) is Wanted.LOOK
    assert way.on(RIGHT) is Wanted.NOTHING, "nobody hurries an authority"
    assert way.next_s == 590.0, "and a look puts no order off"
    assert way.on(Due(), 590.0) is Wanted.LOOK
    assert way.on(RIGHT) is Wanted.ORDER
    way.on(OrderFailed("again", way.now - 5.0))
    assert (way.state.order_failures, way.next_s) == (2, 0.0)
    way.on(Recorded(True, True))
    assert (way.fault, way.state.order_failures, way.state.order_at) == (None, 0, None)


def test_an_order_is_tried_though_nobody_looks_by_itself_any_more() -> None:
    way = Way()
    way.on(OrderFailed("no", way.now + 50 * DAY_S))
    way.on(MISSING, GIVE_UP_S)
    assert way.state.next_try_at == way.state.order_at


def test_a_look_that_is_old_orders_nothing() -> None:
    way = Way()
    way.on(RIGHT)
    assert way.on(Recorded(True, False), FRESH_S + 1.0) is Wanted.LOOK
    assert way.on(RIGHT) is Wanted.ORDER
    state = replace(way.state, next_try_at=None)
    assert module.wanted(state, way.now + FRESH_S + 1.0, RULES) is Wanted.NOTHING


def test_renewal() -> None:
    way = Way().live()
    way.on(RIGHT, 60.0)
    assert way.on(Due(), 3600.0) is Wanted.NOTHING
    assert way.on(Recorded(True, True, is_renewal_due=True)) is Wanted.LOOK
    assert way.on(Looked(True, False, True, pointing_says="It leads elsewhere.")) is Wanted.NOTHING
    assert (way.stage, way.fault) == (Stage.LIVE, "It leads elsewhere.")
    assert way.on(RIGHT, 60.0) is Wanted.ORDER
    way.on(OrderFailed("The authority is away.", way.now + 60.0))
    assert (way.stage, way.fault) == (Stage.LIVE, "The authority is away.")
    way.on(Recorded(True, True, is_renewal_due=True))
    assert way.next_s == 60.0, "that it is still due is no news"
    assert way.on(Recorded(True, True)) is Wanted.NOTHING
    assert way.fault is None
    # The last one is over before another has come.
    assert way.on(Recorded(True, False), 3600.0) is Wanted.LOOK
    assert way.stage is Stage.ISSUING


def test_a_live_domain_that_leads_elsewhere_stays_live_and_says_so() -> None:
    way = Way().live()
    way.on(Looked(True, False, True, pointing_says="It leads elsewhere."), DAY_S)
    assert (way.stage, way.fault) == (Stage.LIVE, "It leads elsewhere.")
    way.on(Looked(True, None, True, pointing_says="Nobody answers."), DAY_S)
    assert way.fault == "Nobody answers."  # False stands, and this is what was said last
    way.on(RIGHT, DAY_S)
    assert way.fault is None


def test_a_domain_whose_token_is_gone_is_released_in_the_end() -> None:
    way = Way().live()
    way.on(MISSING, DAY_S)
    gone_at = way.now
    assert way.fault == "ns1 says: nothing. Unless it is there again, the domain is released on 2027-01-30."
    while way.now + DAY_S < gone_at + LAPSE_S:
        assert way.on(MISSING, DAY_S) is Wanted.NOTHING
    assert released_at(way.state, RULES) == gone_at + LAPSE_S
    assert way.on(MISSING, DAY_S) is Wanted.RELEASE


def test_the_token_coming_back_keeps_the_domain() -> None:
    way = Way().live()
    for _ in range(30):
        way.on(replace(MISSING, ownership_says=""), DAY_S)
        assert "no longer show its TXT record" in (way.fault or "")
        assert way.on(RIGHT, DAY_S) is not Wanted.RELEASE
        assert way.fault is None


def test_silence_is_held_against_nobody() -> None:
    way = Way().live()
    for _ in range(100):
        assert way.on(Looked(None, None, None), DAY_S) is Wanted.NOTHING
    assert released_at(way.state, RULES) is None
    way.on(MISSING, DAY_S)
    for _ in range(100):
        assert way.on(Looked(None, None, None), DAY_S) is Wanted.NOTHING, "a moment's denial is none for ever"
    assert [way.on(MISSING, DAY_S) for _ in range(2)] == [Wanted.NOTHING, Wanted.RELEASE]
    assert way.state.denials == MIN_DENIALS


def test_a_domain_is_released_only_by_a_denial() -> None:
    way = Way().live()
    for _ in range(MIN_DENIALS):
        assert way.on(MISSING, DAY_S) is Wanted.NOTHING
    assert way.on(Looked(None, True, True), LAPSE_S) is Wanted.NOTHING
    assert way.on(MISSING, DAY_S) is Wanted.RELEASE


def test_a_domain_in_a_verified_stage_can_lapse_too() -> None:
    way = Way()
    way.on(Looked(True, False, True))
    way.on(Recorded(True, False))
    for _ in range(14):
        assert way.on(replace(MISSING, leads_here=False), DAY_S) is Wanted.NOTHING
        assert "is released on" in (way.fault or "")
    assert way.on(replace(MISSING, leads_here=False), DAY_S) is Wanted.RELEASE


def test_documents() -> None:
    way = Way().live()
    way.on(MISSING, DAY_S)
    document = json.loads(json.dumps(to_document(way.state)))
    assert from_document(document) == way.state
    document["wished_at"] = int(NOW)  # as some writers of JSON have it
    assert from_document(document) == way.state


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"another": 1},
        {"domain": None},
        {"denials": 1.5},
        {"denials": True},
        {"is_shown": "yes"},
        {"next_try_at": "soon"},
    ],
)
def test_documents_of_another_form_are_none(change: dict[str, Any]) -> None:
    assert from_document({**to_document(begin("www.example.com", NOW)), **change}) is None


def test_an_empty_document_is_none() -> None:
    assert from_document({}) is None


WORDS = st.sampled_from([None, True, False])
LOOKS = st.builds(
    Looked, WORDS, WORDS, WORDS, st.booleans(), st.sampled_from(["", "a."]), st.sampled_from(["", "b."]), st.just("c.")
)
RECORDS = st.builds(Recorded, st.booleans(), st.booleans(), st.booleans())
FAILURES = st.builds(OrderFailed, st.just("no"), st.floats(NOW, NOW + 90 * DAY_S))
EVENTS = st.one_of(st.just(Due()), st.just(Asked()), LOOKS, RECORDS, FAILURES)
PASSING = st.floats(0.0, 20 * DAY_S)


@given(
    st.lists(st.tuples(EVENTS, PASSING), max_size=30),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["www.example.com", "*.example.com"]),
    st.floats(0.0, 0.999),
)
def test_whatever_happens(
    events: list[tuple[Event, float]], has_token: bool, is_validated: bool, domain: str, jitter: float
) -> None:
    rules, now = Rules(is_validated=is_validated), NOW
    state = begin(domain, now, has_token=has_token)
    last_look: Looked | None = None
    for event, passing in events:
        now += passing
        last_look = event if isinstance(event, Looked) else last_look
        state, wanted = advance(state, event, now, rules, jitter)
        again = from_document(json.loads(json.dumps(to_document(state))))
        assert again == state
        stage, fault = stage_of(state, rules), fault_of(state, rules)
        assert fault is None or waits_for(state, rules) == ""
        assert (stage is Stage.ADDED) == (not state.is_owned)
        _check(wanted, state, now, rules, last_look)


def _check(wanted: Wanted, state: Onboarding, now: float, rules: Rules, last: Looked | None) -> None:
    match wanted:
        case Wanted.VERIFY:
            assert not state.is_owned
            assert last is not None
            assert last.is_shown or not state.has_token
        case Wanted.RELEASE:
            assert state.is_owned
            assert state.has_token
            assert last is not None
            assert last.is_shown is False
            assert state.missing_since is not None
            assert now - state.missing_since >= rules.lapse_s
        case Wanted.ORDER:
            assert state.is_owned
            assert not state.has_certificate or state.is_renewal_due
            assert state.order_at is None or state.order_at <= now
            assert state.looked_at is not None
            assert now - state.looked_at <= FRESH_S
            assert not rules.is_validated or state.may_sign is not False
            assert not rules.is_validated or state.has_our_dns or (state.leads_here and not state.is_wildcard)
        case Wanted.LOOK:
            assert state.next_try_at is not None
            assert state.next_try_at <= now
        case Wanted.NOTHING:
            assert state.next_try_at is None or state.next_try_at > now
