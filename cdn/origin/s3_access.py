"""Where buckets are and how requests for their objects are signed (AWS Signature Version 4)."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from cachetools import LRUCache

from cdn.errors import InvalidInput
from cdn.http.fields import FieldLines
from cdn.origin.endpoint import Endpoint
from cdn.origin.upstream import UpstreamBroken, UpstreamFault

IDENTITY_LIFETIME_S = 60.0
"""How long credentials are used before the chain is asked again. It renews them minutes before they end."""

MAX_REGIONS = 10_000
"""Buckets whose region S3 had to tell."""

DEFAULT_REGION = "us-east-1"

_logger = logging.getLogger(__name__)

_REGION = re.compile(r"[a-z0-9-]{1,40}")
_SIGNED_FIELDS = ("authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token")


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Where a bucket's objects are. `host` is for the Host field; `path` stands before the slash of every key."""

    endpoint: Endpoint
    host: str
    path: str
    region: str


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who asks: `credentials` None is anyone."""

    credentials: Credentials | None
    region: str


class S3Access:
    """One S3 service and the credentials for it, from the usual AWS chain. Shared by all buckets.

    With a custom endpoint buckets are part of the path, on AWS of the host name. Without credentials requests are not
    signed, which reads public buckets.
    """

    def __init__(self, endpoint_url: str | None = None, session: boto3.Session | None = None) -> None:
        """`endpoint_url` is by default what AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL says. Raises InvalidInput."""
        endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._custom = None if endpoint_url is None else _endpoint(endpoint_url)
        self._session = session
        self._regions: LRUCache[str, str] = LRUCache(MAX_REGIONS)
        self._loading: asyncio.Task[_Identity] | None = None
        self._identity: _Identity | None = None
        self._identity_until = 0.0
        self._has_warned = False

    async def place(self, bucket: str, timeout_s: float) -> BucketPlace:
        """Where the bucket is, as far as is known. Raises UpstreamBroken (CREDENTIALS)."""
        identity = await self._get_identity(timeout_s)
        region = self._regions.get(bucket, identity.region)
        if self._custom is not None:
            return BucketPlace(self._custom, _host_field(self._custom), f"/{bucket}", region)
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        host = f"s3.{region}.{suffix}"
        if "." in bucket:  # no certificate covers such a name below the service's
            return BucketPlace(Endpoint("https", host, 443, is_operators=True), host, f"/{bucket}", region)
        host = f"{bucket}.{host}"
        return BucketPlace(Endpoint("https", host, 443, is_operators=True), host, "", region)

    def learn_region(self, bucket: str, region: str) -> bool:
        """S3 said where the bucket is; whether that was news."""
        if _REGION.fullmatch(region) is None or self._regions.get(bucket) == region:
            return False
        if self._identity is not None and bucket not in self._regions and self._identity.region == region:
            return False
        self._regions[bucket] = region
        return True

    async def sign(self, method: str, place: BucketPlace, path: str, timeout_s: float) -> FieldLines:
        """The fields that sign a request without content for `path` (percent-encoded, no query); () for anyone.

        Raises UpstreamBroken (CREDENTIALS).
        """
        identity = await self._get_identity(timeout_s)
        if identity.credentials is None:
            return ()
        request = AWSRequest(method, f"{place.endpoint.scheme}://{place.host}{path}", {"Host": place.host})
        S3SigV4Auth(identity.credentials, "s3", place.region).add_auth(request)
        return tuple((name, request.headers[name]) for name in _SIGNED_FIELDS if name in request.headers)

    def forget_identity(self) -> None:
        """S3 refused the credentials: ask the chain again."""
        self._identity_until = 0.0

    async def aclose(self) -> None:
        """End a question to the chain that still runs."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})

    async def _get_identity(self, timeout_s: float) -> _Identity:
        if self._identity is not None and asyncio.get_running_loop().time() < self._identity_until:
            return self._identity
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
            self._loading.add_done_callback(self._loaded)
        loading = self._loading
        done, _ = await asyncio.wait({loading}, timeout=timeout_s)
        if not done:
            raise UpstreamBroken(
                UpstreamFault.CREDENTIALS, f"The credentials for S3 could not be had within {timeout_s:g} s."
            )
        return loading.result()

    async def _load(self) -> _Identity:
        try:
            identity = await asyncio.to_thread(self._resolve)
        except (BotoCoreError, ClientError, OSError, ValueError) as exc:  # the last: a program that prints no JSON
            raise UpstreamBroken(UpstreamFault.CREDENTIALS, f"The credentials for S3 cannot be had: {exc}.") from exc
        if identity.credentials is None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "There are no credentials for S3, so buckets are read as anybody may read them, and what is not public "
                "is answered as missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another source that "
                "boto3 knows."
            )
        self._identity = identity
        self._identity_until = asyncio.get_running_loop().time() + IDENTITY_LIFETIME_S
        return identity

    def _loaded(self, loading: asyncio.Task[_Identity]) -> None:
        self._loading = None
        if not loading.cancelled():
            loading.exception()  # those who wait see it; when all have left, nobody has to

    def _resolve(self) -> _Identity:
        if self._session is None:
            self._session = boto3.Session(botocore_session=botocore.session.get_session())
        found = self._session.get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
        region = self._session.region_name or DEFAULT_REGION
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            return _Identity(None, region)
        return _Identity(Credentials(frozen.access_key, frozen.secret_key, frozen.token), region)


def _endpoint(url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise _no_endpoint(url) from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise _no_endpoint(url)
    return Endpoint(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), is_operators=True)


def _no_endpoint(url: str) -> InvalidInput:
    return InvalidInput(f"{url!r} is no S3 endpoint: give https://HOST[:PORT] without a path.")


def _host_field(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return host if endpoint.port == (443 if endpoint.scheme == "https" else 80) else f"{host}:{endpoint.port}"
