"""How a deploy of Netlify's clients comes about: begun, announced with SHA-1 digests, gathered, published.

The last file that arrives begins the publishing, and so does every look at a deploy that has all its files: whatever
process dies in between, the client's next question goes on where it stood. A draft names its deploy, so doing it twice
makes one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from cdn.control.bundle_publishing import Bundle, BundlePublishing
from cdn.control.content import pieces
from cdn.control.netlify_draft import NetlifyDraft, new_draft_id
from cdn.control.netlify_drafts import Gathering, NetlifyDrafts
from cdn.control.netlify_views import sentences_of
from cdn.control.purge_desk import receipt_path
from cdn.control.sent_files import SentFiles
from cdn.control.services import Services
from cdn.control.vendor_digests import DigestKind, VendorDigests
from cdn.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable, Unprocessable
from cdn.sites.manifest import FileEntry
from cdn.sites.name import PRODUCTION, alias_of_branch
from cdn.sites.path import check_path
from cdn.sites.rules.mode import RulesMode
from cdn.sites.site import Site

READY_WAIT_S = 30.0
"""How long a deploy that is activated waits for all nodes before it is called ready: a lost node's lease and more."""

MAX_FAULTS = 50
"""Of one announcement that are told."""

MAX_DRAFT_MESSAGE_BYTES = 4096

DRAFT_ALIAS_S = 90 * 86_400.0
"""How long a draft answers: each has an alias of its own, which nobody removes."""

_SHA1 = re.compile(r"[0-9a-f]{40}")

_OWN_FOLDER = "/.netlify/"
"""What clients put there is for the vendor's own machines: functions, migrations, settings of a build."""

log = logging.getLogger(__name__)


