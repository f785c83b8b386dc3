"""The table of places: what is compiled is found again, with the right prefix, and damage is seen."""

from __future__ import annotations

from array import array
from io import BytesIO
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.dns.address_ranges import COMPARED_BITS, AddressRanges
from cdn.dns.client import AddressFamily
from cdn.dns.geo_builder import TableBuilder
from cdn.dns.geo_compile import compile_table, place_of
from cdn.dns.geo_table import MAGIC, Columns, GeoTable, open_table, table_of, write_table
from cdn.dns.geography import NOWHERE, Geography, Located, Place
from cdn.errors import InvalidInput, TooLarge
from tests.dns.mmdb import mmdb

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6

PARIS = {"latitude": 48.85, "longitude": 2.35, "country_code": "FR"}
TOKYO = {
    "continent": {"code": "AS", "names": {"en": "Asia"}},
    "country": {"iso_code": "JP"},
    "location": {"latitude": 35.7, "longitude": 139.7, "accuracy_radius": 20},
}
PARIS_PLACE = Place(48.85, 2.35, "FR", "EU")
TOKYO_PLACE = Place(35.7, 139.7, "JP", "AS")


def at(table: Geography, address: str) -> tuple[Place, int]:
    """Where an address is, and for which prefix that holds."""
    parsed = ip_address(address)
    located = table.locate(V4 if parsed.version == 4 else V6, int(parsed))
    return table.place(located.place), located.prefix


def compiled(tmp_path: Path, *databases: bytes) -> GeoTable:
    paths = []
    for number, content in enumerate(databases):
        paths.append(tmp_path / f"{number}.mmdb")
        paths[-1].write_bytes(content)
    compile_table(paths, tmp_path / "table.geo")
    return open_table(tmp_path / "table.geo")


@pytest.mark.parametrize("record_size", [24, 28, 32])
def test_flat_records_of_one_file_per_family(tmp_path: Path, record_size: int) -> None:
    table = compiled(
        tmp_path,
        mmdb({"192.0.2.0/25": PARIS, "192.0.2.128/25": PARIS, "192.0.3.0/24": TOKYO}, record_size=record_size),
        mmdb({"2001:db8::/32": TOKYO, "2001:db8:1::/48": PARIS}, ip_version=6, record_size=record_size),
    )
    assert at(table, "192.0.2.200") == (PARIS_PLACE, 24)  # equal neighbours are one
    assert at(table, "192.0.3.255") == (TOKYO_PLACE, 24)
    assert at(table, "192.0.4.0") == (Place(), 22)
    assert at(table, "192.0.0.0") == (Place(), 23)
    assert at(table, "200.0.0.0") == (Place(), 5)
    assert at(table, "2001:db8:1:ffff::1") == (PARIS_PLACE, 48)
    assert at(table, "2001:db8:2::") == (TOKYO_PLACE, 47)
    assert at(table, "8000::") == (Place(), 1)


def test_nested_records_of_one_file_for_both_families(tmp_path: Path) -> None:
    """IPv4 stands below ::/96, and again below prefixes that are only other ways of writing it: those say nothing."""
    table = compiled(
        tmp_path,
        mmdb(
            {"192.0.2.0/24": TOKYO, "2001:db8::/32": PARIS},
            ip_version=6,
            record_size=28,
            aliases=("::ffff:0:0/96", "2002::/16"),
        ),
    )
    assert at(table, "192.0.2.1") == (TOKYO_PLACE, 24)
    assert at(table, "2001:db8::1") == (PARIS_PLACE, 32)
    assert at(table, "2002:c000:0201::")[0] == Place()
    assert at(table, "::192.0.2.1")[0] == Place()


def test_networks_within_one_64_of_ipv6_count_as_the_first_of_them(tmp_path: Path) -> None:
    table = compiled(
        tmp_path, mmdb({"2001:db8::8000:0:0:0/65": TOKYO, "2001:db8:0:1::/64": PARIS}, ip_version=6, record_size=24)
    )
    assert at(table, "2001:db8::1") == (TOKYO_PLACE, 64)
    assert at(table, "2001:db8:0:1::1") == (PARIS_PLACE, 64)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({"country_code": "FR"}, Place(country="FR", continent="EU")),
        ({"country": {"iso_code": "BR"}}, Place(country="BR", continent="SA")),
        ({"registered_country": {"iso_code": "BR"}}, Place(country="BR", continent="SA")),
        ({"country": "US", "continent": "NA"}, Place(country="US", continent="NA")),
        ({"country": "Wonderland", "continent_code": "AF"}, Place(continent="AF")),
        ({"continent": {"code": "OC"}}, Place(continent="OC")),
        ({"continent": {"code": "Atlantis"}}, Place()),
        ({"latitude": 0.0, "longitude": 0.0, "country_code": "FR"}, Place(country="FR", continent="EU")),
        ({"latitude": 91.0, "longitude": 0.0}, Place()),
        ({"latitude": float("nan"), "longitude": 1.0}, Place()),
        ({"latitude": "48", "longitude": "2"}, Place()),
        ({"location": "48,2"}, Place()),
        ({"location": {"latitude": -33, "longitude": 151}}, Place(-33.0, 151.0)),
        ({"country": {"iso_code": ["FR"]}, "continent": {"code": {}}}, Place()),
        ("Paris", Place()),
        (None, Place()),
    ],
)
def test_what_a_record_says(record: object, place: Place) -> None:
    assert place_of(record) == place


