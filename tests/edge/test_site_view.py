"""What follows from records and snapshots for what a node has prepared and stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cdn.edge.site_view import ContentTakenDown, FloorsRose, News, SiteGone, SiteView
from cdn.edge.stored import StoredResponse
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import RECORD_VERSION, Audience, Change, Record, SiteChanged, SiteCreated
from cdn.purge.floors import Floors

MakeStored = Callable[..., StoredResponse]


class Node:
    """A view that records move as a follower does it."""

    def __init__(self) -> None:
        self.view = SiteView(CatalogFold("cdn.localhost"), Floors())
        self.news: list[News] = []
        self.view.listen(self.news.append)

    def apply(self, change: Change) -> None:
        sequence = self.view.position.sequence + 1
        record = Record(RECORD_VERSION, "e1", sequence, "subject", 0.0, "actor", Audience.ALL, change)
        self.view.catalog_fold.apply(record)
        self.view.floors.apply(record)
        self.view.on_records([record], record.position)


@pytest.fixture
def node() -> Node:
    return Node()


def tagging(*tags: str) -> dict[str, Any]:
    return {"header_rules": [{"path": "/*", "fields": [["cache-tag", ",".join(tags)]]}]}


def test_a_response_counts_under_the_tags_it_has_and_those_it_had(node: Node, make_stored: MakeStored) -> None:
    stored = make_stored(b"x", site_id="s1", tags=("then",))
    assert node.view.tags_of(stored) == ("then",)
    node.apply(SiteCreated("s1", "blog", tagging("then")))
    assert node.view.tags_of(stored) == ("then",)
    node.apply(SiteChanged("s1", tagging("now", "then")))
    assert node.view.tags_of(stored) == ("now", "then")
    node.apply(SiteChanged("s1", {}))
    assert node.view.tags_of(stored) == ("then",)


def test_a_change_of_settings_tells_when_space_can_be_reclaimed(node: Node) -> None:
    node.apply(SiteCreated("s1", "blog", {"origin": "https://a.example"}))
    before = node.view.runtime("s1").generation
    node.apply(SiteChanged("s1", {"origin": "https://a.example", "pass_s": 1}))
    assert node.view.runtime("s1").generation > before
    assert node.news == []
    before = node.view.runtime("s1").generation
    node.apply(SiteChanged("s1", {"origin": "https://b.example"}, purges=True))
    assert node.view.runtime("s1").generation > before
    assert node.news == [FloorsRose("s1")]


def test_what_a_site_stored_goes_when_a_snapshot_no_longer_has_it(node: Node) -> None:
    """A node that was away while a site was removed never reads that record."""
    node.apply(SiteCreated("gone", "old", {}))
    node.apply(SiteCreated("kept", "blog", {}))
    prepared_at = [node.view.runtime(site_id) for site_id in ("gone", "kept")]
    generation = prepared_at[1].generation
    section = node.view.catalog_fold.dump()
    section["sites"] = [site for site in section["sites"] if site["id"] == "kept"]
    node.news.clear()
    node.view.catalog_fold.load(section)
    node.view.on_snapshot(Position("e1", 9), epoch_changed=False)
    assert node.news == [SiteGone("gone", Position("e1", 9)), ContentTakenDown(), FloorsRose("kept")]
    assert prepared_at[0].generation < 0
    assert prepared_at[1].generation > generation
