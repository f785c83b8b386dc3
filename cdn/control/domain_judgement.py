"""What a look's evidence comes to: pure, and in sentences for whoever waits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cdn.control.domain_evidence import Answer, Authority, CaaFound, End, Evidence, Outcome, Trail
from cdn.control.domain_office import ServerSaid, Step, StepSeen
from cdn.control.domain_sight import Sight
from cdn.sites.onboarding import Looked

MAX_SAID = 24
"""Servers whose words are kept of one step: the domain's own come first."""

MAX_NAMED = 4
"""Addresses and names in one sentence."""

_CAA = re.compile(r'(\d{1,3}) ([a-zA-Z0-9]+) "(.*)"', re.DOTALL)
_HINTS = re.compile(r'ipv[46]hint="([^"]*)"')
_CRITICAL = 128
_KNOWN_TAGS = frozenset({"issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone", "issuevmc"})


@dataclass(frozen=True, slots=True)
class Expected:
    """What should be found. `token_name` and `token_value` are of the TXT record, "" for none. `target` is the site's
    own name in the CDN's zone; `is_ours` says which names there lead to a site. `addresses` are those of the nodes that
    visitors are sent to. `identities`: by which names CAA records call our authorities; none: they do not look. In
    `imported_zone` the domain lies, of those that our name servers have; "": in none."""

    domain: str
    own_zone: str
    target: str
    is_ours: Callable[[str], bool]
    addresses: frozenset[str]
    token_name: str = ""
    token_value: str = ""
    identities: tuple[str, ...] = ()
    imported_zone: str = ""


def judge(evidence: Evidence, expected: Expected) -> Sight:
    """What was seen, step by step."""
    ownership = _ownership(evidence, expected)
    is_in_zone = _is_in_zone(evidence, expected)
    pointing = _pointing(evidence, expected, is_in_zone=is_in_zone)
    caa = _caa(evidence.caa, expected)
    looked = Looked(
        is_shown=True if ownership is None else ownership.is_right,
        leads_here=pointing.is_right,
        may_sign=caa.is_right,
        has_our_dns=is_in_zone,
        ownership_says="" if ownership is None else ownership.says,
        pointing_says=pointing.says,
        caa_says=caa.says,
    )
    return Sight(looked, (pointing, caa) if ownership is None else (ownership, pointing, caa))


def nothing_seen(fault: str, *, has_token: bool) -> Sight:
    """Where a look itself went wrong: everything stands as it stood."""
    steps = (Step.OWNERSHIP, Step.POINTING, Step.CAA) if has_token else (Step.POINTING, Step.CAA)
    looked = Looked(None, None, None, False, ownership_says=fault if has_token else "", pointing_says=fault)
    return Sight(looked, tuple(StepSeen(step, None, fault) for step in steps))


# Whose it is.


def _ownership(evidence: Evidence, expected: Expected) -> StepSeen | None:
    if evidence.ownership is None:
        return None
    answers, authority = evidence.ownership, evidence.ownership_authority
    said = _said((*answers, *evidence.ownership_public))
    record = f'TXT {expected.token_name} "{expected.token_value}"'
    unknown = _why_unknown(authority, answers, expected.token_name)
    if unknown is not None:
        return StepSeen(Step.OWNERSHIP, None, f"{unknown} Expected: {record}.", said)
    words = [answer for answer in answers if answer.outcome.is_word]
    lacking = [answer for answer in words if expected.token_value not in answer.records]
    if not lacking:
        return StepSeen(Step.OWNERSHIP, True, f"{_all_of(words, authority)} {record}.", said)
    says = f"{lacking[0].server} says: {lacking[0].says}; expected: {record}."
    if len(lacking) < len(words):
        says += (
            f" {len(words) - len(lacking)} of {len(words)} have it: a change may take a while to reach every server."
        )
    elif _is_twice(lacking, expected):
        says += " The value is there, but not alone: a TXT record of its own has to have it."
    return StepSeen(Step.OWNERSHIP, False, says, said)


