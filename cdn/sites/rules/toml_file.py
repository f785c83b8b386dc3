"""A rule file in TOML: values with their lines, and readers of single keys that say where a fault stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.rules.findings import Findings
from cdn.sites.rules.headers_file import decoded_pattern
from cdn.sites.rules.path_glob import check_glob
from cdn.sites.toml_lines import Key, line_of, lines_of

T = TypeVar("T")

MAX_KEY_DOTS = 64
MAX_LINE_DOTS = 256
"""Of one line, which may have a list of hosts in it: readers of TOML take time that grows with the square of a key's
parts, and with the depth of the table for every key in it."""

_AT_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,10})([smhdw]?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TomlFile:
    """What was read, and what was found. `values` is empty where the file is no TOML."""

    findings: Findings
    values: Mapping[str, Any]
    lines: Mapping[Key, int]

    def line(self, key: Key) -> int:
        """Where `key` stands, or what is around it; 0 where nothing is known."""
        return line_of(self.lines, key) or 0

    def table_lines(self, name: str) -> list[int]:
        """The line of each table of the array `name`."""
        tables = self.values.get(name)
        return [self.line((name, number)) for number in range(len(tables))] if isinstance(tables, list) else []

    def fault(self, key: Key, message: str) -> None:
        """Note what is wrong with `key`."""
        self.findings.fault(self.line(key), _shown(key), message)

    def warn(self, key: Key, message: str) -> None:
        """Note what is doubtful about `key`."""
        self.findings.warn(self.line(key), _shown(key), message)

    def tables(self, name: str, most: int) -> list[TomlTable]:
        """The tables of the array `[[name]]`; other things are a fault."""
        given = self.values.get(name, [])
        if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
            self.fault((name,), f"write each as a table [[{name}]]")
            return []
        if len(given) > most:
            self.fault((name,), f"there are {len(given)} of them, at most {most} are allowed")
            return []
        return [TomlTable(self, (name, number), table) for number, table in enumerate(given)]

    def table(self, name: str) -> TomlTable:
        """The table `[name]`, empty where there is none; other things are a fault."""
        given = self.values.get(name, {})
        if not isinstance(given, Mapping):
            self.fault((name,), f"write it as a table [{name}]")
            given = {}
        return TomlTable(self, (name,), given)


@dataclass(frozen=True, slots=True)
class TomlTable:
    """One table, read key by key. What is wrong is noted, and the value that stands in is of the right type."""

    file: TomlFile
    key: Key
    values: Mapping[str, Any]

    def fault(self, name: str, message: str) -> None:
        """Note what is wrong with the key `name`."""
        self.file.fault((*self.key, name), message)

    def only(self, names: Collection[str]) -> None:
        """Note keys that are none of `names`."""
        for name in sorted(self.values.keys() - set(names)):
            self.fault(name, f"there is no such key; there are {', '.join(names)}")

    def read(self, name: str, parse: Callable[[Any], T], otherwise: T) -> T:
        """What `parse` makes of the value; `otherwise` where there is none, or it raised InvalidInput."""
        if name not in self.values:
            return otherwise
        try:
            return parse(self.values[name])
        except InvalidInput as exc:
            self.fault(name, exc.message)
            return otherwise

    def source(self, otherwise: str = "") -> str:
        """The pattern under "for"; "" where it is none. `otherwise`: what is meant without one."""
        if "for" not in self.values and not otherwise:
            self.file.fault(self.key, 'say which paths it is for: for = "/*"')
        return self.read("for", parse_source, otherwise)

    def texts(self, name: str, parse: Callable[[str], str], most: int) -> tuple[str, ...]:
        """A list of texts, or a single one, each through `parse`."""
        return self.read(name, lambda value: parse_texts(value, parse, most), ())


def read_toml(content: bytes, file: str) -> TomlFile:
    """Never raises: what is no TOML is a fault."""
    findings = Findings(file)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        crowded = _crowded_line(text)
        if crowded:
            findings.fault(crowded, "", "this line has too many dots: break it into several")
            return TomlFile(findings, {}, {})
        return TomlFile(findings, tomllib.loads(text), lines_of(text))
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        findings.fault(line, "", "this is not UTF-8: save the file as UTF-8 text")
    except tomllib.TOMLDecodeError as exc:
        at = _AT_LINE.search(str(exc))
        line = int(at[1]) if at is not None and at[1] else text.count("\n") + 1
        findings.fault(line, "", f"this is no TOML: {_AT_LINE.sub('', str(exc)).lower()}")
    except RecursionError:
        findings.fault(0, "", "it is nested too deeply")
    except ValueError as exc:  # a number that the interpreter does not take
        findings.fault(0, "", f"this is no TOML: {exc}")
    return TomlFile(findings, {}, {})


def _crowded_line(text: str) -> int:
    """The first line whose dots could make a key of so many parts that reading takes long; 0 when there is none."""
    for number, line in enumerate(text.split("\n"), 1):
        dots = line.count(".")
        if dots > MAX_LINE_DOTS:
            return number
        if dots > MAX_KEY_DOTS:
            key = line.partition("=")[0]
            if key.count(".") > MAX_KEY_DOTS or '"' in key or "'" in key:
                return number
    return 0


def parse_source(value: Any) -> str:
    """A pattern of paths. Raises InvalidInput."""
    return check_glob(decoded_pattern(parse_text(value).strip()))


def parse_text(value: Any) -> str:
    """Raises InvalidInput."""
    if not isinstance(value, str):
        raise InvalidInput("give a text in quotes")
    return value


def parse_flag(value: Any) -> bool:
    """Raises InvalidInput."""
    if not isinstance(value, bool):
        raise InvalidInput("give true or false")
    return value


def parse_texts(value: Any, parse: Callable[[str], str], most: int) -> tuple[str, ...]:
    """Raises InvalidInput."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(each, str) for each in items):
        raise InvalidInput("give a list of texts")
    if len(items) > most:
        raise InvalidInput(f"there are {len(items)} of them, at most {most} are allowed")
    return tuple(dict.fromkeys(map(parse, items)))


def parse_seconds(value: Any, most_s: int) -> int:
    """Whole seconds from a number, or from a text like `90s`, `5m`, `2h`, `7d`. Raises InvalidInput."""
    seconds = -1
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())) is not None:
        seconds = int(match[1]) * _UNITS_S[match[2]]
    if not 0 <= seconds <= most_s:
        raise InvalidInput(
            f'{shown(value)} is no time up to {most_s // 86_400}d: write for example "90s", "5m" or "7d"'
        )
    return seconds


def _shown(key: Key) -> str:
    """`[[cors]] origins`, `[retention] keep`, `spa`."""
    names = [part for part in key if isinstance(part, str)]
    if len(names) == len(key):
        return names[0] if len(names) == 1 else f"[{names[0]}] {'.'.join(names[1:])}"
    return " ".join((f"[[{names[0]}]]", ".".join(names[1:]))).strip()
