"""`aws`, as the Python index delivers it, in an environment of its own with its own botocore."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class AwsMissing(RuntimeError):
    """The program is not installed."""


def find_aws() -> Path:
    """Where `make test` and `make bench` install it. Raises AwsMissing."""
    program = Path(sys.prefix) / "aws-cli" / "bin" / "aws"
    if not program.is_file():
        raise AwsMissing(f"{program} is missing: run `make test`, which installs requirements-aws.txt there")
    return program


def sync(folder: Path, bucket: str, endpoint_url: str, environ: Mapping[str, str], *options: str) -> None:
    """The whole folder into the bucket, with its default settings and nothing to print. Raises CalledProcessError.

    `bucket` may be followed by a prefix: `bucket/prefix`.
    """
    words = [str(find_aws()), "s3", "sync", str(folder), f"s3://{bucket}", "--only-show-errors", *options]
    subprocess.run([*words, "--endpoint-url", endpoint_url], env=dict(environ), check=True, timeout=1800)


def cloudfront_words(endpoint_url: str, *words: str) -> list[str]:
    """The command that calls CloudFront's API there."""
    return [str(find_aws()), "cloudfront", *words, "--endpoint-url", endpoint_url, "--output", "json"]


def cloudfront_environ(folder: Path, access_key_id: str, secret_access_key: str) -> dict[str, str]:
    """What it is told beside its words: an access key, and nothing of this machine's."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
