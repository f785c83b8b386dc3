"""JetStream's own questions and answers, as far as journals and buckets need them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from nats.aio.msg import Msg

from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink, NatsSilent

RETRY_PAUSE_S = 0.1
"""Between two attempts of the same question: while a stream elects its leader nobody answers."""

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_STREAM = "Nats-Expected-Stream"

STREAM_NOT_FOUND = 10059
STREAM_EXISTS = 10058
MESSAGE_NOT_FOUND = 10037
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""The subject has moved; the second form is that of a replicated stream whose last message is still being agreed on."""

_TRANSIENT = frozenset({10008, 10158})
"""JetStream is not up yet; the same message is being agreed on this moment."""

_FULL = frozenset({10023, 10028, 10047, 10077})
"""The stream or its servers are full: that does not pass in a moment, though it comes with the code of what does."""


class ApiRefused(JournalUnavailable):
    """JetStream answered that it will not. Nothing was changed. `code` is its err_code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ApiError(msgspec.Struct, frozen=True):
    """The `error` of an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""

    @property
    def is_transient(self) -> bool:
        """Whether the same question may be answered a moment later."""
        return (self.code == 503 and self.err_code not in _FULL) or self.err_code in _TRANSIENT


class Stored(msgspec.Struct, frozen=True):
    """The answer to a publish: its sequence, or why it was refused."""

    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class Message(msgspec.Struct, frozen=True):
    """One stored message."""

    sequence: int
    subject: str
    message_id: str | None
    content: bytes


