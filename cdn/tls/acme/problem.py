"""What an authority says when it does not do what it was asked (RFC 7807, RFC 8555 6.7)."""

from __future__ import annotations

import msgspec

from cdn.errors import CdnError

URN = "urn:ietf:params:acme:error:"

MAX_SENTENCE_CHARS = 2000
"""Of what is shown: what authorities say is a tenth of that; a page of HTML or an order of a hundred names is cut."""

ABOUT_THE_NAME = frozenset({"connection", "dns", "incorrectResponse", "tls", "unsupportedIdentifier"})
"""Kinds that another authority would find as well: who is asked does not matter (RFC 8555 6.7)."""

SEEN_OTHERWISE = frozenset({"connection", "incorrectResponse", "tls", "unauthorized"})
"""Kinds of a failed challenge where another way of looking may do: a port that is closed says nothing of the others."""


class Identifier(msgspec.Struct, frozen=True):
    """A name in an order (RFC 8555 9.7.7)."""

    type: str
    value: str


class Subproblem(msgspec.Struct, frozen=True):
    """What is wrong with one name (RFC 8555 6.7.1)."""

    type: str = "about:blank"
    detail: str = ""
    identifier: Identifier | None = None


class Problem(msgspec.Struct, frozen=True):
    """A problem document. `status` is 0 where it does not say."""

    type: str = "about:blank"
    detail: str = ""
    title: str = ""
    status: int = 0
    instance: str = ""
    subproblems: tuple[Subproblem, ...] = ()

    @property
    def kind(self) -> str:
        """The type without what all of ACME's begin with."""
        return self.type.removeprefix(URN)

    @property
    def is_about_name(self) -> bool:
        """Whether another authority would say the same. One that a CAA record or a policy forbids is no reason for
        another."""
        if self.kind == "compound":
            return any(each.type.removeprefix(URN) in ABOUT_THE_NAME for each in self.subproblems)
        return self.kind in ABOUT_THE_NAME

    def sentence(self) -> str:
        """What the authority said, verbatim, with what it said of single names; the kind in brackets."""
        text = f"{self.detail or self.title or 'no reason given'} ({self.type})"
        for each in self.subproblems:
            name = f"{each.identifier.value}: " if each.identifier is not None else ""
            text += f"; {name}{each.detail} ({each.type})"
        if self.kind == "userActionRequired" and self.instance:
            text += f"; look at {self.instance}"
        return printable(text)


class AcmeRefused(CdnError):
    """The authority answered with a problem. `status` is that of HTTP."""

    def __init__(self, host: str, problem: Problem, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"{host} says: {problem.sentence()}")
        self.problem = problem
        self.status = status
        self.retry_after_s = retry_after_s


class AuthorityAway(CdnError):
    """The authority was not reached, took too long, or asks for patience."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotAcme(AuthorityAway):
    """What it answered is no ACME: nothing that it said before is gone on with."""


def printable(text: str) -> str:
    """Cut, on one line, and without what would move a terminal's cursor."""
    plain = "".join(char if char.isprintable() else " " for char in text[:MAX_SENTENCE_CHARS])
    return plain if len(text) <= MAX_SENTENCE_CHARS else f"{plain}…"
