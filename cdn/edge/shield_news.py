"""What this node knows to be obsolete and a shield does not: what unsafe requests invalidated here.

A request that changes something goes to the upstream past the shield, and invalidates on this node (RFC 9111 section
4.4, RFC 9875). The shield may still hold what was before. So whoever asks the shield for such a key says how long ago
that was, and the shield answers with nothing that it asked for before.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_KEYS = 16_384
"""Keys of all sites with a moment of their own; beyond, the oldest one's moment holds for its whole site."""

MAX_SITES = 16_384
"""Sites with a moment; the oldest go first: after so many others' their own is long past every usual lifetime."""


class ShieldNews:
    """By key and by site the last moment (monotonic) at which something was invalidated on this node."""

    def __init__(self, max_keys: int = MAX_KEYS, max_sites: int = MAX_SITES) -> None:
        self._max_keys = max_keys
        self._max_sites = max_sites
        self._keys: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._sites: OrderedDict[str, float] = OrderedDict()

    def key_changed(self, place: tuple[str, str], now: float) -> None:
        """What is stored under this key anywhere is obsolete. `place`: site id and path."""
        self._keys[place] = now
        self._keys.move_to_end(place)
        if len(self._keys) > self._max_keys:
            (site_id, _), at = self._keys.popitem(last=False)
            self.site_changed(site_id, at)

    def site_changed(self, site_id: str, now: float) -> None:
        """Any of the site's responses may be obsolete."""
        self._sites[site_id] = max(now, self._sites.get(site_id, now))
        self._sites.move_to_end(site_id)
        if len(self._sites) > self._max_sites:
            self._sites.popitem(last=False)

    def age_s(self, place: tuple[str, str], now: float) -> float | None:
        """How many seconds ago this key last became obsolete here; None: it did not."""
        moments = [at for at in (self._keys.get(place), self._sites.get(place[0])) if at is not None]
        return now - max(moments) if moments else None
