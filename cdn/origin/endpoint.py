"""Whom connections are made to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A scheme ("http" or "https"), a host without brackets, and a port: connections to equal ones are shared.

    `is_operators`: the operator named it in settings, so that the rule for what users name does not hold. It is part of
    the value, so that no user's request ever finds a connection that the rule did not judge.
    """

    scheme: str
    host: str
    port: int
    is_operators: bool = False

    def __str__(self) -> str:
        return (
            f"{self.scheme}://[{self.host}]:{self.port}"
            if ":" in self.host
            else f"{self.scheme}://{self.host}:{self.port}"
        )