def test_databases_of_countries_only(tmp_path: Path) -> None:
    table = compiled(tmp_path, mmdb({"10.0.0.0/8": {"country_code": "AU"}}))
    assert at(table, "10.1.2.3") == (Place(country="AU", continent="OC"), 8)


def test_the_source_is_named(tmp_path: Path) -> None:
    told = compiled(tmp_path, mmdb({"10.0.0.0/8": PARIS}, description="Cities by somebody"))
    assert told.summary.source == "Cities by somebody, built 2026-05-28"
    untold = compiled(tmp_path, mmdb({"10.0.0.0/8": PARIS}, database_type="city"))
    assert untold.summary.source == "0.mmdb (city), built 2026-05-28"
    assert (untold.summary.places, untold.summary.ipv4_ranges, untold.summary.ipv6_ranges) == (2, 3, 1)


def test_two_databases_of_one_family_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"0\.mmdb and .*1\.mmdb both have networks of IPV4"):
        compiled(tmp_path, mmdb({"10.0.0.0/8": PARIS}), mmdb({"11.0.0.0/8": PARIS}))


def test_databases_without_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="say of no network where it is"):
        compiled(tmp_path, mmdb({"10.0.0.0/8": {"asn": 64496}}))
    with pytest.raises(InvalidInput, match="one for each"):
        compile_table([], tmp_path / "table.geo")


@pytest.mark.parametrize("is_endless", [True, False])
def test_a_database_that_goes_in_circles_is_refused(tmp_path: Path, is_endless: bool) -> None:
    """Back to the root for ever, or by four billion ways to one record."""
    content = bytearray(mmdb({"0.0.0.0/32": PARIS}))
    for node in range(32):
        left = bytes(3) if is_endless else content[6 * node : 6 * node + 3]
        content[6 * node : 6 * node + 6] = left + left
    with pytest.raises(InvalidInput, match="in circles"):
        compiled(tmp_path, bytes(content))


def test_a_damaged_database_leaves_the_old_table_and_nothing_else(tmp_path: Path) -> None:
    """Cut anywhere, or with any bit turned: a table or an InvalidInput, and no remains."""
    sound = mmdb({"192.0.2.0/24": PARIS, "198.51.100.0/24": TOKYO}, record_size=28, description="somebody's")
    table = tmp_path / "table.geo"
    database = tmp_path / "cities.mmdb"
    database.write_bytes(sound)
    compile_table([database], table)
    before, refused = table.read_bytes(), 0
    for damaged in (*(sound[:length] for length in range(0, len(sound), 7)), *flipped(sound, step=11)):
        database.write_bytes(damaged)
        try:
            compile_table([database], tmp_path / "other.geo")
        except InvalidInput:
            refused += 1
        else:
            open_table(tmp_path / "other.geo").check()
    assert refused > 20
    database.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(InvalidInput):
        compile_table([database], table)
    assert table.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"table.geo", "other.geo", "cities.mmdb"}


