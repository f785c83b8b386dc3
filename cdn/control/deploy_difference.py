"""What changed from one deploy to another, with sizes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from cdn.sites.manifest import Manifest, file_difference

MOST_FILES_LISTED = 10_000
"""Of each kind in one answer, about a megabyte."""


class FileView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    size_bytes: int


class FileChangeView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    size_bytes: int
    before_bytes: int


class DeployDifference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`against` null: there is nothing before it, so everything is added. Lists are by path, the first
    MOST_FILES_LISTED of each; the counts and sums are of all."""

    deploy: str
    against: str | None
    added: tuple[FileView, ...]
    changed: tuple[FileChangeView, ...]
    removed: tuple[FileView, ...]
    added_count: int
    changed_count: int
    removed_count: int
    unchanged_count: int
    added_bytes: int
    removed_bytes: int
    changed_bytes: Annotated[int, Meta(description="By how much changed files grew together; negative: they shrank.")]
    rules_changed: Annotated[bool, Meta(description="Whether another answer may follow from the bundle's rules.")]


def difference(deploy_id: str, new: Manifest, against_id: str | None, old: Manifest | None) -> DeployDifference:
    """What has to be said about going from `old` to `new`; `old` None: from nothing."""
    before = Manifest({}) if old is None else old
    found = file_difference(before, new)
    changed = [(path, new.files[path].size_bytes, before.files[path].size_bytes) for path in found.changed]
    return DeployDifference(
        deploy=deploy_id,
        against=against_id,
        added=_views(found.added, new),
        changed=tuple(FileChangeView(*each) for each in changed[:MOST_FILES_LISTED]),
        removed=_views(found.removed, before),
        added_count=len(found.added),
        changed_count=len(found.changed),
        removed_count=len(found.removed),
        unchanged_count=len(new.files) - len(found.added) - len(found.changed),
        added_bytes=sum(new.files[path].size_bytes for path in found.added),
        removed_bytes=sum(before.files[path].size_bytes for path in found.removed),
        changed_bytes=sum(size_bytes - before_bytes for _, size_bytes, before_bytes in changed),
        rules_changed=new.rules != before.rules,
    )


def _views(paths: tuple[str, ...], manifest: Manifest) -> tuple[FileView, ...]:
    return tuple(FileView(path, manifest.files[path].size_bytes) for path in paths[:MOST_FILES_LISTED])
