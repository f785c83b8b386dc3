"""Coded forms of a deploy's files: made by control, kept as blobs of the site, listed in an object of their own.

The list belongs to one manifest and is named by its own SHA-256; the record `VariantsSet` says which list counts. A
coded form is a blob like any other (named by the digest of its coded octets), so it is fetched, checked, stored and
scrubbed as files are.

The list is text, so that a node finds one file's forms without reading all of it: a first line that names the version,
then a line for each content, sorted by its digest:

    cdn-variants 1
    DIGEST zstd:DIGEST:SIZE br:DIGEST:SIZE:CHUNK,CHUNK gzip:DIGEST:SIZE

SIZE is in bytes, CHUNK the digest of a chunk of a form that has several.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cdn.errors import InvalidInput, TooLarge
from cdn.http.content_coding import CODINGS, MAX_CODED_BYTES
from cdn.sites.manifest import CHUNK_BYTES, FileEntry
from cdn.sites.path import shown

VARIANTS_VERSION = 1
"""Of the list's form: the version this program writes and the only one it reads."""

MAX_VARIANTS_BYTES: Final = 64 * 1024 * 1024
"""Bound of one list: 100,000 files with three small coded forms each take 30 MB."""

_FIRST_LINE = f"cdn-variants {VARIANTS_VERSION}\n".encode()
_DIGEST_LENGTH = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")

Forms = Mapping[str, FileEntry]
"""By content coding ("zstd", "br", "gzip"): the coded form of one content."""

NO_FORMS: Final[Forms] = {}


@dataclass(frozen=True, slots=True)
class Variants:
    """`coded`: by the digest of a file's content, then by content coding ("zstd", "br", "gzip"): the coded form.

    A content that was looked at and is not worth coding is in it without any; one that is not in it was not looked at.
    """

    coded: Mapping[str, Forms]

    def to_bytes(self) -> bytes:
        """The list as text, sorted: equal lists give equal bytes. Raises TooLarge beyond MAX_VARIANTS_BYTES."""
        lines = [_line(digest, forms) for digest, forms in sorted(self.coded.items())]
        raw = _FIRST_LINE + "".join(lines).encode("ascii")
        if len(raw) > MAX_VARIANTS_BYTES:
            raise TooLarge(f"the list of coded forms has {len(raw)} bytes, at most {MAX_VARIANTS_BYTES} are allowed")
        return raw


NO_VARIANTS = Variants({})


@dataclass(frozen=True, slots=True)
class VariantsIndex:
    """A list as a node keeps it: the text, and where each line begins, 4 bytes a line. `index_variants` makes it."""

    raw: bytes
    _starts: array[int] = field(repr=False)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def cost_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.raw) + self._starts.itemsize * len(self._starts)

    def of(self, digest: str) -> Forms:
        """The coded forms of the content with this digest; none when it has none.

        Raises InvalidInput when its line is not what such a list has.
        """
        raw, wanted = self.raw, digest.encode("ascii", "replace")
        place = bisect_left(self._starts, wanted, key=lambda start: raw[start : start + _DIGEST_LENGTH])
        if place == len(self._starts):
            return NO_FORMS
        start = self._starts[place]
        stop = self._starts[place + 1] if place + 1 < len(self._starts) else len(raw)
        if raw[start : start + _DIGEST_LENGTH] != wanted or stop - start == _DIGEST_LENGTH + 1:
            return NO_FORMS
        return _read_line(raw[start : stop - 1].decode("ascii", "replace"))[1]


def index_variants(raw: bytes) -> VariantsIndex:
    """The list for look-ups; what is in its lines is judged when they are looked at.

    Raises InvalidInput for another version and for what is no such list, TooLarge.
    """
    _check_first_line(raw)
    starts, at, end = array("I"), len(_FIRST_LINE), len(raw)
    while at < end:
        starts.append(at)
        at = raw.find(b"\n", at) + 1
        if not at:
            raise InvalidInput("the list of coded forms breaks off in the middle of a line")
    return VariantsIndex(raw, starts)


def parse_variants(raw: bytes) -> Variants:
    """The whole list, judged: digests, codings, sizes, chunks and the order of its lines.

    Raises InvalidInput naming the line, TooLarge.
    """
    _check_first_line(raw)
    try:
        text = raw[len(_FIRST_LINE) :].decode("ascii")
    except UnicodeDecodeError as exc:
        raise InvalidInput("the list of coded forms is not ASCII") from exc
    if text and not text.endswith("\n"):
        raise InvalidInput("the list of coded forms breaks off in the middle of a line")
    coded: dict[str, Forms] = {}
    last = ""
    for number, line in enumerate(text.split("\n")[:-1], start=2):
        try:
            digest, forms = _read_line(line)
        except InvalidInput as exc:
            raise InvalidInput(f"line {number} of the list of coded forms: {exc.message}") from exc
        if digest <= last:
            raise InvalidInput(f"line {number} of the list of coded forms is not after the one before it")
        coded[digest] = forms
        last = digest
    return Variants(coded)


def _check_first_line(raw: bytes) -> None:
    if len(raw) > MAX_VARIANTS_BYTES:
        raise TooLarge(f"the list of coded forms has {len(raw)} bytes, at most {MAX_VARIANTS_BYTES} are allowed")
    if not raw.startswith(_FIRST_LINE):
        first = raw[:40].decode("ascii", "replace")
        raise InvalidInput(f"this is no list of coded forms of version {VARIANTS_VERSION}: it begins {shown(first)}")


def _line(digest: str, forms: Forms) -> str:
    said = "".join(f" {_form(coding, forms[coding])}" for coding in CODINGS if coding in forms)
    return f"{digest}{said}\n"


def _form(coding: str, entry: FileEntry) -> str:
    chunks = f":{','.join(entry.chunk_digests)}" if entry.chunk_digests else ""
    return f"{coding}:{entry.digest}:{entry.size_bytes}{chunks}"


def _read_line(line: str) -> tuple[str, Forms]:
    digest, *said = line.split(" ")
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidInput(f"{shown(digest)} is not a digest")
    forms: dict[str, FileEntry] = {}
    order = 0
    for form in said:
        coding, entry = _read_form(form)
        if CODINGS.index(coding) < order:
            raise InvalidInput(f"{coding} stands twice, or after what it comes before")
        order = CODINGS.index(coding) + 1
        forms[coding] = entry
    return digest, forms


def _read_form(form: str) -> tuple[str, FileEntry]:
    coding, *parts = form.split(":")
    if coding not in CODINGS or len(parts) not in (2, 3):
        raise InvalidInput(f"{shown(form)} is not a coding with digest, size and perhaps chunks")
    digest, size, *rest = parts
    chunks = tuple(rest[0].split(",")) if rest else ()
    if _DIGEST.fullmatch(digest) is None or not all(_DIGEST.fullmatch(chunk) for chunk in chunks):
        raise InvalidInput(f"{shown(form)} has something else than digests")
    if _SIZE.fullmatch(size) is None or int(size) > MAX_CODED_BYTES:
        raise InvalidInput(f"{shown(size)} is not a size of at most {MAX_CODED_BYTES} bytes")
    entry = FileEntry(digest, int(size), chunks)
    if len(chunks) != (entry.chunk_count if entry.size_bytes > CHUNK_BYTES else 0):
        raise InvalidInput(f"{coding} of {size} bytes has {len(chunks)} chunks")
    return coding, entry
