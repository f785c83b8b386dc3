"""Coded forms: what a hit of one costs beside the identity form, and what making them costs a deploy.

Both against the same program: the file in identity, and a `cdn up` that makes no coded forms; in interleaved rounds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.hits import BROWSER_FIELDS, SERVER_CORE, Server, Workload, measure
from bench.process_cpu import cpu_s
from bench.running_cdn import RunningCdn, running_cdn
from bench.table import Fact, Row, as_table

SEED = 20_261_123
FILES = 10_000
ROUNDS = 3
PAGE_BYTES = 16 * 1024
HIT_AT_MOST, DEPLOY_AT_MOST = 1.0, 1.25
SITE = "coded"
HOST = f"{SITE}.cdn.localhost"
CODED_WAIT_S = 60.0

WORDS = ("the", "of", "and", "to", "in", "is", "it", "you", "that", "he", "was", "for", "on", "are", "with", "as")


def page(source: random.Random, size_bytes: int = PAGE_BYTES) -> bytes:
    """Text that gets about as small as pages do: words by how often they stand, some of them new."""
    parts: list[str] = []
    length = 0
    while length < size_bytes:
        word = source.choice(WORDS) if source.random() < 0.6 else f"{source.getrandbits(28):x}"
        parts.append(f"<b class='{word}'>{word}</b> " if source.random() < 0.1 else f"{word} ")
        length += len(parts[-1])
    return "".join(parts).encode()[:size_bytes]


def run(folder: Path, *, files: int = FILES, rounds: int = ROUNDS, duration_s: int = 3) -> list[Row | Fact]:
    """The rows of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_hits(folder / "hits", rounds, duration_s), *_deploys(folder / "deploys", files, rounds)]


def _hits(folder: Path, rounds: int, duration_s: int) -> Row:
    content = folder / "content"
    content.mkdir(parents=True)
    (content / "page.txt").write_bytes(page(random.Random(SEED)))
    with running_cdn(folder / "cdn", core=SERVER_CORE) as cdn:
        cdn.run("site", "create", SITE)
        cdn.run("deploy", str(content), "--site", SITE)
        coded_bytes = _await_coded(cdn, "/page.txt")
        _say(f"  a page of {PAGE_BYTES} bytes is {coded_bytes} coded")
        servers = (Server("coded", cdn.pid, cdn.http_port), Server("identity", cdn.pid, cdn.http_port))
        browser = Workload("16 KiB, browser-like heads", "/page.txt", HIT_AT_MOST, host=HOST)
        plain = Workload("16 KiB, identity wanted", "/page.txt", HIT_AT_MOST, IDENTITY, HOST)
        samples: dict[str, list[float]] = {"coded": [], "identity": []}
        for _ in range(rounds):
            samples["coded"].append(measure(servers[:1], browser, folder, 1, duration_s)["coded"])
            samples["identity"].append(measure(servers[1:], plain, folder, 1, duration_s)["identity"])
        medians = {name: statistics.median(values) for name, values in samples.items()}
    name = "HTTP/1.1 hit of a 16 KiB page, coded"
    return Row(name, "us CPU", medians["coded"], medians["identity"], "the same in identity", HIT_AT_MOST)


IDENTITY = """
wrk.headers["Accept-Encoding"] = "identity"
"""
"""A wrk script: the same request by a client that decodes nothing."""


def _await_coded(cdn: RunningCdn, path: str) -> int:
    """The size of the coded form, once there is one."""
    fields = {"Host": HOST, "Accept-Encoding": BROWSER_FIELDS[2].partition(": ")[2]}
    until = time.monotonic() + CODED_WAIT_S
    while time.monotonic() < until:
        asked = urllib.request.Request(cdn.http_url.rstrip("/") + path, headers=fields)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            if answer.headers.get("content-encoding") is not None:
                return int(answer.headers["content-length"])
        time.sleep(0.05)
    raise RuntimeError(f"{path} was not coded within {CODED_WAIT_S:g} s")


def _deploys(folder: Path, files: int, rounds: int) -> list[Row | Fact]:
    """The first deploy of so many files where they are coded, and where they are not; then the second one, which
    changes one file while the first one's are being coded."""
    bundle = folder / "bundle"
    source = random.Random(SEED)
    for number in range(files):
        file = bundle / f"{number % 100:02d}" / f"page-{number}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(page(source, source.randrange(2048, 2 * PAGE_BYTES)))
    limits = folder / "limits.toml"
    limits.write_text("[control]\ncoding_processes = 0\n")
    options = {"coded": (), "uncoded": ("--config", str(limits))}
    first: dict[str, list[float]] = {name: [] for name in options}
    second: dict[str, list[float]] = {name: [] for name in options}
    for number in range(rounds):
        for name in options if number % 2 == 0 else reversed(options):
            with running_cdn(folder / f"{name}-{number}", options=options[name]) as cdn:
                cdn.run("site", "create", SITE)
                first[name].append(_deploy(cdn, bundle))
                (bundle / "00" / "page-0.html").write_bytes(page(source))
                second[name].append(_deploy(cdn, bundle))
                _say(f"  {name}: {first[name][-1]:.2f} s, then {second[name][-1]:.2f} s; CPU {cpu_s(cdn.pid):.1f} s")
    shown = f"{files:,} files"
    rows: list[Row | Fact] = []
    for name, samples in ((f"first deploy, {shown}, coded afterwards", first), ("the next one, meanwhile", second)):
        ours, peer = statistics.median(samples["coded"]), statistics.median(samples["uncoded"])
        rows.append(Row(name, "s", ours, peer, "without coded forms", DEPLOY_AT_MOST))
    return rows


def _deploy(cdn: RunningCdn, bundle: Path) -> float:
    """Seconds from the start of the command to its complete receipt."""
    started = time.monotonic()
    deployed = cdn.run("deploy", str(bundle), "--site", SITE)
    if not deployed["receipt"]["complete"]:
        raise RuntimeError(f"the receipt is not complete: {deployed['receipt']}")
    return time.monotonic() - started


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """0 when every promise was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        results = run(Path(folder) / "coded", files=chosen.files, rounds=chosen.rounds)
    print(as_table(results))
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
