"""The table [store] of a role's settings: where the bytes are."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.errors import InvalidInput

_S3 = "s3://"


@dataclass(frozen=True, slots=True)
class StoreRole:
    """The object store, as this role reaches it. Credentials come from the usual AWS chain, never from the file."""

    url: str
    """s3://BUCKET/PREFIX, or the path of a folder that control and the edges of one machine share."""
    endpoint_url: str | None = None
    """Where an S3 is that is not AWS."""

    def __post_init__(self) -> None:
        is_s3 = self.url.startswith(_S3)
        if not self.url or (is_s3 and not self.bucket) or (not is_s3 and "://" in self.url):
            raise InvalidInput("is neither s3://BUCKET/PREFIX nor the path of a folder", field="url")

    @property
    def bucket(self) -> str | None:
        """The bucket's name; None of a folder."""
        return self.url.removeprefix(_S3).partition("/")[0] if self.url.startswith(_S3) else None
