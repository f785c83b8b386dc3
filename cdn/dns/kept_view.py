"""The last view of the fleet, as an earlier process left it on disk."""

from __future__ import annotations

import logging
from pathlib import Path

from cdn.dns.fleet_nodes import MAX_VIEW_BYTES, SeenFleet, UnreadableView, read_view

_log = logging.getLogger(__name__)


def kept_view(path: Path) -> SeenFleet | None:
    """The view on disk, None when there is none that can be read."""
    try:
        if path.stat().st_size > MAX_VIEW_BYTES:
            raise UnreadableView(f"it is longer than {MAX_VIEW_BYTES} bytes")
        return read_view(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, UnreadableView) as exc:
        _log.warning("the view of the fleet kept in %s counts as none: %s", path, exc)
        return None
