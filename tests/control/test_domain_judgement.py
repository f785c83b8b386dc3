"""What evidence comes to, whatever it is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cdn.control.domain_evidence import (
    MAX_SHOWN_CHARS,
    Answer,
    Authority,
    CaaFound,
    End,
    Evidence,
    NameServer,
    Outcome,
    Trail,
)
from cdn.control.domain_judgement import MAX_SAID, Expected, judge, nothing_seen
from cdn.control.domain_office import Step

OWN = "cdn.example.net"
DOMAIN = "www.example.com"
VALUE = "cdn-verify=abc"
EXPECTED = Expected(
    domain=DOMAIN,
    own_zone=OWN,
    target=f"blog.{OWN}",
    is_ours=lambda name: name == f"blog.{OWN}",
    addresses=frozenset({"192.0.2.1"}),
    token_name=f"_cdn-verify.{DOMAIN}",
    token_value=VALUE,
    identities=("ca.example",),
    imported_zone="example.com",
)

SERVERS = st.builds(NameServer, st.sampled_from(["ns1.o", "ns2.o", "ns3.o"]), st.sampled_from(["192.0.2.5", "::1", ""]))
TEXTS = st.one_of(st.sampled_from([VALUE, f"v=1 {VALUE}", "x"]), st.text(max_size=400))


@st.composite
def answers(draw: st.DrawFn, server: NameServer) -> Answer:
    outcome = draw(st.sampled_from(Outcome))
    records = tuple(draw(st.lists(TEXTS, min_size=1, max_size=14))) if outcome is Outcome.ANSWERED else ()
    return Answer(server, EXPECTED.token_name, "TXT", outcome, records, draw(st.sampled_from(["", "a.example"])))


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    servers = tuple(draw(st.lists(SERVERS, max_size=6, unique=True)))
    names = tuple(dict.fromkeys(server.name for server in servers))
    authority = Authority("example.com" if servers else "", names, servers, draw(st.booleans()), "a fault")
    caa = tuple(draw(answers(server)) for server in servers)
    records = tuple(draw(st.lists(st.one_of(st.sampled_from(['0 issue "ca.example"', '0 issue ";"']), TEXTS))))
    name = draw(st.sampled_from(["", "example.com"]))
    return Evidence(
        domain=DOMAIN,
        authority=authority,
        ownership=draw(st.sampled_from([None, tuple(draw(answers(server)) for server in servers)])),
        ownership_authority=authority,
        pointing=tuple(draw(answers(server)) for server in servers),
        trails=tuple(draw(st.lists(_trails(), min_size=1, max_size=4))),
        caa=CaaFound(name, records, draw(st.booleans()) or not caa, caa),
        ours=tuple(server for server in servers if draw(st.booleans())),
    )


def _trails() -> st.SearchStrategy[Trail]:
    names = st.lists(st.sampled_from([DOMAIN, f"blog.{OWN}", f"no.{OWN}"]), min_size=1, max_size=10).map(tuple)
    addresses = st.lists(st.sampled_from(["192.0.2.1", "198.51.100.7"]), min_size=1).map(tuple)
    return st.builds(Trail, names, st.sampled_from(End), addresses)


@given(evidences())
def test_whatever_servers_say(evidence: Evidence) -> None:
    sight = judge(evidence, EXPECTED)
    looked = sight.looked
    for step in sight.steps:
        assert step.says.endswith(".")
        assert len(step.servers) <= MAX_SAID
        assert all(len(said.answer) < 40 * MAX_SHOWN_CHARS for said in step.servers)
    words = [answer for answer in evidence.ownership or () if answer.outcome.is_word]
    if evidence.ownership is None:
        assert looked.is_shown is True
        assert Step.OWNERSHIP not in [step.step for step in sight.steps]
    elif looked.is_shown:
        assert evidence.authority.is_certain
        assert words
        assert all(VALUE in answer.records for answer in words)
    elif looked.is_shown is False:
        assert any(VALUE not in answer.records for answer in words)
    if looked.leads_here:
        assert all(trail.end in {End.HERE, End.ADDRESSES} for trail in evidence.trails)
        assert all(
            trail.names[-1] == f"blog.{OWN}" if trail.end is End.HERE else set(trail.addresses) == {"192.0.2.1"}
            for trail in evidence.trails
        )
    if looked.has_our_dns:
        assert {server.name for server in evidence.ours} == set(evidence.authority.server_names)
    if looked.may_sign is None:
        assert not evidence.caa.is_known


def test_who_sees_nothing_changes_nothing() -> None:
    with_token, without = nothing_seen("It broke.", has_token=True), nothing_seen("It broke.", has_token=False)
    for sight in (with_token, without):
        assert (sight.looked.is_shown, sight.looked.leads_here, sight.looked.may_sign) == (None, None, None)
        assert all(step.is_right is None and step.says == "It broke." for step in sight.steps)
    assert with_token.looked.ownership_says == "It broke."
    assert without.looked.ownership_says == ""


def test_what_is_shown_is_printable_and_short() -> None:
    server = NameServer("ns1.o", "2001:db8::1", 5353)
    assert str(server) == "ns1.o ([2001:db8::1]:5353)"
    assert str(replace(server, port=53)) == "ns1.o (2001:db8::1)"
    answer = Answer(server, DOMAIN, "TXT", Outcome.ANSWERED, ("a\x1b[31m\n" + "b" * 1000,), "x.example")
    assert answer.says.startswith(f"{DOMAIN} CNAME x.example, TXT a\ufffd[31m\ufffdbbb")
    assert answer.says.endswith("...")
    assert len(answer.says) < 400
