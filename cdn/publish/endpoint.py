"""Where control is, and who asks."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from cdn import __version__
from cdn.errors import InvalidInput, Unavailable

USER_AGENT = f"cdn/{__version__}"


class ControlUnreachable(Unavailable):
    """No connection to control, or none that lasted until it answered."""


class NotControl(InvalidInput):
    """Something answers where control should be, and it is not control."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URL of a control plane and the token for it (None for calls that need none).

    Raises InvalidInput when the URL cannot be one.
    """

    url: str
    token: str | None

    def __post_init__(self) -> None:
        if not _is_base_url(self.url):
            raise InvalidInput(
                f"{self.url!r} is not the URL of a control plane: write for example http://127.0.0.1:8700",
                field="control_url",
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise InvalidInput("the token has characters that no token has: set CDN_TOKEN to it and nothing else")

    def locate(self, path: str) -> str:
        """The full URL of an encoded path with its query."""
        return self.url.rstrip("/") + path

    def fields(self) -> dict[str, str]:
        """The fields that every call to control carries."""
        fields = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if self.token is not None:
            fields["Authorization"] = f"Bearer {self.token}"
        return fields


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return (
        is_plain and parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    )