def _why_unknown(authority: Authority, answers: Sequence[Answer], name: str) -> str | None:
    """Why the servers' words do not decide; None: they do."""
    if not authority.servers:
        return f"Nobody who answers for {name} was found: {authority.fault}."
    if not authority.is_certain:
        return f"Too few resolvers say who answers for {name}."
    heard = {answer.server.name for answer in answers if answer.outcome.is_word}
    if not heard:
        first = answers[0]
        return f"No name server of {authority.zone} answers: {first.server}: {first.says}."
    if 2 * len(heard) < len(authority.server_names):
        return f"Only {len(heard)} of {len(authority.server_names)} name servers of {authority.zone} answer."
    return None


def _is_twice(answers: Iterable[Answer], expected: Expected) -> bool:
    return any(expected.token_value in record for answer in answers for record in answer.records)


def _all_of(words: Sequence[Answer], authority: Authority) -> str:
    count = len({answer.server.name for answer in words})
    if count == 1:
        return f"The name server of {authority.zone} has"
    return f"All {count} name servers of {authority.zone} that answer have"


# Where it leads.


def _is_in_zone(evidence: Evidence, expected: Expected) -> bool:
    """Whether the zone is one that we have, and every server of it that is known is ours."""
    servers = evidence.authority.servers
    is_ours = bool(servers) and {each.name for each in servers} <= {each.name for each in evidence.ours}
    return is_ours and expected.imported_zone == evidence.authority.zone


def _pointing(evidence: Evidence, expected: Expected, *, is_in_zone: bool) -> StepSeen:
    services = [answer for answer in evidence.services if answer.outcome is Outcome.ANSWERED]
    said = _said((*evidence.pointing, *services, *evidence.pointing_public))
    unknown = _why_unknown(evidence.authority, evidence.pointing, expected.domain)
    if unknown is not None:
        return StepSeen(Step.POINTING, None, f"{unknown} {_wanted(expected)}", said)
    judged = [_led(trail, expected) for trail in evidence.trails]
    wrong = next((each for each in judged if each[0] is False), None)
    open_ = next((each for each in judged if each[0] is None), None)
    is_right, says = wrong or open_ or judged[0]
    if is_right is False and len({each[0] for each in judged}) > 1:
        says += " Others of its name servers already lead here: a change may take a while to reach every server."
    if is_right is not True:
        says = f"{says} {_wanted(expected)}"
    says += _astray_by_service(services, expected)
    if is_in_zone:
        says += f" Its zone {expected.imported_zone} is answered by our name servers."
    return StepSeen(Step.POINTING, is_right, says, said)


def _led(trail: Trail, expected: Expected) -> tuple[bool | None, str]:
    way = " -> ".join(trail.names)
    match trail.end:
        case End.HERE if expected.is_ours(trail.names[-1]):
            return True, f"{way}: a name of this CDN."
        case End.HERE:
            return False, f"{way}: there is no such site in {expected.own_zone}."
        case End.LOOP:
            return False, f"The aliases go round in a loop: {way}."
        case End.TOO_LONG:
            return False, f"{trail.names[0]} has more than {len(trail.names) - 2} aliases one after the other: {way}."
        case End.UNKNOWN:
            return None, f"No name server says where {trail.names[-1]} leads ({way})."
        case End.NOWHERE:
            return False, f"{trail.names[-1]} has no address ({way})." if len(
                trail.names
            ) > 1 else f"{way} has no address."
        case _:
            return _led_to(trail, expected, way)


def _led_to(trail: Trail, expected: Expected, way: str) -> tuple[bool | None, str]:
    strange = [address for address in trail.addresses if address not in expected.addresses]
    shown = _named(trail.addresses)
    if not strange:
        return True, f"{way}: {shown}, where nodes of this CDN are."
    if len(strange) == len(trail.addresses):
        return False, f"{way} leads to {shown}: no node of this CDN is there."
    return False, f"{way} leads to {shown}, of which no node of this CDN is at {_named(strange)}: remove those."


