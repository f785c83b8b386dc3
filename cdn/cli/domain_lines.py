"""What a domain waits for, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable

from cdn.cli.result import Document
from cdn.cli.text import columns, counted, in_time, safe

MOST_SERVERS = 8
"""Of those that were asked at a step: their answers are alike, and --json has them all."""

_STAGES = {
    "added": "claimed; whose it is has to be shown in DNS",
    "verified": "verified, and answered over HTTP",
    "issuing": "verified; its certificate is being got",
    "live": "live: answered over HTTPS",
}

_MARKS = {True: "ok", False: "NO", None: "?"}


def head_line(domain: Document) -> str:
    """Which domain it is, of which site, and how far."""
    stage = _STAGES.get(domain["stage"], safe(domain["stage"]))
    return f"{safe(domain['domain'])} of site {safe(domain['site'])} is {stage}"


def domain_lines(domain: Document) -> tuple[str, ...]:
    """Everything that is known of a domain; records only while it is not live."""
    is_live = domain["stage"] == "live" and domain["fault"] is None
    redirect = (f"its visitors are sent to {safe(domain['redirect_to'])}",) if domain["redirect_to"] else ()
    records = () if is_live else record_lines(domain)
    return (head_line(domain), *redirect, *records, *step_lines(domain), *_outlook(domain), *_certificate(domain))


def record_lines(domain: Document) -> tuple[str, ...]:
    """The records to set, as a table."""
    rows = [
        (("or " if each["instead"] else "") + each["type"], each["name"], each["value"], each["note"])
        for each in domain["records"]
    ]
    if not rows:
        return ()
    table = columns(("type", "name", "value", ""), rows)
    return ("DNS records to set:", *(f"  {line}" for line in table))


def step_lines(domain: Document) -> tuple[str, ...]:
    """Each step that was looked at, with what servers said where it is not as it should be."""
    return tuple(line for step in domain["steps"] for line in _step(step))


def certificate_rows(certificates: Iterable[Document]) -> list[tuple[str, ...]]:
    """Name, site, end, state and where it is from, of each."""
    return [
        (each["name"], each["site"] or "-", in_time(each["not_after"]), each["state"], each["issuer"])
        for each in certificates
    ]


def _step(step: Document) -> Iterable[str]:
    yield f"  {_MARKS[step['right']]:<3} {safe(step['step'])}: {safe(step['says'])}"
    if step["right"]:
        return
    servers = step["servers"]
    for each in servers[:MOST_SERVERS]:
        yield f"        {safe(each['server'])}: {safe(each['answer'])}"
    if len(servers) > MOST_SERVERS:
        yield f"        and {counted(len(servers) - MOST_SERVERS, 'server')} more"


def _outlook(domain: Document) -> Iterable[str]:
    if domain["fault"] is not None:
        tries = f", {counted(domain['failures'], 'try').replace('trys', 'tries')} so far" if domain["failures"] else ""
        told = next((step["step"] for step in domain["steps"] if step["says"] == domain["fault"]), None)
        why = safe(domain["fault"]) if told is None else f"see {safe(told)} above"
        yield f"it goes no further{tries}: {why}"
    if domain["waits_for"]:
        yield f"it waits: {safe(domain['waits_for'])}"
    looked = () if domain["checked_at"] is None else (f"looked at {in_time(domain['checked_at'])}",)
    again = () if domain["next_try_at"] is None else (f"looked at again {in_time(domain['next_try_at'])}",)
    if looked or again:
        yield ", ".join((*looked, *again))


def _certificate(domain: Document) -> Iterable[str]:
    certificate = domain["certificate"]
    if certificate is None:
        return
    names = ", ".join(safe(name) for name in certificate["names"])
    said = f"certificate for {names} from {safe(certificate['issuer'])}, until {in_time(certificate['not_after'])}"
    yield said if certificate["state"] == "valid" else f"{said}: {safe(certificate['state'])}"
