"""What is wrong with a rule, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuleFault:
    """`file` is its name in the bundle (`_redirects`), `line` counted from 1 (0: the file as a whole), `rule` what
    stands there, cut to a length fit for a message ("": nothing)."""

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.rule}: {self.message}" if self.rule else f"{place}: {self.message}"
