"""What one replica of control asks the others: of a node that follows another, only that one can ask anything."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, assert_never

import msgspec

from cdn.control.hub import FollowHub
from cdn.control.node_directory import NodeDirectory
from cdn.errors import CdnError, NotFound, Unavailable
from cdn.fleet.position import Position

COUNTERS_TIMEOUT_S = 2.0
"""How long a status waits for what nodes of another replica counted; without it the status has everything else."""

LINE_S = 1.0
"""Added to what the other side may take, for both ways."""

MAX_COUNTERS_BYTES = 400 * 1024
"""Of counters in one answer: those of further nodes are left out."""

log = logging.getLogger(__name__)


class Line(Protocol):
    """Reaches the other replicas by name."""

    def start(self, answer: Callable[[bytes], Awaitable[bytes]]) -> None: ...

    async def ask(self, whom: str, question: bytes, *, timeout_s: float) -> bytes:
        """Raises Unavailable."""
        ...

    async def aclose(self) -> None: ...


class _Question(msgspec.Struct, frozen=True, tag_field="ask"):
    pass


class _Explain(_Question, frozen=True, tag="explain"):
    node_id: str
    host: str
    target: str
    timeout_s: float


class _Counters(_Question, frozen=True, tag="counters"):
    node_ids: tuple[str, ...]


class _DnsBehind(_Question, frozen=True, tag="dns-behind"):
    epoch: str
    sequence: int
    timeout_s: float


class _Answer(msgspec.Struct, frozen=True):
    """`fault`: why there is no `result`."""

    result: dict[str, Any] = {}
    fault: str | None = None


_questions = msgspec.json.Decoder(_Explain | _Counters | _DnsBehind)
_answers = msgspec.json.Decoder(_Answer)


class Colleagues:
    """Asks and answers. Without a `line` this replica is the only one."""

    def __init__(self, line: Line | None, hub: FollowHub, directory: NodeDirectory) -> None:
        self._line = line
        self._hub = hub
        self._directory = directory

    def start(self) -> None:
        """Answer the others from now on."""
        if self._line is not None:
            self._line.start(self._answer)

    async def aclose(self) -> None:
        """Answer nothing more."""
        if self._line is not None:
            await self._line.aclose()

    async def explain(self, node_id: str, host: str, target: str, timeout_s: float) -> Mapping[str, Any]:
        """How the node would answer, asked by the replica that it follows. Raises as `FollowHub.explain`."""
        whom = self._directory.replica_of(node_id)
        if self._line is None or whom is None:
            return await self._hub.explain(node_id, host, target, timeout_s)
        question = _Explain(node_id, host, target, timeout_s)
        try:
            answer = await self._ask(self._line, whom, question, timeout_s + LINE_S)
        except Unavailable as exc:
            raise Unavailable(f"node {node_id} follows another control, which cannot be asked: {exc.message}") from exc
        if answer.fault is not None:
            raise Unavailable(answer.fault)
        return answer.result

    async def counters(self, node_ids: Iterable[str]) -> Mapping[str, Mapping[str, int]]:
        """What nodes counted, as of their last heartbeats; those whose replica does not say are left out."""
        found: dict[str, Mapping[str, int]] = {}
        elsewhere: defaultdict[str, list[str]] = defaultdict(list)
        for node_id in node_ids:
            whom = self._directory.replica_of(node_id)
            if self._line is None or whom is None:
                found[node_id] = self._directory.counters(node_id)
            else:
                elsewhere[whom].append(node_id)
        told = await asyncio.gather(*(self._told_counters(whom, nodes) for whom, nodes in elsewhere.items()))
        for each in told:
            found |= each
        return found

    async def dns_behind(self, replicas: Iterable[str], position: Position, timeout_s: float) -> tuple[str, ...]:
        """Name servers that follow these replicas and do not answer by `position` within the time.

        Raises Unavailable when a replica does not say.
        """
        line = self._line
        if line is None:
            return ()
        question = _DnsBehind(position.epoch, position.sequence, timeout_s)
        asked = (self._ask(line, whom, question, timeout_s + LINE_S) for whom in replicas)
        found: list[str] = []
        for answer in await asyncio.gather(*asked):
            if answer.fault is not None:
                raise Unavailable(answer.fault)
            found += answer.result["behind"]
        return tuple(found)

    async def _told_counters(self, whom: str, node_ids: list[str]) -> Mapping[str, Mapping[str, int]]:
        assert self._line is not None, "somebody else is followed"
        try:
            answer = await self._ask(self._line, whom, _Counters(tuple(node_ids)), COUNTERS_TIMEOUT_S)
        except Unavailable as exc:
            log.info("what %d nodes of another control counted is not known now: %s", len(node_ids), exc)
            return {}
        return answer.result

    async def _ask(
        self, line: Line, whom: str, question: _Explain | _Counters | _DnsBehind, timeout_s: float
    ) -> _Answer:
        raw = await line.ask(whom, msgspec.json.encode(question), timeout_s=timeout_s)
        try:
            return _answers.decode(raw)
        except msgspec.MsgspecError as exc:
            raise Unavailable(f"its answer is not understood ({exc}): upgrade the older of the two") from exc

    async def _answer(self, raw: bytes) -> bytes:
        """What another replica asks of the nodes that follow this one."""
        try:
            answer = _Answer(result=dict(await self._result(_questions.decode(raw))))
        except msgspec.MsgspecError as exc:
            answer = _Answer(fault=f"the control that it follows does not understand the question: {exc}")
        except CdnError as exc:
            answer = _Answer(fault=exc.message)
        return msgspec.json.encode(answer)

    async def _result(self, question: _Explain | _Counters | _DnsBehind) -> Mapping[str, Any]:
        match question:
            case _Explain(node_id, host, target, timeout_s):
                return await self._hub.explain(node_id, host, target, timeout_s)
            case _Counters(node_ids):
                return self._own_counters(node_ids)
            case _DnsBehind(epoch, sequence, timeout_s):
                behind = await self._hub.dns.wait_past(Position(epoch, sequence), timeout_s)
                return {"behind": list(behind)}
            case _:
                assert_never(question)

    def _own_counters(self, node_ids: Iterable[str]) -> Mapping[str, Mapping[str, int]]:
        found: dict[str, Mapping[str, int]] = {}
        left_bytes = MAX_COUNTERS_BYTES
        for node_id in node_ids:
            try:
                counters = dict(self._directory.counters(node_id))
            except NotFound:
                continue  # forgotten meanwhile
            left_bytes -= len(msgspec.json.encode(counters)) + len(node_id)
            if left_bytes < 0:
                break
            found[node_id] = counters
        return found
