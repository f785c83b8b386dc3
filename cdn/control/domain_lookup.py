"""Looking at a domain in DNS: who answers for it, what they say, and where it leads.

Resolvers only name the servers of a zone. What counts is what these say themselves, all that answer alike, so neither a
resolver that lies nor one that remembers what was decides anything. Everything is bounded: servers, addresses, aliases,
labels, and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from cdn.control.dns_asker import DnsAsker, LookupSettings, resolver_at
from cdn.control.domain_evidence import (
    Answer,
    Authority,
    CaaFound,
    End,
    Evidence,
    NameServer,
    Outcome,
    Trail,
)

MAX_SERVER_NAMES = 13
"""Of a zone, from each resolver: as many as the root has."""

MAX_SERVERS = 16
"""Addresses of a zone's servers that are asked."""

MAX_SERVERS_ON_THE_WAY = 3
"""Servers asked for an alias' target and for CAA records above the domain: who answers first is believed."""

MAX_ALIASES = 8
"""CNAMEs one after the other: authorities' resolvers follow about as many."""

MAX_LABELS = 32
"""Levels above a name at which somebody may answer for a zone."""

MAX_WAYS = 4
"""Different answers to where a domain leads, each of which is followed."""

WILDCARD = "*."

ADDRESS_TYPES = ("A", "AAAA")

T = TypeVar("T")


class DomainLookup:
    """Looks; nothing is remembered from one look to the next, for whoever asks has just changed something.

    `own_zone` is the CDN's own: names in it are not followed further, and who answers for it is one of ours.
    `system_resolvers` are asked for the servers of zones where the settings name none.
    """

    def __init__(self, settings: LookupSettings, own_zone: str, system_resolvers: Sequence[str] = ()) -> None:
        self._settings = settings
        self._own_zone = own_zone
        texts = settings.resolvers or system_resolvers
        self._resolvers = tuple(map(resolver_at, texts))

    async def evidence(self, domain: str, token_name: str | None) -> Evidence:
        """What is seen of `domain`, which may be a wildcard, within `look_s`. `token_name`: where a token is looked
        for; None: nowhere."""
        return await _Look(self._settings, self._own_zone, self._resolvers).evidence(domain, token_name)


