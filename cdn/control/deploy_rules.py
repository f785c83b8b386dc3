"""From the rule files of a bundle that is in the store to the manifest with its rules."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from cdn.errors import Unprocessable
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.manifest import Manifest, digest_of
from cdn.sites.rules.compiling import MAX_RULE_FILE_BYTES, compile_rules
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.pages_program import pages_programs
from cdn.sites.rules.rule_set import RULE_FILES

MAX_WARNINGS = 200
"""Warnings in one answer; the last one says how many there are."""

COMPILED_AT_ONCE = 2
"""Ten thousand rules take two seconds of a thread: many such deploys must not take all threads, which also read and
write files, and a small bundle need not wait for a large one."""

_COMPILERS = ThreadPoolExecutor(COMPILED_AT_ONCE, thread_name_prefix="rules")


@dataclass(frozen=True, slots=True)
class Ruled:
    """`manifest` with the bundle's rules in it; `warnings` are sentences with file and line."""

    manifest: Manifest
    warnings: tuple[str, ...] = ()


async def with_rules(store: ObjectStore, site_id: str, manifest: Manifest, mode: RulesMode) -> Ruled:
    """Read the rule files of `manifest`, whose blobs the site has proved, and compile them.

    Raises Unprocessable that lists every fault; StoreUnavailable.
    """
    present = [name for name in RULE_FILES if f"/{name}" in manifest.files]
    if not present and not (mode is RulesMode.CLOUDFLARE and any(pages_programs(manifest.files))):
        return Ruled(manifest)
    faults = tuple(fault for name in present if (fault := _too_long(name, manifest)) is not None)
    _raise_any(faults)
    contents = await asyncio.gather(*(_read(store, site_id, manifest, name) for name in present))
    texts = dict(zip(present, contents, strict=True))
    return await asyncio.get_running_loop().run_in_executor(_COMPILERS, _compiled, manifest, texts, mode)


def _compiled(manifest: Manifest, texts: Mapping[str, bytes], mode: RulesMode) -> Ruled:
    compiled = compile_rules(texts, mode, manifest.files)
    _raise_any(compiled.faults)
    said = [str(warning) for warning in compiled.warnings[:MAX_WARNINGS]]
    if len(compiled.warnings) > MAX_WARNINGS:
        said.append(f"and {len(compiled.warnings) - MAX_WARNINGS} warnings more")
    return Ruled(replace(manifest, rules=compiled.rules), tuple(said))


def _raise_any(faults: tuple[RuleFault, ...]) -> None:
    if faults:
        more = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
        raise Unprocessable(
            f"The rules of this bundle are refused, and nothing was deployed: {faults[0]}{more}",
            field="rules",
            details=tuple(map(str, faults)),
        )


def _too_long(name: str, manifest: Manifest) -> RuleFault | None:
    size_bytes = manifest.files[f"/{name}"].size_bytes
    if size_bytes <= MAX_RULE_FILE_BYTES:
        return None
    return RuleFault(name, 0, "", f"has {size_bytes} bytes, at most {MAX_RULE_FILE_BYTES} are read: make it shorter")


async def _read(store: ObjectStore, site_id: str, manifest: Manifest, name: str) -> bytes:
    """Raises Unprocessable when the store has lost or damaged it, StoreUnavailable."""
    entry = manifest.files[f"/{name}"]
    try:
        content = await store.get(blob_key(site_id, entry.digest))
    except ObjectMissing:
        content = b""
    if digest_of(content) != entry.digest:
        raise Unprocessable(
            f"The rule file {name} is not in the store as it was uploaded: deploy again.",
            field="rules",
            details=(f"{entry.digest}: missing or damaged",),
        )
    return content
