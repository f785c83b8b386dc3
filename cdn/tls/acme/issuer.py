"""An authority that speaks ACME, as one that signs certificates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.serialization import Encoding

from cdn.errors import CdnError, InvalidInput
from cdn.tls.acme.account import AccountRefused, Registration
from cdn.tls.acme.authority import Authority
from cdn.tls.acme.base64url import base64url
from cdn.tls.acme.client import AcmeClient
from cdn.tls.acme.issued_chain import first_certificate
from cdn.tls.acme.memory import AcmeMemory
from cdn.tls.acme.order import MAX_NAMES
from cdn.tls.acme.ordering import OrderFailed, Ordering
from cdn.tls.acme.problem import AcmeRefused, AuthorityAway, NotAcme
from cdn.tls.acme.renewal_info import RenewalInfo, certificate_identifier
from cdn.tls.acme.validation import ChallengeFailed, NamesFailed, NoMethod, Validation
from cdn.tls.issuer import (
    ChallengeMethod,
    Issued,
    IssueOutcome,
    IssueRefused,
    IssueRequest,
    RenewalWindow,
    Solver,
)


class AcmeIssuer:
    """See `cdn.tls.issuer.Issuer`. One for a process and authority; calls may overlap."""

    def __init__(self, authority: Authority, memory: AcmeMemory, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` is wall time. Connects to nothing yet. Raises InvalidInput when the CA file cannot be read."""
        self._authority = authority
        self._memory = memory
        self._clock = clock
        self._client = AcmeClient(authority, clock=clock)
        self._registration = Registration(self._client, memory)

    @property
    def name(self) -> str:
        """The directory's URL."""
        return self._authority.directory_url

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        """See `Issuer.issue`. Each of `request.methods` that the authority offers is tried once, the next one where a
        failure says nothing of it."""
        if not 1 <= len(request.names) <= MAX_NAMES:
            return IssueRefused(f"A certificate is for 1 to {MAX_NAMES} names, not {len(request.names)}")
        validation = Validation(self._client, self._registration, solver, self._clock)
        ordering = Ordering(self._client, self._registration, self._memory, validation)
        methods, failures = tuple(request.methods), list[ChallengeFailed]()
        while True:
            try:
                return Issued(await ordering.chain(request, methods))
            except NamesFailed as exc:
                failures += exc.failures
                left = _left(methods, exc.failures)
                if not left:
                    return _refused_names(failures)
                methods = left
            except NoMethod as exc:
                return _refused_names(failures) if failures else IssueRefused(exc.message)
            except AcmeRefused as exc:
                return IssueRefused(exc.message, exc.retry_after_s, is_ours=not exc.problem.is_about_name)
            except AuthorityAway as exc:
                if isinstance(exc, NotAcme):
                    self._client.forget_directory()
                return IssueRefused(exc.message, exc.retry_after_s, is_ours=True)
            except (AccountRefused, OrderFailed) as exc:
                return IssueRefused(exc.message, is_ours=True)
            except CdnError as exc:  # nodes did not take the challenge, or the memory is away: whoever is asked
                return IssueRefused(exc.message)

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """See `Issuer.renewal_window` (RFC 9773)."""
        try:
            directory = await self._client.directory()
            identifier = certificate_identifier(first_certificate(chain))
            if not directory.renewal_info or identifier is None:
                return None
            answer = await self._client.get(f"{directory.renewal_info.rstrip('/')}/{identifier}")
            return self._client.read(answer, RenewalInfo).window(answer.retry_after_s)
        except (AcmeRefused, AuthorityAway, InvalidInput):
            return None  # then it is renewed by its lifetime, as where nothing is ever said

    async def revoke(self, chain: str, reason: int) -> str | None:
        """See `Issuer.revoke` (RFC 8555 7.6). One that is revoked already is done."""
        try:
            directory = await self._client.directory()
            if not directory.revoke_cert:
                return f"{self._authority.host} takes no revocations"
            certificate = first_certificate(chain).public_bytes(Encoding.DER)
            payload = {"certificate": base64url(certificate), "reason": reason}
            await self._registration.post(directory.revoke_cert, payload)
        except AcmeRefused as exc:
            return None if exc.problem.kind == "alreadyRevoked" else exc.message
        except CdnError as exc:
            return exc.message
        return None

    async def caa_identities(self) -> tuple[str, ...]:
        """What CAA records call it (RFC 8555 7.1.1); empty where it does not say, or is away."""
        try:
            return (await self._client.directory()).meta.caa_identities
        except (AcmeRefused, AuthorityAway):
            return ()

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()


def _left(methods: Sequence[ChallengeMethod], failures: Sequence[ChallengeFailed]) -> tuple[ChallengeMethod, ...]:
    """What may be tried after these failures; nothing where one of them would be met by every method."""
    if not all(each.may_do_otherwise for each in failures):
        return ()
    failed = {each.method for each in failures}
    return tuple(method for method in methods if method not in failed)


def _refused_names(failures: Sequence[ChallengeFailed]) -> IssueRefused:
    """Every name's failure by every method. Forbidden by CAA or a policy: another authority may be allowed."""
    is_ours = all(each.problem.kind in ("caa", "rejectedIdentifier", "serverInternal") for each in failures)
    return IssueRefused("; ".join(each.message for each in failures), is_ours=is_ours)
