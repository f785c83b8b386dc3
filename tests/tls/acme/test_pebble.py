"""Certificates from a real authority: Pebble, with the nonces that it refuses and the delays that it takes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.rcode
import pytest
from cryptography import x509

from cdn.errors import Conflict, Unavailable
from cdn.tls.acme.authority import Authority, ExternalAccount
from cdn.tls.acme.issuer import AcmeIssuer
from cdn.tls.issuer import ChallengeMethod, Issued, IssueOutcome, IssueRefused
from tests.servers.names import Names
from tests.servers.pebble import Pebble
from tests.servers.ports import free_ports
from tests.tls.acme.answers import Answers, serving
from tests.tls.acme.remembered import Remembered
from tests.tls.acme.wanted import names_of, wanted

HTTP, TLS_ALPN, DNS = ChallengeMethod.HTTP, ChallengeMethod.TLS_ALPN, ChallengeMethod.DNS


@dataclass(frozen=True, slots=True)
class Stage:
    """An authority and what it looks at."""

    pebble: Pebble
    names: Names

    def issuer(self, memory: Remembered | None = None, **settings: object) -> AcmeIssuer:
        authority = Authority(self.pebble.directory_url, ca_file=self.pebble.ca_file, **settings)  # type: ignore[arg-type]
        return AcmeIssuer(authority, memory or Remembered())

    @asynccontextmanager
    async def answers(self) -> AsyncIterator[Answers]:
        shown = Answers(self.names)
        async with serving(shown, http_port=self.pebble.ports.http, tls_port=self.pebble.ports.tls):
            yield shown


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all tests of this file that do the server no harm: each takes names and an account of its own."""
    with Names() as names, Pebble(tmp_path_factory.mktemp("pebble"), names=names.address) as pebble:
        yield Stage(pebble, names)


def fresh(name: str = "site") -> str:
    """No other test has it: an authority remembers whom it has seen."""
    return f"{name}-{secrets.token_hex(4)}.example.com"


def chain_of(outcome: IssueOutcome) -> str:
    assert isinstance(outcome, Issued), outcome
    return outcome.chain


@pytest.mark.parametrize("method", [HTTP, TLS_ALPN, DNS], ids=lambda method: method.value)
async def test_each_challenge_then_renewal_and_revocation(stage: Stage, method: ChallengeMethod) -> None:
    name, issuer = fresh(), stage.issuer()
    async with stage.answers() as answers:
        first = chain_of(await issuer.issue(wanted(name, methods=(method,)), answers))
        second = chain_of(await issuer.issue(wanted(name, methods=(method,), replaces=first), answers))
    assert names_of(first) == names_of(second) == {name}
    assert first != second
    assert {each.method for each in answers.presented} == {method}
    assert not answers.open, "what was shown is withdrawn"
    serials = [x509.load_pem_x509_certificate(each.encode()).serial_number for each in (first, second)]
    assert await issuer.revoke(first, 4) is None
    assert await issuer.revoke(first, 4) is None, "done already is done"
    assert [stage.pebble.status(serial) for serial in serials] == ["Revoked", "Valid"]
    assert await issuer.renewal_window(second) is None, "Debian's Pebble does not say when"
    await issuer.aclose()


async def test_a_chain_ends_at_the_root_and_has_no_root(stage: Stage) -> None:
    issuer = stage.issuer()
    async with stage.answers() as answers:
        chain = chain_of(await issuer.issue(wanted(fresh(), methods=(HTTP,)), answers))
    certificates = [*x509.load_pem_x509_certificates(chain.encode())]
    root = x509.load_pem_x509_certificate(stage.pebble.root().encode())
    assert len(certificates) == 2
    for one, signer in zip(certificates, [*certificates[1:], root], strict=True):
        one.verify_directly_issued_by(signer)
    await issuer.aclose()


async def test_a_name_and_its_wildcard_in_one_certificate(stage: Stage) -> None:
    name, issuer = fresh(), stage.issuer()
    async with stage.answers() as answers:
        chain = chain_of(await issuer.issue(wanted(name, f"*.{name}", methods=(DNS,)), answers))
    assert names_of(chain) == {name, f"*.{name}"}
    assert {each.domain for each in answers.presented} == {name}
    await issuer.aclose()


async def test_a_wildcard_is_only_for_dns(stage: Stage) -> None:
    name, issuer = fresh(), stage.issuer()
    async with stage.answers() as answers:
        outcome = await issuer.issue(wanted(f"*.{name}", methods=(HTTP, TLS_ALPN)), answers)
    assert outcome == IssueRefused(f"127.0.0.1 offers dns-01 for *.{name}, and here it may be http-01, tls-alpn-01")
    await issuer.aclose()


