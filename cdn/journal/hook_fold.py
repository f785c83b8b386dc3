"""The hooks of sites, from the records: for control alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from cdn.journal.record import Audience, HookRemoved, HookSet, Record, SiteRemoved

MAX_HOOKS_PER_SITE = 50
"""A handful of repositories and receivers each; more is a loop that creates them."""


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `HookSet`. `created_at` is wall time in seconds, `sequence` that of the record."""

    id: str
    site_id: str
    direction: str
    settings: dict[str, Any]
    sealed_secret: str
    created_at: float
    sequence: int


class HookFold:
    """Holds hooks by id, and which of them are a site's."""

    name: str = "hooks"
    audience: Audience = Audience.CONTROL

    def __init__(self) -> None:
        self._hooks: dict[str, Hook] = {}
        self._of_site: dict[str, dict[str, Hook]] = {}
        self._counts: Counter[str] = Counter()

    def get(self, hook_id: str) -> Hook | None:
        """One hook."""
        return self._hooks.get(hook_id)

    def of_site(self, site_id: str) -> Mapping[str, Hook]:
        """A site's hooks by id, oldest first."""
        return self._of_site.get(site_id, {})

    def all(self) -> tuple[Hook, ...]:
        """The hooks of all sites."""
        return tuple(self._hooks.values())

    def count(self, direction: str) -> int:
        """How many hooks of this direction all sites have together."""
        return self._counts[direction]

    def apply(self, record: Record) -> None:
        """Take one record."""
        match record.change:
            case HookSet() as change:
                known = self._hooks.get(change.hook_id)
                created_at = record.at if known is None else known.created_at
                self._put(
                    Hook(
                        id=change.hook_id,
                        site_id=change.site_id,
                        direction=change.direction,
                        settings=change.settings,
                        sealed_secret=change.sealed_secret,
                        created_at=created_at,
                        sequence=record.sequence,
                    )
                )
            case HookRemoved(hook_id=hook_id):
                self._drop(hook_id)
            case SiteRemoved(site_id=site_id):
                for hook_id in list(self.of_site(site_id)):
                    self._drop(hook_id)
            case _:
                pass

    def dump(self) -> list[Any] | None:
        """None where there are none: then nobody need know this fold."""
        return msgspec.to_builtins(list(self._hooks.values())) if self._hooks else None

    def load(self, section: Any) -> None:
        """Become what `dump` gave. Raises msgspec.MsgspecError."""
        self._hooks, self._of_site, self._counts = {}, {}, Counter()
        for hook in msgspec.convert(section or [], list[Hook]):
            self._put(hook)

    def _put(self, hook: Hook) -> None:
        if (known := self._hooks.get(hook.id)) is not None:
            self._counts[known.direction] -= 1
        self._counts[hook.direction] += 1
        self._hooks[hook.id] = hook
        self._of_site.setdefault(hook.site_id, {})[hook.id] = hook

    def _drop(self, hook_id: str) -> None:
        hook = self._hooks.pop(hook_id, None)
        if hook is not None:
            self._counts[hook.direction] -= 1
            of_site = self._of_site[hook.site_id]
            del of_site[hook_id]
            if not of_site:
                del self._of_site[hook.site_id]
