"""Other vendors' APIs on control: their paths, their way to say who calls, their shapes of success and error.

One call's way: the router finds a DialectRoute; control looks for what other replicas recorded; the handler reads who
calls (`Services.authenticator.verify` on whatever field the vendor puts a token in), requires the scope, turns the
content into what the native API takes, and calls the same parts (`Deploys`, `Purges`). Whatever it raises is answered
as `refusal` says, so that the vendor's client shows the sentence to its user.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aiohttp import web


@dataclass(frozen=True, slots=True)
class DialectRoute:
    """One path of a dialect, as aiohttp's router takes it."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dialect(Protocol):
    """One vendor's API."""

    @property
    def name(self) -> str:
        """For logs and counters: "fastly"."""
        ...

    def routes(self) -> Sequence[DialectRoute]:
        """All its paths; none of another dialect's or the native API's."""
        ...

    def refusal(self, error: Exception) -> web.Response:
        """The vendor's shape of an error; `cdn.control.problem.problem_of` says what may be told of one that is no
        CdnError."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A dialect that does something beside requests."""

    async def aclose(self) -> None:
        """End it; called once, before the services close."""
        ...
