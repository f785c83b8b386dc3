"""The way of a custom domain from nothing to HTTPS, as a pure state machine.

What records say (whose the domain is, whether there is a certificate), what looks at DNS showed and how orders ended
come in as events; what is to be done next comes out. Nothing here looks, orders or keeps time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, assert_never, get_type_hints

DAY_S = 86_400.0

LAPSE_S = 14 * DAY_S
"""How long a domain that was verified is kept although its servers no longer show the token: long enough for a zone
that was moved carelessly, and short beside the year for which a domain is sold."""

MIN_DENIALS = 3
"""Looks in a row that found the token missing before a domain is released: one of them may have been a moment's."""

GIVE_UP_S = 30 * DAY_S
"""How long a domain that nobody verifies is looked at by itself; after that somebody has to ask."""

LOOK_INTERVALS: tuple[tuple[float, float], ...] = (
    (60.0, 5.0),
    (600.0, 15.0),
    (3_600.0, 60.0),
    (DAY_S, 600.0),
    (7 * DAY_S, 3_600.0),
    (GIVE_UP_S, 21_600.0),
)
"""Up to which age of the wish, and how long between two looks: whoever has just set a record wants to see it seen."""

FRESH_S = 60.0
"""What was seen is gone by for as long as this; later it is looked again before something is ordered."""

VERSION = 1
"""Of the document form."""


class Stage(Enum):
    """How far a domain has come. A fault (with its reason and the next try) may stand at any of them."""

    ADDED = "added"  # somebody wants it; whether it is theirs is not known
    VERIFIED = "verified"  # it is theirs, and answered over HTTP; where it points is not as it should be, or not known
    ISSUING = "issuing"  # it points here, or its DNS is ours: a certificate is being got
    LIVE = "live"  # HTTPS works


class Wanted(Enum):
    """What is to be done now."""

    NOTHING = "nothing"  # until `next_try_at`
    LOOK = "look"  # ask name servers
    VERIFY = "verify"  # record that the domain is the site's
    ORDER = "order"  # get a certificate
    RELEASE = "release"  # record that it is the site's no more


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every domain. `is_validated`: the authority looks itself whether the domain leads here (one of our
    own does not). `look_again_s`: between looks at a domain with which nothing is wrong."""

    lapse_s: float = LAPSE_S
    look_again_s: float = DAY_S
    is_validated: bool = True


@dataclass(frozen=True, slots=True)
class Due:
    """Time has gone by; nothing else has happened."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody wants it looked at now, and tried."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the records say now. `has_certificate`: there is one that is good; `is_renewal_due`: and it is time for the
    next."""

    is_owned: bool
    has_certificate: bool
    is_renewal_due: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look at DNS showed. None: nobody who decides could be asked, so it stands as it stood.

    `is_shown`: the domain's own servers show the token. `leads_here`: visitors of the name come here. `may_sign`: no
    CAA record forbids our authorities (RFC 8659). `has_our_dns`: name servers of ours answer for its zone, so dns-01
    can be answered. The rest are sentences for whoever waits, of what was found where it should be otherwise.
    """

    is_shown: bool | None
    leads_here: bool | None
    may_sign: bool | None
    has_our_dns: bool = False
    ownership_says: str = ""
    pointing_says: str = ""
    caa_says: str = ""


@dataclass(frozen=True, slots=True)
class OrderFailed:
    """The authority, or the way to it, said no. `retry_at` is wall time: no try is made before, whoever asks."""

    says: str
    retry_at: float


Event = Due | Asked | Recorded | Looked | OrderFailed


@dataclass(frozen=True, slots=True)
class Onboarding:
    """All that is known of a domain's way. Times are wall time in seconds.

    `has_token`: it is the site's by a token in DNS, and only as long as this is shown; an administrator's word needs
    none. `wished_at` is when somebody last asked for it, `missing_since` and `denials` when and how often in a row its
    servers did not show the token. `next_try_at` None: nothing is tried by itself.
    """

    domain: str
    has_token: bool
    wished_at: float
    next_try_at: float | None
    is_owned: bool = False
    has_certificate: bool = False
    is_renewal_due: bool = False
    looked_at: float | None = None
    is_shown: bool | None = None
    leads_here: bool | None = None
    may_sign: bool | None = None
    has_our_dns: bool = False
    ownership_says: str = ""
    pointing_says: str = ""
    caa_says: str = ""
    missing_since: float | None = None
    denials: int = 0
    order_says: str = ""
    order_failures: int = 0
    order_at: float | None = None

    @property
    def is_wildcard(self) -> bool:
        return self.domain.startswith("*.")


