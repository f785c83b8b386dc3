"""One field that a deploy gives to its responses: a name and a value that cannot break out of its line."""

from __future__ import annotations

import re

from cdn.errors import InvalidInput
from cdn.sites.header_rule import EDGE_OWNED_FIELDS
from cdn.sites.path import shown

MAX_VALUE_BYTES = 8 * 1024
"""One value: the longest that common clients take in one line."""

MAX_COLONS = 64
"""Of one value: each may stand for a part of an address, which may be long."""

IGNORED_FIELDS = EDGE_OWNED_FIELDS | {"allow", "content-encoding", "location", "status", "www-authenticate"}
"""Fields that say what only the server knows: hosts ignore them in these files, so they are left out with a warning."""

SECRET_FIELD = "basic-auth"  # noqa: S105 - the name of what is never repeated
"""What Netlify calls names and passwords in these files."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def check_field_name(name: str) -> str:
    """The name in lower case. Raises InvalidInput."""
    if _TOKEN.fullmatch(name) is None:
        raise InvalidInput(f"{shown(name)} is not a field name")
    if name.lower() == SECRET_FIELD:
        raise InvalidInput(
            'passwords in clear are not taken: put [[auth]] into cdn.toml, with hashes that "cdn password" makes'
        )
    return name.lower()


def check_field_value(name: str, value: str) -> str:
    """The value without whitespace around it. Raises InvalidInput."""
    value = value.strip(" \t")
    if not value:
        raise InvalidInput(f'"{name}" has no value: to take a field away write "! {name}"')
    if _VALUE.fullmatch(value) is None:
        raise InvalidInput(f'the value of "{name}" has a character that a field cannot carry')
    if len(value) > MAX_VALUE_BYTES:
        raise InvalidInput(f'the value of "{name}" has {len(value)} octets, at most {MAX_VALUE_BYTES} are allowed')
    if value.count(":") > MAX_COLONS:
        raise InvalidInput(f'the value of "{name}" has more than {MAX_COLONS} colons')
    return value