async def test_a_failure_is_said_in_the_authoritys_words(stage: Stage) -> None:
    name, issuer, memory = fresh(), None, Remembered()
    issuer = stage.issuer(memory)
    async with stage.answers() as answers:
        answers.is_silent = True
        outcome = await issuer.issue(wanted(name, methods=(DNS,)), answers)
        assert isinstance(outcome, IssueRefused)
        assert f"looked for {name} by dns-01" in outcome.reason
        assert "No TXT records found for DNS challenge" in outcome.reason
        assert "urn:ietf:params:acme:error:unauthorized" in outcome.reason
        assert not outcome.is_ours
        assert not memory.orders, "an order that failed is not gone on with"
        answers.is_silent = False
        chain_of(await issuer.issue(wanted(name, methods=(DNS,)), answers))
    await issuer.aclose()


async def test_where_one_way_fails_the_next_is_tried(stage: Stage) -> None:
    """Port 80 shows nothing of ours: tls-alpn-01 does."""
    name, issuer = fresh(), stage.issuer()
    async with stage.answers() as answers:
        shown = answers.shown
        answers.shown = lambda method, domain: [] if method is HTTP else shown(method, domain)  # type: ignore[method-assign]
        chain = chain_of(await issuer.issue(wanted(name, methods=(HTTP, TLS_ALPN)), answers))
    assert names_of(chain) == {name}
    assert [each.method for each in answers.presented] == [HTTP, TLS_ALPN]
    await issuer.aclose()


async def test_all_that_was_tried_is_said(stage: Stage) -> None:
    good, bad = fresh("good"), fresh("bad")
    stage.names.fail(bad, dns.rcode.SERVFAIL)
    issuer = stage.issuer()
    async with stage.answers() as answers:
        outcome = await issuer.issue(wanted(good, bad, methods=(HTTP,)), answers)
    assert isinstance(outcome, IssueRefused)
    assert f"looked for {bad} by http-01" in outcome.reason
    assert good not in outcome.reason
    await issuer.aclose()


async def test_what_cannot_be_answered_here_is_answered_otherwise(stage: Stage) -> None:
    name, issuer = fresh(), stage.issuer()
    async with stage.answers() as answers:
        answers.refusals[DNS] = Conflict("in no zone of ours")
        chain_of(await issuer.issue(wanted(name, methods=(DNS, HTTP)), answers))
        outcome = await issuer.issue(wanted(fresh(), methods=(DNS,)), answers)
    assert isinstance(outcome, IssueRefused)
    assert outcome.reason.endswith("can be answered here: dns-01: in no zone of ours")
    await issuer.aclose()


async def test_nodes_that_lag_end_the_try_and_not_the_order(stage: Stage) -> None:
    name, memory = fresh(), Remembered()
    issuer = stage.issuer(memory)
    async with stage.answers() as answers:
        answers.refusals[HTTP] = Unavailable("edge-3 did not apply the answer")
        outcome = await issuer.issue(wanted(name, methods=(HTTP,)), answers)
        assert outcome == IssueRefused("edge-3 did not apply the answer")
        answers.refusals.clear()
        chain_of(await issuer.issue(wanted(name, methods=(HTTP,)), answers))
    assert len(memory.kept_orders) == 1
    assert len({each.token for each in answers.presented}) == 1
    await issuer.aclose()


async def test_a_process_that_died_amid_an_order_is_followed_by_one_that_goes_on(stage: Stage) -> None:
    name, memory = fresh(), Remembered()
    issuer = stage.issuer(memory)
    async with stage.answers() as answers:
        answers.at_present = asyncio.Event()
        dying = asyncio.create_task(issuer.issue(wanted(name, methods=(HTTP,)), answers))
        await answers.called.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await issuer.aclose()
        answers.at_present = None
        after = stage.issuer(memory)
        chain_of(await after.issue(wanted(name, methods=(HTTP,)), answers))
        await after.aclose()
    assert len(memory.kept_orders) == 1
    assert len(memory.documents) == 1
    assert not memory.orders


