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
from cdn.journal.record import (
    EVERY_AUDIENCE,
    RECORD_VERSION,
    Audience,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    DomainRemoved,
    Purged,
    PurgeScope,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    TokenCreated,
    TokenRevoked,
    encode_record,
)
from cdn.journal.snapshot import encode, take
from cdn.purge.floors import Floors

EPOCH = "0f1e2d3c4b5a6978"
DIGEST = "a3" * 32


def records() -> Iterator[Record]:
    """A record of every kind that the program knows, in an order that can be applied."""
    for sequence, (subject, change) in enumerate(_changes(), start=1):
        audience = Audience.CONTROL if subject.startswith("token/") else Audience.ALL
        yield Record(RECORD_VERSION, EPOCH, sequence, subject, 1_800_000_000.5 + sequence, "ann", audience, change)


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
    if "purges" in SiteChanged.__struct_fields__:  # programs that know sites with an upstream
        yield "site/api", SiteCreated("s3", "api", {"origin": "https://api.example.com"})
        yield "site/api", SiteChanged("s3", {"origin": "https://new.example.com"}, True)


def main() -> None:
    """Writes records.jsonl, snapshot and, where the program has an archive, part."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    all_records = tuple(records())
    (folder / "records.jsonl").write_bytes(b"".join(encode_record(record) + b"\n" for record in all_records))
    catalog, floors, tokens = CatalogFold("cdn.localhost"), Floors(), TokenFold()
    for record in all_records:
        for fold in (catalog, floors, tokens):
            fold.apply(record)
    position = Position(EPOCH, len(all_records))
    snapshot = take((catalog, floors, tokens), position, floor_horizon=floors.horizon, audiences=EVERY_AUDIENCE)
    (folder / "snapshot").write_bytes(encode(snapshot))
    try:
        from cdn.journal.archive_part import encode_part, part_of
    except ImportError:
        return  # a program from before there was an archive
    (folder / "part").write_bytes(encode_part(part_of(all_records, 1_800_000_100.0)))


if __name__ == "__main__":
    main()
