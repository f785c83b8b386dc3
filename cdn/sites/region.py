"""Names of regions: where nodes stand, and where the bytes of a site may be (DESIGN I12)."""

from __future__ import annotations

import re

from cdn.errors import InvalidInput

MAX_REGION_OCTETS = 32
"""Longer than any provider's name of a region; it stands in metrics and in every node's facts."""

_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def check_region(text: str) -> str:
    """The name, when it can be a region's. Names are compared whole: `eu` does not contain `eu-west`.

    Raises InvalidInput.
    """
    if len(text) > MAX_REGION_OCTETS or _REGION.fullmatch(text) is None:
        raise InvalidInput(
            f"{text[:80]!r} cannot name a region: use up to {MAX_REGION_OCTETS} lower-case letters, digits and single "
            "hyphens between them, like eu or eu-west-1",
            field="region",
        )
    return text
