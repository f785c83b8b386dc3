"""Which stream holds the journal now: one stream per epoch, and a pointer to the epoch that counts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from cdn.errors import Conflict
from cdn.journal.jetstream_api import RETRY_PAUSE_S, JetStreamApi, StreamInfo
from cdn.journal.jetstream_bucket import JetStreamBucket
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink

DUPLICATE_WINDOW_S = 120.0
"""How long JetStream itself knows a message id again: many times what an append is tried."""

FACTS_VERSION = 1
"""The version of the pointer that this program writes."""

_EPOCH = "epoch"


class _Pointer(msgspec.Struct, frozen=True):
    version: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The epoch that counts, and the sequence of its last record: 0 when it has none, None when its stream is gone."""

    epoch: str
    sequence: int | None


class History:
    """The names and facts of one journal on JetStream, with its mirror where there is one."""

    def __init__(self, link: NatsLink, settings: JetStreamSettings) -> None:
        self.settings = settings
        self.link = link
        self.origin = JetStreamApi(link, settings.domain)
        """The domain that appends go to."""
        self.near = JetStreamApi(link, settings.mirror_domain) if settings.mirror_domain else self.origin
        """The domain that records are read from."""
        self._facts = JetStreamBucket(link, self.origin, f"{settings.name}-facts")

    @property
    def is_mirrored(self) -> bool:
        return self.near is not self.origin

    def stream(self, epoch: str) -> str:
        """The name of the epoch's stream, in either domain."""
        return f"{self.settings.name}-{epoch}"

    def subject(self, epoch: str, token: str) -> str:
        """The NATS subject of a record. It names the epoch: who missed its end cannot write into the next."""
        return f"{self.settings.name}.{epoch}.{token}"

    async def settle(self, new_epoch: str) -> str:
        """The epoch that counts; `new_epoch`, with an empty stream, where the journal is new.

        Raises JournalUnavailable when the stream of the epoch that counts is gone: that is never made anew by itself.
        """
        await self._facts.settle(replicas=self.settings.replicas)
        epoch = await self.epoch()
        if epoch is None:
            await self.origin.create(self._config(new_epoch, after=0))
            if await self._facts.put(_EPOCH, _pointer(new_epoch), expected_revision=0) is None:
                await self.origin.delete(self.stream(new_epoch))
            epoch = await self.epoch()
            if epoch is None:
                raise JournalUnavailable(f"the epoch of journal {self.settings.name} was removed while it began: retry")
        await self.origin_info(epoch)
        return epoch

    async def begin(self, new_epoch: str, *, instead_of: str | None, after: int) -> None:
        """Seal the stream of `instead_of` and start an empty one whose first record will have the sequence `after + 1`.

        Whoever is still appending to the former one is refused before the new one counts. Raises Conflict when another
        epoch counts than the caller believes.
        """
        await self._facts.settle(replicas=self.settings.replicas)
        found = await self._facts.get(_EPOCH)
        counts = _epoch_in(found.value)
        if counts != instead_of:
            raise Conflict(f"the journal's epoch is {counts}, not {instead_of}: look again before you end it")
        former = None if counts is None else await self.origin.info(self.stream(counts))
        if former is not None and not former.config.get("sealed"):
            await self.origin.ask(f"STREAM.UPDATE.{former.config['name']}", former.config | {"sealed": True})
        await self.origin.create(self._config(new_epoch, after=after))
        if after:
            await self.raise_trimmed(new_epoch, after)
        if await self._facts.put(_EPOCH, _pointer(new_epoch), expected_revision=found.revision) is None:
            await self.origin.delete(self.stream(new_epoch))
            raise Conflict("another began a new epoch of the journal at the same time: look again")

    async def standing(self) -> Standing | None:
        """What there is of this journal, which is left as it is; None when it never began."""
        if await self.origin.info(self._facts.stream) is None:
            return None
        epoch = await self.epoch()
        if epoch is None:
            return None
        info = await self.origin.info(self.stream(epoch))
        trimmed = await self.trimmed_through(epoch)
        return Standing(epoch, None if info is None else max(info.state.last_seq, trimmed))

    async def epoch(self) -> str | None:
        """The epoch that counts; None when the journal never began."""
        return _epoch_in((await self._facts.get(_EPOCH)).value)

    async def mirrored_epoch(self) -> str | None:
        """The epoch as the mirror knows it, which may be asked when the origin is cut off."""
        if await self.near.info(self._facts.stream) is None:
            return None
        return _epoch_in((await JetStreamBucket(self.link, self.near, f"{self.settings.name}-facts").get(_EPOCH)).value)

    async def origin_info(self, epoch: str) -> StreamInfo:
        """The epoch's stream as its leader sees it. Raises JournalUnavailable when it is gone."""
        info = await self.origin.info(self.stream(epoch))
        if info is None:
            raise JournalUnavailable(
                f"the stream {self.stream(epoch)} is gone: restore the journal from the object store, as a new epoch"
            )
        return info

    async def settle_mirror(self, epoch: str) -> StreamInfo:
        """The mirror of the epoch's stream, made if there is none, beginning behind what was trimmed."""
        name = self.stream(epoch)
        info = await self.near.info(name)
        if info is not None:
            return info
        external = {"api": self.origin.prefix, "deliver": ""}
        limits = {"storage": "file", "num_replicas": 1, "allow_direct": True, "discard": "old"}
        facts: dict[str, Any] = {
            "name": self._facts.stream,
            "mirror": {"name": self._facts.stream, "external": external},
        }
        await self.near.create(facts | limits | {"max_msgs_per_subject": 1})
        start = await self.trimmed_through(epoch) + 1
        mirror = {"name": name, "opt_start_seq": start, "external": external}
        await self.near.create({"name": name, "mirror": mirror, "max_bytes": self.settings.max_bytes} | limits)
        deadline = time.monotonic() + self.settings.nats.patience_s
        while (info := await self.near.info(name)) is None or await self.mirrored_epoch() != epoch:
            if time.monotonic() >= deadline:
                raise JournalUnavailable(
                    f"the mirror {name} does not fill: see that the leaf node is connected to {self.settings.domain}"
                )
            await asyncio.sleep(RETRY_PAUSE_S)
        return info

    async def trimmed_through(self, epoch: str) -> int:
        """Records up to here may be gone."""
        return _through_in((await self._facts.get(_trimmed(epoch))).value)

    async def raise_trimmed(self, epoch: str, through: int) -> int:
        """Announce that records up to `through` will be gone; what is announced now, which never goes back."""
        deadline = time.monotonic() + self.settings.nats.patience_s
        while True:
            found = await self._facts.get(_trimmed(epoch))
            announced = _through_in(found.value)
            if announced >= through:
                return announced
            content = str(through).encode()
            if await self._facts.put(_trimmed(epoch), content, expected_revision=found.revision) is not None:
                return through
            if time.monotonic() >= deadline:
                raise JournalUnavailable(f"others kept moving the trim mark of {self.stream(epoch)}: try again")
            await asyncio.sleep(RETRY_PAUSE_S)

    def _config(self, epoch: str, *, after: int) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": self.stream(epoch),
            "subjects": [self.subject(epoch, "*")],
            "storage": "file",
            "num_replicas": self.settings.replicas,
            "retention": "limits",
            "discard": "new",  # full means refused, never forgotten
            "max_bytes": self.settings.max_bytes,
            "duplicate_window": int(DUPLICATE_WINDOW_S * 1e9),
            "allow_direct": True,
            "deny_delete": True,
        }
        return config | ({"first_seq": after + 1} if after else {})


def _trimmed(epoch: str) -> str:
    return f"trimmed-{epoch}"


def _pointer(epoch: str) -> bytes:
    return msgspec.json.encode(_Pointer(FACTS_VERSION, epoch))


def _epoch_in(value: bytes) -> str | None:
    if not value:
        return None
    try:
        pointer = msgspec.json.decode(value, type=_Pointer)
    except msgspec.MsgspecError as exc:
        raise JournalUnavailable(f"the journal's epoch on JetStream cannot be read: {exc}") from exc
    if pointer.version > FACTS_VERSION:
        raise JournalUnavailable(
            f"the journal's epoch was written by a newer program (version {pointer.version}): upgrade this one"
        )
    return pointer.epoch


def _through_in(value: bytes) -> int:
    try:
        return int(value) if value else 0
    except ValueError as exc:
        raise JournalUnavailable(f"the journal's trim mark on JetStream cannot be read: {value!r}") from exc
