"""Deploys, what changed between them, and aliases, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from cdn.cli.result import Document
from cdn.cli.text import columns, counted, in_bytes, in_time, safe

MOST_FILES_SHOWN = 50
"""Of each kind; --json has more of them."""

COMMIT_LETTERS = 12
"""What is shown of a commit's id: enough to be the only one."""

DEPLOY_HEAD = ("id", "made for", "active on", "when", "files", "size", "commit", "author", "message")
ALIAS_HEAD = ("alias", "deploy", "since", "password", "expires", "locked", "url")


def deploy_row(deploy: Document) -> tuple[str, ...]:
    """One line of `cdn deploys`."""
    return (
        deploy["id"],
        deploy["alias"],
        ", ".join(deploy["active_on"]) or "-",
        in_time(deploy["prepared_at"]),
        str(deploy["file_count"]),
        in_bytes(deploy["size_bytes"]),
        deploy.get("commit", "")[:COMMIT_LETTERS] or "-",
        deploy["author"],
        deploy["message"] or "-",
    )


def alias_row(alias: Document) -> tuple[str, ...]:
    """One line of `cdn alias list`."""
    return (
        alias["alias"],
        alias["deploy"] or "-",
        in_time(alias["activated_at"]),
        "yes" if alias["has_password"] else "no",
        _end_of(alias),
        alias["lock"] or "no",
        alias["url"],
    )


def alias_lines(alias: Document) -> tuple[str, ...]:
    """One alias in words."""
    said = [
        f"answers from deploy {safe(alias['deploy'])}" if alias["deploy"] else "has no deploy yet",
        "asks for a password" if alias["has_password"] else "is open to everybody",
        "never expires" if alias["expires_at"] is None else f"expires {_end_of(alias)}",
        f"is locked ({safe(alias['lock'])})" if alias["lock"] else "is not locked",
    ]
    return (f"alias {safe(alias['alias'])} at {safe(alias['url'])}", *(f"  {line}" for line in said))


def difference_lines(found: Document) -> tuple[str, ...]:
    """What a deploy added, changed and removed."""
    return tuple(_difference_lines(found))


def _difference_lines(found: Document) -> Iterator[str]:
    before = f"deploy {safe(found['against'])}" if found["against"] else "nothing"
    yield f"deploy {safe(found['deploy'])} against {before}"
    rows = [("+", each["path"], in_bytes(each["size_bytes"])) for each in found["added"][:MOST_FILES_SHOWN]]
    rows += [("~", each["path"], _change(each)) for each in found["changed"][:MOST_FILES_SHOWN]]
    rows += [("-", each["path"], in_bytes(each["size_bytes"])) for each in found["removed"][:MOST_FILES_SHOWN]]
    if rows:
        yield from columns(("", "path", "size"), rows)
    counts = {name: found[f"{name}_count"] for name in ("added", "changed", "removed")}
    hidden = sum(max(0, count - MOST_FILES_SHOWN) for count in counts.values())
    if hidden:
        yield f"and {counted(hidden, 'file')} more: --json"
    yield (
        f"{counts['added']} added ({in_bytes(found['added_bytes'])}), {counts['changed']} changed "
        f"({_signed(found['changed_bytes'])}), {counts['removed']} removed ({in_bytes(found['removed_bytes'])}), "
        f"{found['unchanged_count']} as before"
    )
    if found["rules_changed"]:
        yield "its rules are others"


def _change(each: Document) -> str:
    return f"{in_bytes(each['size_bytes'])} ({_signed(each['size_bytes'] - each['before_bytes'])})"


def _signed(size_bytes: int) -> str:
    return f"{'-' if size_bytes < 0 else '+'}{in_bytes(abs(size_bytes))}"


def _end_of(alias: Document) -> str:
    if alias["expires_at"] is None:
        return "never"
    return in_time(alias["expires_at"]) + (" (over)" if alias["expired"] else "")
