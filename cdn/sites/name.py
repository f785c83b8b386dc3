"""Names of sites and aliases, and the host label they make together: `blog`, `next--blog`."""

from __future__ import annotations

import hashlib
import re

from cdn.errors import InvalidInput

PRODUCTION = "production"
"""The alias that the bare site host and custom domains answer from."""

MAX_PAIR_OCTETS = 61
"""Alias and site together: with the two hyphens between them they fill one DNS label of 63 octets (RFC 1035 2.3.4)."""

MAX_NAME_OCTETS = MAX_PAIR_OCTETS - 1
"""One name alone, so that the other half of a preview's label keeps at least one octet."""

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SEPARATOR = "--"
_OTHER = re.compile(r"[^a-z0-9]+")

_MARK_LETTERS = 6
"""Of the digest that a shortened branch ends with: two of a repository's branches share it once in millions."""


def check_site_name(text: str) -> str:
    """The name, when it can be a site's. Raises InvalidInput."""
    return _check(text, "a site name", "name")


def check_alias(text: str) -> str:
    """The name, when it can be an alias'. Raises InvalidInput.

    `xn` is refused: its host would read `xn--SITE`, which browsers take for an encoded international name (RFC 5890).
    """
    if text == "xn":
        raise InvalidInput(
            '"xn" cannot be an alias: browsers read xn--SITE as an encoded name; choose another', field="alias"
        )
    return _check(text, "an alias", "alias")


def check_pair(alias: str, site: str) -> None:
    """Whether the preview host of `alias` on `site` fits into a DNS label. Raises InvalidInput."""
    octets = len(alias) + len(site)
    if alias != PRODUCTION and octets > MAX_PAIR_OCTETS:
        raise InvalidInput(
            f'alias "{alias}" and site "{site}" take {octets} octets together, at most {MAX_PAIR_OCTETS} fit into a '
            f"host name: use an alias of at most {MAX_PAIR_OCTETS - len(site)}",
            field="alias",
        )


def alias_of_branch(branch: str, site: str) -> str:
    """The alias that previews of a source branch are deployed to: `feature/Login` is `feature-login`.

    What is not a letter or digit of ASCII becomes a hyphen. A branch that is too long for the site's host names, that
    keeps nothing or would be production's alias or one that cannot be, ends with letters of its digest. Branches that
    differ only in such characters share an alias. Raises InvalidInput for one without any character, and where the
    site's name leaves no room.
    """
    if not branch.strip():
        raise InvalidInput("the branch is empty: is a variable not set?", field="branch")
    room = min(MAX_PAIR_OCTETS - len(site), MAX_NAME_OCTETS)
    alias = _OTHER.sub("-", branch.lower()).strip("-")
    if alias and alias not in (PRODUCTION, "xn") and len(alias) <= room:
        return alias
    mark = hashlib.sha256(branch.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK_LETTERS]
    kept = alias[: max(0, room - _MARK_LETTERS - 1)].strip("-")
    alias = f"{kept}-{mark}" if kept else mark
    check_pair(alias, site)
    return alias


def host_label(site: str, alias: str) -> str:
    """The label below the zone: the site's name, with `ALIAS--` before it for a preview."""
    return site if alias == PRODUCTION else f"{alias}{_SEPARATOR}{site}"


def split_label(label: str) -> tuple[str, str]:
    """The (alias, site name) of a label. Whether the names exist is the catalog's to say."""
    alias, separator, site = label.rpartition(_SEPARATOR)
    return (alias, site) if separator else (PRODUCTION, label)


def _check(text: str, what: str, field: str) -> str:
    if len(text) > MAX_NAME_OCTETS:
        raise InvalidInput(
            f"{what} has at most {MAX_NAME_OCTETS} letters, and this one has {len(text)}: choose a shorter", field=field
        )
    if _NAME.fullmatch(text) is None:
        raise InvalidInput(
            f'"{text}" cannot be {what}: use lower-case letters, digits and single hyphens, with a letter '
            "or digit at both ends",
            field=field,
        )
    return text
