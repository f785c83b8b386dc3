"""`python -m tests.conformance`: http-cache-tests through a real edge, scored, and held against docs/conformance.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.conformance.node import SUITE, SUITE_VERSION, Node, find_node, install_suite
from tests.conformance.page import disagreements, read_page
from tests.conformance.peer import nginx_peer
from tests.conformance.suite_run import Cache, run_client, suite_server
from tests.conformance.verdict import Group, Kind, Score, Verdict, scores
from tests.e2e.roles import RoleFleet
from tests.e2e.running import RunningCdn

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"
FOLDER = ROOT / ".venv" / "conformance"
SITE = "conformance"

LEAST = {Kind.REQUIRED: 145, Kind.OPTIMAL: 76}
"""How many tests of the published count have to pass."""


def main(words: Sequence[str] | None = None) -> int:
    """0 when the score is high enough and the page says what was seen."""
    options = _options(words)
    node = find_node()
    suite = install_suite(node, FOLDER)
    with tempfile.TemporaryDirectory(prefix="cdn-conformance-") as name:
        verdicts = _verdicts(node, suite, Path(name), options)
    measured = scores(verdicts)
    print(_as_text(verdicts, measured))
    if options.save:
        Path(options.save).write_text(_as_json(verdicts, measured))
    if options.peer:
        return 0
    faults = [*_too_low(measured), *disagreements(read_page(PAGE.read_text()), verdicts)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--save", metavar="FILE", help="write the scores and every verdict as JSON")
    parser.add_argument("--peer", choices=["nginx"], help="score this one instead; nothing is compared or promised")
    parser.add_argument(
        "--shield", action="store_true", help="score an edge that asks a shield; what is promised is the same"
    )
    parser.add_argument(
        "--workers", metavar="N", default="1", help="processes that answer; what is promised is the same"
    )
    return parser.parse_args(words)


def _verdicts(node: Node, suite: Path, folder: Path, options: argparse.Namespace) -> tuple[Verdict, ...]:
    started = nginx_peer if options.peer else _shielded if options.shield else partial(_edge, options.workers)
    with suite_server(node, suite, folder) as port, started(folder, port) as cache:
        return run_client(node, suite, cache)


@contextmanager
def _edge(workers: str, folder: Path, upstream_port: int) -> Iterator[Cache]:
    """A pull site as anybody creates it."""
    cdn = RunningCdn(folder, options=("--allow-private-upstreams", "--workers", workers))
    try:
        cdn.start()
        cdn.run("site", "create", SITE, "--origin", f"http://127.0.0.1:{upstream_port}")
        # A complete receipt says that the edge knows the site by now.
        cdn.run("purge", "--site", SITE, "--url", "/is-known")
        edge = urlsplit(cdn.http_url)
        yield Cache(f"http://{SITE}.cdn.localhost:{edge.port}", edge.hostname or "")
    finally:
        cdn.stop()


@contextmanager
def _shielded(folder: Path, upstream_port: int) -> Iterator[Cache]:
    """The same site on an edge whose every miss goes through another one."""
    fleet = RoleFleet(folder, 'url = "store"', {})
    try:
        fleet.start_control()
        shield = fleet.start_edge("shield", 'allows_private_upstreams = true\n[peers]\nlisten = "127.0.0.1:0"\n')
        asyncio.run(shield.until_ready())
        asks = f'[shield]\npatience_s = 20\nurls = ["{shield.ready["peers_url"]}"]\n'
        edge = fleet.start_edge("edge", f"allows_private_upstreams = true\n{asks}")
        asyncio.run(edge.until_ready())
        settings = {"origin": f"http://127.0.0.1:{upstream_port}"}
        fleet.call("POST", "/v1/sites", {"name": SITE, "settings": settings})
        fleet.call("POST", f"/v1/sites/{SITE}/purges?wait=20", {"everything": True})
        visited = urlsplit(edge.ready["http_url"])
        yield Cache(f"http://{SITE}.cdn.localhost:{visited.port}", visited.hostname or "")
        assert not edge.metrics()["cdn_edge_shields_suspended"], "every miss went through the shield"
    finally:
        fleet.close()


def _too_low(measured: Sequence[Score]) -> Iterator[str]:
    for score in measured:
        least = LEAST.get(score.kind, 0) if score.group is Group.SHARED_CACHE else 0
        if score.passed < least:
            yield f"{score.passed} {score.kind.value} tests pass; at least {least} have to"


def _as_text(verdicts: Sequence[Verdict], measured: Sequence[Score]) -> str:
    lines = [f"{SUITE} {SUITE_VERSION}", f"{'':24}{'passed':>8}{'of':>6}"]
    lines += [f"{score.group.value:18}{score.kind.value:10}{score.passed:4}{score.of:6}" for score in measured]
    failing = [one for one in verdicts if one.must_be_explained]
    lines += ["", f"failing: {len(failing)}"] if failing else []
    lines += [f"  {one.kind.value:9} {one.test_id}: {one.message}" for one in failing]
    return "\n".join(lines)


def _as_json(verdicts: Sequence[Verdict], measured: Sequence[Score]) -> str:
    document = {
        "suite": f"{SUITE} {SUITE_VERSION}",
        "scores": [
            {"group": one.group.value, "kind": one.kind.value, "passed": one.passed, "of": one.of} for one in measured
        ],
        "failing": {one.test_id: one.message for one in verdicts if one.must_be_explained},
        "checks": {one.test_id: one.passed for one in verdicts if one.kind is Kind.CHECK},
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
