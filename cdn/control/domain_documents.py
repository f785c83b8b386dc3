"""What is known of each domain and no fact for every node, in the object store: written by who has the name's office.

Any replica reads it. A document that is lost costs nothing but a look: what holds stands in records.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from cdn.control.domain_office import StepSeen
from cdn.errors import Unavailable
from cdn.origin.store import ObjectMissing, ObjectStore, PutOutcome

PREFIX = "control/domains/"

FORMAT = 1
"""Of documents; one of a newer form is read as none, and written anew by what a look shows."""

MAX_DOCUMENT_BYTES = 256 * 1024
"""Evidence is what a handful of servers said: tens of KB at the most."""

KEPT_S = 7 * 86_400.0
"""How long a certificate that was replaced stays in the store: a node may load a snapshot of last week."""

OWN_ZONE = "-"
"""Stands for the CDN itself where a site's id would stand; ids of sites begin otherwise."""


class Ordering(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a name's orders and renewal beside its onboarding. Times are wall time in seconds.

    `sealed_key` is the private key of the order that is under way, in base64, sealed for control alone: an order that
    is gone on with after a restart was made for it. `tried_at` is when the last was made; `not_before`: so much
    patience the authority asked for, whoever asks. `window` is when the authority wants the certificate `window_of`
    renewed (RFC 9773), with `explanation`, and it is asked again at `ask_window_at`. `is_released`: the certificate
    that its owner brought is to be replaced.
    """

    sealed_key: str = ""
    tried_at: float = 0.0
    not_before: float = 0.0
    window_of: str = ""
    window: tuple[float, float] | None = None
    ask_window_at: float = 0.0
    explanation: str = ""
    is_released: bool = False


class DomainDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a site's domain beside the records. `onboarding` is the state machine's own form, `steps` what
    the last look saw as it is shown; `claimed_by` is the sequence of the claim that they are about, 0: of none.
    `objects` are the certificates that the store has of the name, by their ids and since when, the newest last."""

    format: int
    domain: str
    site_id: str
    claimed_by: int = 0
    onboarding: dict[str, Any] = {}
    steps: tuple[StepSeen, ...] = ()
    ordering: Ordering = Ordering()
    objects: tuple[tuple[str, float], ...] = ()


class Held:
    """A document as it was read: `entity_tag` None where there was none."""

    __slots__ = ("document", "entity_tag")

    def __init__(self, document: DomainDocument, entity_tag: str | None) -> None:
        self.document = document
        self.entity_tag = entity_tag


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DomainDocument)


def document_key(domain: str, site_id: str) -> str:
    """Where the document of a site's domain is. `*` is no letter of keys, and `=` none of names."""
    return f"{PREFIX}{domain.replace('*', '=')}/{site_id or OWN_ZONE}"


class DomainDocuments:
    """The documents of all domains."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def read(self, domain: str, site_id: str) -> Held:
        """As it is now; an empty one where there is none. Raises StoreUnavailable.

        What changes between the two questions is newer than its entity tag: it is then not written over.
        """
        key = document_key(domain, site_id)
        for _ in range(3):  # an object that goes between the two questions is asked for again
            facts = await self._store.head(key)
            if facts is None:
                return Held(_empty(domain, site_id), None)
            if facts.size_bytes > MAX_DOCUMENT_BYTES:
                return Held(_empty(domain, site_id), facts.entity_tag)
            try:
                raw = await self._store.get(key)
            except ObjectMissing:
                continue
            return Held(_decoded(raw, domain, site_id), facts.entity_tag)
        raise Unavailable(f"what is known of {domain} changes too fast to be read: try again")

    async def write(self, held: Held, document: DomainDocument) -> Held | None:
        """Put `document` in the place of what was read; None when another wrote meanwhile. Raises StoreUnavailable."""
        key = document_key(document.domain, document.site_id)
        if document == held.document and held.entity_tag is not None:
            return held
        raw = _encoder.encode(document)
        outcome = await self._store.put(key, raw, if_absent=held.entity_tag is None, if_match=held.entity_tag)
        if outcome is PutOutcome.PRECONDITION_FAILED:
            return None
        facts = await self._store.head(key)
        if facts is None or facts.size_bytes != len(raw):
            return None  # another wrote, or removed it, already: what is written next must not undo that
        return Held(document, facts.entity_tag)

    async def remove(self, domain: str, site_id: str) -> None:
        """Forget it. Raises StoreUnavailable."""
        await self._store.delete(document_key(domain, site_id))

    async def all(self) -> AsyncIterator[tuple[str, str]]:
        """Domain and site of every document. Raises StoreUnavailable."""
        async for facts in self._store.scan(PREFIX):
            domain, _, site_id = facts.key.removeprefix(PREFIX).partition("/")
            yield domain.replace("=", "*"), "" if site_id == OWN_ZONE else site_id


def with_object(document: DomainDocument, certificate_id: str, now: float) -> DomainDocument:
    """Another certificate is in the store for the name, from `now` on."""
    others = tuple(each for each in document.objects if each[0] != certificate_id)
    return msgspec.structs.replace(document, objects=(*others, (certificate_id, now)))


def outdated(document: DomainDocument, current: str | None, now: float) -> tuple[str, ...]:
    """The certificates that were replaced KEPT_S ago or more, but for the one that is in service."""
    pairs = zip(document.objects, document.objects[1:], strict=False)
    return tuple(old for (old, _), (_, since) in pairs if old != current and now - since >= KEPT_S)


def spread(name: str) -> float:
    """Where in [0, 1) a name stands: always the same for one name, and another for each, so that names take turns."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:6], "big") / float(1 << 48)


def _empty(domain: str, site_id: str) -> DomainDocument:
    return DomainDocument(FORMAT, domain, site_id)


def _decoded(raw: bytes, domain: str, site_id: str) -> DomainDocument:
    try:
        document = _decoder.decode(raw)
    except msgspec.MsgspecError:
        return _empty(domain, site_id)  # damaged, or of a newer program: a look makes it anew
    fits = (document.format, document.domain, document.site_id) == (FORMAT, domain, site_id)
    return document if fits else _empty(domain, site_id)