def flipped(content: bytes, step: int) -> list[bytes]:
    return [
        content[: bit // 8] + bytes((content[bit // 8] ^ 1 << bit % 8,)) + content[bit // 8 + 1 :]
        for bit in range(0, 8 * len(content), step)
    ]


def test_every_damage_to_a_table_is_seen(tmp_path: Path) -> None:
    compiled(tmp_path, mmdb({"192.0.2.0/24": PARIS, "198.51.100.0/24": TOKYO}))
    sound = (tmp_path / "table.geo").read_bytes()
    for damaged in (*(sound[:length] for length in range(len(sound))), sound + b"\0", *flipped(sound, step=1)):
        with pytest.raises(InvalidInput):
            table_of(damaged)
    (tmp_path / "cut.geo").write_bytes(sound[:-1])
    with pytest.raises(InvalidInput, match=r"cut\.geo cannot be used: .* cut or damaged"):
        open_table(tmp_path / "cut.geo")
    (tmp_path / "cut.geo").write_bytes(b"")
    with pytest.raises(InvalidInput, match="no table of places"):
        open_table(tmp_path / "cut.geo")


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    compiled(tmp_path, mmdb({"192.0.2.0/24": PARIS}))
    sound = (tmp_path / "table.geo").read_bytes()
    with pytest.raises(InvalidInput, match="version 7"):
        table_of(MAGIC + b"\7\0\0\0" + sound[12:])


def test_the_builder_knows_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = TableBuilder()
    number = builder.number_of(PARIS_PLACE)
    builder.add(V4, 10, 20, number)
    with pytest.raises(InvalidInput, match="out of order"):
        builder.add(V4, 19, 30, number)
    with pytest.raises(InvalidInput, match="out of order"):
        builder.add(V4, 30, 2**32 + 1, number)
    monkeypatch.setattr("cdn.dns.geo_builder.MAX_PLACES", 2)
    with pytest.raises(TooLarge, match="more than 2 places"):
        builder.number_of(TOKYO_PLACE)
    monkeypatch.setattr("cdn.dns.geo_builder.MAX_RANGES", 3)
    with pytest.raises(TooLarge, match="more than 3 ranges"):
        builder.add(V4, 30, 40, number)


def test_places_are_brought_together_on_the_grid() -> None:
    builder = TableBuilder()
    assert builder.number_of(Place(48.851, 2.351, "FR", "EU")) == builder.number_of(Place(48.849, 2.349, "FR", "EU"))
    assert builder.number_of(Place(48.851, 2.351, "FR", "EU")) != builder.number_of(Place(48.851, 2.351, "BE", "EU"))
    assert builder.number_of(Place()) == NOWHERE


starts_of = st.sets(st.integers(1, 2**12 - 1), max_size=12)


@settings(max_examples=150, deadline=None)
@given(starts=starts_of, low=st.integers(0, 2**12 - 1), high_bit=st.booleans(), family=st.sampled_from(AddressFamily))
def test_the_prefix_is_the_largest_network_within_the_range(
    starts: set[int], low: int, high_bit: bool, family: AddressFamily
) -> None:
    """Against a model that tries one prefix after the other. Ranges lie at both ends of the space."""
    bits = COMPARED_BITS[family]
    top = (1 << bits) - 2**12
    ordered = [0, *sorted({*starts, *(top + start for start in starts)})]
    ranges = AddressRanges(family, ordered, list(range(len(ordered))))
    address = low + (top if high_bit else 0)
    index = max(number for number, start in enumerate(ordered) if start <= address)
    first, end = ordered[index], (ordered[index + 1] if index + 1 < len(ordered) else 1 << bits)
    lengths = (
        length
        for length in range(bits + 1)
        if first <= (address >> bits - length) << bits - length
        and ((address >> bits - length) + 1) << bits - length <= end
    )
    assert ranges.locate(address << family.bits - bits) == Located(index, next(lengths))


@settings(max_examples=40, deadline=None)
@given(
    networks=st.dictionaries(
        st.builds(
            lambda address, length: str(ip_network((address, length), strict=False)),
            st.integers(0, 2**32 - 1).map(lambda each: each & 0xFF00FF00),
            st.integers(1, 32),
        ),
        st.sampled_from([PARIS, TOKYO]),
        min_size=1,
        max_size=10,
    ),
    addresses=st.lists(st.integers(0, 2**32 - 1).map(lambda each: each & 0xFF00FFFF), min_size=1, max_size=10),
)
def test_a_compiled_table_says_what_the_database_says(
    tmp_path_factory: pytest.TempPathFactory, networks: dict[str, dict[str, object]], addresses: list[int]
) -> None:
    """Every address of a network is where the longest network around it says, and so is its whole prefix."""
    ordered = dict(sorted(networks.items(), key=lambda each: ip_network(each[0]).prefixlen))
    table = compiled(tmp_path_factory.mktemp("compiled"), mmdb(ordered))
    edges = [int(each) for text in ordered for each in (ip_network(text)[0], ip_network(text)[-1])]
    table.check()

    def model(address: int) -> Place:
        found = [record for text, record in ordered.items() if ip_address(address) in ip_network(text)]
        return place_of(found[-1]) if found else Place()

    for address in (*addresses, *edges, *((edge + 1) % 2**32 for edge in edges)):
        located = table.locate(V4, address)
        assert table.place(located.place) == model(address)
        network = ip_network((address, located.prefix), strict=False)
        assert {model(int(each)) for each in (network[0], network[-1])} == {model(address)}


def test_a_table_whose_ranges_are_wrong_is_refused_when_looked_at() -> None:
    def made(starts: list[int], numbers: list[int]) -> GeoTable:
        file = BytesIO()
        right = Columns(array("Q", [0]), array("I", [0]))
        write_table(file, [Place(), PARIS_PLACE], Columns(array("I", starts), array("I", numbers)), right, "")
        return table_of(file.getvalue())

    made([0, 5, 9], [0, 1, 0]).check()
    for starts in ([1, 5, 9], [0, 9, 5], [0, 5, 5]):
        with pytest.raises(InvalidInput, match="not in order"):
            made(starts, [0, 1, 0]).check()
    with pytest.raises(InvalidInput, match="place 2 of 2"):
        made([0, 5, 9], [0, 2, 0]).check()
