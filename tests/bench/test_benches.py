"""The benchmarks run, at sizes that say nothing about speed: what they count is right, what they print can be read."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from bench import __main__ as programs
from bench import deploy, purge
from bench.bundle import MEAN_BYTES, MOST_BYTES, change_file, write_bundle
from bench.table import Fact, Row, as_table, save_json
from tests.servers.seaweed import S3Address, S3Server


def test_a_bundle_is_the_same_every_time_and_as_large_as_it_says(tmp_path: Path) -> None:
    paths = write_bundle(tmp_path / "one", 200)
    assert write_bundle(tmp_path / "two", 200) == paths
    sizes = [(tmp_path / "one" / path).stat().st_size for path in paths]
    assert len(set(paths)) == 200
    assert sum(sizes) == 200 * MEAN_BYTES
    assert 1024 <= min(sizes) < max(sizes) <= MOST_BYTES
    before = (tmp_path / "one" / paths[0]).read_bytes()
    assert before == (tmp_path / "two" / paths[0]).read_bytes()
    change_file(tmp_path / "one", paths[0], 1)
    after = (tmp_path / "one" / paths[0]).read_bytes()
    assert after != before
    assert len(after) == len(before)


def test_the_deploy_bench_counts_blobs_and_requests(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the real S3 server; a plain loop of uploads stands in for the peer, which only `make bench` installs."""
    synced: list[int] = []

    def upload(folder: Path, bucket: str, endpoint_url: str, environ: dict[str, str]) -> None:
        client = boto3.Session(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], region_name="x").client(
            "s3", endpoint_url=endpoint_url, config=Config(s3={"addressing_style": "path"})
        )
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        for file in files:
            client.put_object(Bucket=bucket, Key=str(file.relative_to(folder)), Body=file.read_bytes())
        client.close()
        synced.append(len(files))

    address = S3Address(s3_server.endpoint_url, s3_server.access_key, s3_server.secret_key, s3_server.region, pid=0)
    monkeypatch.setattr(deploy, "running_seaweed", lambda folder: contextlib.nullcontext(address))
    monkeypatch.setattr(deploy, "find_aws", lambda: None)
    monkeypatch.setattr(deploy, "sync", upload)
    first, change, uploaded, asked = deploy.run(tmp_path / "deploy", files=20, rounds=1, changes=1)
    assert synced == [20, 20]
    assert isinstance(first, Row)
    assert isinstance(change, Row)
    assert min(first.ours, first.peer, change.ours, change.peer) > 0
    assert isinstance(uploaded, Fact)
    assert uploaded.is_met
    assert isinstance(asked, Fact)
    assert asked.is_met


def test_the_purge_bench_fills_the_index_of_a_real_node(tmp_path: Path) -> None:
    before, during, held = purge.run(tmp_path / "purge", full=300, purges_s=0.2, swept_s=0.2, sweep_after_s=0.0)
    assert isinstance(before, Row)
    assert isinstance(during, Row)
    assert before.ours > 0 < during.peer
    assert held == Fact("stored responses in the index when the purges begin", 300, 300)


def test_results_are_a_table_and_a_document(tmp_path: Path) -> None:
    results: list[Row | Fact] = [Row("a", "s", 1.0, 4.0, "peer", 0.5), Fact("b", 2, 1)]
    table = as_table(results)
    assert "| a | 1 s | 4 s (peer) | 0.25 | 0.50 | met |" in table
    assert "| b | 2 | | | exactly 1 | **missed** |" in table
    save_json(results, tmp_path / "results.json")
    row, fact = json.loads((tmp_path / "results.json").read_text())
    assert (row["ratio"], row["met"], fact["met"]) == (0.25, True, False)


def test_the_docs_name_every_bench_and_a_wrong_name_is_told_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    row = next(line for line in docs.splitlines() if "`.venv/bin/python -m bench deploy`" in line)
    assert set(re.findall(r"`(\w+)`", row)) == set(programs.BENCHES)
    monkeypatch.setattr("sys.argv", ["bench", "deploys"])
    assert programs.main() == 2
    assert "there is no bench deploys; there are edge, access_log," in capsys.readouterr().err
