"""Who may see what: countries first, then credentials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdn.sites.rules.asking import Asking
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.path_glob import PathGlob
from cdn.sites.rules.path_index import PathIndex


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` is 401 with the guard whose credentials are wanted, else 403 or 451."""

    status: int
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """`refusal` None: let in. `is_general`: no rule looked at who asks."""

    refusal: Refusal | None = None
    is_general: bool = True


OPEN = Admission()


class Access:
    """The guards and country rules of one deploy. Immutable once made."""

    def __init__(self, guards: Sequence[Guard], countries: Sequence[CountryRule]) -> None:
        self._guards = guards
        self._countries = countries
        self._guard_index = PathIndex([PathGlob(guard.source) for guard in guards])
        self._country_index = PathIndex([PathGlob(rule.source) for rule in countries])

    def admission(self, paths: Iterable[str], asking: Asking) -> Admission:
        """Whether a request may have what stands at `paths`: decoded, all the names of one thing."""
        paths = tuple(paths)
        admission = OPEN
        for number, _ in self._country_index.covering(paths):
            admission = Admission(is_general=False)
            if not self._countries[number].admits(asking.country()):
                return Admission(Refusal(self._countries[number].status), is_general=False)
        for number, _ in self._guard_index.covering(paths)[:1]:
            guard = self._guards[number]
            return Admission(None if asking.passed == guard else Refusal(401, guard), is_general=False)
        return admission

    def was_closed(self, paths: Iterable[str], since: Access | None) -> bool:
        """Whether rules of these kinds kept somebody from what stands at `paths` that none of `since` keep anybody
        from: who made those meant what their deploy has there, and not that."""
        paths = tuple(paths)
        return any(
            index.covering(paths) and (now is None or not now.covering(paths))
            for index, now in (
                (self._guard_index, None if since is None else since._guard_index),
                (self._country_index, None if since is None else since._country_index),
            )
        )