class NetlifyDeploys:
    """All deploys in the making of this replica."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._digests = VendorDigests(services.store, services.proofs)
        self._sent = SentFiles(services)
        self._publishing = BundlePublishing(services)
        self.drafts = NetlifyDrafts(services.store, self._digests, services.clock, services.monotonic)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def begin(self, site: Site, actor: str, *, is_draft: bool, branch: str, message: str) -> NetlifyDraft:
        """A new one: production's, a branch's preview, or a draft with a host of its own.

        Raises InvalidInput for a branch that can be none, TooMany, StoreUnavailable.
        """
        if len(message.encode("utf-8", "surrogatepass")) > MAX_DRAFT_MESSAGE_BYTES:
            raise InvalidInput(f"A deploy's title has at most {MAX_DRAFT_MESSAGE_BYTES} bytes.", field="title")
        await self.drafts.make_room(site.id)
        now = self._services.clock()
        draft_id = new_draft_id(site.id, now)
        alias = PRODUCTION
        if branch:
            alias = alias_of_branch(branch, site.name)
        elif is_draft:
            alias = alias_of_branch(f"draft-{draft_id[-8:]}", site.name)
        draft = NetlifyDraft(
            id=draft_id,
            site_id=site.id,
            alias=alias,
            message=message,
            actor=actor,
            is_draft=is_draft,
            branch=branch,
            created_at=now,
        )
        await self.drafts.save(draft)
        return draft

    async def announce(self, draft: NetlifyDraft, files: Mapping[str, str], functions: Sequence[str]) -> Gathering:
        """Name the files of a deploy, by path with their SHA-1, and learn which are missing.

        Raises InvalidInput listing every path and digest that cannot be, TooLarge, Conflict for a deploy that is over
        or was announced with other files.
        """
        wanted = await asyncio.to_thread(_checked, files, self._services.settings.bundle.max_files)
        if draft.is_over or (draft.files is not None and dict(draft.files) != wanted):
            raise Conflict(f"The files of deploy {draft.id} are known already: begin another deploy.")
        notes: tuple[str, ...] = ()
        if functions:
            notes = (f"{len(functions)} functions were left out: this CDN serves files and runs no functions.",)
        draft = msgspec.structs.replace(draft, files=wanted, notes=notes)
        await self.drafts.save(draft)
        gathering = await self.drafts.gathering(draft.id)
        await self._services.uploads.stay(draft.site_id)
        await self.drafts.look(gathering, is_new=True)
        self._publish_if_whole(gathering)
        return gathering

    async def take(self, gathering: Gathering, path: str, request: web.Request) -> FileEntry:
        """The content of one file. Raises Unprocessable for one that was not announced and for content of another
        digest, Gone, TooLarge, Unavailable."""
        expected = gathering.wanted.get(path)
        if expected is None:
            raise Unprocessable(f"The deploy {gathering.draft.id} announced no file {path[:200]!r}.")
        services, site_id = self._services, gathering.draft.site_id
        arriving = pieces(request, services.settings.bundle.max_file_bytes, services.settings.patience)
        async with self._sent.received(site_id, arriving) as sent:
            if sent.sha1 != expected:
                raise Unprocessable(
                    f"The content that came for {path} has the SHA-1 {sent.sha1}, but {expected} was announced: was "
                    "the file changed while it was being uploaded? Deploy again."
                )
            await services.uploads.stay(site_id)
            await self._sent.keep(site_id, sent)
            await self._digests.add(site_id, DigestKind.SHA1, {sent.sha1: sent.entry})
        gathering.found({sent.sha1: sent.entry})
        self._publish_if_whole(gathering)
        return sent.entry

    async def look(self, draft_id: str) -> Gathering:
        """How far it is; one that has all files is published. Raises NotFound."""
        gathering = await self.drafts.gathering(draft_id)
        if not gathering.draft.is_over:
            await self._services.uploads.stay(gathering.draft.site_id)
            await self.drafts.look(gathering)
            self._publish_if_whole(gathering)
        return gathering

    async def cancel(self, draft: NetlifyDraft) -> NetlifyDraft:
        """Nothing becomes of it any more, unless it is live already."""
        if draft.is_over or draft.id in self._under_way:
            return draft
        cancelled = msgspec.structs.replace(draft, fault="The deploy was canceled.")
        await self.drafts.save(cancelled)
        return cancelled

    async def aclose(self) -> None:
        """Leave what is under way to whoever asks next."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _publish_if_whole(self, gathering: Gathering) -> None:
        draft = gathering.draft
        if draft.files is None or draft.is_over or gathering.missing or draft.id in self._under_way:
            return
        task = asyncio.create_task(self._publish(gathering), name=f"netlify-deploy-{draft.id}")
        self._under_way[draft.id] = task
        task.add_done_callback(lambda done: self._under_way.pop(draft.id, None))

    async def _publish(self, gathering: Gathering) -> None:
        draft = gathering.draft
        try:
            if (await self.drafts.gathering(draft.id)).draft.is_over:
                return  # whoever asked had looked before it was
            outcome = await self._published(draft, gathering.entries)
        except Unavailable as exc:
            log.warning("deploy %s of site %s is tried again when its sender asks: %s", draft.id, draft.site_id, exc)
            return
        except Exception as exc:  # noqa: BLE001 - the last line: told to who asks for the deploy
            outcome = msgspec.structs.replace(draft, fault=sentences_of(exc))
        try:
            if outcome.fault and (await self.drafts.gathering(draft.id)).draft.is_over:
                return  # another replica was first: what it made of it stands
            await self.drafts.save(outcome)
        except (Unavailable, NotFound) as exc:
            log.warning("what became of deploy %s is found out anew: %s", draft.id, exc)

    async def _published(self, draft: NetlifyDraft, entries: Mapping[str, FileEntry]) -> NetlifyDraft:
        site = self._services.catalog.site(draft.site_id)
        if site is None:
            raise NotFound("The site was removed meanwhile.")
        bundle = Bundle(
            site,
            draft.alias,
            {path: entries[digest] for path, digest in (draft.files or {}).items()},
            author=draft.actor,
            message=draft.message,
            commit="",
            upload=draft.id,
            mode=RulesMode.NETLIFY,
            expires_s=DRAFT_ALIAS_S if draft.is_draft and not draft.branch else None,
        )
        published = await self._publishing.publish(bundle, draft.actor, READY_WAIT_S)
        counts = published.receipt.counts
        notes = (*draft.notes, *published.activation.warnings)
        if not published.receipt.complete:
            notes = (*notes, f"{counts.pending} nodes have not applied it yet: they take it up when they are back.")
        path = receipt_path(published.receipt)
        return msgspec.structs.replace(draft, deploy_id=published.activation.deploy.id, receipt=path, notes=notes)


def _checked(files: Mapping[str, str], max_files: int) -> dict[str, str]:
    """What is to be served of `files`, by path as manifests have it. Raises InvalidInput, TooLarge."""
    if len(files) > max_files:
        raise TooLarge(f"A deploy has at most {max_files} files, not {len(files)}.", field="files")
    wanted, faults = dict[str, str](), list[str]()
    for name, digest in files.items():
        path = f"/{name.lstrip('/')}"
        if path.startswith(_OWN_FOLDER):
            continue
        try:
            check_path(path)
        except InvalidInput as exc:
            faults.append(exc.message)
        if _SHA1.fullmatch(digest) is None:
            faults.append(f"{path}: {digest[:80]!r} is not a SHA-1 in lower-case hex")
        wanted[path] = digest
    if faults:
        raise InvalidInput(
            f"{len(faults)} of the announced files cannot be.", field="files", details=tuple(faults[:MAX_FAULTS])
        )
    if not wanted:
        raise InvalidInput("The deploy has no files.", field="files")
    return wanted
