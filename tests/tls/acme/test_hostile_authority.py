"""Authorities that answer with anything: each a sentence, within bounds, and the name is not to blame."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cdn.tls.acme.problem import MAX_SENTENCE_CHARS
from cdn.tls.issuer import Issued, IssueRefused
from tests.servers.small_authority import Said, SmallAuthority, problem
from tests.tls.acme.answers import Answers
from tests.tls.acme.conftest import MakeIssuer
from tests.tls.acme.remembered import Remembered
from tests.tls.acme.wanted import wanted

NAME = "www.example.com"
JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 100_000 + b"]" * 100_000
ORDER = {"status": "pending", "identifiers": [{"type": "dns", "value": NAME}], "authorizations": [], "finalize": "x:"}


def offered(token: str) -> Said:
    challenge = {"type": "http-01", "url": "http://127.0.0.1/", "token": token}
    content = {"status": "pending", "identifier": {"type": "dns", "value": NAME}, "challenges": [challenge]}
    return Said(200, content)


@pytest.mark.parametrize(
    ("page", "said", "reason"),
    [
        ("dir", Said(200, b"x" * 300_000), "answers with more than 262144 bytes"),
        ("dir", Said(302, b"", {"Location": "http://169.254.169.254/"}), "sends elsewhere"),
        ("dir", Said(200, b"<html>"), "answers with what is no directory"),
        ("dir", Said(200, DEEP), "answers with what is no directory"),
        ("dir", Said(200, {"newNonce": 7}), "answers with what is no directory"),
        ("dir", Said(200, b"\xff\xfe{}"), "answers with what is no directory"),
        ("dir", Said(404, b"gone"), "404, not found"),
        ("dir", Said(500, DEEP, JSON), "answers with status 500"),
        (
            "dir",
            Said(200, {"newNonce": "file:///etc/passwd", "newAccount": "", "newOrder": ""}),
            "which is no http URL",
        ),
        ("nonce", Said(200, b"", {"Replay-Nonce": ""}), "gives no nonce"),
        ("nonce", Said(200, b"", {"Replay-Nonce": "a b"}), "gives no nonce"),
        ("nonce", Said(200, b"", {"Replay-Nonce": "a" * 2000}), "gives no nonce"),
        ("account", Said(201, {"status": "valid"}), "does not say its URL"),
        ("account", Said(201, {"status": "revoked"}), "is revoked: nothing can be ordered"),
        ("account", problem("userActionRequired", "new terms", 403, instance="https://a.example/do"), "example/do"),
        ("new-order", Said(201, ORDER), "takes an order and does not say its URL"),
        ("new-order", Said(201, ORDER | {"status": "fine"}, {"Location": "/o"}), "answers with what is no order"),
        ("new-order", Said(201, ORDER | {"identifiers": []}, {"Location": "/o"}), "makes an order for"),
        ("new-order", Said(201, ORDER, {"Location": "/order/1"}), "which is no http URL"),
        ("new-order", Said(201, ORDER | {"authorizations": ["ftp://h/"]}, {"Location": "/order/1"}), "is no http URL"),
        ("new-order", problem("malformed", "\x07" + "long " * 5000), "long long"),
        ("authorization", offered("../../etc"), "with a token that is none"),
        ("authorization", offered("a" * 5000), "with a token that is none"),
        ("authorization", offered(""), "with a token that is none"),
        ("authorization", Said(200, []), "answers with what is no authorization"),
        ("finalize", Said(502, b"bad gateway"), "answers with status 502"),
        ("certificate", Said(200, b"nothing"), "gives a chain that cannot be used"),
        ("certificate", Said(200, b"\xff" * 50), "gives a chain that cannot be used: the chain is not ASCII"),
    ],
)
async def test_it_is_refused(
    small: SmallAuthority, make_issuer: MakeIssuer, page: str, said: Said, reason: str
) -> None:
    small.say(page, said)
    answers, memory = Answers(), Remembered()
    issuer = make_issuer(memory)
    outcome = await asyncio.wait_for(issuer.issue(wanted(NAME), answers), 20)
    assert isinstance(outcome, IssueRefused)
    assert reason in outcome.reason
    assert outcome.is_ours
    assert outcome.reason.isprintable()
    assert len(outcome.reason) <= MAX_SENTENCE_CHARS + 100
    assert not answers.open
    assert isinstance(await issuer.issue(wanted(NAME), answers), Issued), "the next time it works"


async def test_a_certificate_for_another_key_is_never_taken(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    request = wanted(NAME)
    chain = small.sign(request.csr, key=ec.generate_private_key(ec.SECP256R1()).public_key())
    small.say("certificate", Said(200, chain), Said(200, chain))
    outcome = await make_issuer().issue(request, Answers())
    assert isinstance(outcome, IssueRefused)
    assert "with another key or without the names asked for" in outcome.reason


async def test_a_certificate_without_the_name_is_never_taken(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    request = wanted(NAME)
    key = x509.load_der_x509_csr(request.csr).public_key()
    chain = small.sign(wanted("other.example.com").csr, key=key)
    small.say("certificate", Said(200, chain), Said(200, chain))
    assert isinstance(await make_issuer().issue(request, Answers()), IssueRefused)


async def test_one_that_never_answers(small: SmallAuthority, make_issuer: MakeIssuer) -> None:
    asked = asyncio.Event()

    async def silent() -> Said:
        asked.set()
        await asyncio.sleep(3600)
        raise AssertionError

    small.say("new-order", silent)
    outcome = await make_issuer(request_timeout_s=0.3).issue(wanted(NAME), Answers())
    assert asked.is_set()
    assert outcome == IssueRefused("127.0.0.1 did not answer within 0.3 s", is_ours=True)