async def test_a_certificate_whose_key_was_lost_is_ordered_anew(stage: Stage) -> None:
    """Died between the last request and the certificate: the order is over, and its key is gone."""
    name, memory = fresh(), Remembered()
    issuer = stage.issuer(memory)
    async with stage.answers() as answers:
        request = wanted(name, methods=(HTTP,))
        chain_of(await issuer.issue(request, answers))
        account = next(iter(memory.documents))
        memory.orders[(account, (name,))] = memory.kept_orders[0]
        again = chain_of(await issuer.issue(request, answers))
        assert len(memory.kept_orders) == 1, "with the same key it is the same certificate"
        memory.orders[(account, (name,))] = memory.kept_orders[0]
        other = chain_of(await issuer.issue(wanted(name, methods=(HTTP,)), answers))
    assert again != other
    assert len(memory.kept_orders) == 2
    await issuer.aclose()


async def test_many_orders_at_one_time_share_one_account(stage: Stage) -> None:
    memory = Remembered()
    issuer, names = stage.issuer(memory, contacts=("mailto:admin@example.com",)), [fresh() for _ in range(6)]
    async with stage.answers() as answers:
        outcomes = await asyncio.gather(*(issuer.issue(wanted(name, methods=(HTTP,)), answers) for name in names))
    assert [names_of(chain_of(outcome)) for outcome in outcomes] == [{name} for name in names]
    assert len(memory.documents) == 1
    await issuer.aclose()


async def test_another_contact_is_told(stage: Stage) -> None:
    memory = Remembered()
    async with stage.answers() as answers:
        for contacts in (("mailto:one@example.com",), ("mailto:two@example.com",)):
            issuer = stage.issuer(memory, contacts=contacts)
            chain_of(await issuer.issue(wanted(fresh(), methods=(HTTP,)), answers))
            await issuer.aclose()
            assert contacts[0].encode() in next(iter(memory.documents.values()))


async def test_an_authority_killed_amid_an_order_and_started_without_memory(tmp_path: Path) -> None:
    """Account, order and nonces are gone; the next call makes them anew."""
    name, memory = fresh(), Remembered()
    with Names() as names, Pebble(tmp_path, names=names.address) as pebble:
        stage = Stage(pebble, names)
        issuer = stage.issuer(memory)
        async with stage.answers() as answers:
            answers.at_present = asyncio.Event()
            amid = asyncio.create_task(issuer.issue(wanted(name, methods=(HTTP,)), answers))
            await answers.called.wait()
            pebble.kill()
            answers.at_present.set()
            outcome = await amid
            assert isinstance(outcome, IssueRefused)
            assert "is not reached" in outcome.reason
            assert outcome.is_ours
            pebble.start()
            chain = chain_of(await issuer.issue(wanted(name, methods=(HTTP,)), answers))
        assert names_of(chain) == {name}
        assert len(set(memory.kept_orders)) == 2
        await issuer.aclose()


async def test_an_account_that_exists_elsewhere(tmp_path: Path) -> None:
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with Names() as names, Pebble(tmp_path, names=names.address, external_accounts={"kid-1": key}) as pebble:
        stage = Stage(pebble, names)
        async with stage.answers() as answers:
            unbound = stage.issuer()
            outcome = await unbound.issue(wanted(fresh(), methods=(HTTP,)), answers)
            assert isinstance(outcome, IssueRefused)
            assert "set eab_key_id" in outcome.reason
            wrong = stage.issuer(external_account=ExternalAccount.read("kid-1", key[::-1]))
            outcome = await wrong.issue(wanted(fresh(), methods=(HTTP,)), answers)
            assert isinstance(outcome, IssueRefused)
            assert outcome.is_ours
            bound = stage.issuer(external_account=ExternalAccount.read("kid-1", key))
            chain_of(await bound.issue(wanted(fresh(), methods=(HTTP,)), answers))
            for issuer in (unbound, wrong, bound):
                await issuer.aclose()


async def test_an_authority_that_is_not_there() -> None:
    (port,) = free_ports(1)
    issuer = AcmeIssuer(Authority(f"https://127.0.0.1:{port}/dir"), Remembered())
    outcome = await issuer.issue(wanted(fresh()), Answers())
    assert isinstance(outcome, IssueRefused)
    assert outcome.is_ours
    assert outcome.reason.startswith("127.0.0.1 is not reached")
    await issuer.aclose()


async def test_an_authority_whose_own_certificate_is_not_trusted(stage: Stage) -> None:
    issuer = AcmeIssuer(Authority(stage.pebble.directory_url), Remembered())
    outcome = await issuer.issue(wanted(fresh()), Answers())
    assert isinstance(outcome, IssueRefused)
    assert "name its authority in ca_file" in outcome.reason
    assert await issuer.caa_identities() == ()
    await issuer.aclose()
