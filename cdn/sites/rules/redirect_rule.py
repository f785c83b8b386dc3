"""One line of `_redirects`: from where to where, on what conditions."""

from __future__ import annotations

from dataclasses import dataclass

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
REWRITE = 200
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """The first rule that covers a request and whose conditions hold answers it.

    `source` is a path with placeholders (`:year`) and `*`, as path_pattern.py reads it; `target` a path or an
    absolute http or https URL in which `:year` and `:splat` stand for what was found there. `status`: a redirect
    (301 to 308), 200: what `target` names answers under the address that was asked for, 404: it answers as the page for
    what is absent. `is_forced`: also where the deploy has a file. `host` and `scheme`: only there, "" anywhere.
    `query`: pairs of a parameter's name and its value, or a placeholder; all have to be there. `countries` (ISO 3166-1
    alpha-2, upper case), `languages` (lower case) and `cookies` (names): one of each that are given.
    """

    source: str
    target: str
    status: int = 301
    is_forced: bool = False
    host: str = ""
    scheme: str = ""
    query: tuple[tuple[str, str], ...] = ()
    countries: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()

    @property
    def is_conditional(self) -> bool:
        """Whether more than the path decides."""
        return bool(self.host or self.scheme or self.query or self.countries or self.languages or self.cookies)

    @property
    def is_fallback(self) -> bool:
        """Whether it stands in for whatever is absent below its path, and for nothing else."""
        is_page = self.status in {REWRITE, NOT_FOUND} and self.target.startswith("/")
        return is_page and not self.is_forced and self.source.rstrip("/").endswith("*")

    def __str__(self) -> str:
        """As a line of `_redirects` says it."""
        origin = f"{self.scheme}://{self.host}" if self.host else ""
        query = [f"{name}={value}" for name, value in self.query]
        choices = (("Country", self.countries), ("Language", self.languages), ("Cookie", self.cookies))
        conditions = [f"{name}={','.join(values)}" for name, values in choices if values]
        status = f"{self.status}!" if self.is_forced else str(self.status)
        return " ".join((origin + self.source, *query, self.target, status, *conditions))
