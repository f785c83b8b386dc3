"""Which fetches should have been one (DESIGN I6)."""

from __future__ import annotations

from tests.model.history import Exchange, History
from tests.model.plain_conditions import Objections
from tests.model.plain_message import has, without
from tests.model.plain_stored import SAFE, age, lifetime, obeyed, stored_from


def objections_to_collapse(history: History) -> Objections:
    """DESIGN I6: who may join a fetch that is under way does not begin another."""
    said: Objections = []
    plain_gets = [each for each in history.exchanges.values() if _may_be_joined(each, history)]
    for first in plain_gets:
        for second in plain_gets:
            is_meanwhile = first.asked.order < second.asked.order < first.answered.order
            if is_meanwhile and _sent(first) == _sent(second) and not _has_changed(first, second, history):
                said.append(f"{second.number} was asked for although {first.number} was under way")
    return said


def _may_be_joined(exchange: Exchange, history: History) -> bool:
    """Whether it was asked for a client that wanted nothing of its own."""
    visit = history.visits[exchange.visit]
    own = {name for name, _ in visit.lines} - {"x-visit", "x-kind", "accept-language", "cookie", "accept-encoding"}
    return exchange.method == visit.method == "GET" and not own


def _sent(exchange: Exchange) -> tuple[object, ...]:
    return (exchange.target, exchange.scheme, sorted(without(exchange.lines, {"x-visit"})))


def _has_changed(first: Exchange, second: Exchange, history: History) -> bool:
    """Whether something came between, or had shown before that what this address answers is not for all."""
    between = range(first.asked.order, second.asked.order)
    if any(purge.order in between for purge in history.purges):
        return True
    for each in history.exchanges.values():
        if each.answered.order > second.asked.order:
            continue
        if each.method not in SAFE and each.answered.order in between:
            return True
        if each.status is None:
            continue
        stored = stored_from(each, [])
        told = {name for name, _ in obeyed(each.answer)[0].given}
        is_plain = each.status == 200 and not told - {"max-age", "s-maxage", "public"} and not has(each.answer, "vary")
        is_for_all = is_plain and lifetime(stored) > age(stored, each.answered.at)
        if each.target.partition("?")[0] == first.target.partition("?")[0] and not is_for_all:
            return True
    return False
