"""Manifests: which paths a deploy has, and the digests of their bytes (DESIGN I5)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring as quoted
from typing import Any

from cdn.errors import InvalidInput, TooLarge
from cdn.sites.fingerprint import has_fingerprint
from cdn.sites.path import MAX_PATH_OCTETS, check_path, folded, shown
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.pages_program import is_pages_program
from cdn.sites.rules.rule_form import rules_from, rules_to
from cdn.sites.rules.rule_set import NO_RULES, RULE_FILES, RuleSet

__all__ = [
    "CHUNK_BYTES",
    "DEFAULT_LIMITS",
    "BundleLimits",
    "FileDifference",
    "FileEntry",
    "Manifest",
    "check_path",
    "digest_of",
    "file_difference",
    "iterate_blobs",
    "load_manifest",
    "parse_manifest",
]

MANIFEST_VERSION = 1
"""Of manifests without rules, and the only one that is taken from outside."""

RULED_VERSION = 2
"""Of manifests with rules, which only control makes, and the newest this program reads."""

CHUNK_BYTES = 1024 * 1024
"""Content is fetched, verified, stored and served in chunks of this size."""

MAX_FAULTS = 50
"""How many faults of one manifest are listed: enough to see the pattern, short enough to read."""

MAX_MANIFEST_BYTES = 128 * 1024 * 1024
"""Bound of what is parsed: 100,000 files with the longest paths take less."""

CHUNKS_PER_RULE = 4
"""A rule with its place in an index takes up to 1.8 KB, a file of one chunk half a kilobyte."""

NOT_FOUND_PAGE = "404.html"

_RULE_PATHS = frozenset(f"/{name}" for name in RULE_FILES)

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """How large one bundle may be: what a node can hold of manifests and a store takes as one object."""

    max_files: int = 100_000
    max_file_bytes: int = 5 * 1024**3
    max_total_bytes: int = 50 * 1024**3
    max_path_bytes: int = MAX_PATH_OCTETS
    max_folders: int = 100_000


DEFAULT_LIMITS = BundleLimits()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file's content: SHA-256 of the whole (lower-case hex) and, above CHUNK_BYTES, of every chunk."""

    digest: str
    size_bytes: int
    chunk_digests: tuple[str, ...] = ()

    @property
    def chunk_count(self) -> int:
        """How many chunks the content has; an empty file has one empty chunk."""
        return max(1, -(-self.size_bytes // CHUNK_BYTES))

    def chunk_digest(self, n: int) -> str:
        """The digest of chunk `n`, counted from 0."""
        return self.chunk_digests[n] if self.chunk_digests else self.digest

    def chunk_span(self, n: int) -> tuple[int, int]:
        """The bytes [start, stop) of chunk `n`."""
        start = n * CHUNK_BYTES
        return start, min(start + CHUNK_BYTES, self.size_bytes)


@dataclass(frozen=True)
class Manifest:
    """The files of one deploy by path and its rules, immutable. Two manifests with the same of both have the same
    bytes."""

    files: Mapping[str, FileEntry]
    rules: RuleSet = NO_RULES

    @property
    def version(self) -> int:
        """1 without rules, so that every release reads it, 2 with them."""
        return MANIFEST_VERSION if self.rules.is_empty else RULED_VERSION

    @cached_property
    def answerable(self) -> Mapping[str, FileEntry]:
        """The files that answer visitors: not those with rules, nor, as on Cloudflare Pages, its programs."""
        hidden = _RULE_PATHS & self.files.keys()
        if self.rules.mode is RulesMode.CLOUDFLARE:
            hidden |= {path for path in self.files if is_pages_program(path)}
        return {path: entry for path, entry in self.files.items() if path not in hidden} if hidden else self.files

    @cached_property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.size_bytes for entry in self.files.values())

    @cached_property
    def chunk_count(self) -> int:
        """The chunks of all files together: what a manifest takes in memory grows with them."""
        return sum(entry.chunk_count for entry in self.files.values())

    @cached_property
    def memory_share(self) -> int:
        """What it takes in memory once it is prepared, counted in chunks."""
        return self.chunk_count + CHUNKS_PER_RULE * self.rules.count

    @cached_property
    def not_found_pages(self) -> Mapping[str, str | None]:
        """For every folder (`/`, `/docs/`): the path of the nearest 404.html upward, None when there is none."""
        pages: dict[str, str | None] = {}
        files = self.answerable
        for folder in sorted(_folders(files), key=len):
            page = folder + NOT_FOUND_PAGE
            above = folder[: folder.rfind("/", 0, -1) + 1]
            pages[folder] = page if page in files else pages.get(above)
        return pages

    @cached_property
    def fingerprinted(self) -> Mapping[str, FileEntry]:
        """The files whose name carries a fingerprint: what stays reachable once the deploy is superseded."""
        return {path: entry for path, entry in self.answerable.items() if has_fingerprint(path)}

    def prepare(self) -> Manifest:
        """Compute now what requests look up, instead of within the first of them."""
        _ = self.memory_share, self.not_found_pages, self.fingerprinted, self.rules.prepare()
        return self

    def to_bytes(self) -> bytes:
        """Canonical JSON in UTF-8: sorted, without spaces; equal manifests give equal bytes."""
        files = ",".join(f"{quoted(path)}:{_entry_to_json(entry)}" for path, entry in sorted(self.files.items()))
        if self.rules.is_empty:
            return f'{{"files":{{{files}}},"version":{MANIFEST_VERSION}}}'.encode()
        rules = json.dumps(rules_to(self.rules), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return f'{{"files":{{{files}}},"rules":{rules},"version":{RULED_VERSION}}}'.encode()


@dataclass(frozen=True, slots=True)
class FileDifference:
    """Paths that differ between two manifests, sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def file_difference(old: Manifest, new: Manifest) -> FileDifference:
    """What has to be said about going from `old` to `new`."""
    changed = (path for path in old.files.keys() & new.files.keys() if old.files[path] != new.files[path])
    return FileDifference(
        added=tuple(sorted(new.files.keys() - old.files.keys())),
        changed=tuple(sorted(changed)),
        removed=tuple(sorted(old.files.keys() - new.files.keys())),
    )


def digest_of(content: bytes) -> str:
    """The SHA-256 of `content` in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def parse_manifest(raw: bytes | Mapping[str, Any], limits: BundleLimits = DEFAULT_LIMITS) -> Manifest:
    """The manifest in `raw` (JSON, or what JSON decodes to).

    Raises TooLarge when it is over a limit in number, InvalidInput else; `details` lists the first MAX_FAULTS faults.
    """
    document = _decode(raw) if isinstance(raw, bytes) else raw
    if "rules" in document:
        raise InvalidInput(
            f"rules come with the bundle, in {', '.join(RULE_FILES)}: leave them out of the manifest", field="rules"
        )
    unknown = [name for name in document if name not in ("version", "files")]
    if unknown:
        raise InvalidInput(f"a manifest has no field {shown(unknown[0])}")
    version = document.get("version")
    if version != MANIFEST_VERSION or isinstance(version, bool | float):
        raise InvalidInput(
            f"the manifest has version {shown(version)}, this program reads {MANIFEST_VERSION}", field="version"
        )
    given = document.get("files")
    if not isinstance(given, Mapping) or not given:
        raise InvalidInput(
            "a manifest has files: an object of path to digest and size, with one at least", field="files"
        )
    if len(given) > limits.max_files:
        raise TooLarge(f"the bundle has {len(given)} files, at most {limits.max_files} are allowed", field="files")
    reader = _Reader(limits)
    files = {path: reader.entry(path, value) for path, value in given.items()}
    reader.check_collisions()
    reader.raise_any()
    manifest = Manifest(files)
    if manifest.total_bytes > limits.max_total_bytes:
        raise TooLarge(
            f"the bundle has {manifest.total_bytes} bytes, at most {limits.max_total_bytes} are allowed", field="files"
        )
    return manifest


def load_manifest(raw: bytes) -> Manifest:
    """The manifest that `Manifest.to_bytes` wrote as `raw`; the caller has compared its digest with the journal's.

    What control judged before it recorded that digest is not judged again: this takes a third of `parse_manifest`.
    Raises InvalidInput for another version, and for what is no manifest.
    """
    try:
        document = json.loads(raw)
        version, files = document["version"], document["files"].items()
        if version in (MANIFEST_VERSION, RULED_VERSION):
            rules = rules_from(document["rules"]) if version == RULED_VERSION else NO_RULES
            return Manifest({path: _entry_from_json(entry) for path, entry in files}, rules)
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise InvalidInput("this is not a manifest") from exc
    raise InvalidInput(
        f"the manifest has version {shown(version)}, this program reads up to {RULED_VERSION}", field="version"
    )


def _decode(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > MAX_MANIFEST_BYTES:
        raise TooLarge(f"the manifest has {len(raw)} bytes, at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise InvalidInput("the manifest is not JSON: its text is not UTF-8") from exc
    except RecursionError as exc:
        raise InvalidInput("the manifest is nested too deeply to be one") from exc
    except ValueError as exc:
        raise InvalidInput(f"the manifest is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InvalidInput("a manifest is a JSON object")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {shown(name)} stands twice in one object")
    return result


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _entry_to_json(entry: FileEntry) -> str:
    chunks = f'"chunks":{json.dumps(entry.chunk_digests, separators=(",", ":"))},' if entry.chunk_digests else ""
    return f'{{{chunks}"digest":{quoted(entry.digest)},"size_bytes":{entry.size_bytes}}}'


def _entry_from_json(document: dict[str, Any]) -> FileEntry:
    return FileEntry(document["digest"], document["size_bytes"], tuple(document.get("chunks", ())))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


class _Reader:
    """Reads entries and collects faults; what it returns counts only when there was no fault."""

    def __init__(self, limits: BundleLimits) -> None:
        self._limits = limits
        self._faults: list[str] = []
        self._fault_count = 0
        self._paths: list[str] = []
        self._contents: dict[str, FileEntry] = {}

    def entry(self, path: Any, value: Any) -> FileEntry:
        """The entry of one file. Paths that are good are remembered for `check_collisions`."""
        self._check_path(path)
        if not isinstance(value, dict):
            return self._fault(f"{shown(path)}: give an object with digest and size_bytes")
        digest, size, chunks = value.get("digest"), value.get("size_bytes"), value.get("chunks", ())
        if len(value) != 2 + ("chunks" in value):
            return self._fault(f"{shown(path)}: has digest, size_bytes and perhaps chunks, and nothing else")
        if not _is_digest(digest):
            return self._fault(f"{shown(path)}: digest is not 64 lower-case hexadecimal digits")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            return self._fault(f"{shown(path)}: size_bytes is not a whole number of bytes")
        if size > self._limits.max_file_bytes:
            return self._fault(f"{shown(path)}: has {size} bytes, at most {self._limits.max_file_bytes} are allowed")
        entry = FileEntry(str(digest), size)
        if size > CHUNK_BYTES or chunks or not isinstance(chunks, list | tuple):
            entry = self._with_chunks(path, entry, chunks)
        known = self._contents.setdefault(entry.digest, entry)
        if known is not entry and known != entry:
            return self._fault(f"{shown(path)}: its digest stands elsewhere with another size or other chunks")
        return known

    def _with_chunks(self, path: str, entry: FileEntry, chunks: Any) -> FileEntry:
        expected = entry.chunk_count if entry.size_bytes > CHUNK_BYTES else 0
        if not isinstance(chunks, list | tuple) or len(chunks) != expected:
            return self._fault(f"{shown(path)}: chunks has to list {expected} digests for {entry.size_bytes} bytes")
        if not all(map(_is_digest, chunks)):
            return self._fault(f"{shown(path)}: chunks has something else than digests")
        return FileEntry(entry.digest, entry.size_bytes, tuple(chunks))

    def _check_path(self, path: Any) -> None:
        if not isinstance(path, str):
            self._fault(f"{shown(path)} is not text, so it cannot be a path")
            return
        try:
            check_path(path, max_octets=self._limits.max_path_bytes)
        except InvalidInput as exc:
            self._fault(exc.message)
        else:
            self._paths.append(path)

    def check_collisions(self) -> None:
        """Names that differ only in case or composition, and names that are a file and a folder at once."""
        files: dict[str, str] = {}
        for path in self._paths:
            other = files.setdefault(folded(path), path)
            if other is not path:
                self._fault(f"{shown(path)} and {shown(other)} are the same name on many systems")
        for folder in _folders(files, self._limits.max_folders):
            other_file = files.get(folder[:-1])
            if other_file is not None:
                self._fault(f"{shown(other_file)} is a file and a folder at once")

    def raise_any(self) -> None:
        """Raise what was found, if anything."""
        if not self._faults:
            return
        more = f" ({self._fault_count} faults in all)" if self._fault_count > 1 else ""
        raise InvalidInput(
            f"the manifest is refused: {self._faults[0]}{more}", field="files", details=tuple(self._faults)
        )

    def _fault(self, text: str) -> FileEntry:
        self._fault_count += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(text)
        return _NO_ENTRY


_NO_ENTRY = FileEntry("", 0)


def _folders(paths: Iterable[str], most: int | None = None) -> set[str]:
    """Every folder that holds a file, directly or below, with its final slash; the root always.

    Raises TooLarge beyond `most`: paths of single letters would make far more folders than files.
    """
    folders = {"/"}
    for path in paths:
        cut = path.rfind("/")
        while cut > 0:
            folder = path[: cut + 1]
            if folder in folders:
                break
            folders.add(folder)
            cut = path.rfind("/", 0, cut)
        if most is not None and len(folders) > most:
            raise TooLarge(f"the bundle has more than {most} folders", field="files")
    return folders


def iterate_blobs(manifest: Manifest) -> Iterator[tuple[str, int]]:
    """Each distinct (digest, size_bytes) of the manifest, once."""
    return iter({entry.digest: entry.size_bytes for entry in manifest.files.values()}.items())
