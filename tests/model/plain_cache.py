"""What a shared cache must not do, said as plainly as RFC 9111 says it: an independent reading, slow and obvious.

`objections` is told everything that happened and looks at one response to a client. Every octet and every field of it
can be traced to the upstream's answers it was made of. It says why the response was forbidden; nothing: it was allowed.
Where the RFC leaves the choice (MAY, SHOULD), both ways are allowed. It knows nothing of how the cache works.

Beside RFC 9111: RFC 9110 (conditions, ranges), RFC 5861 (stale-while-revalidate, stale-if-error), RFC 9213 (targeted
fields), RFC 9875 (groups), No-Vary-Search, and the product's own promise about purges (DESIGN I1).
"""

from __future__ import annotations

from tests.model.history import Exchange, History, Visit, owners
from tests.model.plain_conditions import Objections, Shown, objections_to_form
from tests.model.plain_message import (
    Directives,
    Lines,
    combined,
    date,
    directives,
    first_date,
    has,
    is_strongly_equal,
    is_weakly_equal,
    members,
    seconds,
    structured_strings,
    tag,
    tags,
    values,
)
from tests.model.plain_stored import (
    ABOUT_ONE_REQUEST,
    ERRORS,
    HEURISTIC,
    NOT_UNDERSTOOD,
    SAFE,
    STALE_IF_ERROR_S,
    Stored,
    age,
    covers,
    does_vary_allow,
    is_same_target,
    lifetime,
    obeyed,
    stored_from,
    withheld,
)


