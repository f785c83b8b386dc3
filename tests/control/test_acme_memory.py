"""What is kept of authorities: by every replica the same, sealed, and without a second account."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdn.control.acme_memory import StoredAcmeMemory
from cdn.errors import InvalidInput
from cdn.origin.directory import DirectoryStore
from cdn.tls.acme.memory import AcmeMemory
from tests.control.domain_room import ring

ACCOUNT = "https://acme.test/dir admin@example.com"
NAMES = ("example.com", "www.example.com")


async def test_of_two_replicas_that_make_an_account_one_wins_and_both_use_it(tmp_path: Path) -> None:
    store, keys = DirectoryStore(tmp_path), ring()
    one, two = StoredAcmeMemory(store, keys), StoredAcmeMemory(store, keys)
    kept = await asyncio.gather(
        one.keep_account_document(ACCOUNT, b"key one", replaces=None),
        two.keep_account_document(ACCOUNT, b"key two", replaces=None),
    )
    assert kept[0] == kept[1] == await one.account_document(ACCOUNT)
    assert kept[0] in {b"key one", b"key two"}
    assert await two.keep_account_document(ACCOUNT, b"newer", replaces=kept[0]) == b"newer"
    assert await one.keep_account_document(ACCOUNT, b"late", replaces=kept[0]) == b"newer"
    assert await one.account_document("another") is None
    await store.aclose()


async def test_orders_are_found_by_their_names_whatever_the_order(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    memory: AcmeMemory = StoredAcmeMemory(store, ring())
    await memory.keep_order_url(ACCOUNT, NAMES, "https://acme.test/order/1")
    assert await memory.order_url(ACCOUNT, tuple(reversed(NAMES))) == "https://acme.test/order/1"
    assert await memory.order_url(ACCOUNT, NAMES[:1]) is None
    assert await memory.order_url("another", NAMES) is None
    await memory.forget_order(ACCOUNT, NAMES)
    await memory.forget_order(ACCOUNT, NAMES)
    assert await memory.order_url(ACCOUNT, NAMES) is None
    await store.aclose()


async def test_nothing_stands_in_the_store_in_clear(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    memory = StoredAcmeMemory(store, ring())
    await memory.keep_account_document(ACCOUNT, b"-----BEGIN PRIVATE KEY-----", replaces=None)
    await memory.keep_order_url(ACCOUNT, NAMES, "https://acme.test/order/1")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"PRIVATE" not in content
            assert b"acme.test" not in content
    await store.aclose()


async def test_an_account_whose_key_is_gone_is_no_account_that_is_missing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    await StoredAcmeMemory(store, ring()).keep_account_document(ACCOUNT, b"key", replaces=None)
    other = StoredAcmeMemory(store, ring())
    with pytest.raises(InvalidInput, match="add that key to the file"):
        await other.account_document(ACCOUNT)
    await StoredAcmeMemory(store, ring()).keep_order_url(ACCOUNT, NAMES, "https://acme.test/order/1")
    assert await other.order_url(ACCOUNT, NAMES) is None
    with pytest.raises(InvalidInput, match="at most"):
        await other.keep_order_url(ACCOUNT, NAMES, "https://" + "a" * 5000)
    await store.aclose()
