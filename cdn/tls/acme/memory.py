"""What must outlive the process: the account with an authority, and orders that are under way."""

from __future__ import annotations

from typing import Protocol


class AcmeMemory(Protocol):
    """Kept for all replicas, sealed. `account` is `Authority.account_name`. Each call may raise Unavailable."""

    async def account_document(self, account: str) -> bytes | None:
        """What was kept last; None: nothing yet. It holds a private key."""
        ...

    async def keep_account_document(self, account: str, document: bytes, *, replaces: bytes | None) -> bytes:
        """Durable when it returns. Returns what is kept now: `document` where `replaces` (None: nothing) was kept until
        now, else what another replica has kept meanwhile."""
        ...

    async def order_url(self, account: str, names: tuple[str, ...]) -> str | None:
        """The order for exactly these names (sorted) that is under way; None: none is known."""
        ...

    async def keep_order_url(self, account: str, names: tuple[str, ...], url: str) -> None:
        """In place of the one before. Durable when it returns."""
        ...

    async def forget_order(self, account: str, names: tuple[str, ...]) -> None:
        """There is none any more. Returns also when there was none."""
        ...
