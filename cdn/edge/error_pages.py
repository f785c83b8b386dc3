"""Answers of the node itself, dressed as the deploy wants them: with its rules' fields, and its page for the status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cdn.edge.manifest_cache import ManifestCache
from cdn.edge.response import Response
from cdn.edge.storeroom import Storeroom
from cdn.edge.visit import Visit
from cdn.errors import Unavailable
from cdn.sites.content_type import content_type_of
from cdn.sites.representation import representation_of
from cdn.sites.rules.rule_set import NO_RULES


class ErrorPages:
    """`is_taken_down(site_id, digest)`: whether a content may not be shown."""

    def __init__(
        self, manifests: ManifestCache, storeroom: Storeroom, is_taken_down: Callable[[str, str], bool]
    ) -> None:
        self._manifests = manifests
        self._storeroom = storeroom
        self._is_taken_down = is_taken_down

    async def dressed(self, visit: Visit, plain: Response) -> Response:
        """`plain`, or the page that the deploy has for this status in its place, with the same fields: nobody keeps
        either. Raises ManifestUnavailable."""
        content = await self._page(visit, plain.status)
        if content is None:
            return with_rules(visit, plain)
        path, page = content
        lines = tuple(line for line in plain.fields if line[0] != "content-type")
        return with_rules(visit, Response(plain.status, (("content-type", content_type_of(path)), *lines), page))

    async def _page(self, visit: Visit, status: int) -> tuple[str, bytes] | None:
        """Path and content; None without such a page, and when it cannot be had or is too large to be held."""
        path = visit.rules.error_page(status)
        if path is None:
            return None
        manifest = await self._manifests.load(visit.site.id, visit.deploy.manifest_digest)
        entry = manifest.answerable.get(path)
        if entry is None or self._is_taken_down(visit.site.id, entry.digest):
            return None
        representation = representation_of(path, entry, visit.site.settings, status)
        try:
            found = await self._storeroom.find(visit.site, path, entry, representation)
        except Unavailable:
            return None  # why, is told of what was asked for
        return None if found.content is None else (path, found.content)


def with_rules(visit: Visit, response: Response) -> Response:
    """With what the deploy's rules say of answers that are no files."""
    if visit.rules is NO_RULES:
        return response
    given = visit.rules.answer_fields(visit.request.target.decoded_path, visit.asking)
    names = {name for name, _ in given}
    return replace(response, fields=(*(line for line in response.fields if line[0] not in names), *given))
