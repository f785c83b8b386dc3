"""One certificate, from the order to the chain (RFC 8555 7.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cdn.errors import CdnError, InvalidInput
from cdn.tls.acme.account import Registration
from cdn.tls.acme.base64url import base64url
from cdn.tls.acme.client import AcmeClient
from cdn.tls.acme.issued_chain import first_certificate, is_for_request, plain_chain
from cdn.tls.acme.memory import AcmeMemory
from cdn.tls.acme.order import Order, OrderStatus, new_order, sorted_names
from cdn.tls.acme.polling import polled
from cdn.tls.acme.problem import AcmeRefused, NotAcme, printable
from cdn.tls.acme.renewal_info import certificate_identifier
from cdn.tls.acme.transport import Answer
from cdn.tls.acme.validation import NamesFailed, Validation
from cdn.tls.issuer import ChallengeMethod, IssueRequest

NOT_OF_REPLACES = frozenset(
    {"rateLimited", "badNonce", "accountDoesNotExist", "userActionRequired", "rejectedIdentifier", "invalidProfile"}
    | {"unsupportedIdentifier", "caa", "externalAccountRequired"}
)
"""Kinds of refusal that an order without `replaces` would meet as well."""


OVER = frozenset({OrderStatus.VALID, OrderStatus.INVALID})


class OrderFailed(CdnError):
    """The authority ended the order and says nothing of a name."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """Orders for one account. Every method raises AcmeRefused, AuthorityAway, AccountRefused and what memory raises."""

    client: AcmeClient
    registration: Registration
    memory: AcmeMemory
    validation: Validation

    async def chain(self, request: IssueRequest, methods: Sequence[ChallengeMethod]) -> str:
        """The certificate that was asked for. Goes on with an order that is under way for these names.

        Raises OrderFailed, and as `Validation.validate`.
        """
        until = asyncio.get_running_loop().time() + self.client.authority.validation_timeout_s
        names = sorted_names(request.names)
        url, order = await self._begun(names) or await self._new(request, names)
        try:
            found = await self._chain_of(url, order, request, methods, until)
            if found is None:  # a process before died between its last request and the certificate: its key is gone
                await self._forget(names)
                url, order = await self._new(request, names)
                found = await self._chain_of(url, order, request, methods, until)
        except (NamesFailed, OrderFailed, NotAcme):
            await self._forget(names)
            raise
        except AcmeRefused as exc:
            if exc.status == 404 or exc.problem.kind in ("malformed", "badCSR"):
                await self._forget(names)
            raise
        await self._forget(names)
        if found is None:
            raise NotAcme(f"{self._host} gives a certificate with another key or without the names asked for")
        return found

    async def _begun(self, names: tuple[str, ...]) -> tuple[str, Order] | None:
        """The order that is under way; None: there is none that could be gone on with."""
        account = self.client.authority.account_name
        url = await self.memory.order_url(account, names)
        if url is None:
            return None
        try:
            order, _ = await self._look(url)
        except AcmeRefused as exc:
            if exc.status >= 500 or exc.problem.kind == "rateLimited":
                raise
            order = None  # the authority forgot it, or it is another account's
        except NotAcme:
            order = None
        if order is not None and order.status is not OrderStatus.INVALID and order.names == names:
            return url, order
        await self._forget(names)
        return None

    async def _new(self, request: IssueRequest, names: tuple[str, ...]) -> tuple[str, Order]:
        answer = await self._asked(request, names)
        order = self.client.read(answer, Order)
        if not answer.location:
            raise NotAcme(f"{self._host} takes an order and does not say its URL: that is no ACME")
        if order.names != names:
            raise NotAcme(f"{self._host} makes an order for {printable(', '.join(order.names))}")
        await self.memory.keep_order_url(self.client.authority.account_name, names, answer.location)
        return answer.location, order

    async def _asked(self, request: IssueRequest, names: tuple[str, ...]) -> Answer:
        directory, profile = await self.client.directory(), self.client.authority.profile
        known = directory.meta.profiles or {}
        if profile and profile not in known:
            offered = ", ".join(sorted(map(printable, known))) or "none"
            raise OrderFailed(f"{self._host} has no certificate profile {profile!r}; its profiles: {offered}")
        replaced = None
        if request.replaces is not None and directory.renewal_info:
            replaced = certificate_identifier(first_certificate(request.replaces))
        try:
            return await self.registration.post(
                directory.new_order, new_order(names, profile=profile, replaces=replaced)
            )
        except AcmeRefused as exc:
            if replaced is None or exc.status >= 500 or exc.problem.kind in NOT_OF_REPLACES:
                raise
        return await self.registration.post(directory.new_order, new_order(names, profile=profile, replaces=None))

    async def _chain_of(
        self, url: str, order: Order, request: IssueRequest, methods: Sequence[ChallengeMethod], until: float
    ) -> str | None:
        """None: the order is over, and its certificate has another key."""
        if order.status is OrderStatus.PENDING:
            await self.validation.validate(order.authorizations, methods, until)
        retry_after_s = None
        if order.status in (OrderStatus.PENDING, OrderStatus.READY):
            order, retry_after_s = await self._finalized(url, order, request, until)
        if order.status not in OVER:
            order = await self._settled(url, OVER, until, retry_after_s)
        if order.status is OrderStatus.INVALID:
            raise self._failed(order)
        return await self._downloaded(order, request)

    async def _finalized(
        self, url: str, order: Order, request: IssueRequest, until: float
    ) -> tuple[Order, float | None]:
        """The order after the CSR was sent, and for how long the authority wants not to be asked."""
        try:
            return await self._sent(order, request)
        except AcmeRefused as exc:
            if exc.problem.kind != "orderNotReady":
                raise
            retry_after_s = exc.retry_after_s
        order = await self._settled(url, OVER | {OrderStatus.READY, OrderStatus.PROCESSING}, until, retry_after_s)
        if order.status is not OrderStatus.READY:
            return order, None  # somebody was quicker, or it is over
        return await self._sent(order, request)

    async def _sent(self, order: Order, request: IssueRequest) -> tuple[Order, float | None]:
        answer = await self.registration.post(order.finalize, {"csr": base64url(request.csr)})
        return self.client.read(answer, Order), answer.retry_after_s

    async def _settled(
        self, url: str, stages: frozenset[OrderStatus], until: float, retry_after_s: float | None
    ) -> Order:
        return await polled(
            lambda: self._look(url),
            lambda seen: seen.status in stages,
            until=until,
            what=f"the order at {self._host}",
            retry_after_s=retry_after_s,
        )

    async def _look(self, url: str) -> tuple[Order, float | None]:
        answer = await self.registration.post(url, None)
        return self.client.read(answer, Order), answer.retry_after_s

    async def _downloaded(self, order: Order, request: IssueRequest) -> str | None:
        if not order.certificate:
            raise NotAcme(f"{self._host} ends an order and does not say where its certificate is")
        answer = await self.registration.post(order.certificate, None)
        try:
            chain = plain_chain(answer.content)
            return chain if is_for_request(chain, request.csr) else None
        except InvalidInput as exc:
            raise NotAcme(f"{self._host} gives a chain that cannot be used: {exc.message}") from exc

    async def _forget(self, names: tuple[str, ...]) -> None:
        await self.memory.forget_order(self.client.authority.account_name, names)

    def _failed(self, order: Order) -> OrderFailed:
        said = order.error.sentence() if order.error is not None else "no reason given"
        return OrderFailed(f"{self._host} ended the order: {said}")

    @property
    def _host(self) -> str:
        return self.client.authority.host
