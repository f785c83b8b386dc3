"""The *takedown* road on control's side: a URL, the content behind it, a record, and the bytes out of the store.

Every site that has the content holds an object of its own (docs/decisions/001), so taking one site's away leaves the
others theirs; a takedown for everywhere takes each of them.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cdn.control.services import Services
from cdn.errors import CdnError, Conflict, Gone, InvalidInput, NotFound, Unprocessable
from cdn.http.target import AbsoluteTarget, Target, TargetFault, parse_host, parse_target
from cdn.journal.record import Change, Record, TakedownLifted, TakenDown
from cdn.journal.takedown_fold import EVERYWHERE
from cdn.origin.layout import blob_key, manifest_key
from cdn.origin.store import ObjectMissing
from cdn.sites.manifest import FileEntry, Manifest, load_manifest
from cdn.sites.path import INDEX, PAGE_SUFFIX, shown
from cdn.sites.route import may_be_retained
from cdn.sites.site import Site

MAX_TAKEDOWNS = 100_000
"""Of all sites: every node holds each of them, at some 300 octets."""

MAX_REASON_BYTES = 1024

CONCURRENT_HEADS = 16

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What answers a URL: the site's file, and its content's digest."""

    site: Site
    alias: str
    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class TakenAway:
    """What came of it. `removed` objects left the store at once; what is left goes with the next sweep."""

    digest: str
    site: Site | None
    path: str
    record: Record
    removed: int


