"""Looks at domains over real name servers: who decides, what is shown, and what no liar can bring about."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import dns.rcode
import pytest

from cdn.control.dns_asker import LookupSettings, resolver_at
from cdn.control.dns_sight import DnsSight
from cdn.control.domain_lookup import DomainLookup
from cdn.control.domain_office import Step, StepSeen
from cdn.control.domain_sight import DomainSight, Sight
from cdn.errors import InvalidInput
from tests.servers.dns_world import Records, World, dns_world

OWN = "cdn.example.net"
WWW = "www.example.com"
TXT = "_cdn-verify.www.example.com"
RIGHT: Records = {
    (TXT, "TXT"): ('"cdn-verify=abc"',),
    (WWW, "CNAME"): (f"blog.{OWN}.",),
    ("example.com", "A"): ("192.0.2.1",),
}


class Here:
    """A site blog, two nodes, and the zones that were imported."""

    own_zone = OWN

    def __init__(self) -> None:
        self.zones: set[str] = set()

    def target_of(self, domain: str, token: str | None) -> str:
        return f"blog.{OWN}"

    def is_ours(self, name: str) -> bool:
        return name == f"blog.{OWN}"

    def addresses(self) -> tuple[str, ...]:
        return ("192.0.2.1", "2001:db8::1")

    def imported_zone(self, name: str) -> str:
        return next((zone for zone in self.zones if name == zone or name.endswith(f".{zone}")), "")


class Room:
    def __init__(self, world: World) -> None:
        self.world = world
        self.here = Here()
        self.identities: tuple[str, ...] = ("letsencrypt.org",)

    def sight(self, **changed: object) -> DomainSight:
        settings = LookupSettings(
            resolvers=tuple(f"{each.address}:{self.world.port}" for each in self.world.resolvers),
            authority_port=self.world.port,
            **{"allows_private": True, "timeout_s": 5.0, "tries": 1, **changed},  # type: ignore[arg-type]
        )

        async def identities() -> tuple[str, ...]:
            return self.identities

        return DnsSight(settings, self.here, identities)

    async def look(self, domain: str = WWW, token: str | None = "abc", **changed: object) -> Sight:
        return await self.sight(**changed).look(domain, token)

    async def zone(self, changed: Records | None = None, *, without: tuple[tuple[str, str], ...] = ()) -> None:
        records = {key: value for key, value in RIGHT.items() if key not in without} | dict(changed or {})
        await self.world.zone("example.com", "ns1.example.com", "ns2.example.com", records=records)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with dns_world(resolvers=3) as world:
        yield Room(world)


def step(sight: Sight, which: Step) -> StepSeen:
    return next(each for each in sight.steps if each.step is which)


async def test_all_is_right(room: Room) -> None:
    await room.zone()
    sight = await room.look()
    looked = sight.looked
    assert (looked.is_shown, looked.leads_here, looked.may_sign, looked.has_our_dns) == (True, True, True, False)
    ownership = step(sight, Step.OWNERSHIP)
    assert "All 2 name servers of example.com" in ownership.says
    said = {each.server: each.answer for each in ownership.servers}
    server = room.world.servers["ns1.example.com"]
    assert said[f"ns1.example.com ({server.address}:{room.world.port})"] == "TXT cdn-verify=abc"
    assert any(each.startswith("resolver (") for each in said)
    assert f"{WWW} -> blog.{OWN}: a name of this CDN." in step(sight, Step.POINTING).says
    assert step(sight, Step.CAA).says == "No CAA record stands in the way."


async def test_without_a_token_nothing_has_to_be_shown(room: Room) -> None:
    await room.zone(without=((TXT, "TXT"),))
    sight = await room.look(token=None)
    assert sight.looked.is_shown is True
    assert sight.looked.leads_here is True
    assert [each.step for each in sight.steps] == [Step.POINTING, Step.CAA]


async def test_what_resolvers_say_decides_nothing(room: Room) -> None:
    await room.zone(without=((TXT, "TXT"),))
    for resolver in room.world.resolvers:
        resolver.lies[TXT, "TXT"] = ('"cdn-verify=abc"',)
        resolver.lies[WWW, "A"] = ("192.0.2.1",)
    sight = await room.look()
    assert sight.looked.is_shown is False
    says = step(sight, Step.OWNERSHIP).says
    assert f"ns1.example.com (127.0.0.10:{room.world.port}) says: {TXT} does not exist (NXDOMAIN)" in says
    assert f'expected: TXT {TXT} "cdn-verify=abc".' in says


async def test_a_resolver_that_names_servers_of_its_own_verifies_nothing(room: Room) -> None:
    await room.zone(without=((TXT, "TXT"),))
    await room.world.zone("evil.example", "ns.evil.example", records={})
    evil = room.world.servers["ns.evil.example"]
    evil.zones.add("example.com")
    evil.records[TXT, "TXT"] = ('"cdn-verify=abc"',)
    room.world.resolvers[0].lies["example.com", "NS"] = ("ns.evil.example.",)
    assert (await room.look()).looked.is_shown is False
    # Were it the only one that answers, nobody would decide.
    for other in room.world.resolvers[1:]:
        other.rcode = dns.rcode.SERVFAIL
    looked = (await room.look()).looked
    assert looked.is_shown is None
    assert "Too few resolvers" in looked.ownership_says


async def test_a_resolver_that_gives_servers_another_address_verifies_nothing(room: Room) -> None:
    await room.zone(without=((TXT, "TXT"),))
    await room.world.zone("evil.example", "ns.evil.example", records={})
    evil = room.world.servers["ns.evil.example"]
    evil.zones.add("example.com")
    evil.records[TXT, "TXT"] = ('"cdn-verify=abc"',)
    for name in ("ns1.example.com", "ns2.example.com"):
        room.world.resolvers[0].lies[name, "A"] = (evil.address, *(f"127.0.1.{number}" for number in range(20)))
    assert (await room.look(timeout_s=1.0)).looked.is_shown is False


async def test_every_server_that_answers_has_to_show_it(room: Room) -> None:
    await room.zone()
    second = room.world.servers["ns2.example.com"]
    del second.records[TXT, "TXT"]
    looked = (await room.look()).looked
    assert looked.is_shown is False
    assert "1 of 2 have it" in looked.ownership_says
    second.is_silent = True
    assert (await room.look(timeout_s=1.0)).looked.is_shown is True


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"is_silent": True}, "no answer within"),
        ({"rcode": dns.rcode.SERVFAIL}, "answered SERVFAIL"),
        ({"has_authority": False}, "does not answer for the zone"),
        ({"garbles": True}, ""),
    ],
)
async def test_servers_that_say_nothing_decide_nothing(room: Room, fault: dict[str, object], says: str) -> None:
    await room.zone()
    for server in room.world.servers.values():
        for name, value in fault.items():
            setattr(server, name, value)
    sight = await room.look(timeout_s=0.5)
    looked = sight.looked
    assert (looked.is_shown, looked.leads_here, looked.may_sign) == (None, None, None)
    assert "No name server of example.com answers" in looked.ownership_says
    assert says in looked.ownership_says
    assert "Authorities refuse to sign then." in looked.caa_says


async def test_less_than_half_of_the_servers_decide_nothing(room: Room) -> None:
    names = tuple(f"ns{number}.example.com" for number in range(1, 4))
    await room.world.zone("example.com", *names, records=RIGHT)
    for name in names[1:]:
        room.world.servers[name].rcode = dns.rcode.REFUSED
    looked = (await room.look()).looked
    assert looked.is_shown is None
    assert "Only 1 of 3 name servers" in looked.ownership_says


async def test_a_name_that_nobody_answers_for(room: Room) -> None:
    looked = (await room.look("www.example.org")).looked
    assert looked.is_shown is None
    assert "REFUSED" in looked.ownership_says


async def test_a_domain_that_nobody_registered(room: Room) -> None:
    for resolver in room.world.resolvers:
        resolver.zones.add("org")
    looked = (await room.look("www.shop.example.org")).looked
    assert looked.is_shown is None
    says = "Nobody who answers for _cdn-verify.www.shop.example.org was found: resolver (127.0.0.200:"
    assert looked.ownership_says.startswith(says)
    assert ") says: example.org does not exist (NXDOMAIN);" in looked.ownership_says


async def test_private_name_servers_are_not_asked(room: Room) -> None:
    await room.zone()
    looked = (await room.look(allows_private=False)).looked
    assert looked.is_shown is None
    assert "none of the public internet" in looked.ownership_says
    assert all(not server.asked for server in room.world.servers.values())


async def test_a_long_answer_comes_over_tcp(room: Room) -> None:
    many = tuple(f'"{number:0200d}"' for number in range(12))
    await room.zone({(TXT, "TXT"): (*many, '"cdn-verify=abc"')})
    sight = await room.look()
    assert sight.looked.is_shown is True
    assert (TXT, "TXT", "tcp") in room.world.servers["ns1.example.com"].asked
    shown = next(each.answer for each in step(sight, Step.OWNERSHIP).servers)
    assert shown.endswith("and 3 more")
    assert len(shown) < 4000


@pytest.mark.parametrize(("datagram_octets", "says"), [(1232, "at most 4096 are taken"), (65_000, "no answer within")])
async def test_answers_that_hold_up_whoever_reads_them_are_not_read(
    room: Room, monkeypatch: pytest.MonkeyPatch, datagram_octets: int, says: str
) -> None:
    monkeypatch.setattr("tests.servers.dns_world.MAX_UDP_OCTETS", datagram_octets)
    many = tuple(f'"{number:0200d}"' for number in range(100))
    await room.zone({(TXT, "TXT"): (*many, '"cdn-verify=abc"'), (WWW, "CNAME"): (f"blog.{OWN}.",)})
    sight = await room.look(timeout_s=0.5)
    assert sight.looked.is_shown is None
    assert says in sight.looked.ownership_says
    assert sight.looked.leads_here is True, "the rest is seen as it is"


async def test_a_value_among_others_in_one_record(room: Room) -> None:
    await room.zone({(TXT, "TXT"): ('"v=1 cdn-verify=abc"',)})
    looked = (await room.look()).looked
    assert looked.is_shown is False
    assert "not alone" in looked.ownership_says


@pytest.mark.parametrize(
    ("records", "leads", "says"),
    [
        ({(WWW, "CNAME"): (f"blgo.{OWN}.",)}, False, f"there is no such site in {OWN}"),
        ({(WWW, "CNAME"): ("other.example.com.",)}, False, "other.example.com has no address"),
        ({(WWW, "CNAME"): ("example.com.",)}, True, "192.0.2.1, where nodes of this CDN are"),
        ({(WWW, "CNAME"): ("a.example.com.",), ("a.example.com", "CNAME"): (f"{WWW}.",)}, False, "round in a loop"),
        ({(WWW, "CNAME"): (f"{WWW}.",)}, False, "round in a loop"),
        ({(WWW, "CNAME"): ("www.elsewhere.example.",)}, None, "No name server says where www.elsewhere.example leads"),
    ],
)
async def test_where_an_alias_leads(room: Room, records: Records, leads: bool | None, says: str) -> None:
    await room.zone(records)
    looked = (await room.look()).looked
    assert looked.leads_here is leads
    assert says in looked.pointing_says
    if leads is not True:
        assert f"Expected: {WWW} CNAME blog.{OWN}" in looked.pointing_says


@pytest.mark.parametrize(("count", "leads"), [(7, True), (8, False)])
async def test_at_most_eight_aliases(room: Room, count: int, leads: bool) -> None:
    names = [WWW, *(f"a{number}.example.com" for number in range(count))]
    chain = {(one, "CNAME"): (f"{other}.",) for one, other in itertools.pairwise(names)}
    await room.zone({**chain, (names[-1], "CNAME"): (f"blog.{OWN}.",)})
    looked = (await room.look()).looked
    assert looked.leads_here is leads, looked.pointing_says
    if not leads:
        assert "has more than 8 aliases one after the other" in looked.pointing_says


async def test_an_alias_into_another_zone(room: Room) -> None:
    await room.zone({(WWW, "CNAME"): ("www.other.example.",)})
    await room.world.zone("other.example", "ns.other.example", records={("www.other.example", "A"): ("192.0.2.1",)})
    assert (await room.look()).looked.leads_here is True
    # Its name servers are not those of the name that leads there.
    for records in (room.world.records, *(server.records for server in room.world.servers.values())):
        records[WWW, "CNAME"] = ("other.example.",)
        records["other.example", "A"] = ("192.0.2.1",)
    assert (await room.look()).looked.leads_here is True
    # What a server says of names that are not its own does not count.
    room.world.servers["ns1.example.com"].zones.add("other.example")
    room.world.servers["ns.other.example"].records["other.example", "A"] = ("198.51.100.7",)
    assert (await room.look()).looked.leads_here is False


@pytest.mark.parametrize(
    ("v4", "v6", "leads", "says"),
    [
        (("192.0.2.1",), ("2001:db8::1",), True, "192.0.2.1, 2001:db8::1, where nodes of this CDN are"),
        (("192.0.2.1", "198.51.100.7"), (), False, "no node of this CDN is at 198.51.100.7: remove those"),
        (("192.0.2.1",), ("2001:db8::7",), False, "no node of this CDN is at 2001:db8::7: remove those"),
        (("198.51.100.7",), (), False, "no node of this CDN is there"),
        ((), (), False, "www.example.com has no address"),
    ],
)
async def test_addresses(room: Room, v4: tuple[str, ...], v6: tuple[str, ...], leads: bool, says: str) -> None:
    records = {(WWW, "A"): v4, (WWW, "AAAA"): v6, (WWW, "TXT"): ('"x"',)}
    await room.zone({key: value for key, value in records.items() if value}, without=((WWW, "CNAME"),))
    looked = (await room.look()).looked
    assert looked.leads_here is leads
    assert says in looked.pointing_says


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ("1 . alpn=h2", ""),
        ("1 . ipv4hint=192.0.2.1 ipv6hint=2001:db8::1", ""),
        ("1 . alpn=h2 ipv4hint=192.0.2.1,198.51.100.7", "HTTPS record leads browsers to 198.51.100.7: remove it"),
        ("0 www.elsewhere.example.", "HTTPS record leads browsers to www.elsewhere.example: remove it"),
        (f"0 blog.{OWN}.", ""),
    ],
)
async def test_service_records_that_take_browsers_elsewhere(room: Room, record: str, says: str) -> None:
    await room.zone({(WWW, "A"): ("192.0.2.1",), (WWW, "HTTPS"): (record,)}, without=((WWW, "CNAME"),))
    looked = (await room.look()).looked
    assert looked.leads_here is True
    assert ("But its" in step(await room.look(), Step.POINTING).says) is bool(says)
    assert says in looked.pointing_says


async def test_servers_that_differ_on_where_it_leads(room: Room) -> None:
    await room.zone()
    room.world.servers["ns2.example.com"].records[WWW, "CNAME"] = ("example.com.",)
    room.world.servers["ns2.example.com"].records["example.com", "A"] = ("198.51.100.7",)
    room.world.servers["ns1.example.com"].records["example.com", "A"] = ("198.51.100.7",)
    looked = (await room.look()).looked
    assert looked.leads_here is False
    assert "Others of its name servers already lead here" in looked.pointing_says


async def test_a_wildcard(room: Room) -> None:
    await room.zone(
        {("*.example.com", "CNAME"): (f"blog.{OWN}.",), ("_cdn-verify.example.com", "TXT"): ('"cdn-verify=abc"',)}
    )
    looked = (await room.look("*.example.com")).looked
    assert looked.is_shown is True
    assert looked.leads_here is True


@pytest.mark.parametrize(
    ("domain", "records", "may", "says"),
    [
        (WWW, {(WWW, "CAA"): ('0 issue "letsencrypt.org"',)}, True, f"of {WWW} let our authority sign"),
        (WWW, {("example.com", "CAA"): ('0 issue "LetsEncrypt.org; accounturi=x"',)}, True, "let our authority sign"),
        (WWW, {("example.com", "CAA"): ('0 issue "other.example"',)}, False, "let other.example sign for it"),
        (WWW, {("example.com", "CAA"): ('0 issue ";"',)}, False, "let nobody sign for it"),
        (WWW, {("example.com", "CAA"): ('0 iodef "mailto:a@example.com"',)}, True, "restrict nobody"),
        (WWW, {("example.com", "CAA"): ('0 issuewild "other.example"',)}, True, "restrict nobody"),
        (WWW, {("example.com", "CAA"): ('128 tbs "x"',)}, False, '"tbs"'),
        (WWW, {("example.com", "CAA"): ('0 tbs "x"',)}, True, "restrict nobody"),
        (
            WWW,
            {("example.com", "CAA"): ('0 issue ";"',), (WWW, "CAA"): ('0 issue "letsencrypt.org"',)},
            True,
            f"of {WWW} let",
        ),
        ("*.example.com", {("example.com", "CAA"): ('0 issue "letsencrypt.org"',)}, True, "let our authority sign"),
        (
            "*.example.com",
            {("example.com", "CAA"): ('0 issue "letsencrypt.org"', '0 issuewild ";"')},
            False,
            'CAA 0 issuewild "letsencrypt.org"',
        ),
    ],
)
async def test_who_may_sign(room: Room, domain: str, records: Records, may: bool, says: str) -> None:
    await room.zone(records, without=((WWW, "CNAME"),))
    looked = (await room.look(domain)).looked
    assert looked.may_sign is may
    assert says in looked.caa_says


async def test_caa_of_an_alias_goes_before_that_of_the_name_above(room: Room) -> None:
    await room.zone({(WWW, "CNAME"): ("www.other.example.",), ("example.com", "CAA"): ('0 issue "letsencrypt.org"',)})
    await room.world.zone(
        "other.example", "ns.other.example", records={("www.other.example", "CAA"): ('0 issue "other.example"',)}
    )
    looked = (await room.look()).looked
    assert looked.may_sign is False
    assert "of www.other.example let other.example" in looked.caa_says


async def test_an_authority_that_does_not_look_at_caa(room: Room) -> None:
    await room.zone({("example.com", "CAA"): ('0 issue ";"',)})
    room.identities = ()
    assert (await room.look()).looked.may_sign is True


async def test_a_zone_that_our_name_servers_answer_for(room: Room) -> None:
    await room.zone()
    assert (await room.look()).looked.has_our_dns is False
    room.here.zones.add("example.com")
    assert (await room.look()).looked.has_our_dns is False  # imported, and delegated elsewhere
    room.here.zones = {WWW}
    for server in room.world.servers.values():
        server.zones.add(OWN)
        server.records[OWN, "SOA"] = (f"ns1.{OWN}. admin.{OWN}. 1 3600 600 86400 60",)
        assert (await room.look()).looked.has_our_dns is False  # what was imported is another zone than answers
    room.here.zones = {"example.com"}
    looked = (await room.look()).looked
    assert looked.has_our_dns is True
    assert "answered by our name servers" in looked.pointing_says


async def test_a_look_ends(room: Room) -> None:
    await room.zone()
    for server in (*room.world.servers.values(), *room.world.resolvers):
        server.is_silent = True
    sight = await room.look(look_s=0.3, timeout_s=5.0)
    assert sight.looked.is_shown is None
    assert sight.looked.leads_here is None


async def test_no_resolver_is_known() -> None:
    evidence = await DomainLookup(LookupSettings(), OWN).evidence(WWW, TXT)
    assert evidence.authority.fault == "no resolver is known that could name the servers of its zone"
    assert evidence.ownership == evidence.pointing == ()
    assert not evidence.caa.is_known


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("[2001:db8::1]:54", "2001:db8::1", 54),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
    ],
)
def test_addresses_of_resolvers(text: str, address: str, port: int) -> None:
    found = resolver_at(text)
    assert (found.address, found.port) == (address, port)


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1:65536", "[::1"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        LookupSettings(resolvers=(text,))


async def test_resolvers_are_not_asked_about_names_that_are_not_there_yet(room: Room) -> None:
    await room.zone(without=((TXT, "TXT"), (WWW, "CNAME")))
    assert (await room.look()).looked.is_shown is False
    asked = {name for resolver in room.world.resolvers for name, _, _ in resolver.asked}
    assert WWW not in asked, "they would remember for hours that it is not"
    assert TXT not in asked
    await room.zone()
    await room.look()
    assert {(name, kind) for name, kind, _ in room.world.resolvers[0].asked} >= {(TXT, "TXT"), (WWW, "A")}


async def test_a_zone_below_a_zone(room: Room) -> None:
    await room.zone()
    below = {(TXT, "TXT"): ('"cdn-verify=below"',), (WWW, "A"): ("192.0.2.1",)}
    await room.world.zone(WWW, f"ns.{WWW}", records=below)
    for server in room.world.servers.values():
        if WWW not in server.zones:
            server.refers_to.add(WWW)
    looked = (await room.look(token="below")).looked
    assert (looked.is_shown, looked.leads_here) == (True, True)
    assert f"name server of {WWW}" in looked.ownership_says
