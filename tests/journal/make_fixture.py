"""`python -m tests.journal.make_fixture FOLDER`: a fixture of records and snapshots as this program writes them.

Run it with the last program before a format changes, commit the folder below tests/journal/fixtures, and never touch it
again: tests/journal/test_earlier_versions.py loads every one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cdn.control.token_fold import TokenFold
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFold
from cdn.journal.claim_fold import ClaimFold
from cdn.journal.hook_fold import HookFold
from cdn.journal.record import (
    EVERY_AUDIENCE,
    AliasRemoved,
    AliasSet,
    AnswerRemoved,
    AnswerSet,
    CertificateRemoved,
    CertificateSet,
    ChallengeRemoved,
    ChallengeSet,
    ClaimRemoved,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    DomainClaimed,
    DomainRemoved,
    DomainVerified,
    GeographySet,
    HookRemoved,
    HookSet,
    Purged,
    PurgeScope,
    Record,
    SealedZoneKey,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    TakedownLifted,
    TakenDown,
    TokenCreated,
    TokenRevoked,
    VariantsSet,
    ZoneKeysSet,
    ZoneRecords,
    ZoneRemoved,
    ZoneSet,
    audience_of,
    encode_record,
    version_of,
)
from cdn.journal.snapshot import encode, take
from cdn.journal.takedown_fold import TakedownFold
from cdn.journal.zone_fold import ZoneFold
from cdn.purge.floors import Floors

EPOCH = "0f1e2d3c4b5a6978"
DIGEST = "a3" * 32
SOA = "A25zMQdleGFtcGxlA29yZwAKaG9zdG1hc3RlcgdleGFtcGxlA29yZwAAAAABAAAcIAAAA4QAEnUAAAABLA=="


def records() -> Iterator[Record]:
    """A record of every kind that the program knows, in an order that can be applied."""
    for sequence, (subject, change) in enumerate(_changes(), start=1):
        at = 1_800_000_000.5 + sequence
        yield Record(version_of(change), EPOCH, sequence, subject, at, "ann", audience_of(change), change)


def _changes() -> Iterator[tuple[str, Any]]:
    yield "site/blog", SiteCreated("s1", "blog", {})
    yield "site/old", SiteCreated("s2", "old", {})
    yield "domain/www.example.com", DomainAdded("www.example.com", "s1")
    yield "domain/gone.example.com", DomainAdded("gone.example.com", "s1")
    yield "domain/gone.example.com", DomainRemoved("gone.example.com", "s1")
    for deploy_id in ("d1", "d2"):
        yield f"deploy/{deploy_id}", DeployPrepared("s1", deploy_id, "production", DIGEST, 3, 4096, "ann", "why")
        yield "alias/s1/production", DeployActivated("s1", "production", deploy_id)
    scopes = (PurgeScope("url", "/a?b"), PurgeScope("prefix", "/c/"), PurgeScope("tag", "news"))
    yield "purge/s1", Purged("s1", scopes, False)
    yield "purge/s1", Purged("s1", (PurgeScope("everything", ""),), True)
    yield "token/t1", TokenCreated("t1", ("admin",), "b4" * 32, None, "first")
    yield "token/t2", TokenCreated("t2", ("read:blog", "purge:old"), "c5" * 32, 1_900_000_000.0, "")
    yield "token/t3", TokenCreated("t3", ("node",), "d6" * 32, None, "")
    yield "token/t3", TokenRevoked("t3")
    yield "site/old", SiteChanged("s2", {"stale_if_error_s": 60})
    yield "site/old", SiteRemoved("s2")
    yield "site/api", SiteCreated("s3", "api", {"origin": "https://api.example.com"})
    yield "site/api", SiteChanged("s3", {"origin": "https://new.example.com"}, True)
    yield from _of_zones()
    yield from _of_domains()
    yield from _of_deploys()


def _of_zones() -> Iterator[tuple[str, Any]]:
    soa = ZoneRecords("example.org", 6, 3600, (SOA,))
    addresses = ZoneRecords("www.example.org", 1, 300, ("wAACAQ==", "wAACAg=="))
    alias = ZoneRecords("example.org", 65401, 60, ("BGJsb2cDY2RuCWxvY2FsaG9zdAA=",))
    published = SealedZoneKey("k1", "published", 1_800_000_000.0, "c2VhbGVk")
    active = SealedZoneKey("k1", "active", 1_800_000_000.0, "c2VhbGVk")
    yield "zone/example.org", ZoneSet("example.org", (soa,))
    yield "zone/example.org", ZoneSet("example.org", (soa, addresses, alias))
    yield "zone/example.net", ZoneSet("example.net", ())
    yield "zone-keys/example.net", ZoneKeysSet("example.net", (published,))
    yield "zone/example.net", ZoneRemoved("example.net")
    yield "zone-keys/example.org", ZoneKeysSet("example.org", (published,))
    yield "zone-keys/example.org", ZoneKeysSet("example.org", (active, SealedZoneKey("k2", "retired", 1.5, "bw==")))
    yield "zone-keys/cdn.localhost", ZoneKeysSet("cdn.localhost", (active,))
    yield "zone-keys/cdn.localhost", ZoneKeysSet("cdn.localhost", ())
    name = "_acme-challenge.www.example.org"
    yield f"challenge/{name}", ChallengeSet(name, "over", 1_800_000_001.0)
    yield f"challenge/{name}", ChallengeSet(name, "one", 1_800_003_600.0)
    yield f"challenge/{name}", ChallengeSet(name, "two", 1_800_003_600.0)
    yield f"challenge/{name}", ChallengeRemoved(name, "one")
    yield "geography", GeographySet(DIGEST, 2_000_000, "of May")


def _of_domains() -> Iterator[tuple[str, Any]]:
    shop, wild = "shop.example.com", "*.example.com"
    yield f"domain/{shop}", DomainClaimed(shop, "s1", "first")
    yield f"domain/{shop}", DomainClaimed(shop, "s3", "second", "www.shop.example.com")
    yield f"domain/{shop}", DomainVerified(shop, "s3", "www.shop.example.com")
    yield f"domain/{wild}", DomainClaimed(wild, "s1", "third")
    yield f"domain/{wild}", DomainVerified(wild, "s1")
    yield "domain/open.example.com", DomainClaimed("open.example.com", "s1", "fourth")
    yield "domain/given-up.example.com", DomainClaimed("given-up.example.com", "s1", "fifth")
    yield "domain/given-up.example.com", ClaimRemoved("given-up.example.com", "s1")
    yield f"certificate/{shop}", _certificate(shop, "s3", (shop,), 1_800_000_000.0)
    yield f"certificate/{wild}", _certificate(wild, "s1", (wild, "example.com"), 1_800_000_000.0)
    yield f"certificate/{wild}", _certificate(wild, "s1", (wild, "example.com"), 1_800_000_100.0)
    own = "*.cdn.localhost"
    yield f"certificate/{own}", _certificate(own, "", (own, "cdn.localhost"), 1_800_000_000.0)
    yield "certificate/www.example.com", _certificate("www.example.com", "s1", ("www.example.com",), 1_800_000_000.0)
    yield "certificate/www.example.com", CertificateRemoved("www.example.com")
    over, until = 1_800_000_001.0, 1_800_003_600.0
    yield "answer/open.example.com", AnswerSet("http-01", "open.example.com", "t", "t.over", over)
    yield "answer/open.example.com", AnswerSet("http-01", "open.example.com", "t1", "t1.thumbprint", until)
    yield "answer/open.example.com", AnswerSet("http-01", "open.example.com", "t2", "t2.thumbprint", until)
    yield "answer/open.example.com", AnswerRemoved("http-01", "open.example.com", "t2")
    yield "answer/open.example.com", AnswerSet("tls-alpn-01", "open.example.com", "", "ZGlnZXN0", until)


def _of_deploys() -> Iterator[tuple[str, Any]]:
    made = DeployPrepared("s1", "d3", "next", "e7" * 32, 3, 4096, "ann", "", commit="0123abc")
    ruled = DeployPrepared("s1", "d4", "over", "f8" * 32, 3, 4096, "ann", "", manifest_version=2)
    yield "deploy/s1/d3", made
    yield "alias/s1/next", DeployActivated("s1", "next", "d3")
    yield "deploy/s1/d4", ruled
    yield "alias/s1/over", DeployActivated("s1", "over", "d4")
    yield "alias/s1/over", AliasSet("s1", "over", lock="nobody knows")
    yield "alias/s1/over", AliasRemoved("s1", "over")
    yield "alias/s1/next", AliasSet("s1", "next", password="scrypt$of$next")
    yield "alias/s1/next", AliasSet("s1", "next", "scrypt$of$next", 1_900_000_000.0, "ann: until Monday")
    yield "variants/s1", VariantsSet("s1", DIGEST, "09" * 32)
    yield "variants/s1", VariantsSet("s1", DIGEST, "1a" * 32)
    yield "takedown/2b", TakenDown("2b" * 32, "s1", "a court said so")
    yield "takedown/3c", TakenDown("3c" * 32)
    yield "takedown/4d", TakenDown("4d" * 32, "s1")
    yield "takedown/4d", TakedownLifted("4d" * 32, "s1")
    yield "takedown/5e", TakenDown("5e" * 32)
    yield "takedown/5e", TakedownLifted("5e" * 32)
    yield "hook/h1", HookSet("h1", "s1", "in", {"scheme": "github"}, "c2VhbGVk")
    yield "hook/h2", HookSet("h2", "s1", "out", {"url": "https://hooks.example/"}, "c2VhbGVk")
    yield "hook/h1", HookSet("h1", "s1", "in", {"scheme": "gitlab"}, "c2VhbGVkIHRvbw==")
    yield "hook/h2", HookRemoved("h2", "s1")
    yield "token/t4", TokenCreated("t4", ("purge:blog",), "e7" * 32, None, "", sealed_secret="c2VhbGVk")


def _certificate(name: str, site_id: str, names: tuple[str, ...], not_before: float) -> CertificateSet:
    return CertificateSet(
        name=name,
        certificate_id=f"{int(not_before) % 256:02x}" * 32,
        site_id=site_id,
        names=names,
        not_before=not_before,
        not_after=not_before + 90 * 86400.0,
        issuer="https://acme.example/directory",
        chain="-----BEGIN CERTIFICATE-----\n",
        sealed_keys={"": "c2VhbGVk", "eu": "c2VhbGVkIHRvbw=="},
    )


def main() -> None:
    """Writes records.jsonl, snapshot and, where the program has an archive, part."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    all_records = tuple(records())
    (folder / "records.jsonl").write_bytes(b"".join(encode_record(record) + b"\n" for record in all_records))
    floors = Floors()
    catalog = CatalogFold("cdn.localhost")
    of_domains = (ZoneFold(), ClaimFold(catalog.catalog), CertificateFold(catalog.catalog))
    folds = (catalog, floors, TokenFold(), *of_domains, TakedownFold(), HookFold())
    for record in all_records:
        for fold in folds:
            fold.apply(record)
    position = Position(EPOCH, len(all_records))
    snapshot = take(folds, position, floor_horizon=floors.horizon, audiences=EVERY_AUDIENCE)
    (folder / "snapshot").write_bytes(encode(snapshot))
    try:
        from cdn.journal.archive_part import encode_part, part_of
    except ImportError:
        return  # a program from before there was an archive
    (folder / "part").write_bytes(encode_part(part_of(all_records, 1_800_000_100.0)))


if __name__ == "__main__":
    main()
