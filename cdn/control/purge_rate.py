"""How much one caller may purge of one site in a minute, by whatever API it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cachetools import LRUCache

from cdn.control.allowance import Allowance
from cdn.control.settings import ControlSettings
from cdn.errors import TooLarge, TooMany
from cdn.purge.request import PurgeRequest

MAX_CALLERS = 20_000
"""Callers and sites that are counted at one time: twice as many as there are tokens, some 10 MB. The one that asked
longest ago is forgotten: it has most of its minute's worth back."""


class PurgeRate:
    """Counts what was asked for. Each replica of control counts by itself.

    `limits` says how many of each kind in a minute; kinds that it does not name, or with 0, are not counted.
    """

    def __init__(self, limits: Mapping[str, int], monotonic: Callable[[], float]) -> None:
        self._limits = MappingProxyType({kind: most for kind, most in limits.items() if most})
        self._monotonic = monotonic
        self._allowances: LRUCache[tuple[str, str, str], Allowance] = LRUCache(MAX_CALLERS * max(1, len(self._limits)))

    @classmethod
    def of(cls, settings: ControlSettings, monotonic: Callable[[], float]) -> PurgeRate:
        """As control is set."""
        limits = {
            "URLs": settings.max_purged_urls_per_minute,
            "prefixes": settings.max_purged_prefixes_per_minute,
            "tags": settings.max_purged_tags_per_minute,
            "whole sites": settings.max_purges_of_everything_per_minute,
        }
        return cls(limits, monotonic)

    def take(self, caller: str, site_id: str, wanted: PurgeRequest) -> None:
        """Count a purge that is about to be recorded; nothing of it is counted when this raises.

        Raises TooMany with the time after which it works; TooLarge for more than a whole minute's worth at once.
        """
        now = self._monotonic()
        counted: list[tuple[Allowance, int]] = []
        for kind, count in _counts(wanted).items():
            most = self._limits.get(kind)
            if most is None or count == 0:
                continue
            if count > most:
                raise TooLarge(f"At most {most} {kind} may be purged in a minute, and this names {count}: send fewer.")
            allowance = self._allowance((caller, site_id, kind), most, now)
            if allowance.left < count:
                wait_s = allowance.wait_s(count, most)
                raise TooMany(
                    f"At most {most} {kind} of a site may be purged in a minute with one token: try again in {wait_s} "
                    "s, or purge a prefix or a tag that covers them.",
                    retry_after_s=wait_s,
                )
            counted.append((allowance, count))
        for allowance, count in counted:
            allowance.left -= count

    def _allowance(self, key: tuple[str, str, str], most: int, now: float) -> Allowance:
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = self._allowances[key] = Allowance(most, now)
        allowance.fill(most, now)
        return allowance


def _counts(wanted: PurgeRequest) -> dict[str, int]:
    return {
        "URLs": len(wanted.urls),
        "prefixes": len(wanted.prefixes),
        "tags": len(wanted.tags),
        "whole sites": int(wanted.everything),
    }