class PlainCache:
    """Judges one history."""

    def __init__(self, history: History) -> None:
        self.history = history

    def objections(self, visit: Visit) -> Objections:
        """Why this response to a client was forbidden."""
        exchanges = self.history.exchanges
        unknown = [number for number in visit.seen if number not in exchanges]
        if unknown:
            return [f"made of {unknown}, which nobody sent"]
        if not visit.seen:
            return self._objections_to_own_words(visit)
        number = visit.content_of
        if number is None:
            return self._objections_to_bare(visit)
        updates = sorted((exchanges[each] for each in visit.seen - {number}), key=lambda each: each.answered.order)
        stored = stored_from(exchanges[number], updates)
        if stored.origin.visit == visit.number:
            return self._objections_to_forwarded(visit, stored)
        return [
            *self._objections_to_storing(visit, stored),
            *self._objections_to_updates(stored),
            *self._objections_to_using(visit, stored),
            *objections_to_form(visit, self._shown(visit, stored)),
        ]

    # What the cache says itself

    def _objections_to_own_words(self, visit: Visit) -> Objections:
        asked = directives(combined(visit.lines, "cache-control"))
        if visit.status == 504 and "only-if-cached" in asked:
            return []
        if visit.status in {502, 503, 504} and self._has_failed(visit):
            return []
        return [f"a {visit.status} that nobody sent, though the upstream did not fail"]

    def _has_failed(self, visit: Visit) -> bool:
        """Whether the upstream failed while the client waited."""
        return any(
            visit.began.order < each.answered.order < visit.headed.order
            and each.target == visit.target
            and (each.status is None or each.status in ERRORS or not each.is_whole)
            for each in self.history.exchanges.values()
        )

    # What it passes on

    def _objections_to_bare(self, visit: Visit) -> Objections:
        """A 304, or an answer to HEAD, as the upstream gave it: to the one who asked."""
        if len(visit.seen) != 1:
            return [f"made of the heads of {sorted(visit.seen)} and of no content"]
        exchange = self.history.exchanges[next(iter(visit.seen))]
        said: Objections = []
        if exchange.visit != visit.number or exchange.method != visit.method:
            said.append(f"the bare head of {exchange.number} was for somebody else")
        if exchange.status != visit.status:
            said.append(f"{exchange.number} was a {exchange.status}, passed on as {visit.status}")
        if visit.status == 304 and not _same_conditions(exchange.lines, visit.lines):
            said.append("a 304 to conditions that the client did not send")
        return said

    def _objections_to_forwarded(self, visit: Visit, stored: Stored) -> Objections:
        exchange, said = stored.origin, []
        if (exchange.method, exchange.target, exchange.scheme) != (visit.method, visit.target, visit.scheme):
            said.append(f"{exchange.number} was asked for something else")
        if "only-if-cached" in directives(combined(visit.lines, "cache-control")) and visit.method in {"GET", "HEAD"}:
            said.append("only-if-cached went upstream (section 5.2.1.7)")
        told = members(combined(exchange.answer, "age") or "")
        shown_age = members(combined(visit.answer, "age") or "")
        if (
            told
            and seconds(told[0]) is not None
            and (not shown_age or (seconds(shown_age[0]) or 0) < (seconds(told[0]) or 0))
        ):
            said.append(f"Age {told[0]} of {exchange.number} was passed on as {shown_age}")
        if visit.is_whole and not exchange.is_whole and visit.method != "HEAD" and visit.status == exchange.status:
            said.append(f"{exchange.number} broke off, and was passed on as whole")
        whole = Stored(exchange, stored.updates, exchange.answer) if not stored.updates else stored
        return [*said, *self._objections_to_updates(stored), *objections_to_form(visit, self._shown(visit, whole))]

    # Storing (section 3)

    def _objections_to_storing(self, visit: Visit, stored: Stored) -> Objections:
        origin, said = stored.origin, []
        status = origin.status or 0
        asked = directives(combined(origin.lines, "cache-control"))
        told, is_targeted = obeyed(origin.answer)
        now_told, _ = obeyed(stored.lines)
        if not origin.is_whole and visit.is_whole:
            said.append(f"{origin.number} is incomplete")
        if origin.method not in {"GET", "POST"}:
            said.append(f"answers to {origin.method} are not for others")
        if origin.method == "POST":
            is_explicit = "s-maxage" in told or "max-age" in told or (not is_targeted and has(origin.answer, "expires"))
            if status != 200 or not is_explicit or combined(origin.answer, "content-location") != origin.target:
                said.append("this POST does not answer GET (RFC 9110 section 9.3.3)")
        if "no-store" in asked:
            said.append("its request said no-store")
        is_understood = "must-understand" in told and status not in NOT_UNDERSTOOD
        for each, when in ((told, "it"), (now_told, "an update of it")):
            if "no-store" in each and not is_understood:
                said.append(f"{when} said no-store")
            if each.is_whole("private"):
                said.append(f"{when} said private")
        if "must-understand" in told and not is_understood:
            said.append(f"nobody understands {status} (must-understand)")
        if has(origin.lines, "authorization") and not (
            {"public", "must-revalidate", "s-maxage"} & {name for name, _ in told.given}
        ):
            said.append("its request had Authorization (section 3.5)")
        if status in ABOUT_ONE_REQUEST or status < 200:
            said.append(f"a {status} is about one request")
        may_be_kept = (
            status in HEURISTIC
            or bool({"public", "s-maxage", "max-age"} & {name for name, _ in told.given})
            or (not is_targeted and has(origin.answer, "expires"))
            or (status in ERRORS and has(origin.answer, "retry-after"))  # the site's settings
        )
        if not may_be_kept and not _is_shared_failure(visit, stored):
            said.append(f"nothing lets a {status} be kept (section 3)")
        for update in stored.updates:
            if update.visit != visit.number and "no-store" in directives(combined(update.lines, "cache-control")):
                said.append(f"a part of {update.number} was stored, whose request said no-store")
        return said

    # Updating (sections 4.3.4 and 4.3.5)

    def _objections_to_updates(self, stored: Stored) -> Objections:
        said: Objections = []
        for count, update in enumerate(stored.updates):
            before = stored_from(stored.origin, list(stored.updates[:count]))
            if update.method == "HEAD" and update.status == 200:
                allowed = self._is_same_by_head(before, update)
            else:
                known = [stored_from(stored.origin, list(stored.updates[:each])) for each in range(count + 1)]
                is_named = any(_names_alone(each, update) for each in known)
                allowed = update.status == 304 and (_selects(before, update) or is_named)
            if not allowed:
                said.append(
                    f"{update.number} ({update.method}, {update.status}) was no update of {stored.origin.number}"
                )
        return said

    def _is_same_by_head(self, before: Stored, update: Exchange) -> bool:
        for name in ("etag", "last-modified"):
            if has(update.answer, name) and combined(update.answer, name) != combined(before.lines, name):
                return False
        return True

    # Using (section 4)

    def _objections_to_using(self, visit: Visit, stored: Stored) -> Objections:
        said: Objections = []
        if visit.method not in {"GET", "HEAD"}:
            said.append(f"{visit.method} was answered from the store")
        if not is_same_target(stored, visit.scheme, visit.target):
            said.append(f"{stored.origin.number} is about {stored.origin.target}")
        if not does_vary_allow(stored, visit.lines):
            said.append(f"Vary: {combined(stored.lines, 'vary')} forbids it")
        said += self._objections_to_purged(visit, stored, stored.origin)
        if self._was_asked_for_it(visit, stored) or _is_shared_failure(visit, stored):
            return said
        now = visit.headed.at
        said += self._objections_to_age_shown(visit, stored, now)
        said += self._objections_to_stale(visit, stored, now)
        return said

    def _was_asked_for_it(self, visit: Visit, stored: Stored) -> bool:
        """Whether the upstream was asked after the client had asked: then it is as good as asked for the client."""
        return any(each.asked.order > visit.began.order for each in (stored.origin, *stored.updates))

    def _objections_to_purged(self, visit: Visit, stored: Stored, made_of: Exchange) -> Objections:
        """Nothing crosses a hard floor, nor an invalidation (section 4.4), though those may be validated."""
        said: Objections = []
        # Who waited for an answer while the purge came keeps it.
        # So does who was to get what is stored, as it then was; but not who first waited for the upstream in vain.
        is_immediate = made_of.answered.order > visit.began.order or visit.is_hit
        until = visit.began.order if is_immediate else visit.headed.order
        for purge in self.history.purges:
            if purge.is_soft or purge.order > until or made_of.asked.sequence >= purge.sequence:
                continue
            if covers(
                purge, Stored(made_of, stored.updates if made_of is stored.origin else (), stored.lines), visit.target
            ):
                said.append(
                    f"{made_of.number} was asked for before the purge at {purge.sequence} ({purge.kind} {purge.value})"
                )
        for unsafe in self.history.exchanges.values():
            if self._invalidates(unsafe, stored, made_of, visit):
                said.append(f"{unsafe.number} ({unsafe.method}) invalidated {made_of.number}")
        return said

    def _invalidates(self, unsafe: Exchange, stored: Stored, made_of: Exchange, visit: Visit) -> bool:
        """Whether it did before the client asked: whoever sent the unsafe request had the answer by then."""
        if unsafe.method in SAFE or unsafe.status is None or not 200 <= unsafe.status < 400 or unsafe is made_of:
            return False
        since = unsafe.answered.order
        if self.history.visits[unsafe.visit].headed.order > visit.began.order:
            return False
        if any(each.asked.order > since for each in (made_of, *stored.updates)):
            return False
        targets = {unsafe.target}
        for name in ("location", "content-location"):
            targets |= {value for value in values(unsafe.answer, name) if value.startswith("/")}
        if made_of.target in targets:
            return True
        groups = set(structured_strings(combined(made_of.answer, "cache-groups")))
        return bool(groups & set(structured_strings(combined(unsafe.answer, "cache-group-invalidation"))))

    def _objections_to_age_shown(self, visit: Visit, stored: Stored, now: float) -> Objections:
        told = values(visit.answer, "age")
        least = int(age(stored, now)) - (1 if visit.is_prepared else 0)
        if len(told) != 1 or (seconds(told[0]) if seconds(told[0]) is not None else -1) < least:  # type: ignore[operator]
            return [f"Age is {told}, and it is {least} at least (section 5.1)"]
        return []

    def _objections_to_stale(self, visit: Visit, stored: Stored, now: float) -> Objections:
        """Sections 4.2.4, 5.2.1 and 5.2.2; RFC 5861."""
        told, _ = obeyed(stored.lines)
        asked = client_directives(visit.lines)
        current, fresh_for = age(stored, now), lifetime(stored)
        staleness = max(0.0, current - fresh_for)
        is_soft_purged = self._is_soft_purged(visit, stored)
        is_stale = current >= fresh_for or is_soft_purged
        if told.is_whole("no-cache"):
            return ["no-cache: it has to be validated each time (section 5.2.2.4)"]
        wishes = _wishes(asked, current, fresh_for)
        has_failed = self._has_failed(visit)
        if not is_stale:
            if not wishes or (has_failed and self._may_stand_in(told, asked, 0.0)):
                return []
            return [f"the client did not want it: {', '.join(wishes)} (age {current}, lifetime {fresh_for})"]
        which = (
            f"stale for {staleness} s (age {current}, lifetime {fresh_for}{', soft purge' if is_soft_purged else ''})"
        )
        for name in ("must-revalidate", "proxy-revalidate", "s-maxage"):
            if name in told:
                return [f"{which} in spite of {name}"]
        if has_failed and self._may_stand_in(told, asked, staleness):
            return []
        if "no-cache" in asked:
            return [f"{which}, and the client said no-cache"]
        max_stale = asked.seconds("max-stale") if "max-stale" in asked else None
        is_any_stale = asked.arguments("max-stale")[:1] == [None]
        if (is_any_stale or (max_stale is not None and staleness <= max_stale)) and not (
            set(wishes) & {"max-age", "min-fresh"}
        ):
            return []
        window = told.lifetime("stale-while-revalidate")
        if (
            window is not None
            and staleness <= window
            and asked.seconds("max-age") is None
            and asked.seconds("min-fresh") is None
        ):
            return []
        return [which]

    def _may_stand_in(self, told: Directives, asked: Directives, staleness: float) -> bool:
        """RFC 5861 section 4; for a day where nobody says otherwise."""
        by_client = asked.seconds("stale-if-error")
        if by_client is not None and staleness <= by_client:
            return True
        window = told.lifetime("stale-if-error")
        return "no-cache" not in asked and staleness <= (STALE_IF_ERROR_S if window is None else window)

    def _is_soft_purged(self, visit: Visit, stored: Stored) -> bool:
        admitted = max(each.asked.sequence for each in (stored.origin, *stored.updates))
        return any(
            purge.is_soft
            and purge.order < visit.began.order
            and admitted < purge.sequence
            and covers(purge, stored, visit.target)
            for purge in self.history.purges
        )

    # Content

    def _shown(self, visit: Visit, stored: Stored) -> Shown:
        """What this cache may send for it: the head, and whether octets are those of the representation."""
        is_own = stored.origin.visit == visit.number
        own = {name for each in stored.updates if each.visit == visit.number for name, _ in each.answer}
        private = withheld(stored.lines) - own
        return Shown(
            status=stored.origin.status or 0,
            lines=stored.lines,
            size_bytes=complete_length(stored.origin),
            is_part=stored.origin.status == 206,
            is_own=is_own,
            withheld=set() if is_own else private,
            own_content=stored.origin.content,
            now=stored.last.answered.at,
            is_content=lambda content, start: self._objections_to_octets(visit, stored, content, start),
        )

    def _objections_to_octets(self, visit: Visit, stored: Stored, content: bytes, start: int) -> Objections:
        found = owners(content, start)
        if found is None:
            return [f"octets that stood elsewhere are shown from {start} on"]
        said: Objections = []
        for each in self.history.exchanges.values():
            if each.number % 32 not in found or each is stored.origin or not each.content:
                continue
            if not self._is_combinable(stored, each):
                said.append(f"octets of {each.number} under the head of {stored.origin.number} (section 3.4)")
            else:
                told, _ = obeyed(each.answer)
                if "no-store" in told or told.is_whole("private"):
                    said.append(f"octets of {each.number}, which was not to be stored")
                said += self._objections_to_purged(visit, stored, each)
        return said

    def _is_combinable(self, stored: Stored, other: Exchange) -> bool:
        """RFC 9111 section 3.4: parts of the same representation, as its strong validator says."""
        one_tag, other_tag = tag(combined(stored.origin.answer, "etag")), tag(combined(other.answer, "etag"))
        return (
            is_strongly_equal(one_tag, other_tag)
            and stored.origin.target == other.target
            and stored.origin.scheme == other.scheme
            and stored.origin.status == other.status == 206
            and complete_length(stored.origin) == complete_length(other)
        )


