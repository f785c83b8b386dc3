"""Names that a site may claim, as callers give them."""

from __future__ import annotations

from collections.abc import Callable

from cdn.control.domain_records import VERIFY_LABEL, WILDCARD
from cdn.errors import InvalidInput
from cdn.sites.domain import MAX_DOMAIN_OCTETS, normalise_domain

WWW = "www."

PublicSuffix = Callable[[str], bool]
"""Whether a name is one below which strangers register theirs (com, co.uk, github.io)."""


def checked_domain(text: str, is_public_suffix: PublicSuffix) -> str:
    """The domain, or wildcard, in its one form. Raises InvalidInput for a name that nobody can show to be theirs."""
    domain = normalise_domain(text, may_be_wildcard=True)
    below = domain.removeprefix(WILDCARD)
    if is_public_suffix(below):
        raise InvalidInput(
            f"{below} is a name below which anybody registers names of their own: give one of yours, such as "
            f"example.{below}.",
            field="domain",
        )
    return domain


def require_verifiable(domain: str) -> None:
    """Raises InvalidInput for a name so long that no TXT record fits below it."""
    most = MAX_DOMAIN_OCTETS - len(f"{VERIFY_LABEL}.")
    octets = len(domain.removeprefix(WILDCARD))
    if octets > most:
        raise InvalidInput(
            f"The domain has {octets} octets: with more than {most} there is no room for the TXT record that shows "
            f"whose it is, {VERIFY_LABEL} and the domain.",
            field="domain",
        )


def is_apex(domain: str, is_public_suffix: PublicSuffix) -> bool:
    """Whether the name stands right below a public suffix: the name of somebody's zone, with SOA and NS records."""
    return not domain.startswith(WILDCARD) and is_public_suffix(domain.partition(".")[2])


def twin_of(domain: str, is_public_suffix: PublicSuffix) -> str | None:
    """The name with or without `www.` that visitors take for the same: of an apex and its www only, else None."""
    if is_apex(domain, is_public_suffix):
        return f"{WWW}{domain}"
    bare = domain.removeprefix(WWW)
    return bare if bare != domain and is_apex(bare, is_public_suffix) else None
