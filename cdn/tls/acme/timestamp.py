"""Times as ACME writes them (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_of(text: str) -> float | None:
    """Wall time in seconds; None for what is no such time."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
