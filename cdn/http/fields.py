"""Field lines of a message (RFC 9110 section 5)."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from dataclasses import dataclass, field

FieldLines = tuple[tuple[str, str], ...]
"""Lower-case names and latin-1 values, without whitespace around them, in wire order."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one message: looked up by lower-case name, iterated in wire order."""

    lines: FieldLines = ()
    _combined: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        combined = dict(self.lines)
        if len(combined) != len(self.lines):
            combined = _combine(self.lines)
        object.__setattr__(self, "_combined", combined)

    @property
    def names(self) -> KeysView[str]:
        """The names that there are, each once."""
        return self._combined.keys()

    def get(self, name: str) -> str | None:
        """The combined value: all lines of that name joined by ", " (section 5.2); None when there is none."""
        return self._combined.get(name)

    def get_all(self, name: str) -> tuple[str, ...]:
        """The value of every line of that name, in wire order."""
        if name not in self._combined:
            return ()
        return tuple(value for line_name, value in self.lines if line_name == name)

    def __contains__(self, name: object) -> bool:
        return name in self._combined

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)


def _combine(lines: FieldLines) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in lines:
        values.setdefault(name, []).append(value)
    return {name: ", ".join(of_name) for name, of_name in values.items()}
