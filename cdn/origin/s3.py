"""Objects in a bucket of S3, or of anything that speaks its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import IO, TYPE_CHECKING, NoReturn, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.utils import parse_timestamp

from cdn.errors import InvalidInput
from cdn.origin.arrival import Arrival, gathered
from cdn.origin.direct_upload import Refusal, find_refusal
from cdn.origin.key import check_key, check_prefix
from cdn.origin.presign import PutSigner, SigningKey, checksum_of
from cdn.origin.spool import Spool
from cdn.origin.store import (
    MAX_WHOLE_BYTES,
    DigestMismatch,
    ObjectFacts,
    ObjectMissing,
    PresignedPut,
    PutOutcome,
    StoreUnavailable,
    UploadTarget,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

THREADS = 32
"""Calls that run at once; each holds one connection."""

SPOOL_MEMORY_BYTES = 1024 * 1024
"""How much of an upload is kept in memory; what is larger goes through a temporary file."""

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
ATTEMPTS = 2
"""How often a call is sent when the store does not answer or says that it is busy: who waits for it knows after half a
minute at most."""

CONFLICT_ATTEMPTS = 3
"""How often a conditional write is sent when S3 answers that another one runs (409)."""

SCAN_PAGE = 1000
"""Objects that `scan` reads in one go: the most that S3 lists at once."""

PROBE_EXPIRES_S = 120

_logger = logging.getLogger(__name__)
_MISSING_CODES = frozenset({"NoSuchKey", "404", "NotFound"})
_PRECONDITION_CODES = frozenset({"PreconditionFailed", "412"})
_WRONG_KEYS_CODES = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidClientTokenId"}
)
_SET_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) and start again"
_WRONG_BYTES_CODES = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
)


class S3Store:
    """An ObjectStore in one bucket, below a prefix.

    Credentials come from the usual AWS chain of `session` (default: a new one). A custom `endpoint_url` is addressed
    path-style. What S3 acknowledged is durable there. Entity tags are S3's: writing equal content again may keep them.
    A conditional write whose first answer was lost may report PRECONDITION_FAILED for its own success: read to know.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        session: boto3.Session | None = None,
        threads: int = THREADS,
    ) -> None:
        endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._bucket = bucket
        self._prefix = f"{check_prefix(prefix).rstrip('/')}/" if prefix else ""
        self._name = f"s3://{bucket}/{self._prefix}"
        with self._translated(""):
            self._session = session or _session()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3-store")
        self._direct_uploads: bool | None = None
        self._probing = asyncio.Lock()
        with self._translated(""):
            self._client: S3Client = self._session.client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=region or self._session.region_name or ("us-east-1" if endpoint_url else None),
                config=_config(threads, is_custom=endpoint_url is not None),
            )

    async def put(
        self, key: str, content: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> PutOutcome:
        """See ObjectStore."""
        if len(content) > MAX_WHOLE_BYTES:
            raise InvalidInput(f"The object {key} has {len(content)} bytes; a whole one may have {MAX_WHOLE_BYTES}.")
        digest = await self._run(key, lambda: hashlib.sha256(content).hexdigest())
        condition = {"IfNoneMatch": "*"} if if_absent else {} if if_match is None else {"IfMatch": if_match}
        return await self._run(key, lambda: self._put(key, content, digest, condition))

    async def put_stream(self, target: UploadTarget, content: AsyncIterator[bytes]) -> None:
        """See ObjectStore. The content goes through memory or a temporary file: it is verified before S3 sees it."""
        if await self.head(target.key) is not None:
            return
        spool = Spool(in_memory=target.size_bytes <= SPOOL_MEMORY_BYTES)
        arrival = Arrival(target)

        def receive(piece: bytes) -> None:
            arrival.update(piece)
            spool.write(piece)

        def send() -> None:
            self._put(target.key, spool.rewound(), target.digest, {"IfNoneMatch": "*"})

        try:
            async for piece in gathered(content, SPOOL_MEMORY_BYTES):
                await self._run(target.key, partial(receive, piece))
            arrival.finish()
            await self._run(target.key, send)
        finally:
            await asyncio.shield(self._run(target.key, spool.close))

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        return await self._run(key, lambda: self._get(key))

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        """See ObjectStore."""
        if not 0 <= start <= stop:
            raise InvalidInput(f"The range {start} to {stop} of object {key} is not a range.")
        return await self._run(key, lambda: self._get_range(key, start, stop))

    async def head(self, key: str) -> ObjectFacts | None:
        """See ObjectStore."""
        return await self._run(key, lambda: self._head(key))

    async def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        """See ObjectStore."""
        check_prefix(prefix)
        token: str | None = None
        while True:
            page, token = await self._run(prefix, partial(self._list, prefix, token))
            for facts in page:
                yield facts
            if token is None:
                return

    async def delete(self, key: str) -> None:
        """See ObjectStore."""
        await self._run(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._full(key)))

    async def takes_direct_uploads(self) -> bool:
        """See ObjectStore. The first call tries the real store; a definite answer is kept."""
        async with self._probing:
            if self._direct_uploads is None:
                key = f"probes/{secrets.token_hex(16)}"
                refusal = await self._run(key, lambda: self._probe(key))
                if refusal is not None:
                    _logger.warning("Uploads to %s go through control: the store %s.", self._name, refusal.value)
                self._direct_uploads = refusal is None
            return self._direct_uploads

    async def presign(self, targets: Sequence[UploadTarget], *, expires_s: int) -> list[PresignedPut]:
        """See ObjectStore. The URLs end earlier than `expires_s` when the credentials do."""
        return await self._run("", lambda: self._presign(targets, expires_s))

    async def aclose(self) -> None:
        """See ObjectStore. Waits for calls that run."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._client.close()

    async def _run(self, key: str, call: Callable[[], T]) -> T:
        """Run a call in a thread of the pool. Its queue is bounded by the number of tasks that await here."""

        def translated() -> T:
            with self._translated(key):
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._threads, translated)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as exc:
            self._raise_refused(key, exc)
        except (NoCredentialsError, PartialCredentialsError) as exc:
            raise self._no_credentials() from exc
        except (BotoCoreError, OSError) as exc:
            raise StoreUnavailable(f"The store {self._name} cannot be used for {key or 'this call'}: {exc}.") from exc

    def _raise_refused(self, key: str, exc: ClientError) -> NoReturn:
        code = _code(exc)
        if code in _MISSING_CODES:
            raise ObjectMissing(f"The store {self._name} has no object {key}.") from exc
        if code in _WRONG_BYTES_CODES:
            raise DigestMismatch(f"The store {self._name} refused the bytes of {key}: {code}.") from exc
        message = exc.response.get("Error", {}).get("Message", "")
        refused = f"The store {self._name} refused {key or 'this call'}: {code} ({message})"
        if code == "NoSuchBucket":
            raise StoreUnavailable(
                f"There is no bucket {self._bucket} ({code}) for the store {self._name}: create the bucket first, "
                "or name another one."
            ) from exc
        if code in _WRONG_KEYS_CODES:
            raise StoreUnavailable(f"{refused}. The keys are not the store's: {_SET_KEYS}.") from exc
        if code == "AccessDenied":
            raise StoreUnavailable(
                f"{refused}. The keys may not do this: allow them to list the bucket {self._bucket} and to read, "
                "write and delete objects in it."
            ) from exc
        raise StoreUnavailable(f"{refused}.") from exc

    def _no_credentials(self) -> StoreUnavailable:
        return StoreUnavailable(f"There are no credentials for the store {self._name}: {_SET_KEYS}.")

    def _full(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _put(self, key: str, content: bytes | IO[bytes], digest: str, condition: Mapping[str, str]) -> PutOutcome:
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._full(key),
                    Body=content,
                    ChecksumSHA256=checksum_of(digest),
                    **condition,  # type: ignore[arg-type]  # the stubs know these names one by one
                )
            except ClientError as exc:
                code = _code(exc)
                if condition and code in _PRECONDITION_CODES | _MISSING_CODES:  # if_match of what is gone
                    return PutOutcome.PRECONDITION_FAILED
                if code != "ConditionalRequestConflict" or attempt == CONFLICT_ATTEMPTS:
                    raise
                if not isinstance(content, bytes):
                    content.seek(0)
            else:
                break
        return PutOutcome.STORED

    def _get(self, key: str) -> bytes:
        answer = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
        with contextlib.closing(answer["Body"]) as body:
            if answer["ContentLength"] > MAX_WHOLE_BYTES:
                raise StoreUnavailable(
                    f"The object {key} has {answer['ContentLength']} bytes; "
                    f"read it in ranges of at most {MAX_WHOLE_BYTES}."
                )
            return body.read()

    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        if start == stop:
            if self._head(key) is None:
                raise ObjectMissing(f"The store {self._name} has no object {key}.")
            return b""
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._full(key), Range=f"bytes={start}-{stop - 1}"
            )
        except ClientError as exc:
            if _code(exc) in {"InvalidRange", "416"}:
                return b""
            raise
        with contextlib.closing(answer["Body"]) as body:
            if answer["ContentLength"] > stop - start or (start and "ContentRange" not in answer):
                raise StoreUnavailable(f"The store {self._name} answered a range of {key} with other bytes.")
            return body.read()

    def _head(self, key: str) -> ObjectFacts | None:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except ClientError as exc:
            if _code(exc) in _MISSING_CODES:
                return None
            raise
        return ObjectFacts(key, answer["ContentLength"], answer["ETag"])

    def _list(self, prefix: str, token: str | None) -> tuple[list[ObjectFacts], str | None]:
        more = {"MaxKeys": SCAN_PAGE} if token is None else {"MaxKeys": SCAN_PAGE, "ContinuationToken": token}
        answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + prefix, **more)
        page = [
            ObjectFacts(found["Key"].removeprefix(self._prefix), found["Size"], found["ETag"])
            for found in answer.get("Contents", [])
        ]
        return page, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

    def _probe(self, key: str) -> Refusal | None:
        try:
            return find_refusal(
                key, lambda targets: self._presign(targets, PROBE_EXPIRES_S), lambda: self._content_or_none(key)
            )
        finally:
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def _content_or_none(self, key: str) -> bytes | None:
        try:
            return self._get(key)
        except ClientError as exc:
            if _code(exc) in _MISSING_CODES:
                return None
            raise

    def _presign(self, targets: Sequence[UploadTarget], expires_s: int) -> list[PresignedPut]:
        for target in targets:
            check_key(target.key)
        credentials = self._session.get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise self._no_credentials()
        template_key = f"{self._prefix}template"
        template = self._client.generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": template_key}, ExpiresIn=expires_s
        )
        key = SigningKey(frozen.access_key, frozen.secret_key, frozen.token)
        return PutSigner.from_template(template, "template", key, expires_s).sign(targets)


def _session() -> boto3.Session:
    """A session with the usual credential chain that reads listings in two thirds of the time botocore takes."""
    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_timestamp)
    return boto3.Session(botocore_session=core)


def _parse_timestamp(text: str) -> datetime:
    """A time in an answer. S3 sends one with each object listed; botocore would try all formats on every one."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parse_timestamp(text)


def _config(threads: int, *, is_custom: bool) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=threads,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        request_checksum_calculation="when_required",  # the SHA-256 that is known goes with every write instead
        response_checksum_validation="when_required",  # nodes hold content against the manifest's digests (DESIGN I5)
        s3={"addressing_style": "path" if is_custom else "auto"},
    )


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", "unknown error"))