def begin(domain: str, now: float, *, has_token: bool = True) -> Onboarding:
    """A domain that somebody wants; it is looked at at once."""
    return Onboarding(domain, has_token, wished_at=now, next_try_at=now)


def advance(
    state: Onboarding, event: Event, now: float, rules: Rules, jitter: float = 0.0
) -> tuple[Onboarding, Wanted]:
    """What is known after an event, and what is to be done. `jitter` in [0, 1) spreads looks by up to a tenth."""
    match event:
        case Due():
            pass
        case Asked():
            state = replace(state, wished_at=now, next_try_at=now)
        case Recorded():
            state = _with_records(state, event, now)
        case Looked():
            state = _with_look(state, event, now)
            state = replace(state, next_try_at=_next_look_at(state, now, rules, jitter))
        case OrderFailed():
            state = replace(
                state, order_says=event.says, order_failures=state.order_failures + 1, order_at=event.retry_at
            )
            state = replace(state, next_try_at=max(now, event.retry_at))
        case _:
            assert_never(event)
    return state, wanted(state, now, rules)


def stage_of(state: Onboarding, rules: Rules) -> Stage:
    """How far it is."""
    if not state.is_owned:
        return Stage.ADDED
    if state.has_certificate:
        return Stage.LIVE
    return Stage.ISSUING if hindrance(state, rules) is None else Stage.VERIFIED


def wanted(state: Onboarding, now: float, rules: Rules) -> Wanted:
    """What is to be done at `now`: a look where one is due, else what follows from the last if it is fresh."""
    if state.next_try_at is not None and now >= state.next_try_at:
        return Wanted.LOOK
    if state.looked_at is None or now - state.looked_at > FRESH_S:
        return Wanted.NOTHING
    if not state.is_owned:
        return Wanted.VERIFY if state.is_shown or not state.has_token else Wanted.NOTHING
    if _has_lapsed(state, now, rules):
        return Wanted.RELEASE
    is_needed = state.is_renewal_due or not state.has_certificate
    is_time = state.order_at is None or now >= state.order_at
    return Wanted.ORDER if is_needed and is_time and hindrance(state, rules) is None else Wanted.NOTHING


def hindrance(state: Onboarding, rules: Rules) -> str | None:
    """Why no certificate can be ordered for a domain of ours, as far as was seen; None: nothing stands in the way."""
    if state.looked_at is None:
        return "It was not looked at yet."
    if not rules.is_validated:
        return None
    if state.may_sign is False:
        return state.caa_says or "A CAA record forbids our authority to sign for it."
    if state.is_wildcard and not state.has_our_dns:
        return (
            "An authority validates a wildcard by DNS alone, and no name servers of ours answer for "
            f"{state.domain[2:]}: import its zone (cdn zone import FILE) and delegate it, or bring a certificate "
            "(cdn domain certificate set)."
        )
    if state.has_our_dns or state.leads_here:
        return None
    if state.pointing_says:
        return state.pointing_says
    return "No name server could say where it points." if state.leads_here is None else "It does not point here yet."


def fault_of(state: Onboarding, rules: Rules) -> str | None:
    """Why it goes no further, in a sentence; None: nothing is wrong."""
    stage = stage_of(state, rules)
    if stage is Stage.ADDED:
        return state.ownership_says or None
    if stage is Stage.VERIFIED:
        return _lapsing(state, rules) or (None if state.looked_at is None else hindrance(state, rules))
    astray = state.pointing_says if state.leads_here is False and not state.has_our_dns else ""
    held_up = hindrance(state, rules) if state.is_renewal_due else None
    return state.order_says or held_up or _lapsing(state, rules) or astray or None


def waits_for(state: Onboarding, rules: Rules) -> str:
    """What is under way, where nothing is wrong; "": nothing is."""
    if fault_of(state, rules) is not None:
        return ""
    if not state.is_owned and state.is_shown:
        return "its record is seen, and being written down"
    return _WAITS_FOR[stage_of(state, rules)]


