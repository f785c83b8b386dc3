"""Where callers ask about domains: see `DomainOffice`. The work itself is that of `DomainWork`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cdn.control.certificate_records import UPLOAD, CertificateRecords
from cdn.control.domain_documents import DomainDocument, DomainDocuments, Ordering, with_object
from cdn.control.domain_office import DomainStanding
from cdn.control.domain_watch import DomainWatch
from cdn.control.domain_work import DomainWork
from cdn.errors import CdnError, Conflict, InvalidInput, NotFound, Unavailable
from cdn.journal.certificate_fold import CertificateFacts, CertificateFold
from cdn.sites.onboarding import Stage
from cdn.tls.certificate import covers, read_certificate, require_valid

LOOK_S = 15.0
"""How long a caller who does not wait gives name servers for their answers."""

PAUSE_FIRST_S = 1.0
PAUSE_LONGEST_S = 5.0
"""Between looks while somebody waits: each asks a handful of servers."""

MAX_RACES = 8
"""Lost races on a document before the caller is told."""

log = logging.getLogger(__name__)


class DomainDesk:
    """See `DomainOffice`."""

    def __init__(
        self,
        work: DomainWork,
        watch: DomainWatch,
        documents: DomainDocuments,
        records: CertificateRecords,
        certificates: CertificateFold,
        *,
        most: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`most` looks are under way for callers at one time. `clock` is wall time."""
        self._work = work
        self._watch = watch
        self._documents = documents
        self._records = records
        self._certificates = certificates
        self._most = most
        self._clock = clock
        self._monotonic = monotonic
        self._unawaited: set[asyncio.Task[None]] = set()
        self._looks: dict[tuple[str, str], tuple[asyncio.Task[float], asyncio.Event]] = {}

    @property
    def looking(self) -> int:
        """How many names are worked on for callers now."""
        return len(self._looks)

    async def aclose(self) -> None:
        """Give up what callers wait for."""
        tasks: list[asyncio.Task[Any]] = [*(task for task, _ in self._looks.values()), *self._unawaited]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, site_id: str, domain: str, wait_s: float) -> DomainStanding:
        """See `DomainOffice.check`."""
        until = self._monotonic() + wait_s
        pause_s = PAUSE_FIRST_S
        while True:
            self._work.holding(domain, site_id)
            await self._looked(domain, site_id, until - self._monotonic())
            standing = await self.standing(site_id, domain)
            left_s = until - self._monotonic()
            if standing.stage is Stage.LIVE or left_s <= 0:
                return standing
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, PAUSE_LONGEST_S)

    async def _looked(self, domain: str, site_id: str, left_s: float) -> None:
        """One look, shared by all who ask; back when it is done, or, after `left_s`, when it is seen what there is.

        Raises Unavailable.
        """
        name = domain, site_id
        if name not in self._looks:
            if len(self._looks) >= self._most:
                raise Unavailable(
                    f"{self._most} domains are being looked at for others already: ask again", retry_after_s=5
                )
            if 2 * sum(each[1] == site_id for each in self._looks) >= max(2, self._most):  # the rest is for others
                raise Unavailable(
                    f"{self._most // 2} domains of this site are being looked at already: ask again", retry_after_s=5
                )
            looked = asyncio.Event()
            task = asyncio.create_task(self._work.advance(domain, site_id, is_asked=True, looked=looked))
            self._looks[name] = task, looked
            task.add_done_callback(lambda done: self._done(domain, site_id, done))
        task, looked = self._looks[name]
        seeing = asyncio.create_task(looked.wait())
        try:
            await asyncio.wait({task, seeing}, timeout=max(left_s, LOOK_S), return_when=asyncio.FIRST_COMPLETED)
            if left_s > 0:
                await asyncio.wait({task}, timeout=left_s)
        finally:
            seeing.cancel()
        if task.done() and not task.cancelled():
            task.result()

    def _done(self, domain: str, site_id: str, task: asyncio.Task[float]) -> None:
        self._looks.pop((domain, site_id), None)
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._watch.worked(domain, site_id, task.result())
        elif not isinstance(error, CdnError):
            log.error("%s could not be looked at", domain, exc_info=error)

    async def standing(self, site_id: str, domain: str) -> DomainStanding:
        """See `DomainOffice.standing`."""
        holding = self._work.holding(domain, site_id)
        held = await self._documents.read(domain, site_id)
        return self._work.standing_of(held.document, holding)

    async def forget(self, domain: str, site_id: str) -> None:
        """See `DomainOffice.forget`."""
        self._watch.forgotten(domain, site_id)
        self._begin(self._work.forget, domain, site_id)  # an order may be under way: nobody waits for its end

    def _begin(self, work: Callable[[str, str], Awaitable[object]], domain: str, site_id: str) -> None:
        task = asyncio.create_task(_done(work, domain, site_id), name=f"domain-{domain}")
        self._unawaited.add(task)
        task.add_done_callback(self._unawaited.discard)

    async def take_certificate(self, site_id: str, domain: str, chain: str, key: str, actor: str) -> CertificateFacts:
        """See `DomainOffice.take_certificate`."""
        self._require_owned(domain, site_id)
        certificate = await asyncio.to_thread(read_certificate, chain, key.encode("utf-8"))
        if not covers(certificate.names, domain):
            raise InvalidInput(
                f"The certificate is not for {domain}, but for {', '.join(certificate.names)}.", field="certificate"
            )
        require_valid(certificate, self._clock())
        await self._change(domain, site_id, lambda was: with_object(was, certificate.certificate_id, self._clock()))
        facts = await self._records.keep(domain, certificate, site_id, UPLOAD, actor)
        await self._change(domain, site_id, lambda was: msgspec.structs.replace(was, ordering=Ordering()))
        return facts

    async def release_certificate(self, site_id: str, domain: str, actor: str) -> None:
        """See `DomainOffice.release_certificate`."""
        self._work.holding(domain, site_id)
        facts = self._certificates.certificate(domain)
        if facts is None or facts.issuer != UPLOAD:
            raise NotFound(f"No certificate was brought for {domain}.")
        released = Ordering(is_released=True)
        await self._change(domain, site_id, lambda was: msgspec.structs.replace(was, ordering=released))
        if self._watch.due_at(domain, site_id) is None:  # another replica's watch has it, and does not hear of this
            self._begin(self._work.advance, domain, site_id)
        else:
            self._watch.look_soon(domain, site_id)
        log.info("%s gets its certificates automatically again, by %s", domain, actor)

    def _require_owned(self, domain: str, site_id: str) -> None:
        if not self._work.holding(domain, site_id).is_owned:
            raise Conflict(f"{domain} is not verified yet: cdn domain check {domain} says what is missing.")

    async def _change(self, domain: str, site_id: str, change: Callable[[DomainDocument], DomainDocument]) -> None:
        """Whoever works on the name meanwhile begins anew. Raises Unavailable."""
        for _ in range(MAX_RACES):
            held = await self._documents.read(domain, site_id)
            if await self._documents.write(held, change(held.document)):
                return
        raise Unavailable(f"{domain} is being worked on: try again")


async def _done(work: Callable[[str, str], Awaitable[object]], domain: str, site_id: str) -> None:
    try:
        await work(domain, site_id)
    except CdnError as error:
        log.info("%s is gone on with later: %s", domain, error)
