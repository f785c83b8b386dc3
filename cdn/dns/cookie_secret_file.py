"""The secrets of DNS cookies, from a file that all name servers of a zone share."""

from __future__ import annotations

import secrets
from pathlib import Path

from cdn.dns.siphash import KEY_BYTES
from cdn.errors import InvalidInput

MAX_FILE_BYTES = 4096
"""A few lines with comments."""


def cookie_secrets(path: Path | None) -> tuple[bytes, ...]:
    """The secrets in a file, in hex, one a line; empty lines and what follows a `#` are passed over. None: a secret
    that nobody else has. Raises InvalidInput that names the file and the line, never what stands there."""
    if path is None:
        return (secrets.token_bytes(KEY_BYTES),)
    try:
        with path.open(encoding="ascii") as file:
            lines = file.read(MAX_FILE_BYTES).split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"{path} cannot be read: {exc}", field="cookie_secret_file") from exc
    found = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            found.append(bytes.fromhex(text))
        except ValueError:
            raise InvalidInput(f"{path}, line {number}: this is no secret in hex", field="cookie_secret_file") from None
    return tuple(found)