def client_directives(lines: Lines) -> Directives:
    """Section 5.2.1; Pragma counts where Cache-Control is absent (section 5.4)."""
    if has(lines, "cache-control"):
        return directives(combined(lines, "cache-control"))
    return directives("no-cache") if "no-cache" in directives(combined(lines, "pragma")) else Directives()


def _wishes(asked: Directives, current: float, fresh_for: float) -> list[str]:
    """What of the client's wishes it does not meet."""
    found = []
    max_age, min_fresh = asked.seconds("max-age"), asked.seconds("min-fresh")
    if "no-cache" in asked:
        found.append("no-cache")
    if max_age is not None and current > max_age:
        found.append("max-age")
    if min_fresh is not None and fresh_for - current < min_fresh:
        found.append("min-fresh")
    return found


def complete_length(exchange: Exchange) -> int:
    """Of the representation, in octets."""
    if exchange.status == 206:
        return int((combined(exchange.answer, "content-range") or "/0").rpartition("/")[2])
    return len(exchange.content)


def _is_shared_failure(visit: Visit, stored: Stored) -> bool:
    """Whether the client waited for it together with the one who asked (docs/decisions/011)."""
    return stored.origin.answered.order > visit.began.order and stored.origin.status in ERRORS and not stored.updates


def _same_conditions(sent: Lines, asked: Lines) -> bool:
    """Whether the upstream judged the client's conditions. It may be told what the client's coded forms are made of."""
    client_tags = {each.opaque for each in tags(combined(asked, "if-none-match"))}
    bases = {opaque.rpartition("-")[0] for opaque in client_tags}
    sent_tags = {each.opaque for each in tags(combined(sent, "if-none-match"))}
    if has(asked, "if-none-match") or has(sent, "if-none-match"):
        return has(asked, "if-none-match") and sent_tags <= client_tags | bases
    return has(asked, "if-modified-since") and combined(asked, "if-modified-since") == combined(
        sent, "if-modified-since"
    )


def _selects(before: Stored, update: Exchange) -> bool:
    """Section 4.3.4, by the validators in the 304."""
    ours, theirs = tag(combined(before.lines, "etag")), tag(combined(update.answer, "etag"))
    if theirs is not None:
        return is_strongly_equal(ours, theirs) if not theirs.is_weak else is_weakly_equal(ours, theirs)
    modified = combined(update.answer, "last-modified")
    if modified is None:  # without any validator it means what has none either
        return not has(before.lines, "etag") and not has(before.lines, "last-modified")
    return combined(before.lines, "last-modified") == modified


def _names_alone(before: Stored, update: Exchange) -> bool:
    """The 304 answers a request that named this one and no other (docs/decisions/009)."""
    named = combined(update.lines, "if-none-match")
    if named is not None:
        return named == combined(before.lines, "etag")
    since = combined(update.lines, "if-modified-since")
    return since is not None and date(since) == first_date(before.lines, "last-modified")
