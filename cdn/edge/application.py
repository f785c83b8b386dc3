"""The seam between the protocol engines and what answers requests."""

from __future__ import annotations

from typing import Protocol

from cdn.edge.prepared import Prepared
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.http.request import Request


class Application(Protocol):
    """Answers requests that are well-formed: the engine has refused all others (RFC 9112)."""

    def recall(self, request: Request, now: float) -> Prepared | None:
        """A usable response from memory, at once; `now` is monotonic.

        Asked only for GET and HEAD without content (`MessageHead.is_plain`); preconditions and Range of the request are
        judged: what comes back is the answer to just this request, a 304 for example. The engine remembers it and
        sends it again while `is_usable`, to requests with the same method, target, host and scheme whose fields say the
        same, but for those that `Recall` does not look at and `Prepared.selecting` does not name. So it may depend on
        nothing else but what the site's generation covers.
        """
        ...

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        """The response to everything else. Cancelled when the client goes away.

        TooLarge becomes a 413, every other exception a plain 500.
        """
        ...