class _StoredMessage(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    hdrs: str = ""
    data: str = ""


class _Got(msgspec.Struct, frozen=True):
    message: _StoredMessage


class StreamState(msgspec.Struct, frozen=True):
    first_seq: int
    last_seq: int
    messages: int = 0
    subjects: dict[str, int] = {}


class StreamInfo(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    state: StreamState
    total: int = 0
    offset: int = 0
    limit: int = 0
    cluster: dict[str, Any] = {}


class _Names(msgspec.Struct, frozen=True):
    total: int = 0
    streams: list[str] | None = None


class _Answer(msgspec.Struct, frozen=True):
    error: ApiError | None = None


_error_decoder = msgspec.json.Decoder(_Answer)
_stored_decoder = msgspec.json.Decoder(Stored)
_info_decoder = msgspec.json.Decoder(StreamInfo)
_names_decoder = msgspec.json.Decoder(_Names)
_got_decoder = msgspec.json.Decoder(_Got)


class JetStreamApi:
    """The API of one JetStream domain ("" is the one of the server we are connected to)."""

    def __init__(self, link: NatsLink, domain: str = "") -> None:
        self._link = link
        self.domain = domain
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def ask(self, what: str, question: Mapping[str, Any] | None = None) -> bytes:
        """The answer to a question that may be put again, tried for `patience_s`.

        Raises ApiRefused when JetStream says no, JournalUnavailable when it says nothing.
        """
        payload = b"" if question is None else msgspec.json.encode(question)
        settings = self._link.settings
        deadline = time.monotonic() + settings.patience_s
        while True:
            try:
                answer = await self._link.request(
                    f"{self.prefix}.{what}", payload, timeout_s=_bounded(settings.request_timeout_s, deadline)
                )
                error = _error_decoder.decode(answer.data).error
                if error is None:
                    return answer.data
                refused = ApiRefused(
                    f"JetStream refused {what}: {error.description} ({error.err_code})", error.err_code
                )
                if not error.is_transient:
                    raise refused
                failure: JournalUnavailable = refused
            except msgspec.MsgspecError as exc:
                raise JournalUnavailable(f"JetStream's answer to {what} cannot be read: {exc}") from exc
            except ApiRefused:
                raise
            except JournalUnavailable as exc:
                failure = exc
            if time.monotonic() + RETRY_PAUSE_S >= deadline:
                raise failure
            await asyncio.sleep(RETRY_PAUSE_S)

    async def info(self, stream: str) -> StreamInfo | None:
        """The stream as its leader sees it; None when there is none."""
        try:
            return _info_decoder.decode(await self.ask(f"STREAM.INFO.{stream}"))
        except ApiRefused as exc:
            if exc.code == STREAM_NOT_FOUND:
                return None
            raise

    async def subjects(self, stream: str) -> dict[str, int]:
        """Every subject of the stream with its number of messages."""
        found: dict[str, int] = {}
        offset = 0
        while True:
            raw = await self.ask(f"STREAM.INFO.{stream}", {"subjects_filter": ">", "offset": offset})
            info = _info_decoder.decode(raw)
            found |= info.state.subjects
            offset = info.offset + info.limit
            if not info.state.subjects or offset >= info.total:
                return found

    async def names(self) -> list[str]:
        """The names of the domain's streams."""
        found: list[str] = []
        while True:
            listed = _names_decoder.decode(await self.ask("STREAM.NAMES", {"offset": len(found)}))
            found += listed.streams or []
            if not listed.streams or len(found) >= listed.total:
                return found

    async def create(self, config: Mapping[str, Any]) -> bool:
        """Make the stream; False when one of that name exists already with other settings."""
        try:
            await self.ask(f"STREAM.CREATE.{config['name']}", config)
        except ApiRefused as exc:
            if exc.code == STREAM_EXISTS:
                return False
            raise
        return True

    async def delete(self, stream: str) -> None:
        """Remove the stream; it may be gone already."""
        try:
            await self.ask(f"STREAM.DELETE.{stream}")
        except ApiRefused as exc:
            if exc.code != STREAM_NOT_FOUND:
                raise

    async def purge(self, stream: str, *, before: int, subject: str | None = None) -> None:
        """Remove messages with a sequence below `before`, of one subject or of all."""
        question: dict[str, Any] = {"seq": before}
        if subject is not None:
            question["filter"] = subject
        await self.ask(f"STREAM.PURGE.{stream}", question)

    async def last_of(self, stream: str, subject: str) -> Message | None:
        """The subject's last message, from the leader."""
        return await self._get(stream, {"last_by_subj": subject})

    async def next_of(self, stream: str, subject: str, *, after: int) -> Message | None:
        """The subject's first message with a sequence above `after`, from the leader."""
        return await self._get(stream, {"seq": after + 1, "next_by_subj": subject})

    async def _get(self, stream: str, question: Mapping[str, Any]) -> Message | None:
        try:
            raw = await self.ask(f"STREAM.MSG.GET.{stream}", question)
        except ApiRefused as exc:
            if exc.code == MESSAGE_NOT_FOUND:
                return None
            raise
        got = _got_decoder.decode(raw).message
        return Message(got.seq, got.subject, _message_id(base64.b64decode(got.hdrs)), base64.b64decode(got.data))

    async def store(self, subject: str, content: bytes, headers: Mapping[str, str], *, timeout_s: float) -> Stored:
        """Publish once. Raises NatsSilent when its fate is unknown, JournalUnavailable when it was not stored."""
        answer = await self._link.request(subject, content, headers, timeout_s=timeout_s)
        try:
            return _stored_decoder.decode(answer.data)
        except msgspec.MsgspecError as exc:
            raise NatsSilent(f"the answer to a publish on {subject} cannot be read: {exc}") from exc

    async def batch(self, stream: str, question: Mapping[str, Any]) -> list[Message]:
        """The messages that a batched direct get finds, from any replica: one that lags gives fewer.

        Raises JournalUnavailable when the answer does not end within `request_timeout_s`.
        """
        client = await self._link.client()
        inbox = client.new_inbox()
        found: list[Message] = []
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def take(answer: Msg) -> None:
            headers = answer.headers or {}
            sequence = headers.get("Nats-Sequence")
            if sequence is not None:
                subject = headers.get("Nats-Subject", "")
                found.append(Message(int(sequence), subject, headers.get(MESSAGE_ID), answer.data))
            elif not ended.done():
                ended.set_result(headers.get("Status", ""))

        subscription = await client.subscribe(inbox, cb=take)
        try:
            await client.publish(f"{self.prefix}.DIRECT.GET.{stream}", msgspec.json.encode(question), reply=inbox)
            async with asyncio.timeout(self._link.settings.request_timeout_s):
                status = await ended
        except TimeoutError as exc:
            raise NatsSilent(f"the stream {stream} did not finish an answer in time: try again") from exc
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()
        match status:
            case "204" | "404":
                return found
            case "503":
                raise JournalUnavailable(f"no replica of the stream {stream} answers now: try again")
            case other:
                raise JournalUnavailable(f"the stream {stream} refused to be read with status {other}")


def _bounded(timeout_s: float, deadline: float) -> float:
    return max(0.01, min(timeout_s, deadline - time.monotonic()))


def _message_id(headers: bytes) -> str | None:
    """The message id within raw headers: `NATS/1.0`, then one field line each."""
    for line in headers.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.decode("latin-1") == MESSAGE_ID:
            return value.strip().decode("latin-1")
    return None
