"""Several authorities: the next is asked when nothing was wrong with the name."""

from __future__ import annotations

import pytest

from cdn.errors import InvalidInput
from cdn.tls.acme.issuer_chain import IssuerChain
from cdn.tls.issuer import Issued, IssueOutcome, IssueRefused, IssueRequest, RenewalWindow, Solver
from tests.tls.acme.answers import Answers

REQUEST = IssueRequest(("a.example",), b"", ())
OTHER = IssueRequest(("b.example",), b"", ())
AWAY = IssueRefused("one is away", is_ours=True)
BUSY = IssueRefused("one is busy", 100.0, is_ours=True)
WRONG = IssueRefused("the name is wrong")


class Told:
    """An issuer that says what it was told to."""

    def __init__(self, name: str, outcome: IssueOutcome, window: RenewalWindow | None = None) -> None:
        self.name = name
        self.outcome = outcome
        self.window = window
        self.asked = 0
        self.why_not: str | None = "not mine"
        self.is_closed = False

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        self.asked += 1
        return self.outcome

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        return self.window

    async def revoke(self, chain: str, reason: int) -> str | None:
        return self.why_not

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("first", "second", "expected", "asked"),
    [
        (Issued("1"), Issued("2"), Issued("1", "one"), 0),
        (AWAY, Issued("2"), Issued("2", "two"), 1),
        (WRONG, Issued("2"), WRONG, 0),
        (AWAY, WRONG, IssueRefused("one is away; the name is wrong"), 1),
        (AWAY, BUSY, IssueRefused("one is away; one is busy", None, True), 1),
        (BUSY, IssueRefused("two", 50.0, True), IssueRefused("one is busy; two", 50.0, True), 1),
    ],
)
async def test_who_is_asked(first: IssueOutcome, second: IssueOutcome, expected: IssueOutcome, asked: int) -> None:
    one, two = Told("one", first), Told("two", second)
    chain = IssuerChain([one, two], monotonic=lambda: 0.0)
    assert chain.name == "one"
    assert await chain.issue(REQUEST, Answers()) == expected
    assert (one.asked, two.asked) == (1, asked)


async def test_one_that_asked_for_patience_gets_it() -> None:
    now = 0.0
    one, two = Told("one", BUSY), Told("two", Issued("2"))
    chain = IssuerChain([one, two], monotonic=lambda: now)
    for at, asked in ((0.0, 1), (50.0, 1), (99.9, 1), (100.0, 2)):
        now = at
        assert await chain.issue(REQUEST, Answers()) == Issued("2", "two")
        assert one.asked == asked
    await chain.issue(OTHER, Answers())
    assert one.asked == 3, "of other names it said nothing"


async def test_alone_it_is_asked_whenever_the_caller_wants() -> None:
    one = Told("one", BUSY)
    chain = IssuerChain([one], monotonic=lambda: 0.0)
    assert [await chain.issue(REQUEST, Answers()) for _ in range(2)] == [BUSY, BUSY]
    assert one.asked == 2


async def test_windows_and_revocations_come_from_whoever_knows() -> None:
    window = RenewalWindow(1.0, 2.0, "", 60.0)
    one, two = Told("one", AWAY), Told("two", AWAY, window)
    chain = IssuerChain([one, two])
    assert await chain.renewal_window("") == window
    assert await chain.revoke("", 0) == "not mine; not mine"
    two.why_not = two.window = None
    assert await chain.revoke("", 0) is None
    assert await chain.renewal_window("") is None
    await chain.aclose()
    assert one.is_closed
    assert two.is_closed


def test_none_is_none() -> None:
    with pytest.raises(InvalidInput, match="at least one authority"):
        IssuerChain([])
