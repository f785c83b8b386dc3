"""Settings from a TOML file: every key and value is checked before anything starts, and faults are named by line."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from cdn.cli.address import Address, parse_address
from cdn.cli.setting_checks import CHECKS, MAY_BE_ZERO, refuse_token
from cdn.control.settings import ControlSettings
from cdn.edge.h2_limits import H2Limits
from cdn.edge.limits import HttpLimits
from cdn.edge.settings import EdgeSettings
from cdn.edge.tls_limits import TlsLimits
from cdn.errors import InvalidInput
from cdn.sites.manifest import BundleLimits
from cdn.sites.toml_lines import Key, line_of, lines_of

T = TypeVar("T")

SECTIONS: Mapping[str, type[ControlSettings | EdgeSettings | HttpLimits | H2Limits | TlsLimits | BundleLimits]] = {
    "control": ControlSettings,
    "control.bundle": BundleLimits,
    "edge": EdgeSettings,
    "edge.http": HttpLimits,
    "edge.http2": H2Limits,
    "edge.tls": TlsLimits,
}
"""The tables of limits, and what each one sets."""


OPTIONS = frozenset({"port", "memory_bytes", "disk_bytes", "workers"})
"""What `cdn up` has an option for."""

OF_ONE_NODE = frozenset({"weight", "bias"})
"""Numbers that are no limits: each node of a fleet has its own."""

NETWORKS = tuple[IPv4Network | IPv6Network, ...]
"""The type of settings that are lists of networks."""

PATHS = tuple[Path, ...]
"""The type of settings that are lists of files."""

ADDRESSES = tuple[Address, ...]
"""The type of settings that are lists of places to listen on."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table: the keys it may have with their types, and those it must have."""

    keys: Mapping[str, Any]
    required: frozenset[str] = frozenset()


def settable(settings: type[Any]) -> dict[str, Any]:
    """The limits among the fields, by name, with their types: numbers, yes and no, and lists of networks."""
    hints = get_type_hints(settings)
    return {
        field.name: hints[field.name]
        for field in fields(settings)
        if (isinstance(field.default, int | float) or hints[field.name] == NETWORKS)
        and field.name not in OPTIONS | OF_ONE_NODE
    }


LIMITS: Mapping[str, Section] = {name: Section(settable(settings)) for name, settings in SECTIONS.items()}
"""What a file of limits may have (`cdn up --config`)."""


def section_of(*settings: type[Any], without: frozenset[str] = frozenset()) -> Section:
    """A table with all fields of these classes but `without`; those that have no default must be there."""
    keys: dict[str, Any] = {}
    required: set[str] = set()
    for each in settings:
        hints = get_type_hints(each)
        for field in fields(each):
            if field.name in without:
                continue
            keys[field.name] = hints[field.name]
            if field.default is MISSING and field.default_factory is MISSING:
                required.add(field.name)
    return Section(keys, frozenset(required))


class SettingsFile:
    """What a file sets, by table."""

    def __init__(self, path: Path, values: Mapping[str, Mapping[str, Any]], lines: Mapping[Key, int]) -> None:
        self.path = path
        self._values = values
        self._lines = lines

    @classmethod
    def read(cls, path: Path, sections: Mapping[str, Section] = LIMITS) -> SettingsFile:
        """Raises InvalidInput that lists every fault with its line and key, and never a value that may be secret."""
        try:
            text = path.read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except OSError as exc:
            raise InvalidInput(f"{path} cannot be read: {exc.strerror}") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise InvalidInput(f"{path} is not TOML: {exc}") from exc
        reader = _Reader(path, sections, lines_of(text.replace("\r\n", "\n")))
        values = reader.read(document)
        if reader.faults:
            count = len(reader.faults)
            found = "a wrong setting" if count == 1 else f"{count} wrong settings"
            raise InvalidInput(f"{path} has {found}", details=tuple(each for _, each in sorted(reader.faults)))
        return cls(path, values, reader.lines)

    def applied(self, name: str, defaults: T) -> T:
        """`defaults` with what the file's table `name` sets of its fields. Raises InvalidInput naming the line."""
        return self._judged(name, lambda values: replace(defaults, **values), type(defaults))  # type: ignore[type-var]

    def made(self, name: str, kind: type[T], **fixed: Any) -> T:
        """A `kind` from the file's table `name` and from `fixed`. Raises InvalidInput naming the line."""
        return self._judged(name, lambda values: kind(**values, **fixed), kind)

    def fault(self, name: str, key: str, sentence: str) -> InvalidInput:
        """That what the file sets under `key` of the table `name` cannot be used."""
        detail = _located(self._lines, (*name.split("."), key), f"{name}.{key}: {sentence}")
        return InvalidInput(f"{self.path} has a wrong setting", field=key, details=(detail[1],))

    def _judged(self, name: str, make: Any, kind: type[T]) -> T:
        names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        values = {key: value for key, value in self._values.get(name, {}).items() if key in names}
        try:
            made: T = make(values)
        except InvalidInput as exc:
            raise self.fault(name, exc.field or "", exc.message) from exc
        return made


