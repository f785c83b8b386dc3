"""Finds out whether a real store keeps the promises that uploads without control in between rest on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from cdn.origin.store import PresignedPut, UploadTarget

PROBE_TIMEOUT_S = 15

_RIGHT = b"the bytes that were announced"
_WRONG = b"the bytes that were unexpected"[: len(_RIGHT)]


class Refusal(Enum):
    """Why uploads cannot go straight to a store. The value ends the sentence "the store ..."."""

    UNSIGNED = "takes writes without a signature"
    OTHER_FIELDS = "takes a presigned write without the fields that were signed"
    WRONG_BYTES = "keeps bytes that do not have the signed SHA-256"
    NOT_STORED = "does not take a presigned write"
    OVERWRITE = "lets a presigned write replace what exists"


def find_refusal(
    key: str,
    presign: Callable[[Sequence[UploadTarget]], list[PresignedPut]],
    read: Callable[[], bytes | None],
) -> Refusal | None:
    """Try every promise on one new key; None when all hold. The caller removes the key. Raises BotoCoreError.

    What counts is what can be read afterwards, not only the status: an error may come after the bytes were kept.
    """
    right, wrong = (UploadTarget(key, hashlib.sha256(each).hexdigest(), len(each)) for each in (_RIGHT, _WRONG))
    first, second = presign([right, wrong])
    unsigned_url = first.url.partition("?")[0]
    unconditional = {name: value for name, value in first.fields.items() if name != "if-none-match"}
    session = URLLib3Session(timeout=PROBE_TIMEOUT_S)
    try:
        for url, fields, content, refusal in (
            (unsigned_url, first.fields, _RIGHT, Refusal.UNSIGNED),
            (first.url, unconditional, _RIGHT, Refusal.OTHER_FIELDS),
            (first.url, second.fields, _WRONG, Refusal.OTHER_FIELDS),
            (first.url, first.fields, _WRONG, Refusal.WRONG_BYTES),
        ):
            if _send(session, url, fields, content) < 400 or read() is not None:
                return refusal
        if _send(session, first.url, first.fields, _RIGHT) >= 300 or read() != _RIGHT:
            return Refusal.NOT_STORED
        for put, content in ((first, _RIGHT), (second, _WRONG)):
            if _send(session, put.url, put.fields, content) != 412 or read() != _RIGHT:
                return Refusal.OVERWRITE
        return None
    finally:
        session.close()


def _send(session: URLLib3Session, url: str, fields: Mapping[str, str], content: bytes) -> int:
    request = AWSRequest(method="PUT", url=url, headers=dict(fields), data=content)
    return int(session.send(request.prepare()).status_code)
