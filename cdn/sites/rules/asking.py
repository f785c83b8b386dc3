"""What rules look at of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdn.http.fields import Fields
from cdn.sites.rules.guard import Guard

NO_FIELDS = Fields(())


def _nowhere() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Asking:
    """`country` is asked only where a rule needs it: ISO 3166-1 alpha-2 in upper case, "" when nobody knows. `passed`:
    the guard whose credentials the request was found to have; for every other one it has none."""

    host: str = ""
    scheme: str = "http"
    method: str = "GET"
    fields: Fields = NO_FIELDS
    country: Callable[[], str] = _nowhere
    passed: Guard | None = None


NOBODY = Asking()
"""A request of which nothing but its target is known."""
