"""Invalidations in CloudFront's API of 2020-05-31: what one asks for, and how answers say it. XML in, XML out.

https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_CreateInvalidation.html. No document type is read, and no
entity: what an XML document could make a reader do beside reading it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.parsers import expat
from xml.sax.saxutils import escape

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.request import MAX_SCOPES_PER_PURGE, PurgeRequest

NAMESPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"

MAX_PATHS_READ = 10 * MAX_SCOPES_PER_PURGE
"""After which the rest is not read: a megabyte has a hundred thousand, which take half a second."""

MAX_REFERENCE_CHARS = 512
"""Of a caller's reference: it is part of what is kept."""

_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

COMPLETED, IN_PROGRESS = "Completed", "InProgress"

_BATCH = "InvalidationBatch"
_KNOWN = {
    (_BATCH,): "",
    (_BATCH, "CallerReference"): "text",
    (_BATCH, "Paths"): "",
    (_BATCH, "Paths", "Quantity"): "text",
    (_BATCH, "Paths", "Items"): "",
    (_BATCH, "Paths", "Items", "Path"): "text",
}


class BadBatch(InvalidInput):
    """`code` is CloudFront's word for what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BatchTooLarge(TooLarge):
    """More paths than a purge names."""

    code = "BatchTooLarge"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a caller asks for: paths as they were written, and the reference by which it is known if it comes again."""

    paths: tuple[str, ...]
    reference: str

    def is_same(self, other: Batch) -> bool:
        """Whether one is the other sent again: paths in any order."""
        return self.reference == other.reference and sorted(self.paths) == sorted(other.paths)


@dataclass(frozen=True, slots=True)
class InvalidationView:
    """An invalidation as it is told. `created_at` is wall time in seconds."""

    id: str
    is_complete: bool
    created_at: float
    batch: Batch

    @property
    def status(self) -> str:
        """The vendor's word."""
        return COMPLETED if self.is_complete else IN_PROGRESS


def read_batch(raw: bytes) -> Batch:
    """The batch in the content of a call. Raises BadBatch, BatchTooLarge."""
    if not raw.strip():
        raise BadBatch("MissingBody", "This needs an InvalidationBatch as its content.")
    texts = _texts_of(raw)
    paths = tuple(texts.get("Path", ()))
    quantity, reference = _only(texts, "Quantity").strip(), _only(texts, "CallerReference")
    if not reference.strip() or len(reference) > MAX_REFERENCE_CHARS:
        raise BadBatch("InvalidArgument", f"CallerReference has 1 to {MAX_REFERENCE_CHARS} characters.")
    if not quantity.isascii() or not quantity.isdigit() or len(quantity) > 9 or int(quantity) != len(paths):
        raise BadBatch(
            "InconsistentQuantities",
            f"Quantity is {quantity[:20]!r}, and there are {len(paths)} items: make them alike.",
        )
    if not paths:
        raise BadBatch("InvalidArgument", "An invalidation names at least one path.")
    if len(paths) > MAX_SCOPES_PER_PURGE:
        raise BatchTooLarge(
            f"An invalidation names at most {MAX_SCOPES_PER_PURGE} paths, this one {len(paths)}: send several, or end "
            "a path with *."
        )
    return Batch(paths, reference)


def purge_of(paths: Sequence[str]) -> PurgeRequest:
    """The purge that these paths mean. Raises BadBatch; whether a path can be requested is judged with every purge.

    A `*` is allowed at the end and means everything that begins so, with any query; `/*` is everything. The slash at
    the beginning may be left out.
    """
    urls, prefixes, is_everything = list[str](), list[str](), False
    for text in paths:
        path = text if text.startswith("/") else f"/{text}"
        stem, star, rest = path.partition("*")
        if rest or not text or "://" in text:
            raise BadBatch(
                "InvalidArgument",
                f"{text[:200]!r} is no path to invalidate: give a path alone, with a * at its end or none.",
            )
        if not star:
            urls.append(path)
        elif stem == "/":
            is_everything = True
        else:
            prefixes.append(stem.partition("?")[0])
    return PurgeRequest(tuple(urls), tuple(prefixes), everything=is_everything)


