"""The way of a custom domain from nothing to HTTPS, as a pure state machine."""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """How far a domain has come. A fault (with its reason and the next try) may stand at any of them."""

    ADDED = "added"  # somebody wants it; whether it is theirs is not known
    VERIFIED = "verified"  # it is theirs, and answered over HTTP; where it points is not as it should be, or not known
    ISSUING = "issuing"  # it points here, or its DNS is ours: a certificate is being got
    LIVE = "live"  # HTTPS works
