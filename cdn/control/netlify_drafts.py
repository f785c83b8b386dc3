"""Drafts of Netlify's clients in the store, and in memory while files arrive for them (DESIGN I10)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cdn.control.netlify_draft import (
    NetlifyDraft,
    UnreadableDraft,
    decode_draft,
    draft_key,
    draft_prefix,
    encode_draft,
    is_past,
    site_id_in,
)
from cdn.control.vendor_digests import DigestKind, VendorDigests
from cdn.errors import NotFound, TooMany
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.manifest import FileEntry

MAX_DRAFTS_PER_SITE = 1000
"""Drafts of a site within their time: a site that deploys every half minute stays below it."""

MAX_REMEMBERED_FILES = 200_000
"""Files of all drafts in memory: some 60 MB; the draft used longest ago is forgotten first, and read again."""

DRAFT_AS_FILES = 10
"""What a draft takes besides its files, counted in files: those without any are not kept for ever either."""

LOOK_EVERY_S = 2.0
"""How often it is looked whether another replica took what is missing here."""


@dataclass(slots=True)
class Gathering:
    """A draft and which of its files are there. `entity_tag` is that of the object it was read from.

    `missing` has the SHA-1 of every file that is not there, each once, in the order of paths.
    """

    draft: NetlifyDraft
    entity_tag: str = ""
    entries: dict[str, FileEntry] = field(default_factory=dict)
    missing: dict[str, None] = field(init=False)
    looked_at: float = 0.0

    def __post_init__(self) -> None:
        self.missing = {digest: None for digest in self.wanted.values() if digest not in self.entries}

    @property
    def wanted(self) -> Mapping[str, str]:
        """SHA-1 by path."""
        return self.draft.files or {}

    def found(self, entries: Mapping[str, FileEntry]) -> None:
        """These, by their SHA-1, are there."""
        self.entries.update(entries)
        for digest in entries:
            self.missing.pop(digest, None)


class NetlifyDrafts:
    """All drafts. Methods may raise StoreUnavailable."""

    def __init__(
        self, store: ObjectStore, digests: VendorDigests, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """`clock` is wall time."""
        self._store = store
        self._digests = digests
        self._clock = clock
        self._monotonic = monotonic
        self._gatherings: OrderedDict[str, Gathering] = OrderedDict()
        self._remembered = 0

    async def make_room(self, site_id: str) -> None:
        """Remove the site's drafts that are over. Raises TooMany when too many are not."""
        now, count = self._clock(), 0
        over = []
        async for facts in self._store.scan(draft_prefix(site_id)):
            if is_past(facts.key.rpartition("/")[2], now):
                over.append(facts.key)
            else:
                count += 1
        for key in over:
            await self._store.delete(key)
        if count >= MAX_DRAFTS_PER_SITE:
            raise TooMany(
                f"This site has begun {count} deploys within the last hours, the limit: try again later.",
                retry_after_s=600,
            )

    async def save(self, draft: NetlifyDraft) -> None:
        """When it returns every replica knows the draft as it is now."""
        content = await asyncio.to_thread(encode_draft, draft)
        await self._store.put(draft_key(draft.site_id, draft.id), content)
        known = self._gatherings.get(draft.id)
        if known is not None:
            known.entity_tag = ""  # the next look reads it anew

    async def gathering(self, draft_id: str, *, path: str | None = None) -> Gathering:
        """The draft with what is known of its files; with `path` one in memory that has this file is good enough.

        Raises NotFound for one that never was, is over or cannot be read.
        """
        site_id = site_id_in(draft_id)
        if site_id is None or is_past(draft_id, self._clock()):
            raise no_deploy(draft_id)
        known = self._gatherings.get(draft_id)
        if known is None or path is None or path not in known.wanted:
            known = await self._read(site_id, draft_id, known)
            self._remember(known)
        else:
            self._gatherings.move_to_end(draft_id)
        return known

    async def look(self, gathering: Gathering, *, is_new: bool = False) -> None:
        """Find out which files are there, unless that was done just now."""
        now = self._monotonic()
        if not gathering.missing or (not is_new and now < gathering.looked_at + LOOK_EVERY_S):
            return
        gathering.looked_at = now
        wanted = tuple(gathering.missing)
        gathering.found(await self._digests.find(gathering.draft.site_id, DigestKind.SHA1, wanted))

    async def _read(self, site_id: str, draft_id: str, known: Gathering | None) -> Gathering:
        key = draft_key(site_id, draft_id)
        facts = await self._store.head(key)
        if facts is None:
            raise no_deploy(draft_id)
        if known is not None and known.entity_tag == facts.entity_tag:
            return known
        try:
            draft = await asyncio.to_thread(decode_draft, await self._store.get(key))
        except (ObjectMissing, UnreadableDraft) as exc:
            raise no_deploy(draft_id) from exc
        entries = {} if known is None else known.entries
        return Gathering(draft, facts.entity_tag, entries)

    def _remember(self, gathering: Gathering) -> None:
        before = self._gatherings.pop(gathering.draft.id, None)
        self._remembered -= 0 if before is None else DRAFT_AS_FILES + len(before.wanted)
        self._gatherings[gathering.draft.id] = gathering
        self._remembered += DRAFT_AS_FILES + len(gathering.wanted)
        while self._remembered > MAX_REMEMBERED_FILES and len(self._gatherings) > 1:
            _, forgotten = self._gatherings.popitem(last=False)
            self._remembered -= DRAFT_AS_FILES + len(forgotten.wanted)


def no_deploy(deploy_id: str) -> NotFound:
    """In the same words whether there is none or the token may not see it (DESIGN I7)."""
    return NotFound(f"There is no deploy {deploy_id[:80]!r} that this token may see.")
