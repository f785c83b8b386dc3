"""Whether a message is what was expected, as a sentence about what was seen instead."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.scenarios.command import Expect, Operator, Subject
from tests.scenarios.message import Message

SHOWN_CHARACTERS = 300
_MEMBER = re.compile(r'((?:[^",]|"(?:[^"\\]|\\.)*")+)(?:,|$)')
_PIECE = re.compile(r'((?:[^";]|"(?:[^"\\]|\\.)*")+)(?:;|$)')


def fault_of(expect: Expect, message: Message, fill: Callable[[str], str], connection: int) -> str | None:
    """None when it is so, else what was seen. `fill` replaces the names in angle brackets."""
    seen = _seen(expect, message, connection)
    value = expect.value.decode("latin-1") if isinstance(expect.value, bytes) else fill(expect.value)
    if _holds(expect.operator, seen, value):
        return None
    return f"a whole response, status {message.status}" if expect.subject is Subject.FAILED else shown(seen)


def shown(seen: str | None) -> str:
    """For people."""
    if seen is None:
        return "nothing"
    if len(seen) > SHOWN_CHARACTERS:
        return f"{seen[:SHOWN_CHARACTERS]!r}... ({len(seen)} octets)"
    return repr(seen)


def parameters(cache_status: str | None) -> dict[str, str]:
    """Those of the cache nearest to the client: the last member (RFC 9211 section 2)."""
    members = [found[1].strip() for found in _MEMBER.finditer(cache_status or "")]
    pieces = [found[1].strip() for found in _PIECE.finditer(members[-1])] if members else []
    result = {}
    for piece in pieces[1:]:
        name, _, value = piece.partition("=")
        result[name] = value.strip('"')
    return result


def _seen(expect: Expect, message: Message, connection: int) -> str | None:
    head = message.head
    match expect.subject:
        case Subject.STATUS:
            return str(message.status) if head else None
        case Subject.TARGET:
            return head.first.split(" ")[1] if head else None
        case Subject.CONNECTION:
            return str(connection)
        case Subject.FIELD:
            return head.value(expect.name) if head else None
        case Subject.TRAILER:
            values = [value for name, value in message.trailers if name == expect.name]
            return ", ".join(values) if values else None
        case Subject.CACHE_STATUS:
            return parameters(head.value("cache-status")).get(expect.name) if head else None
        case Subject.CONTENT:
            return message.content.decode("latin-1")
        case Subject.SIZE:
            return str(len(message.content))
        case Subject.HEAD:
            return head.raw.decode("latin-1") if head else None
        case Subject.BROKEN:
            return "broken" if message.is_broken else None
        case Subject.FAILED:
            return "failed" if message.is_broken or message.status >= 500 else None
        case Subject.INTERIM | Subject.CLOSED:
            raise AssertionError(f"{expect.subject} is looked at where it comes from")


def _holds(operator: Operator, seen: str | None, value: str) -> bool:
    if operator is Operator.ABSENT:
        return seen is None
    if seen is None:
        return False
    match operator:
        case Operator.PRESENT:
            return True
        case Operator.IS:
            return seen == value
        case Operator.MATCHES:
            return re.search(value, seen, re.DOTALL) is not None
        case _:
            return _compares(operator, seen, value)


def _compares(operator: Operator, seen: str, value: str) -> bool:
    try:
        left, right = float(seen), float(value)
    except ValueError:
        return False
    match operator:
        case Operator.LESS:
            return left < right
        case Operator.AT_MOST:
            return left <= right
        case Operator.MORE:
            return left > right
        case _:
            return left >= right
