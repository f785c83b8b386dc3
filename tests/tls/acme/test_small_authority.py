"""What Pebble does not do: renewal information, `replaces`, profiles, rate limits, patience."""

from __future__ import annotations

import base64
import time

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import Unavailable
from cdn.http.date import format_date
from cdn.tls.acme.nonce import MAX_NONCES, NoncePool
from cdn.tls.acme.renewal_info import MAX_ASK_AGAIN_S, MIN_ASK_AGAIN_S, RenewalInfo
from cdn.tls.acme.timestamp import seconds_of
from cdn.tls.issuer import ChallengeMethod, Issued, IssueRefused, RenewalWindow
from tests.servers.small_authority import Said, SmallAuthority, problem
from tests.tls.acme.answers import Answers
from tests.tls.acme.conftest import MakeIssuer
from tests.tls.acme.remembered import Remembered
from tests.tls.acme.wanted import names_of, wanted

NAME = "www.example.com"
WINDOW = {"suggestedWindow": {"start": "2026-11-23T00:00:00Z", "end": "2026-11-24T00:00:00Z"}}


async def test_an_order_goes_its_way(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    answers = Answers()
    outcome = await make_issuer().issue(wanted(NAME), answers)
    assert isinstance(outcome, Issued)
    assert names_of(outcome.chain) == {NAME}
    (shown,) = answers.presented
    assert (shown.method, shown.domain, shown.token) == (ChallengeMethod.HTTP, NAME, "tok-1")
    assert not answers.open
    assert [page for page, _ in small.seen] == [
        *("dir", "nonce", "account", "new-order", "authorization", "challenge", "authorization", "finalize"),
        "certificate",
    ]


async def test_renewal_information(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    issuer = make_issuer()
    outcome = await issuer.issue(wanted(NAME), Answers())
    assert isinstance(outcome, Issued)
    small.say("renewal", Said(200, WINDOW | {"explanationURL": "https://why.example"}, {"Retry-After": "7200"}))
    window = await issuer.renewal_window(outcome.chain)
    start = seconds_of("2026-11-23T00:00:00Z")
    assert start is not None
    assert window == RenewalWindow(start, start + 86_400, "https://why.example", 7200)


@pytest.mark.parametrize(
    ("said", "ask_again_s"),
    [("1", MIN_ASK_AGAIN_S), ("9999999", MAX_ASK_AGAIN_S), ("", 21_600.0), ("soon", 21_600.0)],
)
async def test_how_often_it_is_asked_is_bounded(
    small: SmallAuthority, make_issuer: MakeIssuer, said: str, ask_again_s: float
) -> None:
    issuer = make_issuer()
    small.say("renewal", Said(200, WINDOW, {"Retry-After": said}))
    window = await issuer.renewal_window(small.sign(wanted(NAME).csr).decode())
    assert window is not None
    assert window.ask_again_s == ask_again_s


@pytest.mark.parametrize(
    "said",
    [
        problem("malformed", "no such certificate", 404),
        Said(200, b"{"),
        Said(200, {"suggestedWindow": {"start": "2026-11-24T00:00:00Z", "end": "2026-11-23T00:00:00Z"}}),
        Said(200, {"suggestedWindow": {"start": "tomorrow", "end": "2026-11-23T00:00:00Z"}}),
        Said(503, b"away"),
    ],
)
async def test_no_window_is_none(small: SmallAuthority, make_issuer: MakeIssuer, said: Said) -> None:
    small.say("renewal", said)
    assert await make_issuer().renewal_window(small.sign(wanted(NAME).csr).decode()) is None


async def test_an_authority_that_does_not_say_when(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    small.has_renewal_info = False
    issuer = make_issuer()
    chain = small.sign(wanted(NAME).csr).decode()
    assert await issuer.renewal_window(chain) is None
    await issuer.issue(wanted(NAME, replaces=chain), Answers())
    assert "replaces" not in small.sent_to("new-order")[0]
    assert small.sent_to("renewal") == []


async def test_a_renewal_says_what_it_replaces(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    chain = small.sign(wanted(NAME).csr).decode()
    assert isinstance(await make_issuer().issue(wanted(NAME, replaces=chain), Answers()), Issued)
    (sent,) = small.sent_to("new-order")
    certificate = x509.load_pem_x509_certificate(chain.encode())
    key_identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key_identifier is not None
    first, _, second = sent["replaces"].partition(".")
    assert base64.urlsafe_b64decode(first + "==")[:20] == key_identifier
    assert base64.urlsafe_b64decode(second + "=" * (-len(second) % 4)) == b"\0" + certificate.serial_number.to_bytes(5)


@pytest.mark.parametrize("kind", ["alreadyReplaced", "malformed", "unauthorized"])
async def test_one_that_may_not_replace_is_ordered_plainly(
    small: SmallAuthority, make_issuer: MakeIssuer, kind: str
) -> None:
    small.say("new-order", problem(kind, "something about replaces", 409))
    chain = small.sign(wanted(NAME).csr).decode()
    assert isinstance(await make_issuer().issue(wanted(NAME, replaces=chain), Answers()), Issued)
    assert ["replaces" in sent for sent in small.sent_to("new-order")] == [True, False]


@pytest.mark.parametrize("has_replaces", [True, False])
async def test_a_rate_limit_is_kept_to(small: SmallAuthority, make_issuer: MakeIssuer, has_replaces: bool) -> None:
    small.say("new-order", problem("rateLimited", "too many certificates, retry later", 429, {"Retry-After": "3600"}))
    chain = small.sign(wanted(NAME).csr).decode() if has_replaces else None
    outcome = await make_issuer().issue(wanted(NAME, replaces=chain), Answers())
    assert isinstance(outcome, IssueRefused)
    assert "too many certificates, retry later" in outcome.reason
    assert outcome.retry_after_s == 3600
    assert outcome.is_ours
    assert len(small.sent_to("new-order")) == 1


async def test_a_date_to_come_back_at(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    small.say("new-order", Said(503, b"<h1>busy</h1>", {"Retry-After": format_date(time.time() + 120)}))
    outcome = await make_issuer().issue(wanted(NAME), Answers())
    assert isinstance(outcome, IssueRefused)
    assert outcome.retry_after_s is not None
    assert 110 < outcome.retry_after_s <= 120
    assert outcome.is_ours


async def test_between_looks_it_waits_as_it_is_told(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    times: list[float] = []

    async def look() -> Said:
        times.append(time.monotonic())
        offered = {"type": "http-01", "url": f"{small.url}/challenge/1", "token": "tok-1"}
        content = {"status": "pending", "identifier": {"type": "dns", "value": NAME}, "challenges": [offered]}
        return Said(200, content, {"Retry-After": "1"})

    small.say("authorization", look, look)
    assert isinstance(await make_issuer().issue(wanted(NAME), Answers()), Issued)
    assert small.sent_to("challenge") == [{}]
    times.append(time.monotonic())
    assert times[2] - times[1] >= 1.0


async def test_more_patience_than_there_is_ends_the_try_and_not_the_order(
    small: SmallAuthority, make_issuer: MakeIssuer
) -> None:
    memory, answers = Remembered(), Answers()
    issuer = make_issuer(memory, validation_timeout_s=5)
    small.say("challenge", Said(200, {}, {"Retry-After": "300"}))
    outcome = await issuer.issue(wanted(NAME), answers)
    assert isinstance(outcome, IssueRefused)
    assert (outcome.retry_after_s, outcome.is_ours) == (300, True)
    assert not answers.open
    assert isinstance(await issuer.issue(wanted(NAME), answers), Issued)
    assert len(small.sent_to("new-order")) == 1


async def test_an_order_that_takes_its_time(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    """Not ready yet, then processing: looked at again until it is over (RFC 8555 7.4)."""
    small.looks = 3
    small.say("finalize", problem("orderNotReady", "a moment", 403))
    small.say("order", Said(200, _order(small, "pending")))
    assert isinstance(await make_issuer().issue(wanted(NAME), Answers()), Issued)
    assert len(small.sent_to("finalize")) == 2
    memory = Remembered()
    small.say("finalize", Said(200, _order(small, "processing", 2), {"Retry-After": "9"}))
    outcome = await make_issuer(memory, validation_timeout_s=5).issue(wanted(NAME), Answers())
    assert isinstance(outcome, IssueRefused)
    assert outcome.retry_after_s == 9
    assert memory.orders, "it is gone on with"


async def test_an_order_that_ends_without_a_certificate(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    memory = Remembered()
    said = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA record for example.com prevents issuance"}
    small.say("finalize", Said(200, _order(small, "invalid") | {"error": said}))
    outcome = await make_issuer(memory).issue(wanted(NAME), Answers())
    assert isinstance(outcome, IssueRefused)
    assert "CAA record for example.com prevents issuance (urn:ietf:params:acme:error:caa)" in outcome.reason
    assert not memory.orders


async def test_profiles(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    small.meta["profiles"] = {"classic": "https://p/classic", "shortlived": "https://p/short"}
    assert isinstance(await make_issuer(profile="shortlived").issue(wanted(NAME), Answers()), Issued)
    assert small.sent_to("new-order")[0]["profile"] == "shortlived"
    outcome = await make_issuer(profile="tiny").issue(wanted(NAME), Answers())
    reason = "127.0.0.1 has no certificate profile 'tiny'; its profiles: classic, shortlived"
    assert outcome == IssueRefused(reason, is_ours=True)


async def test_terms(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    small.meta["termsOfService"] = "https://terms.example"
    outcome = await make_issuer(agrees_to_terms=False).issue(wanted(NAME), Answers())
    assert isinstance(outcome, IssueRefused)
    assert "https://terms.example" in outcome.reason
    assert small.sent_to("account") == []
    assert isinstance(await make_issuer().issue(wanted(NAME), Answers()), Issued)
    assert small.sent_to("account")[0]["termsOfServiceAgreed"] is True


async def test_what_is_said_of_single_names_is_shown(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    of_one = {
        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
        "detail": "on a list\x1b[2J of names",
        "identifier": {"type": "dns", "value": NAME},
    }
    small.say("new-order", problem("compound", "several things", subproblems=[of_one]))
    outcome = await make_issuer().issue(wanted(NAME), Answers())
    assert isinstance(outcome, IssueRefused)
    assert outcome.reason == (
        "127.0.0.1 says: several things (urn:ietf:params:acme:error:compound); "
        "www.example.com: on a list [2J of names (urn:ietf:params:acme:error:rejectedIdentifier)"
    )


async def test_a_refused_nonce_brings_the_next(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    small.say("new-order", *[problem("badNonce", "old")] * 9)
    assert isinstance(await make_issuer().issue(wanted(NAME), Answers()), Issued)
    assert len(small.sent_to("nonce")) == 1, "each refusal brought one"
    small.say("new-order", *[problem("badNonce", "old")] * 50)
    outcome = await make_issuer().issue(wanted(NAME), Answers())
    assert isinstance(outcome, IssueRefused)
    assert outcome.is_ours
    assert len(small.sent_to("new-order")) == 20


async def test_revocation_that_is_refused(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    issuer, chain = make_issuer(), small.sign(wanted(NAME).csr).decode()
    small.say("revoke", problem("unauthorized", "not yours", 403), problem("alreadyRevoked", "done"))
    assert await issuer.revoke(chain, 1) == "127.0.0.1 says: not yours (urn:ietf:params:acme:error:unauthorized)"
    assert await issuer.revoke(chain, 1) is None
    assert await issuer.revoke("no certificate", 1) == "there is no certificate in PEM form that can be read"
    assert small.sent_to("revoke")[0]["reason"] == 1


async def test_an_account_that_another_replica_made_meanwhile(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    """The key that was kept first is everybody's."""
    memory = Remembered()
    assert isinstance(await make_issuer(memory).issue(wanted(NAME), Answers()), Issued)
    (first,) = memory.documents.values()

    class Late(Remembered):
        async def account_document(self, account: str) -> bytes | None:
            return None

    late = Late()
    late.documents = dict(memory.documents)
    assert isinstance(await make_issuer(late).issue(wanted(NAME), Answers()), Issued)
    assert list(late.documents.values()) == [first]
    assert len(small.sent_to("account")) == 1


async def test_an_account_that_the_authority_lost(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    memory = Remembered()
    assert isinstance(await make_issuer(memory).issue(wanted(NAME), Answers()), Issued)
    small.say("new-order", problem("accountDoesNotExist", "never heard of it"))
    assert isinstance(await make_issuer(memory).issue(wanted(NAME), Answers()), Issued)
    assert len(small.sent_to("account")) == 2
    assert len(memory.documents) == 1


async def test_a_memory_that_is_away(make_issuer: MakeIssuer) -> None:
    class Away(Remembered):
        async def account_document(self, account: str) -> bytes | None:
            raise Unavailable("the object store does not answer")

    outcome = await make_issuer(Away()).issue(wanted(NAME), Answers())
    assert outcome == IssueRefused("the object store does not answer")


async def test_an_order_that_cannot_be_read_any_more(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    memory = Remembered()
    memory.orders[(f"{small.url}/dir", (NAME,))] = f"{small.url}/order/9"
    small.say("order", Said(200, b"<html>"))
    assert isinstance(await make_issuer(memory).issue(wanted(NAME), Answers()), Issued)
    assert not memory.orders


@pytest.mark.parametrize("kept", ["other.example.com", NAME])
async def test_only_an_order_for_the_same_names_is_gone_on_with(
    small: SmallAuthority, make_issuer: MakeIssuer, kept: str
) -> None:
    memory, answers = Remembered(), Answers()
    issuer = make_issuer(memory)
    answers.refusals[ChallengeMethod.HTTP] = Unavailable("not now")
    assert await issuer.issue(wanted(kept), answers) == IssueRefused("not now")
    memory.orders[(f"{small.url}/dir", (NAME,))] = f"{small.url}/order/1"
    answers.refusals.clear()
    assert isinstance(await issuer.issue(wanted(NAME.upper()), answers), Issued)
    assert len(small.sent_to("new-order")) == (1 if kept == NAME else 2)


async def test_what_caa_records_call_it(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    small.meta["caaIdentities"] = ["ca.example", "also.example"]
    assert await make_issuer().caa_identities() == ("ca.example", "also.example")


async def test_too_many_names(make_issuer: MakeIssuer) -> None:
    outcome = await make_issuer().issue(wanted(*(f"{n}.example.com" for n in range(101))), Answers())
    assert outcome == IssueRefused("A certificate is for 1 to 100 names, not 101")


@given(st.text(), st.text(), st.none() | st.floats(min_value=0, allow_infinity=False))
def test_a_window_has_a_length_or_is_none(start: str, end: str, retry_after_s: float | None) -> None:
    window = _info(start, end).window(retry_after_s)
    assert window is None or (window.start < window.end and MIN_ASK_AGAIN_S <= window.ask_again_s <= MAX_ASK_AGAIN_S)


@given(st.lists(st.text(max_size=600) | st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True), max_size=200))
def test_nonces_are_bounded_and_each_goes_once(offered: list[str]) -> None:
    pool = NoncePool()
    for nonce in offered:
        pool.put(nonce)
    taken = []
    while (nonce_or_none := pool.take()) is not None:
        taken.append(nonce_or_none)
    assert len(taken) <= MAX_NONCES
    assert all(nonce.isascii() and nonce for nonce in taken)
    assert taken == [each for each in reversed(offered) if each in taken][: len(taken)]


def _info(start: str, end: str) -> RenewalInfo:
    return msgspec.convert({"suggestedWindow": {"start": start, "end": end}}, RenewalInfo)


def _order(small: SmallAuthority, status: str, number: int = 1) -> dict[str, object]:
    return {
        "status": status,
        "identifiers": [{"type": "dns", "value": NAME}],
        "authorizations": [f"{small.url}/authorization/{number}"],
        "finalize": f"{small.url}/finalize/{number}",
    }