_WAITS_FOR = {
    Stage.ADDED: "its name servers are asked for the TXT record",
    Stage.VERIFIED: "its name servers are asked where it points",
    Stage.ISSUING: "its certificate is being got",
    Stage.LIVE: "",
}


def released_at(state: Onboarding, rules: Rules) -> float | None:
    """When the domain is the site's no more unless its servers show the token again; None: they do, or need not."""
    if not state.is_owned or not state.has_token or state.missing_since is None:
        return None
    return state.missing_since + rules.lapse_s


def to_document(state: Onboarding) -> dict[str, Any]:
    """As JSON builtins."""
    return {"version": VERSION, **asdict(state)}


def from_document(document: Mapping[str, Any]) -> Onboarding | None:
    """What `to_document` gave; None for what is damaged or of a newer form: a look makes it anew."""
    if document.get("version") != VERSION or document.keys() != _KINDS.keys() | {"version"}:
        return None
    if not all(type(document[name]) in kinds for name, kinds in _KINDS.items()):
        return None
    return Onboarding(**{name: document[name] for name in _KINDS})


def _kinds() -> dict[str, tuple[type, ...]]:
    """Which types each field may have in JSON: a whole number may stand for a time."""
    hints = get_type_hints(Onboarding)
    kinds: dict[str, tuple[type, ...]] = {}
    for each in fields(Onboarding):
        of = getattr(hints[each.name], "__args__", (hints[each.name],))
        kinds[each.name] = (*of, int) if float in of else of
    return kinds


_KINDS = _kinds()


def _with_records(state: Onboarding, event: Recorded, now: float) -> Onboarding:
    is_begun = event.is_renewal_due and not state.is_renewal_due
    is_gone = state.has_certificate and not event.has_certificate
    state = replace(
        state,
        is_owned=event.is_owned,
        has_certificate=event.has_certificate,
        is_renewal_due=event.is_renewal_due,
        next_try_at=now if is_begun or is_gone else state.next_try_at,  # a look goes before every order
    )
    if event.has_certificate and not event.is_renewal_due:
        state = replace(state, order_says="", order_failures=0, order_at=None)
    return state


def _with_look(state: Onboarding, look: Looked, now: float) -> Onboarding:
    missing_since, denials = state.missing_since, state.denials
    if look.is_shown:
        missing_since, denials = None, 0
    elif look.is_shown is False:
        missing_since, denials = now if missing_since is None else missing_since, denials + 1
    return replace(
        state,
        looked_at=now,
        is_shown=look.is_shown,  # as of this look: what is not seen now verifies nothing
        leads_here=state.leads_here if look.leads_here is None else look.leads_here,
        may_sign=state.may_sign if look.may_sign is None else look.may_sign,
        has_our_dns=look.has_our_dns,
        ownership_says="" if look.is_shown else look.ownership_says,
        pointing_says="" if look.leads_here else look.pointing_says,
        caa_says="" if look.may_sign else look.caa_says,
        missing_since=missing_since,
        denials=denials,
    )


def _next_look_at(state: Onboarding, now: float, rules: Rules, jitter: float) -> float | None:
    look_at = _look_at(state, now, rules, jitter)
    if state.order_at is None or state.order_at <= now:
        return look_at
    return state.order_at if look_at is None else min(look_at, state.order_at)  # a look puts no order off


def _look_at(state: Onboarding, now: float, rules: Rules, jitter: float) -> float | None:
    spread = 1.0 + jitter / 10.0
    if stage_of(state, rules) in {Stage.ISSUING, Stage.LIVE}:
        return now + rules.look_again_s * spread
    age_s = now - state.wished_at
    for up_to_s, interval_s in LOOK_INTERVALS:
        if age_s < up_to_s:
            return now + interval_s * spread
    return now + rules.look_again_s * spread if state.is_owned else None


def _has_lapsed(state: Onboarding, now: float, rules: Rules) -> bool:
    at = released_at(state, rules)
    # The last look has to be a denial too: what nobody could be asked about is not held against a domain.
    return at is not None and now >= at and state.denials >= MIN_DENIALS and state.is_shown is False


def _lapsing(state: Onboarding, rules: Rules) -> str:
    at = released_at(state, rules)
    if at is None:
        return ""
    day = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    found = state.ownership_says or "Its name servers no longer show its TXT record."
    return f"{found} Unless it is there again, the domain is released on {day}."
