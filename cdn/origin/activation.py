"""The activation pointer: what an alias answers from, for a node that control cannot tell (DESIGN I9).

Control writes it before a receipt says that nodes without a lease are fenced; such nodes read it before they answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from cdn.fleet.position import Position
from cdn.origin.layout import activation_key
from cdn.origin.store import ObjectMissing, ObjectStore, PutOutcome, StoreUnavailable

POINTER_VERSION = 1

MAX_WRITES = 16
"""Lost races on one pointer before the writer gives up: each loss means that another's write went in."""


@dataclass(frozen=True, slots=True)
class ActivationPointer:
    """`position` is the activation's place in the journal."""

    position: Position
    deploy_id: str
    manifest_digest: str


async def read_pointer(store: ObjectStore, site_id: str, alias: str) -> ActivationPointer | None:
    """What the alias answers from; None: no node was ever said to go by its pointer. Raises StoreUnavailable."""
    try:
        content = await store.get(activation_key(site_id, alias))
    except ObjectMissing:
        return None
    return _decoded(content, site_id, alias)


async def write_pointer(store: ObjectStore, site_id: str, alias: str, pointer: ActivationPointer) -> None:
    """Make the pointer say this activation, or a later one of the same epoch that others wrote meanwhile.

    Raises StoreUnavailable.
    """
    key = activation_key(site_id, alias)
    content = json.dumps({"version": POINTER_VERSION, **asdict(pointer)}).encode()
    for _ in range(MAX_WRITES):
        facts = await store.head(key)
        if facts is None:
            outcome = await store.put(key, content, if_absent=True)
        else:
            # Read after the entity tag was: what is newer than the tag makes the write fail, not be lost.
            present = await read_pointer(store, site_id, alias)
            if present is not None and present.position.covers(pointer.position):
                return
            outcome = await store.put(key, content, if_match=facts.entity_tag)
        if outcome is PutOutcome.STORED:
            return
    raise StoreUnavailable(f"the activation pointer of {site_id}/{alias} changed {MAX_WRITES} times during the write")


def _decoded(content: bytes, site_id: str, alias: str) -> ActivationPointer:
    try:
        document = json.loads(content)
        if document["version"] != POINTER_VERSION:
            raise ValueError(f"version {document['version']}")
        position = Position(str(document["position"]["epoch"]), int(document["position"]["sequence"]))
        return ActivationPointer(position, str(document["deploy_id"]), str(document["manifest_digest"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise StoreUnavailable(f"the activation pointer of {site_id}/{alias} cannot be read: {exc!r}") from exc
