"""From what a user writes in settings to a store."""

from __future__ import annotations

from pathlib import Path

from cdn.errors import InvalidInput
from cdn.origin.store import ObjectStore


def open_store(url: str, endpoint_url: str | None = None, region: str | None = None) -> ObjectStore:
    """The store at `s3://BUCKET/PREFIX`, or in the folder of this path.

    Credentials for S3 come from the usual AWS chain. Raises InvalidInput, StoreUnavailable.
    """
    if url.startswith("s3://"):
        from cdn.origin.s3 import S3Store  # boto3 takes a third of a second to import: only who needs it pays

        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise InvalidInput(
                f"The store {url!r} names no bucket; write s3://BUCKET or s3://BUCKET/PREFIX.", field="store"
            )
        return S3Store(bucket, prefix, endpoint_url=endpoint_url, region=region)
    if "://" in url or not url:
        raise InvalidInput(f"The store {url!r} is neither s3://BUCKET/PREFIX nor the path of a folder.", field="store")
    from cdn.origin.directory import DirectoryStore

    return DirectoryStore(Path(url))
