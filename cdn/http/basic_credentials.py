"""The Basic scheme: a user and a password in a request (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

MAX_CREDENTIALS_OCTETS = 1024
"""Of user and password together: more than people type, and little for what is done with it."""

_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2}) *", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """What a visitor gave. The password is in no text that is made of it."""

    user: str
    password: str = field(repr=False)


def basic_credentials(value: str | None) -> BasicCredentials | None:
    """The credentials in the value of an Authorization field; None for another scheme and for what is malformed.

    The text is UTF-8, as challenges of this program ask for (RFC 7617 section 2.1).
    """
    found = None if value is None or len(value) > 2 * MAX_CREDENTIALS_OCTETS else _BASIC.fullmatch(value)
    if found is None:
        return None
    try:
        text = base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    if not colon or _CONTROL.search(text) is not None or len(text.encode()) > MAX_CREDENTIALS_OCTETS:
        return None
    return BasicCredentials(user, password)
