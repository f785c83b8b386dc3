"""A real S3 server of one's own that can be stopped, held and brought back, and a `cdn up` over it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config

from tests.servers.seaweed import S3Address, start_seaweed, start_seaweed_again, stop_seaweed

BUCKET = "sites"


@dataclass(slots=True)
class StoreServer:
    """Start it with `start`."""

    folder: Path
    address: S3Address = field(init=False)

    def start(self) -> None:
        """Up, with an empty bucket."""
        self.address = start_seaweed(self.folder)
        client = boto3.client(
            "s3",
            endpoint_url=self.address.endpoint_url,
            aws_access_key_id=self.address.access_key,
            aws_secret_access_key=self.address.secret_key,
            region_name=self.address.region,
            config=Config(s3={"addressing_style": "path"}),
        )
        try:
            client.create_bucket(Bucket=BUCKET)
        finally:
            client.close()

    def stop(self) -> None:
        """`kill -9`: connections are refused from now on."""
        stop_seaweed(self.address.pid)

    def start_again(self) -> None:
        """Up again at the same address with the same objects."""
        self.address = start_seaweed_again(self.folder, self.address)

    @contextmanager
    def held(self) -> Iterator[None]:
        """SIGSTOP: connections are accepted by the system and nothing answers."""
        os.kill(self.address.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.address.pid, signal.SIGCONT)

    @property
    def options(self) -> tuple[str, ...]:
        """What `cdn up` is told."""
        return ("--store", f"s3://{BUCKET}/cdn", "--s3-endpoint", self.address.endpoint_url)

    @property
    def environ(self) -> dict[str, str]:
        """The credentials of `cdn up`."""
        return {
            "AWS_ACCESS_KEY_ID": self.address.access_key,
            "AWS_SECRET_ACCESS_KEY": self.address.secret_key,
            "AWS_REGION": self.address.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
