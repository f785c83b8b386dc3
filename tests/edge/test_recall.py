"""What a host leads to is found once, and again after every record that says otherwise."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from cdn.edge.https_rules import HttpsRules, bundle_place
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.pull_memory import PullMemory
from cdn.edge.recall import MAX_WAYS, Recall
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import CertificateRemoved, DomainRemoved, SiteChanged, SiteCreated, SiteRemoved
from tests.edge.certificate_stage import ZONE, Known, certificate_set, new_ring

HOST = "www.example.com"


def asked(host: str = HOST, scheme: str = "http") -> Request:
    return Request("GET", Target("/a", None, "/a"), host, None, Fields(()), scheme)


class Stage:
    def __init__(self, path: Path) -> None:
        self.known = Known()
        self.certificate = certificate_set(HOST, "s1", {"": new_ring(path)})
        self.tier: MemoryTier[Prepared] = MemoryTier(1 << 20)
        rules = HttpsRules(self.known.view, self.known.certificates, 443)
        self.recall = Recall(self.known.view, self.tier, PullMemory(self.tier), rules)

    def hit(self, host: str = HOST, scheme: str = "http", owner: str = "s1") -> bool:
        """Whether a hit that was prepared just now for `owner` is found."""
        site = self.known.view.catalog.site(owner)
        assert site is not None
        runtime = self.known.view.runtime(owner)
        prepared = Prepared(
            status=200,
            fields=(),
            content=b"",
            base_age_at=0.0,
            site=runtime,
            generation=runtime.generation,
            fresh_until=inf,
            usable_until=inf,
        )
        request = asked(host, scheme)
        self.tier.put((owner, "production", bundle_place(request, site)), prepared)
        return self.recall.find(request, 0.0) is prepared


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_host_leads_where_the_last_record_says(stage: Stage) -> None:
    known = stage.known
    assert not stage.hit()
    known.domain(HOST)
    assert stage.hit()
    assert stage.hit()
    known.tell(stage.certificate)
    assert not stage.hit()
    assert stage.hit(scheme="https")
    assert stage.hit(f"blog.{ZONE}")
    known.tell(SiteChanged("s1", {"https": "off"}))
    assert stage.hit()
    known.tell(SiteChanged("s1", {"hsts_s": 60}))
    assert not stage.hit()
    assert stage.hit(scheme="https")
    known.tell(CertificateRemoved(HOST))
    assert stage.hit()
    known.tell(SiteCreated("s2", "other", {}))
    known.domain(HOST, "s2")
    assert not stage.hit()
    assert stage.hit(owner="s2")
    known.tell(DomainRemoved(HOST, "s2"))
    assert not stage.hit(owner="s2")
    known.domain("b.example.com", "s2")
    assert stage.hit("b.example.com", owner="s2")
    known.tell(SiteRemoved("s2"))
    assert stage.recall.find(asked("b.example.com"), 0.0) is None


def test_hosts_without_end_are_not_all_remembered(stage: Stage) -> None:
    stage.known.domain("*.example.com")
    for number in range(MAX_WAYS + 10):
        stage.recall.find(asked(f"{number}.example.com"), 0.0)
        stage.recall.find(asked(f"{number}.nobody.example"), 0.0)
    assert len(stage.recall._ways) <= MAX_WAYS
    assert stage.hit("last.example.com")
