"""Secrets that settings name without saying them: in the environment, or in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cdn.cli.settings_file import SettingsFile
from cdn.errors import InvalidInput

MAX_SECRET_BYTES = 4096
"""A secret and its line end; a longer file is another one."""


def secret_setting(  # noqa: PLR0917 - a setting and where it may stand
    file: SettingsFile, table: str, key: str, path: Path | None, variable: str, environ: Mapping[str, str]
) -> str | None:
    """What the environment's `variable` says, else the file at `path`, which `key` of `table` names.

    None when neither is given. Raises InvalidInput, which never repeats the secret.
    """
    if variable in environ:
        secret = environ[variable].strip()
        if not secret:
            raise InvalidInput(f"{variable} is set and empty")
        return secret
    if path is None:
        return None
    try:
        with path.open("rb") as opened:
            secret = opened.read(MAX_SECRET_BYTES).decode("utf-8").strip()
    except OSError as exc:
        raise file.fault(table, key, f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise file.fault(table, key, f"{path} holds no secret") from exc
    if not secret:
        raise file.fault(table, key, f"{path} is empty")
    return secret
