"""Sizes as they are typed."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"([0-9]+)([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """`256M`, `20G`, `4096` in bytes; a K is 1024. Raises ValueError with a sentence."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not a size: write a number with K, M, G or T, like 20G")
    return int(found[1]) * _FACTORS[found[2].upper()]
