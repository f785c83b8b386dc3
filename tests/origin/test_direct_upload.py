"""Stores that break one of the promises direct uploads rest on are found out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from botocore.exceptions import BotoCoreError

from cdn.origin.direct_upload import Refusal, find_refusal
from cdn.origin.presign import checksum_of, put_fields
from cdn.origin.s3 import S3Store
from cdn.origin.store import PresignedPut, UploadTarget


class Store(BaseHTTPRequestHandler):
    """One object, and a strict store's rules, of which `broken` names those that do not hold."""

    content: ClassVar[bytes | None] = None
    broken: ClassVar[frozenset[str]] = frozenset()
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        status = self._status(sent)
        if status == 200 or (status != 412 and "keeps what it refuses" in self.broken):
            type(self).content = sent
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def _status(self, sent: bytes) -> int:
        signed_checksum = self.path.partition("?")[2]
        checksum = self.headers.get("x-amz-checksum-sha256", "")
        if not signed_checksum and "signature" not in self.broken:
            return 403
        is_as_signed = self.headers.get("if-none-match") == "*" and checksum == signed_checksum
        if not is_as_signed and "signed fields" not in self.broken and signed_checksum:
            return 403
        if checksum_of(hashlib.sha256(sent).hexdigest()) != checksum and "checksum" not in self.broken:
            return 400
        if "writes" in self.broken:
            return 501
        return 412 if self.content is not None and "if-none-match" not in self.broken else 200

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/key"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("", None),
        ("signature", Refusal.UNSIGNED),
        ("signed fields", Refusal.OTHER_FIELDS),
        ("checksum", Refusal.WRONG_BYTES),
        ("writes", Refusal.NOT_STORED),
        ("if-none-match", Refusal.OVERWRITE),
        ("keeps what it refuses", Refusal.UNSIGNED),
    ],
)
def test_a_promise_that_does_not_hold_is_found(
    url: str, monkeypatch: pytest.MonkeyPatch, broken: str, expected: Refusal | None
) -> None:
    monkeypatch.setattr(Store, "content", None)
    monkeypatch.setattr(Store, "broken", frozenset({broken}))

    def presign(targets: Sequence[UploadTarget]) -> list[PresignedPut]:
        return [PresignedPut(f"{url}?{checksum_of(target.digest)}", put_fields(target)) for target in targets]

    assert find_refusal("key", presign, lambda: Store.content) is expected


async def test_a_store_is_tried_once_and_its_probe_is_removed_whatever_happens(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(key: str, presign: object, read: object) -> Refusal | None:
        tries.append(key)
        s3_store._put(key, b"left by the probe", hashlib.sha256(b"left by the probe").hexdigest(), {})
        if len(tries) == 1:
            raise BotoCoreError
        return Refusal.OVERWRITE

    monkeypatch.setattr("cdn.origin.s3.find_refusal", refuse)
    with pytest.raises(Exception, match="s3://"):
        await s3_store.takes_direct_uploads()
    assert not await s3_store.takes_direct_uploads()
    assert not await s3_store.takes_direct_uploads()
    assert len(tries) == 2
    assert [facts async for facts in s3_store.scan("")] == []
