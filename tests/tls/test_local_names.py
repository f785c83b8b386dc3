"""Names below a zone that no public authority knows are signed at home, all others outside."""

from __future__ import annotations

import pytest

from cdn.tls.issuer import Challenge, Issued, IssueOutcome, IssueRequest, RenewalWindow
from cdn.tls.local_names import LocalNames


class Recording:
    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[tuple[str, ...]] = []
        self.is_closed = False

    async def issue(self, request: IssueRequest, solver: object) -> IssueOutcome:
        self.asked.append(request.names)
        return Issued(self.name)

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        return RenewalWindow(1, 2, "", 3)

    async def revoke(self, chain: str, reason: int) -> str | None:
        return self.name

    async def aclose(self) -> None:
        self.is_closed = True


class NoSolver:
    async def present(self, challenge: Challenge) -> None: ...

    async def withdraw(self, challenge: Challenge) -> None: ...


@pytest.mark.parametrize(
    ("names", "signer"),
    [
        (("cdn.localhost", "*.cdn.localhost"), "local"),
        (("blog.cdn.localhost",), "local"),
        (("www.example.com",), "public"),
        (("notcdn.localhost",), "public"),
        (("blog.cdn.localhost", "www.example.com"), "public"),
    ],
)
async def test_the_zone_decides(names: tuple[str, ...], signer: str) -> None:
    local, public = Recording("local"), Recording("public")
    both = LocalNames("cdn.localhost", local, public)
    assert await both.issue(IssueRequest(names, b"", ()), NoSolver()) == Issued(signer, signer)
    assert [*local.asked, *public.asked] == [names]


async def test_the_rest_is_the_public_ones_and_both_are_closed() -> None:
    local, public = Recording("local"), Recording("public")
    both = LocalNames("cdn.localhost", local, public)
    assert both.name == "public"
    assert await both.renewal_window("chain") == RenewalWindow(1, 2, "", 3)
    assert await both.revoke("chain", 0) == "public"
    await both.aclose()
    assert local.is_closed
    assert public.is_closed
