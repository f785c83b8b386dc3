"""Which rule answers a request: the first in order that covers it, at a cost that does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdn.http.target import Target
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer `status` (301 to 308) with this Location: an absolute path or an absolute URL, percent-encoded, with the
    query of the request where the rule names none."""

    location: str
    status: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What the deploy has at `path` (decoded, starts with "/") answers under the address that was asked for, with
    `status` 200 or 404. Rules are not asked again for `path`; when nothing is there the target is absent."""

    path: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class Proxy:
    """Another server answers: `url` is absolute http or https, percent-encoded, with path and query."""

    url: str


RedirectOutcome = Redirect | Rewrite | Proxy


@dataclass(frozen=True, slots=True)
class Found:
    """`outcome` is None where no rule answers; `number` is the rule's place among the site's redirects, -1 for none.

    `is_general`: every request for this path gets this outcome (the query that a Location passes on aside); otherwise
    a rule that covers the path looks at more of a request than its path. `is_fallback`: the rule stands in for whatever
    is absent (200 or 404 for a pattern that ends in `*`), so that a file kept of an earlier deploy may go before it.
    """

    outcome: RedirectOutcome | None = None
    number: int = -1
    is_general: bool = True
    is_fallback: bool = False


class RedirectIndex:
    """Immutable once made. Made when a manifest is loaded, a few microseconds per rule."""

    def __init__(self, rules: Sequence[RedirectRule], mode: RulesMode) -> None:
        raise NotImplementedError

    def find(self, target: Target, asking: Asking, *, over_file: bool = False) -> Found:
        """What the rules say about a request. `over_file`: the deploy has a file there, so a rule counts only when it
        is forced (in CLOUDFLARE mode all are); the first rule that covers the request decides, forced or not."""
        raise NotImplementedError
