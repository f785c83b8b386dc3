"""`aws s3 sync`, as the Python index delivers it, in an environment of its own with its own botocore."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class AwsMissing(RuntimeError):
    """The program is not installed."""


def find_aws() -> Path:
    """Where `make bench` installs it. Raises AwsMissing."""
    program = Path(sys.prefix) / "bench-aws" / "bin" / "aws"
    if not program.is_file():
        raise AwsMissing(f"{program} is missing: run `make bench`, which installs requirements-bench.txt there")
    return program


def sync(folder: Path, bucket: str, endpoint_url: str, environ: Mapping[str, str]) -> None:
    """The whole folder into the bucket, with its default settings and nothing to print. Raises CalledProcessError."""
    words = [str(find_aws()), "s3", "sync", str(folder), f"s3://{bucket}", "--only-show-errors"]
    subprocess.run([*words, "--endpoint-url", endpoint_url], env=dict(environ), check=True, timeout=1800)
