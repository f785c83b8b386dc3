"""The token with which a role follows the journal: in a file of its own or in the environment, never in settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdn.cli.setting_checks import TOKEN_PREFIX
from cdn.cli.settings_file import SettingsFile
from cdn.errors import InvalidInput

MAX_TOKEN_FILE_BYTES = 4096
"""A token and its line end; a longer file is another one."""


@dataclass(frozen=True, slots=True)
class FollowerToken:
    """Where a role's token is said: the table of its `token_file`, the variable, and the scope that it needs."""

    table: str
    variable: str
    scope: str

    def read(self, file: SettingsFile, token_file: Path | None, environ: Mapping[str, str]) -> str:
        """The secret itself; faults name where it should be, never what is there. Raises InvalidInput."""
        way_out = f"`cdn token create --scope {self.scope}` prints one"
        if self.variable in environ:
            token = environ[self.variable].strip()
            if not _may_be_token(token):
                raise InvalidInput(f"{self.variable} holds no token: {way_out}")
            return token
        if token_file is None:
            sentence = f"this setting is needed, and missing, unless {self.variable} holds the token"
            raise file.fault(self.table, "token_file", sentence)
        try:
            with token_file.open("rb") as opened:
                token = opened.read(MAX_TOKEN_FILE_BYTES).decode("ascii").strip()
        except OSError as exc:
            raise file.fault(self.table, "token_file", f"{token_file} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise file.fault(self.table, "token_file", f"{token_file} holds no token") from exc
        if not _may_be_token(token):
            raise file.fault(self.table, "token_file", f"{token_file} holds no token: {way_out}")
        return token


def _may_be_token(text: str) -> bool:
    return text.startswith(TOKEN_PREFIX) and text.isascii() and text.replace("_", "").isalnum()
