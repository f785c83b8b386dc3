"""What people should know of a bundle when it becomes public: hidden files in it, no start page."""

from __future__ import annotations

from collections.abc import Collection, Iterator

MAX_NAMED = 5
"""Hidden files and folders that a warning names; the rest is counted."""

MEANT_TO_BE_PUBLIC = frozenset({".well-known"})
"""Hidden names that exist to be asked for (RFC 8615)."""


def warnings_about(paths: Collection[str]) -> tuple[str, ...]:
    """Sentences about a bundle with these paths, as few as can be; most have none."""
    return (*_about_hidden(paths), *_about_start_page(paths))


def _about_hidden(paths: Collection[str]) -> Iterator[str]:
    hidden = list(dict.fromkeys(name for path in paths if "/." in path and (name := _hidden_name(path))))
    if hidden:
        named = ", ".join(hidden[:MAX_NAMED])
        more = f" and {len(hidden) - MAX_NAMED} more" if len(hidden) > MAX_NAMED else ""
        yield f"hidden files become public: {named}{more}"


def _hidden_name(path: str) -> str | None:
    """The path up to its first hidden part, with a slash behind a folder; None when it has none."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if part.startswith(".") and part not in MEANT_TO_BE_PUBLIC:
            return "/".join(parts[: number + 1]) + ("/" if number + 1 < len(parts) else "")
    return None


def _about_start_page(paths: Collection[str]) -> Iterator[str]:
    if "/index.html" in paths:
        return
    inner = [path for path in paths if path.endswith("/index.html") and path.count("/") == 2]
    hint = f"; is {inner[0].split('/')[1]!r} in it the folder to deploy?" if len(inner) == 1 else ""
    yield f"there is no index.html at the top, so / answers 404{hint}"
