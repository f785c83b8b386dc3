"""`cdn deploy` against `aws s3 sync`: the same folder to the same S3 server, in interleaved rounds.

Each round has a bucket of its own for either side, and a `cdn up` of its own over an empty journal. Measured is the
whole command, from the start of its process to its end; for `cdn deploy` that includes the complete receipt.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench.bundle import change_file, write_bundle
from bench.running_cdn import RunningCdn, running_cdn
from bench.table import Fact, Row, as_table
from bench.visits import read_all, upstream
from tests.servers.aws_cli import find_aws, sync
from tests.servers.seaweed import S3Address, running_seaweed

FILES = 10_000
ROUNDS = 3
CHANGES = 3
"""Redeploys with one changed file in each round."""

SITE = "bench"
HOST = f"{SITE}.cdn.localhost"
FIRST_AT_MOST, CHANGE_AT_MOST = 0.5, 0.35


@dataclass(slots=True)
class Samples:
    """Seconds of either side, in the order of the rounds."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    def row(self, name: str, at_most: float) -> Row:
        """The medians."""
        _say(f"{name}: cdn {_rounded(self.ours)}, aws {_rounded(self.peer)}")
        return Row(name, "s", statistics.median(self.ours), statistics.median(self.peer), "aws s3 sync", at_most)


@dataclass(slots=True)
class Measured:
    """Everything that the rounds gave."""

    first: Samples = field(default_factory=Samples)
    change: Samples = field(default_factory=Samples)
    uploaded: list[int] = field(default_factory=list)  # blobs of each redeploy


def run(folder: Path, *, files: int = FILES, rounds: int = ROUNDS, changes: int = CHANGES) -> list[Row | Fact]:
    """The rows of the table. Fewer files are quicker, but then the start of the processes weighs more."""
    find_aws()
    bundle = folder / "bundle"
    paths = write_bundle(bundle, files)
    measured = Measured()
    upstream_requests = 0
    with running_seaweed(folder / "seaweed") as server:
        for number in range(rounds):
            with _round(folder, server, number) as (cdn, bucket):
                _measure_round(measured, cdn, bucket, server, bundle, paths, number, changes)
                if number == rounds - 1:
                    upstream_requests = _upstream_requests_after_redeploy(cdn, bundle, paths)
    shown = f"{files:,} files"
    return [
        measured.first.row(f"first deploy, {shown}", FIRST_AT_MOST),
        measured.change.row(f"redeploy with one changed file, {shown}", CHANGE_AT_MOST),
        Fact("blobs uploaded by a redeploy with one changed file (most of any)", max(measured.uploaded), 1),
        Fact("requests to the store for unchanged files by a warm edge after it", upstream_requests, 0),
    ]


@contextmanager
def _round(folder: Path, server: S3Address, number: int) -> Iterator[tuple[RunningCdn, str]]:
    """A fresh `cdn up` over a bucket of its own with a site, and a bucket for the peer."""
    ours, peer = f"cdn-{number}", f"aws-{number}"
    for bucket in (ours, peer):
        _create_bucket(server, bucket)
    options = ("--store", f"s3://{ours}/", "--s3-endpoint", server.endpoint_url)
    with running_cdn(folder / f"cdn-{number}", options=options, environ=_aws_environ(server)) as cdn:
        cdn.run("site", "create", SITE)
        yield cdn, peer


def _measure_round(
    measured: Measured,
    cdn: RunningCdn,
    bucket: str,
    server: S3Address,
    bundle: Path,
    paths: list[str],
    number: int,
    changes: int,
) -> None:
    environ = {**os.environ, **_aws_environ(server)}

    def deploy() -> Any:
        return _deploy(cdn, bundle)

    def sync_peer() -> None:
        sync(bundle, bucket, server.endpoint_url, environ)

    _measure(measured.first, deploy, sync_peer, ours_first=number % 2 == 0)
    for change in range(changes):
        change_file(bundle, paths[change], number)
        deployed = _measure(measured.change, deploy, sync_peer, ours_first=(number + change) % 2 == 0)
        measured.uploaded.append(deployed["uploaded"]["blobs"])


def _measure(samples: Samples, deploy: Callable[[], Any], sync_peer: Callable[[], None], *, ours_first: bool) -> Any:
    """Both sides once, whose turn it is first; what the deploy answered."""
    if not ours_first:
        samples.peer.append(_seconds(sync_peer))
    started = time.monotonic()
    deployed = deploy()
    samples.ours.append(time.monotonic() - started)
    _say(f"  cdn deploy: {samples.ours[-1]:.2f} s, of which {deployed['seconds']}")
    if ours_first:
        samples.peer.append(_seconds(sync_peer))
    return deployed


def _deploy(cdn: RunningCdn, bundle: Path) -> Any:
    """What the command answered. Raises RuntimeError when a node had not applied it by its end."""
    deployed = cdn.run("deploy", str(bundle), "--site", SITE)
    if not deployed["receipt"]["complete"]:
        raise RuntimeError(f"the receipt is not complete: {deployed['receipt']}")
    return deployed


def _upstream_requests_after_redeploy(cdn: RunningCdn, bundle: Path, paths: list[str]) -> int:
    """Warm the edge with every file, change one, deploy, read all the others again: what the edge asked for then."""
    read_all(cdn, HOST, paths)
    warm = upstream(cdn)
    if warm.fetched < len(paths):
        raise RuntimeError(f"reading {len(paths)} files for the first time cost only {warm.fetched} requests")
    change_file(bundle, paths[-1], ROUNDS)
    _deploy(cdn, bundle)
    read_all(cdn, HOST, paths[:-1])
    return upstream(cdn).requests - warm.requests


def _seconds(work: Callable[[], None]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _create_bucket(server: S3Address, name: str) -> None:
    """A new bucket that has taken an object already, so that neither side pays for making the store's volumes."""
    client = boto3.Session(server.access_key, server.secret_key, region_name=server.region).client(
        "s3", endpoint_url=server.endpoint_url, config=Config(s3={"addressing_style": "path"})
    )
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="first", Body=b"first")
    client.delete_object(Bucket=name, Key="first")
    client.close()


def _aws_environ(server: S3Address) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """`python -m bench.deploy --files 1000 --rounds 1`: a smaller one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--changes", type=int, default=CHANGES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        results = run(Path(folder), files=options.files, rounds=options.rounds, changes=options.changes)
    print(as_table(results))


if __name__ == "__main__":
    main()
