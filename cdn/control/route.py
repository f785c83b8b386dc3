"""A route of the API as data: what the dispatcher enforces and what OpenAPI says come from the same place."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiohttp import web

from cdn.control.auth import ANONYMOUS, Caller
from cdn.control.token import Verb
from cdn.errors import InvalidInput

MOST_LISTED = 1_000
"""Nodes in one answer: about half a megabyte."""

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?(?:e[+-]?[0-9]{1,2})?")


class Access(Enum):
    """Who may call a route at all. Handlers narrow it further where a token sees only some of the things."""

    ANYBODY = "anybody"
    ANY_TOKEN = "any-token"  # noqa: S105 -- a word, not a secret
    ADMIN = "admin"
    NODE = "node"
    DNS = "dns"
    READ = "read"
    PURGE = "purge"
    DEPLOY = "deploy"
    SITE_ADMIN = "site-admin"

    @property
    def verb(self) -> Verb | None:
        """What the token must allow on the site in the path; None when the route is not about one site."""
        return _VERBS.get(self)


_VERBS = {
    Access.READ: Verb.READ,
    Access.PURGE: Verb.PURGE,
    Access.DEPLOY: Verb.DEPLOY,
    Access.SITE_ADMIN: Verb.ADMIN,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter: a string, or a number when `is_number`."""

    name: str
    summary: str
    is_number: bool = False
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler: who sent it and what stood in its target."""

    request: web.Request
    caller: Caller = ANONYMOUS
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def wait_s(self, longest_s: float) -> float:
        """The `wait` of the query, 0 when absent. Raises InvalidInput."""
        text = self.query.get("wait", "0").removesuffix("s")
        if _NUMBER.fullmatch(text) is None:
            raise InvalidInput(f"wait is a number of seconds, not {text!r}.", field="wait")
        seconds = float(text)
        if not 0 <= seconds <= longest_s:
            raise InvalidInput(f"wait is between 0 and {longest_s:g} seconds, not {text}.", field="wait")
        return seconds


def page_limit(query: Mapping[str, str]) -> int:
    """The `limit` of the query, MOST_LISTED when absent. Raises InvalidInput."""
    text = query.get("limit", str(MOST_LISTED))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MOST_LISTED:
        raise InvalidInput(f"limit is a number from 1 to {MOST_LISTED}, not {text[:80]!r}.", field="limit")
    return int(text)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`takes` and `gives` are msgspec types; `gives` maps each success status to what comes with it (`bytes`: no JSON).
    `takes_bytes` is the media type of content that is not JSON.

    `detail` says what a caller has to know beyond the summary.
    """

    method: str
    path: str
    operation: str
    summary: str
    handler: Handler
    access: Access
    gives: Mapping[int, Any]
    takes: Any = None
    takes_bytes: str | None = None
    query: tuple[Parameter, ...] = ()
    detail: str = ""

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names between braces in the path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


NOT_COMPLETE = (
    "While `receipt.complete` is false some node may still answer from before: give `wait`, or ask for the receipt of "
    "its `position.sequence`."
)
"""What a call says whose answer has a receipt."""

WAIT = Parameter(
    "wait",
    "Seconds to wait until the receipt is complete; 0, the default, answers as soon as the record is durable. "
    "When they are over the answer comes all the same, with what nodes have done so far",
    is_number=True,
)

PAGE = (
    Parameter("after", "List nodes whose id comes after this one"),
    Parameter("limit", f"List at most so many nodes; {MOST_LISTED} at the most, and by default", is_number=True),
)
