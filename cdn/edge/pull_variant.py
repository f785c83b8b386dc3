"""What tells stored responses under one primary key apart."""

from __future__ import annotations

import hashlib

from cdn.edge.stored import PulledHead


def variant_id(pulled: PulledHead) -> str:
    """A name, in hex, for what selected the response and for the part of the representation it holds."""
    content_range = pulled.head.fields.get("content-range") if pulled.head.status == 206 else None
    told = repr((pulled.selecting, content_range))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
