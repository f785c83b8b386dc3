"""Nodes that a lost control plane knew, put into the table of the replicas that take its place (DESIGN I8)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cdn.control.archive_layout import KeptNode
from cdn.control.shared_directory import NodeFeed, _Word


async def put_restored(feed: NodeFeed, nodes: Iterable[KeptNode]) -> None:
    """Put each node where the table has nothing of it: receipts name it until it has said where it stands.

    Every replica counts its lease from when it sees it there. Raises JournalUnavailable.
    """
    for node in nodes:
        word = _Word(
            node.program,
            node.region,
            (),
            None,
            node.lease_s,
            node.record_version,
            beat=0,
            is_connected=False,
            is_draining=False,
            has_left=False,
            stopped=None,
            prepared=(),
            weight=node.weight,
            public_addresses=node.public_addresses,
            location=node.location,
            bias=node.bias,
        )
        told, revision = await feed.get(node.node_id)
        if told is None or not told.facts:
            await feed.put(node.node_id, msgspec.json.encode(word), expected_revision=revision)