def _astray_by_service(services: Iterable[Answer], expected: Expected) -> str:
    """Where HTTPS records take browsers elsewhere: authorities do not go by them, so nothing waits for that."""
    for record in (record for answer in services for record in answer.records):
        _, _, rest = record.partition(" ")
        target = rest.split(" ")[0].removesuffix(".").lower()
        hints = [hint for text in _HINTS.findall(rest) for hint in text.split(",")]
        strange = [hint for hint in hints if hint not in expected.addresses]
        if target and not expected.is_ours(target):
            return f" But its HTTPS record leads browsers to {target}: remove it."
        if strange:
            return f" But its HTTPS record leads browsers to {_named(strange)}: remove it."
    return ""


def _wanted(expected: Expected) -> str:
    says = f"Expected: {expected.domain} CNAME {expected.target}"
    if expected.addresses and not expected.domain.startswith("*."):
        says += f", or for the name of a zone, where no CNAME can stand, ALIAS or {_named(sorted(expected.addresses))}"
    return says + "."


# Who may sign for it.


def _caa(found: CaaFound, expected: Expected) -> StepSeen:
    said = _said(found.answers)
    if not found.is_known:
        last = found.answers[-1]
        says = f"Whether {found.name} has CAA records is not known: {last.server}: {last.says}."
        return StepSeen(Step.CAA, None, f"{says} Authorities refuse to sign then.", said)
    if not found.name:
        return StepSeen(Step.CAA, True, "No CAA record stands in the way.", said)
    parsed = [match for record in found.records if (match := _CAA.fullmatch(record)) is not None]
    entries = [(int(match[1]), match[2].lower(), match[3]) for match in parsed]
    strange = next((tag for flags, tag, _ in entries if flags & _CRITICAL and tag not in _KNOWN_TAGS), None)
    if strange is not None:
        says = f'{found.name} has a CAA record that nobody may pass over who does not know it: "{strange}".'
        return StepSeen(Step.CAA, False, says, said)
    allowed = _allowed(entries, is_wildcard=expected.domain.startswith("*."))
    if allowed is None:
        return StepSeen(Step.CAA, True, f"The CAA records of {found.name} restrict nobody.", said)
    if not expected.identities or not allowed.isdisjoint(expected.identities):
        return StepSeen(Step.CAA, True, f"The CAA records of {found.name} let our authority sign.", said)
    ours = " or ".join(f'"{identity}"' for identity in expected.identities)
    named = _named(sorted(allowed - {""})) or "nobody"
    tag = (
        "issuewild" if expected.domain.startswith("*.") and any(each[1] == "issuewild" for each in entries) else "issue"
    )
    says = f"The CAA records of {found.name} let {named} sign for it. Expected another: CAA 0 {tag} {ours}."
    return StepSeen(Step.CAA, False, says, said)


def _allowed(entries: Sequence[tuple[int, str, str]], *, is_wildcard: bool) -> set[str] | None:
    """Who is named, "" standing for nobody; None: there is no restriction (RFC 8659 4.2, 4.3)."""
    values = [value for _, tag, value in entries if tag == "issuewild"] if is_wildcard else []
    values = values or [value for _, tag, value in entries if tag == "issue"]
    return {value.partition(";")[0].strip().lower().removesuffix(".") for value in values} if values else None


# In words.


def _said(answers: Iterable[Answer]) -> tuple[ServerSaid, ...]:
    """What each server said, those of one server together."""
    of: dict[str, list[str]] = {}
    for answer in answers:
        of.setdefault(str(answer.server), []).append(answer.says)
    told = ((server, list(dict.fromkeys(texts))) for server, texts in list(of.items())[:MAX_SAID])
    return tuple(ServerSaid(server, "; ".join(texts)) for server, texts in told)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
