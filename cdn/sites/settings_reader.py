"""Readers for single settings: JSON builtins in, checked values out, every fault collected with its place."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from cdn.errors import InvalidInput
from cdn.sites.pattern import check_pattern

MAX_FAULTS = 50
"""How many faults of one request are listed."""

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class Faults:
    """Collects what is wrong, with its place."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, field: str, fault: str) -> None:
        """`field` is the path of what is wrong (`header_rules[2].path`), `fault` a sentence without its capital."""
        self._found.append((field, fault))

    def raise_any(self) -> None:
        """Raises InvalidInput that lists all there are; its `field` is the first one's."""
        if self._found:
            field, fault = self._found[0]
            details = tuple(f"{where}: {what}" for where, what in self._found[:MAX_FAULTS])
            raise InvalidInput(f"settings: {field}: {fault}", field=field, details=details)


Reader = Callable[[Faults, str, Any], Any]
"""Reads one setting. It returns a value of the right type even after a fault: the whole is refused later."""


def seconds_reader(most_s: int) -> Callable[[Faults, str, Any], int]:
    """For whole seconds from 0 to `most_s`."""

    def read(faults: Faults, field: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most_s:
            faults.add(field, f"give whole seconds from 0 to {most_s}")
            return 0
        return value

    return read


def timeout_reader(most_s: float) -> Callable[[Faults, str, Any], float]:
    """For seconds above 0, up to `most_s`."""

    def read(faults: Faults, field: str, value: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most_s:
            return float(value)
        faults.add(field, f"give seconds above 0, up to {most_s:g}")
        return most_s

    return read


def count_reader(most: int, least: int = 0) -> Callable[[Faults, str, Any], int]:
    """For whole numbers from `least` to `most`."""

    def read(faults: Faults, field: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            faults.add(field, f"give a whole number from {least} to {most}")
            return least
        return value

    return read


def optional(read: Callable[[Faults, str, Any], T]) -> Callable[[Faults, str, Any], T | None]:
    """Like `read`, and null is None."""

    def read_optional(faults: Faults, field: str, value: Any) -> T | None:
        return None if value is None else read(faults, field, value)

    return read_optional


def text_reader(parse: Callable[[str], T], otherwise: T) -> Callable[[Faults, str, Any], T]:
    """For text that `parse` takes or refuses with InvalidInput; `otherwise` stands in for what is refused."""

    def read(faults: Faults, field: str, value: Any) -> T:
        if not isinstance(value, str):
            faults.add(field, "give a text")
            return otherwise
        try:
            return parse(value)
        except InvalidInput as exc:
            faults.add(field, exc.message)
            return otherwise

    return read


def choice_reader(choices: type[E]) -> Callable[[Faults, str, Any], E]:
    """For the value of one of `choices`."""

    def read(faults: Faults, field: str, value: Any) -> E:
        for choice in choices:
            if value == choice.value:
                return choice
        faults.add(field, f"give {' or '.join(str(choice.value) for choice in choices)}")
        return next(iter(choices))

    return read


def read_flag(faults: Faults, field: str, value: Any) -> bool:
    """True or false, and nothing that is only like it."""
    if not isinstance(value, bool):
        faults.add(field, "give true or false")
        return False
    return value


def read_list(faults: Faults, field: str, value: Any, most: int) -> list[Any]:
    """A list of at most `most` entries; too many are not looked at."""
    if not isinstance(value, list | tuple):
        faults.add(field, "give a list")
        return []
    if len(value) > most:
        faults.add(field, f"there are {len(value)} entries, at most {most} are allowed")
        return []
    return list(value)


read_pattern = text_reader(check_pattern, "")
"""For a pattern of paths."""
