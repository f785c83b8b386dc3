"""Content that says in every line which path and which version it is of: a stale or mixed octet is seen."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

_LINE = re.compile(rb"(?P<path>/[^ \n]*) (?P<version>\d{10}) (?P<number>\d{8})\n")


class WrongContent(AssertionError):
    """What came is of no version that may be answered, or of several."""


@lru_cache(maxsize=64)
def content_of(path: str, version: int, size: int) -> bytes:
    """So many octets of this version."""
    line = len(f"{path} {version:010} {0:08}\n")
    return "".join(f"{path} {version:010} {number:08}\n" for number in range(size // line + 1)).encode()[:size]


def version_in(content: bytes) -> int:
    """What the first whole line says. Raises WrongContent."""
    found = _LINE.search(content)
    if found is None:
        raise WrongContent(f"no line says its version: {content[:80]!r}")
    return int(found["version"])


@dataclass(slots=True)
class Truth:
    """Which versions were made, and from which on visitors must be answered, by site."""

    sizes: dict[str, dict[str, int]]
    """Of each site's paths."""
    made: Counter[str] = field(default_factory=Counter)
    promised: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def judge(self, site: str, path: str, content: bytes, promised: int, first: int = 0) -> None:
        """`content` is that of `path` from its octet `first` on; `promised` is what was when it was asked for."""
        version = version_in(content)
        whole = content_of(path, version, self.sizes[site][path])
        if content != whole[first : first + len(content)]:
            raise WrongContent(f"{site}{path}: octets of something else among those of version {version}")
        if not promised <= version <= self.made[site]:
            raise WrongContent(f"{site}{path}: version {version}, {promised} was promised, {self.made[site]} is made")