NO_FILE = SettingsFile(Path(), {}, {})


class _Reader:
    """One pass over a document, noting every fault with its line."""

    def __init__(self, path: Path, sections: Mapping[str, Section], lines: Mapping[Key, int]) -> None:
        self.faults: list[tuple[int, str]] = []
        self.lines = lines
        self._folder = path.absolute().parent
        self._sections = sections

    def read(self, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        tables = self._tables(document)
        values = {name: self._checked(name, table) for name, table in tables.items()}
        for name, section in self._sections.items():
            for key in sorted(section.required - tables.get(name, {}).keys()):
                self._note(tuple(name.split(".")), f"{name}.{key}: this setting is needed, and missing")
        return values

    def _tables(self, document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The document's tables by dotted name."""
        tables: dict[str, Mapping[str, Any]] = {}
        for name, table in document.items():
            if name not in self._sections or not isinstance(table, dict):
                shown = f"[{name}]" if isinstance(table, dict) else name
                self._note((name,), f"{shown}: {self._unknown(name, self._sections)}")
                continue
            inner = {key: value for key, value in table.items() if isinstance(value, dict)}
            tables[name] = {key: value for key, value in table.items() if key not in inner}
            for key, value in inner.items():
                if f"{name}.{key}" in self._sections:
                    tables[f"{name}.{key}"] = value
                else:
                    unknown = self._unknown(f"{name}.{key}", self._sections)
                    self._note((name, key), f"[{name}.{key}]: {unknown}")
        return tables

    def _checked(self, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        allowed = self._sections[name].keys
        values: dict[str, Any] = {}
        for key, value in table.items():
            place = (*name.split("."), key)
            if key not in allowed:
                self._note(place, f"{name}.{key}: {self._unknown(key, allowed)}")
                continue
            try:
                values[key] = self._value(key, allowed[key], value)
            except InvalidInput as exc:
                self._note(place, f"{name}.{key}: {exc.message}")
            except (msgspec.ValidationError, ValueError) as exc:
                self._note(place, f"{name}.{key}: {exc}")
        return values

    def _value(self, key: str, kind: Any, value: Any) -> Any:
        """The value as its setting wants it. Raises InvalidInput, ValidationError, ValueError."""
        if isinstance(value, str):
            refuse_token(value)
        kinds = set(get_args(kind)) or {kind}
        made: Any
        if kind == NETWORKS:
            made = tuple(map(ip_network, msgspec.convert(value, tuple[str, ...])))
        elif kind == ADDRESSES:
            made = tuple(map(parse_address, msgspec.convert(value, tuple[str, ...])))
        elif kind == PATHS:
            made = tuple(map(self._path, msgspec.convert(value, tuple[str, ...])))
        elif Address in kinds:
            made = parse_address(msgspec.convert(value, str))
        elif Path in kinds:
            made = self._path(msgspec.convert(value, str))
        elif isinstance(kind, type) and issubclass(kind, StrEnum):
            made = _one_of(kind, msgspec.convert(value, str))
        else:
            made = msgspec.convert(value, kind)
        if kinds & {int, float} and key not in MAY_BE_ZERO and not 0 < made < math.inf:
            raise ValueError(f"{value} is not above 0" if made <= 0 else f"{value} is no number to count with")
        return CHECKS[key](made) if key in CHECKS else made

    def _path(self, text: str) -> Path:
        """Relative paths begin at the file's folder. Raises ValueError."""
        if not text or "\0" in text:
            raise ValueError("this is no path")
        return self._folder / text

    def _unknown(self, name: str, known: Mapping[str, Any]) -> str:
        elsewhere = [table for table, section in self._sections.items() if name in section.keys]
        if elsewhere:
            return f"there is no such setting here; it belongs into [{elsewhere[0]}]"
        close = difflib.get_close_matches(name, known, n=1)
        return "there is no such setting" + (f"; did you mean {close[0]}?" if close else "")

    def _note(self, place: Key, sentence: str) -> None:
        self.faults.append(_located(self.lines, place, sentence))


def _one_of(kind: type[StrEnum], text: str) -> StrEnum:
    """The member that is written so. Raises ValueError that names them all."""
    for member in kind:
        if text == member.value:
            return member
    raise ValueError(f"'{text}' is none of {', '.join(member.value for member in kind)}")


def _located(lines: Mapping[Key, int], place: Key, sentence: str) -> tuple[int, str]:
    """The line, 0 when there is none, and the sentence that begins with it."""
    line = line_of(lines, place)
    return (0, sentence) if line is None else (line, f"line {line}: {sentence}")
