"""What control says when it refuses: a problem document (RFC 9457) becomes one of our errors again."""

from __future__ import annotations

from typing import Any

import msgspec

from cdn.errors import (
    CdnError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from cdn.publish.endpoint import NotControl

MAX_DETAILS = 1000
"""Lines kept from a problem document: enough to fix a bundle by, too few to fill a memory."""


def error_from_answer(status: int, content: bytes) -> CdnError:
    """The error that an answer of `status` (400 or above) with this content stands for.

    An answer that is not a problem document (a proxy's page, an empty one) becomes a sentence with its status.
    """
    document = _document(content)
    if not document and status in (404, 405, 501):
        return NotControl(f"what answered with status {status} is no control plane: set CDN_CONTROL_URL to one")
    message = _sentence(status, document)
    field = document["field"] if isinstance(document.get("field"), str) else None
    details = _details(document)
    match status:
        case 401:
            return Unauthorized(message)
        case 403:
            return Forbidden(message)
        case 404 | 410:
            return NotFound(message)
        case 409 | 412:
            return Conflict(message)
        case 413:
            return TooLarge(message, field=field, details=details)
        case 422:
            return Unprocessable(message, field=field, details=details)
        case 408 | 425 | 429:
            return Unavailable(message)
        case _ if status < 500:
            return InvalidInput(message, field=field, details=details)
        case _:
            return Unavailable(message)


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}


def _sentence(status: int, document: dict[str, Any]) -> str:
    for name in ("detail", "title"):
        text = document.get(name)
        if isinstance(text, str) and text:
            return text
    return f"control answered with status {status} and did not say why"


def _details(document: dict[str, Any]) -> tuple[str, ...]:
    details = document.get("details")
    if not isinstance(details, list):
        return ()
    return tuple(line for line in details[:MAX_DETAILS] if isinstance(line, str))