class _Look:
    """One look. Who answers for a name is found once."""

    def __init__(self, settings: LookupSettings, own_zone: str, resolvers: tuple[NameServer, ...]) -> None:
        self._asker = DnsAsker(settings)
        self._port = settings.authority_port
        self._own_zone = own_zone
        self._resolvers = resolvers
        self._authorities: dict[str, asyncio.Task[Authority]] = {}
        self._delegations: dict[str, asyncio.Task[Authority]] = {}

    async def evidence(self, domain: str, token_name: str | None) -> Evidence:
        bare = domain.removeprefix(WILDCARD)
        try:
            authority, holder = await asyncio.gather(self._authority(bare), self._authority(token_name or bare))
            ownership, pointing, services, caa, ours = await asyncio.gather(
                self._all_say(holder, token_name, "TXT"),
                self._points(authority, domain),
                self._all_say(authority, domain, "HTTPS"),
                self._caa(bare),
                self._ours(authority),
            )
            answers, trails = pointing
            # Of what is not there yet resolvers are not asked, see `_find_authority`.
            ownership_public, pointing_public = await asyncio.gather(
                self._resolvers_say(token_name if _is_there(ownership) else None, ("TXT",)),
                self._resolvers_say(domain if _is_there(answers) else None, ADDRESS_TYPES),
            )
        finally:
            for task in (*self._authorities.values(), *self._delegations.values()):
                task.cancel()
        return Evidence(
            domain=domain,
            authority=authority,
            ownership=None if token_name is None else ownership,
            ownership_authority=holder,
            pointing=answers,
            trails=trails,
            caa=caa,
            ours=ours,
            services=services,
            ownership_public=ownership_public,
            pointing_public=pointing_public,
        )

    # Who answers for a name.

    async def _authority(self, name: str) -> Authority:
        task = self._authorities.get(name)
        if task is None:
            task = self._authorities[name] = asyncio.create_task(self._find_authority(name))
        return await task

    async def _find_authority(self, name: str) -> Authority:
        """From above: resolvers are asked about names only that are there, or they would remember for hours that a name
        is not which its owner is about to set. Whether a zone ends below, its own servers say."""
        if not self._resolvers:
            return Authority("", (), (), False, "no resolver is known that could name the servers of its zone")
        labels = name.split(".")[-MAX_LABELS:]
        found = Authority("", (), (), False)
        for count in range(min(2, len(labels)), len(labels) + 1):
            zone = ".".join(labels[-count:])
            if found.servers and not await self._may_end_at(found, zone):
                continue
            deeper = await self._delegation(zone)
            # Where nobody is found at all, what was said of the highest name tells most: that it is not registered.
            if deeper.is_certain or (not found.servers and (deeper.servers or not found.fault)):
                found = deeper
        return found

    async def _may_end_at(self, authority: Authority, name: str) -> bool:
        """Whether a zone of its own may begin at the name: no, where every server has the name in this one."""
        answers = await self._all_say(authority, name, "NS")
        return any(answer.outcome in (Outcome.ANSWERED, Outcome.FAILED) for answer in answers)

    async def _delegation(self, zone: str) -> Authority:
        task = self._delegations.get(zone)
        if task is None:
            task = self._delegations[zone] = asyncio.create_task(self._find_delegation(zone))
        return await task

    async def _find_delegation(self, zone: str) -> Authority:
        """Who answers for a zone, by what resolvers say."""
        answers = await asyncio.gather(*(self._asker.resolve(resolver, zone, "NS") for resolver in self._resolvers))
        told = [
            sorted(answer.records)[:MAX_SERVER_NAMES]
            for answer in answers
            if answer.outcome is Outcome.ANSWERED and not answer.alias
        ]
        if not told:
            failed = [each for each in answers if each.outcome is Outcome.FAILED]
            said = "; ".join(f"{each.server} says: {each.says}" for each in failed or answers)
            return Authority("", (), (), False, said)
        # By turns, so that a resolver that makes up many leaves room for what the others say.
        names = _by_turns(told)[:MAX_SERVER_NAMES]
        servers = _by_turns(await asyncio.gather(*(self._addresses(server) for server in names)))[:MAX_SERVERS]
        return Authority(zone, names, servers, is_certain=2 * len(told) > len(self._resolvers))

    async def _addresses(self, server_name: str) -> tuple[NameServer, ...]:
        """Of a name server, as the resolvers say; one without an address stands for itself."""
        answers = await self._resolvers_say(server_name, ADDRESS_TYPES)
        found = _by_turns(answer.records for answer in answers)
        servers = tuple(NameServer(server_name, address, self._port) for address in found)
        return servers or (NameServer(server_name, "", self._port),)

    # What they say.

    async def _all_say(self, authority: Authority, name: str | None, kind: str) -> tuple[Answer, ...]:
        if name is None:
            return ()
        return tuple(await asyncio.gather(*(self._asker.ask(server, name, kind) for server in authority.servers)))

    async def _resolvers_say(self, name: str | None, kinds: tuple[str, ...]) -> tuple[Answer, ...]:
        if name is None:
            return ()
        asked = (self._asker.resolve(resolver, name, kind) for resolver in self._resolvers for kind in kinds)
        return tuple(await asyncio.gather(*asked))

    async def _ours(self, authority: Authority) -> tuple[NameServer, ...]:
        """The servers that answer for the CDN's own zone as well."""
        answers = await self._all_say(authority, self._own_zone, "SOA")
        return tuple(answer.server for answer in answers if answer.outcome is Outcome.ANSWERED)

    # Where a domain leads.

    async def _points(self, authority: Authority, domain: str) -> tuple[tuple[Answer, ...], tuple[Trail, ...]]:
        """What each server says of it, and where each different answer leads."""
        both = await asyncio.gather(*(self._all_say(authority, domain, kind) for kind in ADDRESS_TYPES))
        answers = tuple(chain.from_iterable(both))
        ways: dict[tuple[str, ...], None] = {}
        for of_server in zip(*both, strict=True):
            if any(answer.outcome.is_word for answer in of_server):
                ways[_first_step(of_server)] = None
        if not ways:
            return answers, (Trail((domain,), End.UNKNOWN),)
        return answers, tuple([await self._follow(domain, way) for way in list(ways)[:MAX_WAYS]])

    async def _follow(self, domain: str, way: tuple[str, ...]) -> Trail:
        names = [domain]
        while True:
            kind, *values = way
            if kind != "CNAME":
                return Trail(tuple(names), End.ADDRESSES if values else End.NOWHERE, tuple(values))
            target = values[0]
            is_loop, names = target in names, [*names, target]
            if is_loop:
                return Trail(tuple(names), End.LOOP)
            if len(names) - 1 > MAX_ALIASES:
                return Trail(tuple(names), End.TOO_LONG)
            if target == self._own_zone or target.endswith(f".{self._own_zone}"):
                return Trail(tuple(names), End.HERE)
            authority = await self._authority(target)
            answers = await asyncio.gather(*(self._first_word(authority, target, kind) for kind in ADDRESS_TYPES))
            words = [answer for answer in answers if answer is not None]
            if not words:
                return Trail(tuple(names), End.UNKNOWN)
            way = _first_step(words)

    async def _first_word(self, authority: Authority, name: str, kind: str) -> Answer | None:
        """Of the first few servers, what the first that answers says: one that is silent costs no time."""
        servers = authority.servers[:MAX_SERVERS_ON_THE_WAY]
        tasks = [asyncio.create_task(self._asker.ask(server, name, kind)) for server in servers]
        try:
            for ended in asyncio.as_completed(tasks):
                answer = await ended
                if answer.outcome.is_word:
                    return answer
        finally:
            for task in tasks:
                task.cancel()
        return None

    # Who may sign.

    async def _caa(self, name: str) -> CaaFound:
        """Up from the name until some name has CAA records (RFC 8659 3)."""
        labels = name.split(".")
        answers: list[Answer] = []
        for index in range(min(len(labels), MAX_LABELS)):
            at: str | None = ".".join(labels[index:])
            passed: set[str] = set()
            while at is not None and at not in passed and len(passed) <= MAX_ALIASES:
                passed.add(at)
                if at.endswith(f".{self._own_zone}"):
                    break  # ours: we publish none
                authority = await self._authority(at)
                answer = await self._first_word(authority, at, "CAA")
                if answer is None and index == len(labels) - 1 and index:
                    break  # a top-level domain that does not say: none of them has any
                if answer is None:
                    fault = authority.fault or "none of its name servers answers"
                    server = NameServer(f"the zone of {at}", "")
                    return CaaFound(at, (), False, (*answers, Answer(server, at, "CAA", Outcome.FAILED, detail=fault)))
                answers.append(answer)
                if answer.outcome is Outcome.ANSWERED:
                    return CaaFound(at, answer.records, True, tuple(answers))
                at = answer.alias or None
        return CaaFound("", (), True, tuple(answers))


def _is_there(answers: Iterable[Answer]) -> bool:
    return any(answer.records or answer.alias for answer in answers)


def _first_step(answers: Iterable[Answer]) -> tuple[str, ...]:
    """("CNAME", target), or ("addresses", each of them in order)."""
    answers = tuple(answers)
    alias = next((answer.alias for answer in answers if answer.alias), "")
    if alias:
        return ("CNAME", alias)
    return ("addresses", *sorted({record for answer in answers for record in answer.records}))


def _by_turns(several: Iterable[Sequence[T]]) -> tuple[T, ...]:
    """The first of each, then the second of each, and so on; every one once."""
    turns = chain.from_iterable(zip_longest(*several))
    return tuple(dict.fromkeys(one for one in turns if one is not None))
