"""Records, snapshots and archived parts of every earlier program load in this one (DESIGN I14).

The fixtures were written by those programs themselves (`make_fixture`); the folders are numbered in their order.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from cdn.control.token_fold import TokenFold
from cdn.errors import CdnError
from cdn.fleet.position import Position
from cdn.journal.archive_part import PART_VERSION, UnreadablePart, decode_part, encode_part, part_of
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import Answer, CertificateFold
from cdn.journal.claim_fold import Claim, ClaimFold
from cdn.journal.fold import Fold
from cdn.journal.hook_fold import HookFold
from cdn.journal.record import (
    DNS_AUDIENCES,
    EDGE_AUDIENCES,
    EVERY_AUDIENCE,
    RECORD_VERSION,
    Audience,
    Change,
    Record,
    Withheld,
    decode_record,
    encode_record,
)
from cdn.journal.snapshot import SNAPSHOT_VERSION, decode, encode, load_into, take
from cdn.journal.takedown_fold import TakedownFold
from cdn.journal.zone_fold import Challenge, ZoneFold
from cdn.purge.floors import Floors
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.journal.make_fixture import DIGEST, EPOCH

FIXTURES = sorted((Path(__file__).parent / "fixtures").iterdir())
EVERY = pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
NEWEST = FIXTURES[-1]


class Folds:
    """What control keeps, as one of its starts makes it."""

    def __init__(self) -> None:
        self.catalog, self.floors, self.tokens = CatalogFold("cdn.localhost"), Floors(), TokenFold()
        self.zones = ZoneFold()
        self.takedowns, self.hooks = TakedownFold(), HookFold()
        catalog = self.catalog.catalog
        self.claims, self.certificates = ClaimFold(catalog), CertificateFold(catalog)
        self.all: tuple[Fold, ...] = (
            self.catalog,
            self.floors,
            self.tokens,
            self.zones,
            self.claims,
            self.certificates,
            self.takedowns,
            self.hooks,
        )


def _records(folder: Path) -> list[Record]:
    return [decode_record(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]


def _of_records(folder: Path) -> Folds:
    folds = Folds()
    for record in _records(folder):
        for fold in folds.all:
            fold.apply(record)
    return folds


def _of_snapshot(folder: Path) -> Folds:
    folds = Folds()
    load_into(decode((folder / "snapshot").read_bytes()), folds.all)
    return folds


@EVERY
@pytest.mark.parametrize("load", [_of_records, _of_snapshot])
def test_what_an_earlier_program_wrote_means_what_it_meant(folder: Path, load: object) -> None:
    assert callable(load)
    folds: Folds = load(folder)
    catalog = folds.catalog.catalog
    site = catalog.site("s1")
    assert site is not None
    assert (site.name, site.created_at, str(site.settings.origin)) == ("blog", 1_800_000_001.5, "bundle")
    assert catalog.site("s2") is None
    domains = dict(catalog.domains())
    assert domains.pop("www.example.com") == "s1"
    if domains:
        assert domains == {"*.example.com": "s1", "shop.example.com": "s3"}
        _require_domains(folds)
    state = catalog.alias("s1", "production")
    assert state is not None
    assert state.active is not None
    assert (state.active.id, state.active.manifest_digest, state.activated_sequence) == ("d2", DIGEST, 9)
    assert [kept.deploy.id for kept in state.retained] == ["d1"]
    floors = folds.floors.of("s1")
    assert floors.required(("/a?b",), ()).hard == 10
    assert floors.required(("/c/d",), ()).hard == 10
    assert floors.required(("/other",), ("news",)).hard == 10
    assert floors.required(("/other",), ()).hard == 0
    assert floors.required(("/other",), ()).soft == 11
    assert folds.floors.of("s2").required(("/",), ()).hard == 17
    tokens = {token.token_id: token.scopes for token in folds.tokens.tokens()}
    if tokens.pop("t4", None) is not None:
        _require_deploys(folds)
    assert tokens == {"t1": ("admin",), "t2": ("read:blog",)}
    if catalog.site("s3") is not None:
        assert folds.floors.of("s3").required(("/",), ()).hard == 19
    if folds.zones.zones():
        _require_zones(folds.zones)


def _require_zones(zones: ZoneFold) -> None:
    (zone,) = zones.zones()
    assert zone == zones.zone("example.org")
    assert (zone.name, zone.sequence, zone.set_at) == ("example.org", 21, 1_800_000_021.5)
    assert [(each.name, each.type, each.ttl_s, len(each.rdatas)) for each in zone.rrsets] == [
        ("example.org", 6, 3600, 1),
        ("www.example.org", 1, 300, 2),
        ("example.org", 65401, 60, 1),
    ]
    assert zones.zones_with_keys() == ("example.org",)
    assert [(key.key_id, key.stage) for key in zones.keys("example.org")] == [("k1", "active"), ("k2", "retired")]
    assert zones.challenges() == (Challenge("_acme-challenge.www.example.org", "two", 1_800_003_600.0),)
    assert zones.geography is not None
    assert (zones.geography.digest, zones.geography.size_bytes) == (DIGEST, 2_000_000)


def _require_domains(folds: Folds) -> None:
    assert folds.catalog.catalog.redirects() == {"shop.example.com": "www.shop.example.com"}
    claims, certificates = folds.claims, folds.certificates
    assert claims.claims() == (Claim("open.example.com", "s1", "fourth", "", 1_800_000_039.5, 39),)
    assert claims.proofs() == (
        Claim("*.example.com", "s1", "third", "", 1_800_000_037.5, 37),
        Claim("shop.example.com", "s3", "second", "www.shop.example.com", 1_800_000_035.5, 35),
    )
    assert [(each.name, each.site_id, each.not_before) for each in certificates.certificates()] == [
        ("*.cdn.localhost", "", 1_800_000_000.0),
        ("*.example.com", "s1", 1_800_000_100.0),
        ("shop.example.com", "s3", 1_800_000_000.0),
    ]
    wild = certificates.certificate("*.example.com")
    assert wild is not None
    assert (wild.names, wild.not_after) == (("*.example.com", "example.com"), 1_800_000_100.0 + 90 * 86400)
    assert certificates.answers() == (
        Answer("http-01", "open.example.com", "t1", "t1.thumbprint", 1_800_003_600.0),
        Answer("tls-alpn-01", "open.example.com", "", "ZGlnZXN0", 1_800_003_600.0),
    )


def _require_deploys(folds: Folds) -> None:
    catalog = folds.catalog.catalog
    assert {one.id: (one.commit, one.manifest_version) for one in catalog.deploys("s1")} == {
        "d1": ("", 1),
        "d2": ("", 1),
        "d3": ("0123abc", 1),
        "d4": ("", 2),
    }
    aliases = catalog.aliases("s1")
    assert set(aliases) == {"production", "next"}
    state = aliases["next"]
    assert (state.password, state.expires_at, state.lock) == ("scrypt$of$next", 1_900_000_000.0, "ann: until Monday")
    assert catalog.variants("s1", DIGEST) == "1a" * 32
    taken = {(one.digest[:2], one.site_id, one.reason) for one in folds.takedowns.all()}
    assert taken == {("2b", "s1", "a court said so"), ("3c", "", "")}
    (hook,) = folds.hooks.of_site("s1").values()
    assert (hook.id, hook.direction, hook.settings, hook.sealed_secret) == (
        "h1",
        "in",
        {"scheme": "gitlab"},
        "c2VhbGVkIHRvbw==",
    )
    signing = folds.tokens.get("t4")
    assert signing is not None
    assert signing.sealed_secret == "c2VhbGVk"


def _meaning(site: Site) -> SiteSettings:
    """The first program wrote the default of bundles as a number; it holds as it did."""
    if site.settings.is_pull:
        return site.settings
    return replace(site.settings, stale_while_revalidate_s=site.settings.bundle_stale_while_revalidate_s)


@EVERY
def test_a_snapshot_says_what_its_records_say(folder: Path) -> None:
    snapshot = decode((folder / "snapshot").read_bytes())
    assert snapshot.position == Position(EPOCH, len(_records(folder)))
    loaded, applied = _of_snapshot(folder), _of_records(folder)
    assert loaded.tokens.tokens() == applied.tokens.tokens()
    assert loaded.zones.dump() == applied.zones.dump()
    assert loaded.claims.dump() == applied.claims.dump()
    assert loaded.certificates.dump() == applied.certificates.dump()
    assert loaded.takedowns.dump() == applied.takedowns.dump()
    assert loaded.hooks.dump() == applied.hooks.dump()
    for site in applied.catalog.catalog.sites():
        found = loaded.catalog.catalog.site(site.id)
        assert found is not None
        assert (found.name, _meaning(found)) == (site.name, _meaning(site))
        assert loaded.catalog.catalog.aliases(site.id) == applied.catalog.catalog.aliases(site.id)


@pytest.mark.parametrize("folder", [folder for folder in FIXTURES if (folder / "part").exists()], ids=str)
def test_an_archived_part_gives_back_its_records(folder: Path) -> None:
    part = decode_part((folder / "part").read_bytes())
    assert [part.record(sequence) for sequence in range(part.first, part.last + 1)] == _records(folder)


def test_there_is_a_fixture_of_every_version() -> None:
    """When a version rises, the last program before it has to leave one behind."""
    records = {record.version for folder in FIXTURES for record in _records(folder)}
    snapshots = {decode((folder / "snapshot").read_bytes()).version for folder in FIXTURES}
    parts = {decode_part(path.read_bytes()).version for folder in FIXTURES for path in folder.glob("part")}
    assert records == set(range(1, RECORD_VERSION + 1))
    assert snapshots == set(range(1, SNAPSHOT_VERSION + 1))
    assert parts == set(range(1, PART_VERSION + 1))


def test_there_is_a_record_of_every_kind() -> None:
    kinds = {type(record.change) for record in _records(NEWEST)}
    assert kinds == set(Change.__args__) - {Withheld}, "a new kind needs a fixture: see make_fixture.py"


def test_this_program_writes_what_others_of_its_version_read() -> None:
    """A form that changed without its version would stop programs that follow, or be misread by them."""
    records = _records(NEWEST)
    assert b"".join(encode_record(record) + b"\n" for record in records) == (NEWEST / "records.jsonl").read_bytes()
    folds = _of_records(NEWEST)
    snapshot = take(folds.all, records[-1].position, floor_horizon=0, audiences=EVERY_AUDIENCE)
    assert decode(encode(snapshot)) == decode((NEWEST / "snapshot").read_bytes())
    part = decode_part((NEWEST / "part").read_bytes())
    assert decode_part(encode_part(part_of(records, part.written_at))) == part


def test_what_nodes_are_given_names_no_token() -> None:
    folds = _of_records(NEWEST)
    snapshot = take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=EDGE_AUDIENCES)
    assert set(snapshot.sections) == {"catalog", "floors", "certificates", "takedowns"}
    assert b"seal" not in msgspec.json.encode(snapshot)
    assert b"BEGIN" not in msgspec.json.encode(snapshot)
    for record in _records(NEWEST):
        shown = encode_record(record.visible_to(EDGE_AUDIENCES))
        assert b"secret_sha256" not in shown
        assert b"sealed_secret" not in shown
        assert isinstance(record.visible_to(EDGE_AUDIENCES).change, Withheld) == (record.audience is not Audience.ALL)
        assert b"challenge" not in shown
        assert b"proof" not in shown


def test_what_name_servers_are_given_has_the_zones_and_names_no_token() -> None:
    folds = _of_records(NEWEST)
    snapshot = take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=DNS_AUDIENCES)
    assert set(snapshot.sections) == {"catalog", "floors", "zones", "certificates", "takedowns"}
    for record in _records(NEWEST):
        shown = encode_record(record.visible_to(DNS_AUDIENCES))
        assert b"secret_sha256" not in shown
        assert isinstance(record.visible_to(DNS_AUDIENCES).change, Withheld) == (record.audience is Audience.CONTROL)


def test_an_earlier_program_reads_a_snapshot_unless_it_would_lose_something() -> None:
    """A program that does not know zones would leave them out of what it writes in its turn."""
    folds = _of_records(FIXTURES[0])
    assert take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=EVERY_AUDIENCE).version == 1
    folds = _of_records(FIXTURES[3])
    assert take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=EVERY_AUDIENCE).version == 2
    assert take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=EDGE_AUDIENCES).version == 1
    folds = _of_records(FIXTURES[4])
    for audiences in (EVERY_AUDIENCE, DNS_AUDIENCES, EDGE_AUDIENCES):
        assert take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=audiences).version == 3
    folds = _of_records(NEWEST)
    for audiences in (EVERY_AUDIENCE, DNS_AUDIENCES, EDGE_AUDIENCES):
        assert take(folds.all, Position(EPOCH, 1), floor_horizon=0, audiences=audiences).version == 4


@pytest.mark.parametrize("keep", [0, 1, 10, -1])
def test_a_part_that_is_cut_off_is_refused(keep: int) -> None:
    with pytest.raises(UnreadablePart):
        decode_part((NEWEST / "part").read_bytes()[:keep])


def test_any_changed_octet_of_a_part_is_noticed() -> None:
    raw = (NEWEST / "part").read_bytes()
    whole = decode_part(raw)
    for index in range(2, len(raw)):
        damaged = raw[:index] + bytes([raw[index] ^ 0x01]) + raw[index + 1 :]
        try:
            found = decode_part(damaged)
        except CdnError:
            continue
        assert found == whole


def test_a_part_of_a_newer_program_or_with_records_too_few_is_refused() -> None:
    part = decode_part((NEWEST / "part").read_bytes())
    for changed, said in (
        (msgspec.structs.replace(part, version=PART_VERSION + 1), "upgrade"),
        (msgspec.structs.replace(part, last=part.last + 1), "records for"),
    ):
        with pytest.raises(UnreadablePart, match=said):
            decode_part(encode_part(changed))
    moved = msgspec.structs.replace(part, first=part.first + 1, last=part.last + 1)
    with pytest.raises(UnreadablePart, match="record 2"):
        decode_part(encode_part(moved)).record(2)
