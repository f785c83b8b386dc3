"""What the actors of one scenario share: signals, kept values, and the faults they found."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TypeVar

from tests.scenarios.command import Await, FieldLines, Keep, Line
from tests.scenarios.message import Message

PATIENCE_S = 10.0
"""How long anything may take before the scenario is called stuck."""

Result = TypeVar("Result")
_NAME = re.compile(r"<(now([+-]\d+)?|[a-z][a-z0-9_]*)>")


@dataclass(slots=True)
class ScenarioFault(Exception):
    """A line that does not hold: what was expected, and what was seen."""

    line: Line
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"line {self.line.number}: {self.line.text.strip()}\n  expected: {self.expected}\n  seen: {self.seen}"


@dataclass(slots=True)
class Stage:
    """One scenario while it plays."""

    values: dict[str, str] = field(default_factory=dict)
    faults: list[ScenarioFault] = field(default_factory=list)
    patience_s: float = PATIENCE_S
    _signals: Counter[str] = field(default_factory=Counter)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _failed: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, fault: ScenarioFault) -> None:
        """The scenario ends here: what others find from now on only follows from it."""
        if not self.faults:
            self.faults.append(fault)
        self._failed.set()

    async def until_failed(self) -> None:
        """Until somebody finds a fault."""
        await self._failed.wait()

    def fill(self, text: str) -> str:
        """With the values that names in angle brackets stand for; others stay as they are."""

        def value(found: re.Match[str]) -> str:
            if found[1].startswith("now"):
                return formatdate(time.time() + int(found[2] or 0), usegmt=True)
            return self.values.get(found[1], found[0])

        return _NAME.sub(value, text)

    def fill_fields(self, fields: FieldLines) -> FieldLines:
        """Each value with its names filled in."""
        return tuple((name, self.fill(value)) for name, value in fields)

    async def signal(self, name: str) -> None:
        """Let those go on who await it."""
        async with self._changed:
            self._signals[name] += 1
            self._changed.notify_all()

    async def await_signal(self, command: Await) -> None:
        """Raises ScenarioFault when it does not come."""

        def is_there() -> bool:
            return self._signals[command.name] >= command.count

        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(is_there)

        await self.patiently(command.line, wait(), f"{command.count} signals {command.name}")

    async def patiently(self, line: Line, work: Awaitable[Result], expected: str) -> Result:
        """Raises ScenarioFault when it takes too long."""
        try:
            return await asyncio.wait_for(work, self.patience_s)
        except TimeoutError:
            raise ScenarioFault(line, expected, f"still waiting after {self.patience_s:g} s") from None

    def keep(self, command: Keep, message: Message) -> None:
        """Raises ScenarioFault when the message has no such field."""
        value = message.head.value(command.field_name) if message.head else None
        if value is None:
            raise ScenarioFault(command.line, f"a field {command.field_name}", _head(message))
        self.values[command.name] = value


def _head(message: Message) -> str:
    return message.head.raw.decode("latin-1") if message.head else "no head"
