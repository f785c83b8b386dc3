"""Answers to authorities: presented once every live node gives them, and the late ones are named."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdn.control.challenge_solver import RecordSolver
from cdn.control.challenges import Challenges
from cdn.control.dns_followers import DnsFollowers
from cdn.errors import Conflict, Unavailable
from cdn.fleet.node import NodeFacts
from cdn.journal.record import RECORD_VERSION, Record
from cdn.tls.issuer import Challenge, ChallengeMethod
from tests.control.control_room import Control

HTTP = Challenge(ChallengeMethod.HTTP, "www.example.com", "tok", "tok.thumb", 600.0)
ALPN = Challenge(ChallengeMethod.TLS_ALPN, "www.example.com", "tok", "digest", 600.0)
DNS = Challenge(ChallengeMethod.DNS, "cdn.localhost", "tok", "digest", 600.0)


class Behind:
    """Name servers of other replicas."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def dns_behind(self, record: Record, timeout_s: float) -> tuple[str, ...]:
        return self.names


def solver_of(control: Control, *, elsewhere: Behind | None = None, timeout_s: float = 2.0) -> RecordSolver:
    services = control.plane.services
    challenges = Challenges(services.settings, services.state, services.zones, control.clock)
    return RecordSolver(
        services.state,
        services.directory,
        control.plane.hub.dns,
        challenges,
        elsewhere=elsewhere,
        timeout_s=timeout_s,
        clock=control.clock,
    )


async def name_server(control: Control, dns_id: str = "ns1") -> DnsFollowers:
    dns: DnsFollowers = control.plane.hub.dns
    position = control.plane.state.position
    await dns.connected(dns_id, NodeFacts("test"), position, lease_s=10.0, record_version=RECORD_VERSION)
    return dns


def shown(control: Control, challenge: Challenge, token: str) -> Any:
    answers = control.plane.services.certificates
    return answers.answer(challenge.method.value, challenge.domain, token, control.clock.now)


async def test_an_answer_is_there_when_every_live_node_has_applied_it(control: Control) -> None:
    solver, node = solver_of(control), await control.node()
    presenting = asyncio.create_task(solver.present(HTTP))
    async with asyncio.timeout(5):
        while shown(control, HTTP, "tok") is None:
            await asyncio.sleep(0)
    assert not presenting.done()
    node.directory.applied(node.node_id, control.plane.state.position)
    await presenting
    assert shown(control, HTTP, "tok") == "tok.thumb"
    await solver.withdraw(HTTP)
    assert shown(control, HTTP, "tok") is None


async def test_a_handshake_shows_no_token(control: Control) -> None:
    await control.following_node()
    solver = solver_of(control)
    await solver.present(ALPN)
    assert shown(control, ALPN, "") == "digest"
    await solver.withdraw(ALPN)
    assert shown(control, ALPN, "") is None


async def test_a_node_that_lags_is_named(control: Control) -> None:
    await control.following_node("edge-1")
    await control.node("edge-2")
    with pytest.raises(Unavailable, match=r"^edge-2 did not apply"):
        await solver_of(control, timeout_s=0.05).present(HTTP)


async def test_where_no_node_serves_nobody_is_asked_to_look(control: Control) -> None:
    with pytest.raises(Unavailable, match="no node serves"):
        await solver_of(control, timeout_s=0.05).present(HTTP)


async def test_what_is_not_withdrawn_is_over_some_day(control: Control) -> None:
    await control.following_node()
    solver = solver_of(control)
    await solver.present(HTTP)
    control.clock.now += HTTP.expires_s + 1
    assert shown(control, HTTP, "tok") is None
    await solver.withdraw(HTTP)
    await solver.withdraw(HTTP)


async def test_a_dns_record_is_there_when_every_name_server_has_applied_it(control: Control) -> None:
    solver, dns = solver_of(control), await name_server(control)
    presenting = asyncio.create_task(solver.present(DNS))
    name = "_acme-challenge.cdn.localhost"
    zones = control.plane.services.zones
    async with asyncio.timeout(5):
        while zones.challenge(name, "digest") is None:
            await asyncio.sleep(0)
    assert not presenting.done()
    dns.applied("ns1", control.plane.state.position)
    await presenting
    await solver.withdraw(DNS)
    assert zones.challenge(name, "digest") is None
    await solver.withdraw(DNS)


async def test_name_servers_that_lag_here_or_elsewhere_are_named(control: Control) -> None:
    await name_server(control, "ns1")
    with pytest.raises(Unavailable, match=r"^ns1, ns2 did not apply"):
        await solver_of(control, elsewhere=Behind("ns2"), timeout_s=0.05).present(DNS)


async def test_a_name_server_that_leaves_is_not_waited_for(control: Control) -> None:
    dns = await name_server(control, "ns1")
    presenting = asyncio.create_task(solver_of(control, elsewhere=Behind()).present(DNS))
    async with asyncio.timeout(5):
        while control.plane.services.zones.challenge("_acme-challenge.cdn.localhost", "digest") is None:
            await asyncio.sleep(0)
    assert not presenting.done(), "ns1 is waited for as long as it follows"
    dns.disconnected("ns1")
    await presenting
    assert control.plane.services.zones.challenge("_acme-challenge.cdn.localhost", "digest") is not None


async def test_dns_is_no_way_without_name_servers_or_for_a_zone_of_others(control: Control) -> None:
    with pytest.raises(Conflict, match="no name server follows"):
        await solver_of(control, timeout_s=0.05).present(DNS)
    await name_server(control)
    other = Challenge(ChallengeMethod.DNS, "www.example.com", "tok", "digest", 600.0)
    with pytest.raises(Conflict, match="import its zone"):
        await solver_of(control).present(other)
