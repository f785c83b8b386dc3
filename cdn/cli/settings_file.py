"""Limits from a TOML file: every key is checked before anything starts."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from cdn.control.settings import ControlSettings
from cdn.edge.limits import HttpLimits
from cdn.edge.settings import EdgeSettings
from cdn.errors import InvalidInput
from cdn.sites.manifest import BundleLimits

T = TypeVar("T", ControlSettings, EdgeSettings, HttpLimits, BundleLimits)

SECTIONS: Mapping[str, type[ControlSettings | EdgeSettings | HttpLimits | BundleLimits]] = {
    "control": ControlSettings,
    "control.bundle": BundleLimits,
    "edge": EdgeSettings,
    "edge.http": HttpLimits,
}
"""The tables of the file, and what each one sets."""


OPTIONS = frozenset({"port", "memory_bytes", "disk_bytes"})
"""What `cdn up` has an option for."""

NETWORKS = tuple[IPv4Network | IPv6Network, ...]
"""The type of settings that are lists of networks."""


class SettingsFile:
    """Overrides of defaults, by table."""

    def __init__(self, overrides: Mapping[str, Mapping[str, Any]]) -> None:
        self._overrides = overrides

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Raises InvalidInput that lists every fault with its key."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise InvalidInput(f"{path} cannot be read: {exc.strerror}") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise InvalidInput(f"{path} is not TOML: {exc}") from exc
        faults: list[str] = []
        overrides = {name: _checked(name, table, faults) for name, table in _tables(document, faults).items()}
        if faults:
            raise InvalidInput(f"{path} has {len(faults)} wrong settings", details=tuple(faults))
        return cls(overrides)

    def applied(self, name: str, defaults: T) -> T:
        """`defaults` with what the file's table `name` sets."""
        return replace(defaults, **self._overrides.get(name, {}))


NO_FILE = SettingsFile({})


def settable(settings: type[Any]) -> dict[str, Any]:
    """The fields a table may set, by name, with their types: numbers, yes and no, and lists of networks."""
    hints = get_type_hints(settings)
    return {
        field.name: hints[field.name]
        for field in fields(settings)
        if (isinstance(field.default, int | float) or hints[field.name] == NETWORKS) and field.name not in OPTIONS
    }


def _tables(document: Mapping[str, Any], faults: list[str]) -> dict[str, Mapping[str, Any]]:
    """The document's tables by dotted name."""
    tables: dict[str, Mapping[str, Any]] = {}
    for name, table in document.items():
        if name not in SECTIONS or not isinstance(table, dict):
            faults.append(_unknown(f"[{name}]" if isinstance(table, dict) else name, name, SECTIONS))
            continue
        inner = {key: value for key, value in table.items() if isinstance(value, dict)}
        tables[name] = {key: value for key, value in table.items() if key not in inner}
        for key, value in inner.items():
            if f"{name}.{key}" in SECTIONS:
                tables[f"{name}.{key}"] = value
            else:
                faults.append(_unknown(f"[{name}.{key}]", f"{name}.{key}", SECTIONS))
    return tables


def _checked(name: str, table: Mapping[str, Any], faults: list[str]) -> Mapping[str, Any]:
    allowed = settable(SECTIONS[name])
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in allowed:
            faults.append(_unknown(f"{name}.{key}", key, allowed))
            continue
        try:
            values[key] = _networks(value) if allowed[key] == NETWORKS else msgspec.convert(value, allowed[key])
        except (msgspec.ValidationError, ValueError) as exc:
            faults.append(f"{name}.{key}: {exc}")
            continue
        if allowed[key] in {int, float} and values[key] <= 0:
            faults.append(f"{name}.{key}: {value} is not above 0")
    return values


def _networks(value: Any) -> tuple[IPv4Network | IPv6Network, ...]:
    """Raises ValueError."""
    texts = msgspec.convert(value, tuple[str, ...])
    return tuple(map(ip_network, texts))


def _unknown(shown: str, name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{shown}: there is no such setting" + (f"; did you mean {close[0]}?" if close else "")
