"""A key-value bucket of JetStream: the last value of each key, compared and set by revision."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from cdn.errors import InvalidInput
from cdn.journal.jetstream_api import (
    EXPECTED_LAST,
    MESSAGE_ID,
    RETRY_PAUSE_S,
    WRONG_LAST_SEQUENCE,
    ApiRefused,
    JetStreamApi,
    Message,
)
from cdn.journal.jetstream_subject import subject_token
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink

MAX_VALUE_BYTES = 64 * 1024
"""What one value may take: facts about a node, not content."""

MAX_BUCKET_BYTES = 64 * 1024 * 1024
"""What a bucket may take: 10,000 nodes with a few KiB each; a full one refuses new values, and says so."""


ENTRIES_PER_BATCH = 1000
"""Values per answer: the next question is put when they have arrived."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a key holds: an empty value stands for none. `revision` grows with every change in the bucket."""

    value: bytes
    revision: int


class JetStreamBucket:
    """Values expire `expires_after_s` after they were put, if that is given.

    Every put is tied to the revision it replaces, so a copy that arrives late changes nothing.
    """

    def __init__(self, link: NatsLink, api: JetStreamApi, name: str) -> None:
        self._link = link
        self._api = api
        self.stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def settle(self, *, replicas: int, expires_after_s: float | None = None) -> None:
        """Make the bucket if there is none; one with other settings is left as it is."""
        age = 0 if expires_after_s is None else int(expires_after_s * 1e9)
        await self._api.create(
            {
                "name": self.stream,
                "subjects": [f"{self._prefix}>"],
                "storage": "file",
                "num_replicas": replicas,
                "max_msgs_per_subject": 1,
                "max_age": age,
                "max_bytes": MAX_BUCKET_BYTES,
                "max_msg_size": MAX_VALUE_BYTES + 1024,
                "discard": "new",
                "allow_direct": True,
                "allow_rollup_hdrs": True,
                "duplicate_window": min(age, 120 * 10**9) or 120 * 10**9,
            }
        )

    async def get(self, key: str) -> Entry:
        """What the key holds, from the leader; revision 0 when it never had a value or that expired."""
        last = await self._api.last_of(self.stream, self._subject(key))
        return Entry(b"", 0) if last is None else Entry(last.content, last.sequence)

    async def put(self, key: str, value: bytes, *, expected_revision: int) -> int | None:
        """Set the value where the key still stands at `expected_revision` (0: it has none); its revision.

        None: another was quicker. Raises JournalUnavailable when NATS does not settle it within `patience_s`,
        InvalidInput for a value over MAX_VALUE_BYTES.
        """
        if len(value) > MAX_VALUE_BYTES:
            raise InvalidInput(f"the value of {key!r} takes {len(value)} bytes, the limit is {MAX_VALUE_BYTES}")
        settings = self._link.settings
        message_id = secrets.token_hex(16)
        headers = {MESSAGE_ID: message_id, EXPECTED_LAST: str(expected_revision)}
        deadline = time.monotonic() + settings.patience_s
        while True:
            try:
                stored = await self._api.store(
                    self._put_subject(key), value, headers, timeout_s=settings.request_timeout_s
                )
                if stored.error is None:
                    return stored.seq
                if stored.error.err_code in WRONG_LAST_SEQUENCE:
                    last = await self._api.last_of(self.stream, self._subject(key))
                    # an answer may have been lost on its way: then the last one is ours
                    return last.sequence if last is not None and last.message_id == message_id else None
                failure: JournalUnavailable = ApiRefused(
                    f"{self.stream} refused {key!r}: {stored.error.description}", stored.error.err_code
                )
                is_final = not stored.error.is_transient
            except JournalUnavailable as exc:
                failure, is_final = exc, isinstance(exc, ApiRefused)
            if is_final or time.monotonic() + RETRY_PAUSE_S >= deadline:
                raise failure
            await asyncio.sleep(RETRY_PAUSE_S)

    async def entries(self) -> dict[str, bytes]:
        """The values of all keys, by the keys' tokens; a replica that lags may know older ones."""
        messages: list[Message] = []
        after = 0
        while batch := await self._api.batch(self.stream, {"seq": after + 1, "batch": ENTRIES_PER_BATCH}):
            messages += batch
            after = batch[-1].sequence
        return {one.subject.removeprefix(self._prefix): one.content for one in messages if one.content}

    def _put_subject(self, key: str) -> str:
        """Where the value is sent: leaf nodes let `$KV` pass to another domain only as a part of its API."""
        return f"{self._api.prefix}.{self._subject(key)}" if self._api.domain else self._subject(key)

    def _subject(self, key: str) -> str:
        return self._prefix + subject_token(key)
