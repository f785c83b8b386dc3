"""Paths that only who has a name and a password may see."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Guard:
    """Covers what is asked for below `source`, and the files that stand there, by whatever address they are reached.

    `users`: names, each with the hash of a password (`cdn.sites.password`). `realm` is what browsers show (RFC 7617).
    Only the first guard that covers something counts for it.
    """

    source: str
    realm: str
    users: tuple[tuple[str, str], ...] = field(repr=False)

    def hash_of(self, user: str) -> str | None:
        """The hash of the user's password; None when there is no such user."""
        return dict(self.users).get(user)
