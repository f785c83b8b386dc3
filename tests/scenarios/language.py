"""Reads scenario files; README.md beside this file describes the language."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.scenarios.command import (
    Ask,
    Await,
    ClientCommand,
    ClientScript,
    Close,
    Content,
    Cut,
    Down,
    Expect,
    FieldLines,
    Framing,
    Interim,
    Keep,
    Line,
    Operator,
    Purge,
    Raw,
    Receive,
    Reply,
    Reset,
    Scenario,
    Settle,
    Signal,
    Subject,
    Trailers,
    Up,
    UpstreamCommand,
    UpstreamScript,
)

Command = TypeVar("Command", ClientCommand, UpstreamCommand)

INDENT = 2
ANY_NUMBER = sys.maxsize
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)")
_COMPARISON = re.compile(r"([\w-]+) (~|<=|>=|<|>) (.+)")
_PARAMETER = re.compile(r"([a-z][a-z0-9-]*)(?:(=|<=|>=|<|>)(.+))?")
_PURGED = {"url": "urls", "prefix": "prefixes", "tag": "tags"}


@dataclass(slots=True)
class ScenarioSyntax(Exception):
    """A file that says nothing we understand at `line`."""

    line: Line
    reason: str

    def __str__(self) -> str:
        return f"line {self.line.number}: {self.line.text.strip()}\n  {self.reason}"


@dataclass(frozen=True, slots=True)
class _Node:
    line: Line
    words: str
    children: tuple[_Node, ...]

    def fault(self, reason: str) -> ScenarioSyntax:
        return ScenarioSyntax(self.line, reason)


def pattern(start: int, stop: int) -> bytes:
    """Octets `start` to `stop` (exclusive) of content that tells every place in it: "0000000\\n0000008\\n..."."""
    first = start // 8
    text = b"".join(b"%07d\n" % (word * 8) for word in range(first, -(-stop // 8)))
    return text[start - first * 8 : stop - first * 8]


def read_scenario(text: str) -> Scenario:
    """Raises ScenarioSyntax."""
    lines = [Line(number, line) for number, line in enumerate(text.splitlines(), 1)]
    nodes = _nodes(list(_expanded([line for line in lines if line.text.strip() and line.text.lstrip()[0] != "#"])))
    settings: dict[str, Any] = {}
    upstreams: list[UpstreamScript] = []
    clients: list[ClientScript] = []
    for node in nodes:
        word, _, rest = node.words.partition(" ")
        match word:
            case "site":
                settings |= dict(map(_setting, node.children))
            case "upstream":
                upstreams.append(_upstream(node, rest))
            case "client":
                clients.append(ClientScript(node.line, rest or "client", _commands(node, _client_command)))
            case _:
                raise node.fault("a block begins with site, upstream, client or for")
    if not clients:
        raise ScenarioSyntax(Line(1, ""), "there is no client")
    return Scenario(settings, tuple(upstreams), tuple(clients))


def _depth(line: Line) -> int:
    return len(line.text) - len(line.text.lstrip(" "))


def _expanded(lines: Sequence[Line]) -> Iterator[Line]:
    """`for NAME in ...` gives the lines below it once per value."""
    at = 0
    while at < len(lines):
        line = lines[at]
        depth = _depth(line)
        end = at + 1
        while end < len(lines) and _depth(lines[end]) > depth:
            end += 1
        found = re.fullmatch(r"for (\w+) in (.+)", line.text.strip())
        if found is None:
            yield line
            at += 1
            continue
        for value in _values(line, found[2]):
            inner = [
                Line(one.number, one.text[INDENT:].replace(f"{{{found[1]}}}", value)) for one in lines[at + 1 : end]
            ]
            yield from _expanded(inner)
        at = end


def _values(line: Line, text: str) -> list[str]:
    span = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if span is None:
        return text.split()
    if int(span[2]) - int(span[1]) > 1000:
        raise ScenarioSyntax(line, "more than 1000 values")
    return [str(number) for number in range(int(span[1]), int(span[2]) + 1)]


def _nodes(lines: Sequence[Line], depth: int = 0) -> tuple[_Node, ...]:
    found: list[_Node] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if _depth(line) != depth:
            raise ScenarioSyntax(line, f"{depth} spaces were expected before it")
        end = at + 1
        while end < len(lines) and _depth(lines[end]) > depth:
            end += 1
        found.append(_Node(line, line.text.strip(), _nodes(lines[at + 1 : end], depth + INDENT)))
        at = end
    return tuple(found)


def _setting(node: _Node) -> tuple[str, Any]:
    name, _, value = node.words.partition(" ")
    try:
        return name, json.loads(value)
    except ValueError:
        raise node.fault("a setting is a name and a JSON value") from None


def _upstream(node: _Node, rest: str) -> UpstreamScript:
    words = rest.split()
    least = most = 1
    if words[-1:] == ["always"]:
        least, most = 0, ANY_NUMBER
        words.pop()
    elif words[-2:-1] == ["times"]:
        least = most = _number(node, words[-1])
        words = words[:-2]
    if len(words) > 2:
        raise node.fault("after upstream come a method, a target, and how often")
    method, target = (*words, "", "")[:2]
    commands = _commands(node, _upstream_command)
    size_bytes = sum(len(one.content) for one in commands if isinstance(one, Content))
    sized = tuple(
        Reply(one.line, one.status, one.fields, one.framing, size_bytes) if isinstance(one, Reply) else one
        for one in commands
    )
    return UpstreamScript(node.line, method, target, least, most, sized)


def _commands(node: _Node, read: Callable[[_Node], Command]) -> tuple[Command, ...]:
    return tuple(read(child) for child in node.children)


def _upstream_command(node: _Node) -> UpstreamCommand:
    line = node.line
    word, _, rest = node.words.partition(" ")
    match word:
        case "reply":
            status, _, framing = rest.partition(" ")
            try:
                return Reply(line, _number(node, status), _fields(node), Framing(framing or "length"), 0)
            except ValueError:
                raise node.fault("after the status comes nothing, chunked, or until-close") from None
        case "interim":
            return Interim(line, _number(node, rest), _fields(node))
        case "content":
            return Content(line, _content(node, rest))
        case "trailers":
            return Trailers(line, _fields(node))
        case "cut":
            return Cut(line, _number(node, rest))
        case _:
            return _common_command(node, word, rest)


def _client_command(node: _Node) -> ClientCommand:
    line = node.line
    word, _, rest = node.words.partition(" ")
    match word:
        case "eventually":
            return _ask(node, rest, is_repeated=True)
        case "purge":
            return Purge(line, _purge(node, rest))
        case "receive":
            return Receive(line, _number(node, rest))
        case "down":
            return Down(line)
        case "up":
            return Up(line)
        case "settle":
            return Settle(line)
        case _ if word.isupper():
            return _ask(node, node.words, is_repeated=False)
        case _:
            return _common_command(node, word, rest)


def _common_command(node: _Node, word: str, rest: str) -> Expect | Signal | Await | Keep | Raw | Close | Reset:
    line = node.line
    match word, rest.split():
        case "expect", _:
            return _expect(node, rest)
        case "signal", [name]:
            return Signal(line, name)
        case "await", [name]:
            return Await(line, name, 1)
        case "await", [name, count]:
            return Await(line, name, _number(node, count))
        case "keep", [name, "from", field_name]:
            return Keep(line, name, field_name.lower())
        case "raw", _:
            return Raw(line, _text(node, rest))
        case "close", []:
            return Close(line)
        case "reset", []:
            return Reset(line)
        case _:
            raise node.fault("there is no such command here")


def _ask(node: _Node, rest: str, *, is_repeated: bool) -> Ask:
    method, _, target = rest.partition(" ")
    if not method or not target or " " in target:
        raise node.fault("a request is a method and a target")
    contents = [child for child in node.children if child.words.startswith("content ")]
    content = b"".join(_content(child, child.words.partition(" ")[2]) for child in contents) if contents else None
    fields = tuple(_field(child) for child in node.children if child not in contents)
    return Ask(node.line, method, target, fields, content, is_repeated)


def _purge(node: _Node, rest: str) -> dict[str, Any]:
    words = rest.split()
    soft = words[-1:] == ["soft"]
    match words[:-1] if soft else words:
        case ["all"]:
            return {"everything": True, "soft": soft}
        case [kind, value] if kind in _PURGED:
            return {_PURGED[kind]: [value], "soft": soft}
        case _:
            raise node.fault("purge all, url, prefix or tag, and perhaps soft")


def _expect(node: _Node, rest: str) -> Expect:
    line = node.line
    word, _, more = rest.partition(" ")
    field = _FIELD.fullmatch(rest)
    if field is not None:
        return Expect(line, Subject.FIELD, Operator.IS, field[1].lower(), field[2])
    match word:
        case "status" | "size" | "connection" if more.isdigit():
            return Expect(line, Subject(word), Operator.IS, value=more)
        case "target" if more:
            return Expect(line, Subject.TARGET, Operator.IS, value=more)
        case "broken" | "closed" | "failed" if not more:
            return Expect(line, Subject(word), Operator.PRESENT)
        case "interim":
            return Expect(line, Subject.INTERIM, Operator.IS, value=str(_number(node, more)), fields=_fields(node))
        case "content" | "head" if more.startswith("~ "):
            return Expect(line, Subject(word), Operator.MATCHES, value=_regex(node, more[2:]))
        case "content":
            return Expect(line, Subject.CONTENT, Operator.IS, value=_content(node, more))
        case "cache-status" if more:
            return _expect_parameter(node, more)
        case "trailer":
            return _expect_line(node, Subject.TRAILER, more)
        case _:
            return _expect_line(node, Subject.FIELD, rest)


def _expect_parameter(node: _Node, text: str) -> Expect:
    is_absent = text.startswith("no ")
    found = _PARAMETER.fullmatch(text.removeprefix("no "))
    if found is None or (is_absent and found[2]):
        raise node.fault("expect cache-status NAME, NAME=VALUE, NAME>N, or no NAME")
    if is_absent or not found[2]:
        operator = Operator.ABSENT if is_absent else Operator.PRESENT
        return Expect(node.line, Subject.CACHE_STATUS, operator, found[1])
    operator = Operator.IS if found[2] == "=" else Operator(found[2])
    return Expect(node.line, Subject.CACHE_STATUS, operator, found[1], found[3])


def _expect_line(node: _Node, subject: Subject, text: str) -> Expect:
    field = _FIELD.fullmatch(text)
    compared = _COMPARISON.fullmatch(text)
    absent = re.fullmatch(r"no ([\w-]+)", text)
    if field is not None:
        return Expect(node.line, subject, Operator.IS, field[1].lower(), field[2])
    if absent is not None:
        return Expect(node.line, subject, Operator.ABSENT, absent[1].lower())
    if compared is None:
        raise node.fault("expect NAME: VALUE, NAME ~ PATTERN, NAME >= N, no NAME, status N, content TEXT ...")
    operator = Operator(compared[2])
    value = _regex(node, compared[3]) if operator is Operator.MATCHES else compared[3]
    return Expect(node.line, subject, operator, compared[1].lower(), value)


def _fields(node: _Node) -> FieldLines:
    return tuple(_field(child) for child in node.children)


def _field(node: _Node) -> tuple[str, str]:
    found = _FIELD.fullmatch(node.words)
    if found is None:
        raise node.fault("a field is NAME: VALUE")
    return found[1], found[2]


def _content(node: _Node, text: str) -> bytes:
    """`bytes A-B` is that part of the pattern, both ends in it; `N times X` is what it says; all else is text."""
    repeated = re.fullmatch(r"(\d+) times (\S)", text)
    if repeated is not None:
        return repeated[2].encode("latin-1") * int(repeated[1])
    span = re.fullmatch(r"bytes (\d+)-(\d+)", text)
    return pattern(int(span[1]), int(span[2]) + 1) if span else _text(node, text).encode("latin-1")


def _text(node: _Node, text: str) -> str:
    """Bare, or in quotes with the escapes of JSON."""
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        raise node.fault("text in quotes is JSON text") from None


def _regex(node: _Node, text: str) -> str:
    try:
        re.compile(text)
    except re.error as exc:
        raise node.fault(f"no regular expression: {exc}") from None
    return text


def _number(node: _Node, text: str) -> int:
    if not text.isdigit():
        raise node.fault(f"a number was expected, not {text!r}")
    return int(text)
