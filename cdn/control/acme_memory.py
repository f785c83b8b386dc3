"""Accounts with authorities, and orders under way, in the object store: sealed for control alone (see `AcmeMemory`)."""

from __future__ import annotations

import logging
from hashlib import sha256

from cdn.errors import InvalidInput, Unavailable
from cdn.origin.store import ObjectMissing, ObjectStore, PutOutcome
from cdn.tls.sealed import KeyRing, Purpose

PREFIX = "control/acme/"

MAX_TRIES = 8
"""Lost races on one object before the caller is told."""

MAX_URL_OCTETS = 4096
"""Of an order: longer ones are no URLs that anybody answers at."""

log = logging.getLogger(__name__)


class StoredAcmeMemory:
    """See `AcmeMemory`. An order that does not open, as its key is in no ring any more, is begun anew; an account that
    does not is a fault."""

    def __init__(self, store: ObjectStore, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring

    async def account_document(self, account: str) -> bytes | None:
        """See `AcmeMemory.account_document`. Raises InvalidInput where it is sealed with a key that is missing: a new
        account in its place would lose the old one's limits and authorizations."""
        document, _ = await self._read(_account_key(account))
        return document

    async def keep_account_document(self, account: str, document: bytes, *, replaces: bytes | None) -> bytes:
        """See `AcmeMemory.keep_account_document`."""
        key = _account_key(account)
        for _ in range(MAX_TRIES):
            there, tag = await self._read(key)
            if there != replaces and there is not None:
                return there
            sealed = self._ring.sealed(document, Purpose.ACCOUNT_KEY, key)
            outcome = await self._store.put(key, sealed, if_absent=tag is None, if_match=tag)
            if outcome is PutOutcome.STORED:
                return document
        raise Unavailable(f"the account {account} changes too fast to be kept: try again")

    async def order_url(self, account: str, names: tuple[str, ...]) -> str | None:
        """See `AcmeMemory.order_url`."""
        try:
            url, _ = await self._read(_order_key(account, names))
        except InvalidInput as error:
            log.warning("an order for %s is begun anew: %s", ", ".join(names), error)
            return None
        return None if url is None else url.decode("utf-8", "replace")

    async def keep_order_url(self, account: str, names: tuple[str, ...], url: str) -> None:
        """See `AcmeMemory.keep_order_url`. Raises InvalidInput for one that is too long."""
        if len(url) > MAX_URL_OCTETS:
            raise InvalidInput(f"an order's URL has {len(url)} characters, at most {MAX_URL_OCTETS} are kept")
        key = _order_key(account, names)
        await self._store.put(key, self._ring.sealed(url.encode("utf-8"), Purpose.ACCOUNT_KEY, key))

    async def forget_order(self, account: str, names: tuple[str, ...]) -> None:
        """See `AcmeMemory.forget_order`."""
        await self._store.delete(_order_key(account, names))

    async def _read(self, key: str) -> tuple[bytes | None, str | None]:
        """What is there, and its entity tag; both are of one write. Raises InvalidInput, Unavailable."""
        for _ in range(MAX_TRIES):
            before = await self._store.head(key)
            if before is None:
                return None, None
            try:
                sealed = await self._store.get(key)
            except ObjectMissing:
                continue
            after = await self._store.head(key)
            if after is not None and after.entity_tag == before.entity_tag:
                return self._ring.opened(sealed, Purpose.ACCOUNT_KEY, key), before.entity_tag
        raise Unavailable(f"the object {key} changes too fast to be read: try again")


def _account_key(account: str) -> str:
    return f"{PREFIX}accounts/{sha256(account.encode('utf-8')).hexdigest()[:40]}"


def _order_key(account: str, names: tuple[str, ...]) -> str:
    text = "\n".join((account, *sorted(names)))
    return f"{PREFIX}orders/{sha256(text.encode('utf-8')).hexdigest()[:40]}"
