"""An `AcmeMemory` in the test's own memory, which a second issuer may be given: a restart."""

from __future__ import annotations


class Remembered:
    """See `AcmeMemory`."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.orders: dict[tuple[str, tuple[str, ...]], str] = {}
        self.kept_orders: list[str] = []

    async def account_document(self, account: str) -> bytes | None:
        return self.documents.get(account)

    async def keep_account_document(self, account: str, document: bytes, *, replaces: bytes | None) -> bytes:
        if self.documents.get(account) == replaces:
            self.documents[account] = document
        return self.documents[account]

    async def order_url(self, account: str, names: tuple[str, ...]) -> str | None:
        return self.orders.get((account, names))

    async def keep_order_url(self, account: str, names: tuple[str, ...], url: str) -> None:
        self.orders[(account, names)] = url
        self.kept_orders.append(url)

    async def forget_order(self, account: str, names: tuple[str, ...]) -> None:
        self.orders.pop((account, names), None)