def invalidation_xml(view: InvalidationView) -> bytes:
    """The answer that tells of one."""
    items = "".join(f"<Path>{_text(path)}</Path>" for path in view.batch.paths)
    return _document(
        "Invalidation",
        f"<Id>{_text(view.id)}</Id><Status>{view.status}</Status><CreateTime>{_time(view.created_at)}</CreateTime>"
        f"<InvalidationBatch><Paths><Quantity>{len(view.batch.paths)}</Quantity><Items>{items}</Items></Paths>"
        f"<CallerReference>{_text(view.batch.reference)}</CallerReference></InvalidationBatch>",
    )


def invalidations_xml(views: Sequence[InvalidationView], *, marker: str, most: int, has_more: bool) -> bytes:
    """The answer that lists some, newest first."""
    summaries = "".join(
        f"<InvalidationSummary><Id>{_text(view.id)}</Id><CreateTime>{_time(view.created_at)}</CreateTime>"
        f"<Status>{view.status}</Status></InvalidationSummary>"
        for view in views
    )
    following = f"<NextMarker>{_text(views[-1].id)}</NextMarker>" if has_more and views else ""
    return _document(
        "InvalidationList",
        f"<Marker>{_text(marker)}</Marker>{following}<MaxItems>{most}</MaxItems>"
        f"<IsTruncated>{'true' if has_more else 'false'}</IsTruncated><Quantity>{len(views)}</Quantity>"
        f"<Items>{summaries}</Items>",
    )


def error_xml(code: str, message: str, request_id: str, *, is_ours: bool) -> bytes:
    """The answer that tells of a fault. `is_ours`: not the sender's."""
    kind = "Receiver" if is_ours else "Sender"
    return _document(
        "ErrorResponse",
        f"<Error><Type>{kind}</Type><Code>{_text(code)}</Code><Message>{_text(message)}</Message></Error>"
        f"<RequestId>{_text(request_id)}</RequestId>",
    )


def _document(name: str, content: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


def _text(text: str) -> str:
    """Text as XML 1.0 can have it: of what it cannot, a mark is left."""
    return escape(_NOT_XML.sub("?", text))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(slots=True)
class _Reading:
    """Where the reader stands, and what it has read."""

    at: tuple[str, ...] = ()
    texts: dict[str, list[str]] = field(default_factory=dict)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        self.at = (*self.at, local)
        if self.at not in _KNOWN:
            raise _malformed(f"the element {local[:80]!r} has no place there")
        if _KNOWN[self.at]:
            self.texts.setdefault(local, []).append("")
            if local != "Path" and len(self.texts[local]) > 1:
                raise _malformed(f"{local} stands twice")
            if len(self.texts[local]) > MAX_PATHS_READ:
                raise BatchTooLarge(f"An invalidation names at most {MAX_SCOPES_PER_PURGE} paths, this one far more.")

    def end(self, name: str) -> None:
        self.at = self.at[:-1]

    def text(self, text: str) -> None:
        if _KNOWN[self.at]:
            self.texts[self.at[-1]][-1] += text
        elif text.strip():
            raise _malformed(f"there is text in {self.at[-1]}")

    def refuse(self, *_: object) -> None:
        raise _malformed("it has a document type, which is not read")


def _texts_of(raw: bytes) -> dict[str, list[str]]:
    """The texts of the elements that have some, by name. Raises BadBatch."""
    reading = _Reading()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = reading.refuse
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, UnicodeError, LookupError, ValueError) as exc:
        raise _malformed("it is not well-formed") from exc
    return reading.texts


def _only(texts: dict[str, list[str]], name: str) -> str:
    if name not in texts:
        raise _malformed(f"there is no {name}")
    return texts[name][0]


def _malformed(why: str) -> BadBatch:
    return BadBatch("MalformedInput", f"The content is no InvalidationBatch: {why}.")
