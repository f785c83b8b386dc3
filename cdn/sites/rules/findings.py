"""Everything there is to say about one rule file, collected while it is read."""

from __future__ import annotations

from cdn.sites.rules.fault import RuleFault

MAX_RULE_SHOWN = 100
"""Letters of a rule that a message repeats."""

MAX_FINDINGS = 1000
"""Faults, and warnings, of one file that are kept."""


class Findings:
    """Faults and warnings of one file, up to a bound of each."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._faults: list[RuleFault] = []
        self._warnings: list[RuleFault] = []

    @property
    def faults(self) -> tuple[RuleFault, ...]:
        """What keeps the deploy from being made, in the order it was found."""
        return tuple(self._faults)

    @property
    def warnings(self) -> tuple[RuleFault, ...]:
        """What is said and does no harm."""
        return tuple(self._warnings)

    def fault(self, line: int, rule: str, message: str) -> None:
        """Add a fault of what stands at `line`, counted from 1 (0: the file)."""
        if len(self._faults) < MAX_FINDINGS:
            self._faults.append(RuleFault(self.file, line, shortened(rule), message))

    def warn(self, line: int, rule: str, message: str) -> None:
        """Add a warning."""
        if len(self._warnings) < MAX_FINDINGS:
            self._warnings.append(RuleFault(self.file, line, shortened(rule), message))


def shortened(text: str) -> str:
    """`text` in one printable line, cut to a length fit for a message."""
    line = "".join(char if char.isprintable() else " " for char in text[: MAX_RULE_SHOWN + 1]).strip()
    return line if len(line) <= MAX_RULE_SHOWN else f"{line[:MAX_RULE_SHOWN]}..."
