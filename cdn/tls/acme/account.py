"""The account with an authority: registered once, found again after a restart (RFC 8555 7.3)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cdn.errors import CdnError
from cdn.tls.acme.client import AcmeClient
from cdn.tls.acme.directory import Directory
from cdn.tls.acme.jws import AccountKey, external_account_binding
from cdn.tls.acme.memory import AcmeMemory
from cdn.tls.acme.problem import AcmeRefused, NotAcme
from cdn.tls.acme.transport import Answer


class AccountRefused(CdnError):
    """The authority wants something of the operator first."""


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    """What is kept. `url` is "" until the authority has said it; `contacts` are those that it knows."""

    key: str
    url: str = ""
    contacts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"_Document(url={self.url!r})"  # keys are in no log, whatever is logged


class _AccountObject(msgspec.Struct, frozen=True):
    status: str = "valid"


@dataclass(frozen=True, slots=True)
class Account:
    """An account that the authority knows."""

    key: AccountKey = field(repr=False)
    url: str


class Registration:
    """The key is kept before the authority hears of it, and registering it twice gives the same account: a process
    that dies between leaves none behind that nobody has the key of."""

    def __init__(self, client: AcmeClient, memory: AcmeMemory) -> None:
        self._client = client
        self._memory = memory
        self._name = client.authority.account_name
        self._lock = asyncio.Lock()
        self._account: Account | None = None

    async def account(self) -> Account:
        """Raises AccountRefused, AcmeRefused, AuthorityAway (NotAcme), and what the memory raises."""
        async with self._lock:
            if self._account is None:
                self._account = await self._registered()
            return self._account

    async def again(self, lost: Account) -> Account:
        """The authority does not know `lost` any more: its key is registered anew. Raises as `account`."""
        async with self._lock:
            if self._account is None or self._account.url == lost.url:
                self._account = await self._registered(is_lost=True)
            return self._account

    async def post(self, url: str, payload: Any) -> Answer:
        """A request of the account's; one that the authority lost is registered anew. Raises as `account`."""
        account = await self.account()
        try:
            return await self._client.post(url, payload, account.key, account.url)
        except AcmeRefused as exc:
            if exc.problem.kind != "accountDoesNotExist":
                raise
        account = await self.again(account)
        return await self._client.post(url, payload, account.key, account.url)

    async def _registered(self, *, is_lost: bool = False) -> Account:
        kept = await self._memory.account_document(self._name)
        if kept is None:
            new = msgspec.json.encode(_Document(AccountKey.make().pem()))
            kept = await self._memory.keep_account_document(self._name, new, replaces=None)
        document = msgspec.json.decode(kept, type=_Document)
        key = AccountKey.read(document.key)
        contacts = self._client.authority.contacts
        if document.url and not is_lost:
            if document.contacts != contacts:
                await self._client.post(document.url, {"contact": list(contacts)}, key, document.url)
                await self._keep(kept, _Document(document.key, document.url, contacts))
            return Account(key, document.url)
        url = await self._new_account(key)
        await self._keep(kept, _Document(document.key, url, contacts))
        return Account(key, url)

    async def _keep(self, kept: bytes, document: _Document) -> None:
        """Another replica that was first has kept the same account: the key was decided before."""
        await self._memory.keep_account_document(self._name, msgspec.json.encode(document), replaces=kept)

    async def _new_account(self, key: AccountKey) -> str:
        directory = await self._client.directory()
        answer = await self._client.post(directory.new_account, self._payload(key, directory), key, None)
        host = self._client.authority.host
        status = self._client.read(answer, _AccountObject).status
        if status != "valid":
            raise AccountRefused(f"The account with {host} is {status}: nothing can be ordered with it")
        if not answer.location:
            raise NotAcme(f"{host} makes an account and does not say its URL: that is no ACME")
        return answer.location

    def _payload(self, key: AccountKey, directory: Directory) -> dict[str, Any]:
        authority, meta = self._client.authority, directory.meta
        payload: dict[str, Any] = {}
        if authority.contacts:
            payload["contact"] = list(authority.contacts)
        if meta.terms_of_service:
            if not authority.agrees_to_terms:
                raise AccountRefused(
                    f"{authority.host} wants agreement to its terms, {meta.terms_of_service}: say so in settings"
                )
            payload["termsOfServiceAgreed"] = True
        external = authority.external_account
        if external is not None:
            payload["externalAccountBinding"] = external_account_binding(
                key, key_id=external.key_id, mac_key=external.mac_key, url=directory.new_account
            )
        elif meta.external_account_required:
            raise AccountRefused(
                f"{authority.host} takes only accounts that exist with it: set eab_key_id and its key in [acme]"
            )
        return payload
