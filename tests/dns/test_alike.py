"""Networks that are answered the same share one answer, and it is the one that each would have got alone."""

from __future__ import annotations

from dataclasses import replace

import dns.edns
import dns.message
import dns.rcode
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.answer import AnswerSettings, Responder
from cdn.dns.choice import Candidate, Choice
from cdn.dns.client import Client
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.geography import Place
from cdn.dns.ranking import Geometry
from cdn.dns.site_names import SiteNames
from cdn.dns.transport import Transport
from cdn.dns.zone_answer import AuthoritativeZone, ZoneAnswer
from cdn.dns.zone_book import ZoneBook
from cdn.dns.zone_file import read_zone_file
from cdn.fleet.position import Position
from cdn.journal.record import Audience, Record, ZoneSet
from cdn.journal.zone_fold import ZoneFold
from cdn.sites.catalog import Catalog
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site
from tests.dns.fleets import node
from tests.dns.places import Blocks
from tests.dns.zone_of_tests import ZONE, zone

PLACES = {0: Place(52.4, 4.9, "NL", "EU"), 1: Place(40.7, -74.0, "US", "NA"), 2: Place(country="FR", continent="EU")}
WHERE = (Place(52.0, 5.0), Place(41.0, -74.0), Place(52.1, 5.0), Place(48.9, 2.4))
OWN = f"""$ORIGIN own.example.
$TTL 300
@ IN SOA ns.example.org. dns.example.org. 1 3600 600 86400 60
@ IN NS ns.example.org.
@ IN ALIAS blog.{ZONE}.
www IN CNAME own.example.
text IN TXT "the same for all"
"""
QUESTIONS = [
    (f"blog.{ZONE}", "A"),
    (f"blog.{ZONE}", "AAAA"),
    (f"other.{ZONE}", "A"),
    (f"nobody.{ZONE}", "A"),
    ("own.example", "A"),
    ("www.own.example", "A"),
    ("text.own.example", "TXT"),
    ("none.own.example", "A"),
    ("example.com", "A"),
]


class Counted:
    """Zones whose answers are counted."""

    def __init__(self, book: ZoneBook) -> None:
        self.answered = 0
        self._book = book

    @property
    def generation(self) -> object:
        return self._book.generation

    def zone_of(self, labels: tuple[bytes, ...], qtype: int) -> AuthoritativeZone | None:
        found = self._book.zone_of(labels, qtype)
        return None if found is None else _CountedZone(self, found)


class _CountedZone:
    def __init__(self, zones: Counted, of: AuthoritativeZone) -> None:
        self._zones = zones
        self._of = of

    @property
    def apex(self) -> tuple[bytes, ...]:
        return self._of.apex

    def answer(self, labels: tuple[bytes, ...], qtype: int, client: Client) -> ZoneAnswer:
        self._zones.answered += 1
        return self._of.answer(labels, qtype, client)


def zones(fractions: list[float]) -> Counted:
    catalog = Catalog(ZONE)
    catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    catalog.create_site(Site("s2", "other", 0.0, SiteSettings(region=("eu",))))
    catalog.create_site(Site("s3", "nobody", 0.0, SiteSettings(region=("as",))))
    names = SiteNames(catalog, 30)
    fold = ZoneFold()
    own = read_zone_file(OWN, file="own", cdn_zone=ZONE)
    assert isinstance(own, ZoneSet)
    fold.apply(Record(2, "e", 1, "zone", 0.0, "tester", Audience.DNS, own))
    book = ZoneBook(EdgeZone(zone(), names), names, fold)
    book.journal_loaded(Position("e", 7), 0.0)
    nodes = []
    for number, place in enumerate(WHERE):
        assert place.latitude is not None
        assert place.longitude is not None
        made = node(number + 1, region="us" if number == 1 else "eu")
        nodes.append(replace(made, location=(place.latitude, place.longitude)))
    candidates = [Candidate(each, part, each.packed) for each, part in zip(nodes, fractions, strict=True)]
    book.choose(Choice(candidates, 2, Geometry(nodes, Blocks(PLACES))))
    return Counted(book)


def asked(responder: Responder, question: tuple[str, str], network: str, prefix: int) -> bytes:
    subnet = dns.edns.ECSOption(network, prefix)
    query = dns.message.make_query(*question, use_edns=0, options=[subnet], id=1)
    answer = responder.answer(query.to_wire(), "198.51.100.7", Transport.UDP, 1_800_000_000.0)
    assert answer is not None
    return answer


def responder(of: Counted) -> Responder:
    return Responder(of, None, AnswerSettings())


NETWORKS = st.one_of(
    st.builds(lambda one, two: (f"10.{one}.{two}.0", 24), st.integers(0, 4), st.integers(0, 255)),
    st.builds(lambda one, two: (f"10.{one}.{two}.7", 32), st.integers(0, 4), st.integers(0, 255)),
    st.builds(lambda one, two: (f"20{one:02x}:db8:{two:x}::", 48), st.integers(0, 4), st.integers(0, 255)),
    st.builds(lambda one: (f"10.{one}.0.0", 16), st.integers(0, 4)),
)
FRACTIONS = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=4, max_size=4)


@given(question=st.sampled_from(QUESTIONS), networks=st.lists(NETWORKS, max_size=12), fractions=FRACTIONS)
def test_everybody_hears_what_they_would_hear_alone(
    question: tuple[str, str], networks: list[tuple[str, int]], fractions: list[float]
) -> None:
    of = zones(fractions)
    together = responder(of)
    for network, prefix in networks:
        alone = asked(responder(of), question, network, prefix)
        assert asked(together, question, network, prefix) == alone
        assert asked(together, question, network, prefix) == alone


def test_a_place_is_answered_once() -> None:
    of = zones([1.0, 1.0, 0.0, 0.0])
    one = responder(of)
    orders = 2  # of France only the country is known, so both nodes are named, in the order of the slot
    for question, most in (
        (QUESTIONS[0], 2 + orders),
        (("text.own.example", "TXT"), 1),
        (("own.example", "A"), 2 + orders),
    ):
        before = of.answered
        for network in range(240):
            asked(one, question, f"10.{network % 3}.{network}.0", 24)
        assert of.answered - before <= most


def test_another_generation_is_asked_anew() -> None:
    of = zones([1.0, 1.0, 1.0, 1.0])
    one, question = responder(of), (f"blog.{ZONE}", "A")
    asked(one, question, "10.0.1.0", 24)
    of._book.journal_loaded(None, 0.0)
    response = dns.message.from_wire(asked(one, question, "10.0.2.0", 24))
    assert response.rcode() == dns.rcode.SERVFAIL