class Takedowns:
    """Takes content down, and lets it up again."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def site_of(self, url: str) -> Site:
        """Whose URL it is. Raises InvalidInput, NotFound."""
        return self._bound(_split(url)[0])[0]

    async def find(self, url: str) -> Found:
        """The file that answers `url`, or did under an earlier deploy that is still reachable.

        Raises InvalidInput, NotFound, Conflict for sites without deploys, StoreUnavailable.
        """
        host, target = _split(url)
        site, alias = self._bound(host)
        if site.settings.is_pull:
            raise Conflict(
                f"The site {site.name!r} is answered from {site.settings.origin}: take the content away there, then "
                f"purge it (cdn purge --site {site.name} --url {target.path})."
            )
        state = self._services.catalog.alias(site.id, alias)
        if state is None or state.active is None:
            raise NotFound(f"Nothing is deployed under {host}.")
        path = target.decoded_path
        entry = _file_at(await self._manifest(site, state.active.manifest_digest), path)
        if entry is None and may_be_retained(path, site.settings.keep):
            for deploy in state.reachable(self._services.clock()):
                found = (await self._manifest(site, deploy.manifest_digest)).files.get(path)
                if found is not None:
                    entry = (path, found)
                    break
        if entry is None:
            raise NotFound(f"No file of the site {site.name!r} answers {shown(url)}: give the URL of a file.")
        return Found(site, alias, entry[0], entry[1].digest)

    async def take_down(
        self, digest: str, site: Site | None, actor: str, *, path: str = "", reason: str = ""
    ) -> TakenAway:
        """Record it, and take the bytes out of the store. `site` None: of every site.

        Raises InvalidInput, Conflict beyond MAX_TAKEDOWNS, JournalUnavailable. What the store does not give up now
        goes with a later sweep.
        """
        check_digest(digest)
        if len(reason.encode("utf-8", "surrogatepass")) > MAX_REASON_BYTES:
            raise InvalidInput(f"A reason has at most {MAX_REASON_BYTES} octets.", field="reason")
        services, site_id = self._services, EVERYWHERE if site is None else site.id

        def decide() -> Change:
            if site is not None and services.catalog.site(site.id) is None:
                raise NotFound(f"The site {site.name!r} was removed meanwhile.")
            if len(services.takedowns.all()) >= MAX_TAKEDOWNS:
                raise Conflict(f"{MAX_TAKEDOWNS} contents are taken down, the limit: lift some first.")
            return TakenDown(digest, site_id, reason)

        record = await services.state.append(_subject(digest, site_id), decide, actor)
        return TakenAway(digest, site, path, record, await self._remove(digest, site))

    async def lift(self, digest: str, site: Site | None, actor: str) -> Record:
        """Let it be uploaded and deployed again. Raises NotFound, JournalUnavailable."""
        check_digest(digest)
        services, site_id = self._services, EVERYWHERE if site is None else site.id

        def decide() -> Change:
            if all((one.digest, one.site_id) != (digest, site_id) for one in services.takedowns.all()):
                where = "everywhere" if site is None else f"on the site {site.name!r}"
                raise NotFound(f"The content {digest} is not taken down {where}.")
            return TakedownLifted(digest, site_id)

        return await services.state.append(_subject(digest, site_id), decide, actor)

    async def _remove(self, digest: str, site: Site | None) -> int:
        """How many objects left the store."""
        removed = 0
        for site_id in [site.id] if site is not None else await self._holders(digest):
            try:
                removed += (await self._services.sweeps.remove_now(site_id, [digest])).removed
            except CdnError as exc:
                log.warning("content %s of site %s, which is taken down, leaves the store later: %s",
                            digest, site_id, exc)  # fmt: skip
        return removed

    async def _holders(self, digest: str) -> Sequence[str]:
        turn = asyncio.Semaphore(CONCURRENT_HEADS)

        async def holds(site: Site) -> str | None:
            async with turn:
                try:
                    facts = await self._services.store.head(blob_key(site.id, digest))
                except CdnError as exc:
                    log.warning("whether site %s holds %s is not known: %s", site.name, digest, exc)
                    return site.id
                return None if facts is None else site.id

        found = await asyncio.gather(*map(holds, self._services.catalog.sites()))
        return [site_id for site_id in found if site_id is not None]

    async def _manifest(self, site: Site, digest: str) -> Manifest:
        try:
            raw = await self._services.store.get(manifest_key(site.id, digest))
        except ObjectMissing as exc:
            raise Unprocessable(f"The manifest {digest} of the site {site.name!r} is not in the store.") from exc
        return await asyncio.to_thread(load_manifest, raw)

    def _bound(self, host: str) -> tuple[Site, str]:
        binding = self._services.catalog.bind(host)
        site = None if binding is None else self._services.catalog.site(binding.site_id)
        if binding is None or site is None:
            raise NotFound(
                f"No site answers at {host[:200]!r}: give the URL of a file, or the 64 hex digits of its SHA-256."
            )
        return site, binding.alias


def require_not_taken_down(services: Services, site: Site, digests: Collection[str]) -> None:
    """Raises Gone that lists those of `digests` which the site may not have."""
    if services.takedowns.is_empty:
        return
    gone = [digest for digest in digests if services.takedowns.of(site.id, digest) is not None]
    if gone:
        raise Gone(
            f"{len(gone)} of the contents were taken down and cannot be uploaded or answered again: {gone[0]}"
            f"{' and others' if len(gone) > 1 else ''}. Leave the files out, or ask an administrator to lift it."
        )


def check_digest(text: str) -> str:
    """The digest, when it is one. Raises InvalidInput."""
    if _DIGEST.fullmatch(text) is None:
        raise InvalidInput(f"{shown(text)} is not a SHA-256 in lower-case hex.", field="digest")
    return text


def _subject(digest: str, site_id: str) -> str:
    return f"takedown/{site_id or 'everywhere'}/{digest}"


def _file_at(manifest: Manifest, path: str) -> tuple[str, FileEntry] | None:
    """The file that answers a path by name alone; what rules say of it does not count."""
    named = (path, path + INDEX if path.endswith("/") else path + PAGE_SUFFIX, f"{path}/{INDEX}")
    return next(((name, manifest.files[name]) for name in named if name in manifest.files), None)


def _split(url: str) -> tuple[str, Target]:
    """Host and target of a URL. Raises InvalidInput."""
    whole = url if _SCHEME.match(url) is not None else f"http://{url}"
    parsed = parse_target(whole.encode("utf-8", "surrogatepass"))
    match parsed:
        case AbsoluteTarget(host=raw_host, target=Target() as target):
            host = parse_host(raw_host)
            if host is not None:
                return host.name, target
        case TargetFault():
            raise InvalidInput(f"{shown(url)} cannot be requested: {parsed.value}", field="url")
    raise InvalidInput(f"{shown(url)} is not a URL.", field="url")
