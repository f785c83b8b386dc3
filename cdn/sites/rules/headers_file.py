"""The file `_headers`: blocks of a path and, below it, fields; as Netlify and as Cloudflare Pages read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.field_line import IGNORED_FIELDS, SECRET_FIELD, check_field_name, check_field_value
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.findings import Findings
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_glob import check_glob

MAX_FIELD_RULES = 10_000
"""Rules of one deploy: each is read by every node, and those for one folder are tried one after the other."""

CLOUDFLARE_RULES = 100
CLOUDFLARE_LINE_LENGTH = 2_000
"""What Cloudflare Pages takes; it leaves out the rest, here everything counts."""

_HOST = re.compile(r"(?:[A-Za-z0-9_*-]+|:[A-Za-z]\w*)(?:\.(?:[A-Za-z0-9_*-]+|:[A-Za-z]\w*))*", re.ASCII)


@dataclass(frozen=True, slots=True)
class PlacedFields:
    """A rule and where it stands."""

    rule: FieldRule
    file: str
    line: int

    def fault(self, message: str) -> RuleFault:
        """What is wrong (or doubtful) about this rule."""
        return RuleFault(self.file, self.line, self.rule.source, message)


@dataclass(frozen=True, slots=True)
class HeadersRead:
    """The rules that can be used, in their order, and everything there is to say about the others."""

    rules: tuple[PlacedFields, ...] = ()
    faults: tuple[RuleFault, ...] = ()
    warnings: tuple[RuleFault, ...] = ()


@dataclass(slots=True)
class _Block:
    """A path and what stands below it. `source` is empty where the path is no pattern: its lines are read all the same,
    so that all faults are found at once."""

    line: int
    text: str
    source: str
    host: str = ""
    has_lines: bool = False
    fields: list[tuple[str, str]] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)


def read_headers(content: bytes, mode: RulesMode, file: str = "_headers") -> HeadersRead:
    """The rules of a `_headers` file. Never raises: what is wrong is a fault, all of them at once."""
    findings = Findings(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        findings.fault(line, "", "this is not UTF-8: save the file as UTF-8 text")
        return HeadersRead((), findings.faults)
    blocks = _Reader(findings, mode).blocks(text)
    placed = tuple(
        PlacedFields(FieldRule(one.source, tuple(one.fields), tuple(one.unset), one.host, mode), file, one.line)
        for one in blocks
        if one.source and (one.fields or one.unset)
    )
    if mode is RulesMode.CLOUDFLARE and len(placed) > CLOUDFLARE_RULES:
        findings.warn(
            0, "", f"{len(placed)} rules: Cloudflare Pages reads the first {CLOUDFLARE_RULES} only, here all count"
        )
    return HeadersRead(placed, findings.faults, findings.warnings)


class _Reader:
    def __init__(self, findings: Findings, mode: RulesMode) -> None:
        self._findings = findings
        self._mode = mode

    def blocks(self, text: str) -> list[_Block]:
        """All blocks, with and without faults."""
        blocks: list[_Block] = []
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if self._mode is RulesMode.CLOUDFLARE and len(raw) > CLOUDFLARE_LINE_LENGTH:
                message = (
                    f"Cloudflare Pages leaves out lines of more than {CLOUDFLARE_LINE_LENGTH} letters, here they count"
                )
                self._findings.warn(number, line, message)
            if line.startswith(("/", "http://", "https://")):
                self._close(blocks)
                blocks.append(self._block(number, line))
            elif not blocks:
                self._findings.fault(number, line, "a path has to come first, and its fields below it")
            else:
                self._read_line(blocks[-1], number, line)
        self._close(blocks)
        return blocks

    def _close(self, blocks: list[_Block]) -> None:
        if blocks and blocks[-1].source and not blocks[-1].has_lines:
            self._findings.warn(blocks[-1].line, blocks[-1].text, "there are no fields below this path")

    def _block(self, number: int, line: str) -> _Block:
        try:
            host, source = _host_and_path(line, self._mode)
            return _Block(number, line, check_glob(source, is_strict=self._mode is RulesMode.CLOUDFLARE), host)
        except InvalidInput as exc:
            self._findings.fault(number, line, exc.message)
            return _Block(number, line, "")

    def _read_line(self, block: _Block, number: int, line: str) -> None:
        block.has_lines = True
        try:
            if line.startswith("!"):
                block.unset.append(check_field_name(line[1:].strip()))
                return
            name, colon, value = line.partition(":")
            if not colon:
                raise InvalidInput('a field is written "Name: value", and taken away with "! Name"')
            name = check_field_name(name.strip())
            if name in IGNORED_FIELDS:
                self._findings.warn(number, line, f'"{name}" is set by the server: this line does nothing')
            else:
                block.fields.append((name, check_field_value(name, value)))
        except InvalidInput as exc:
            is_secret = line.lower().startswith(SECRET_FIELD)
            self._findings.fault(number, SECRET_FIELD if is_secret else line, exc.message)


def _host_and_path(line: str, mode: RulesMode) -> tuple[str, str]:
    """Raises InvalidInput."""
    if line.startswith("/"):
        return "", decoded_pattern(line)
    if mode is RulesMode.NETLIFY:
        raise InvalidInput(
            'a rule begins with a path here: for rules of one host set the site\'s rules mode "cloudflare"'
        )
    scheme, _, rest = line.partition("://")
    if scheme != "https":
        raise InvalidInput("an address begins with https:// here, and holds for http too")
    host, slash, path = rest.partition("/")
    if _HOST.fullmatch(host) is None or host.count("*") > 1:
        raise InvalidInput(f"{shown(host)} is no host; a port cannot be named, and a rule holds for every port")
    return host.lower() if ":" not in host else host, decoded_pattern(slash + path if slash else "/")


def decoded_pattern(text: str) -> str:
    """The pattern as it is compared with decoded paths. Raises InvalidInput."""
    if "?" in text or "#" in text:
        raise InvalidInput("a path has no query and no fragment: rules for fields look at the path alone")
    if "%2a" in text.lower() or "%3a" in text.lower():
        raise InvalidInput("a star or colon that stands for itself cannot be written in a pattern of fields")
    if "%" not in text:
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{shown(text)} does not decode to UTF-8") from exc
