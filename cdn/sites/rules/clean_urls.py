"""How pages may be asked for."""

from __future__ import annotations

from enum import Enum


class CleanUrls(Enum):
    """`about.html` and `docs/index.html` in a deploy."""

    SERVE = "serve"  # /about and /about.html both answer; /docs leads to /docs/
    CANONICAL = "canonical"  # /about answers, /about.html and /docs/index.html lead to /about and /docs/
    OFF = "off"  # only /about.html answers; /docs/ is still /docs/index.html
