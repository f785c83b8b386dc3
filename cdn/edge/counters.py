"""What a node counts; sent to control with every heartbeat and shown by `cdn status`."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class NodeCounters:
    """Plain integers, raised in place: a hit must not pay for being counted."""

    answered: int = 0
    """Requests that took the whole road: neither the head memo nor the memory tier had the answer."""
    hits: int = 0
    """Answered from a tier; the node adds those from the head memo."""
    stale_served: int = 0
    validated: int = 0
    misses: int = 0
    upstream_failed: int = 0
    site_failed: int = 0
    """Answers refused because the site's manifest could not be had."""
    prepare_failed: int = 0

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}
