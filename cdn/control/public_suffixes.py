"""Names below which strangers register theirs: com, co.uk, github.io (publicsuffix.org)."""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList


@cache
def _rules() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=True)  # read once, when the first name is asked for: 50 ms


def is_public_suffix(name: str) -> bool:
    """Whether anybody registers names of their own right below `name` (lower-case ASCII, without the final dot).

    A single label that the list does not know is one. Names of the private part of the list are too: whoever could
    claim github.io would have every name below it.
    """
    return "." not in name or _rules().publicsuffix(name) == name
