"""Health, readiness and metrics: what is answered, and that Prometheus can read it."""

from __future__ import annotations

import math
import re

import pytest
from aiohttp.test_utils import TestClient, TestServer

from cdn.cli.admin import Admin
from cdn.cli.metrics import CONTENT_TYPE, Family, Kind, counter, gauge, labelled, metrics_text
from cdn.cli.process_metrics import process_metrics

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
LINE = re.compile(
    rf"# HELP {NAME} [^\n]*|# TYPE {NAME} (?:counter|gauge)|"
    rf"{NAME}(?:\{{{LABEL}(?:,{LABEL})*\}})? (?:NaN|[+-]Inf|-?[0-9.]+(?:e[+-]?[0-9]+)?)"
)
"""A line of Prometheus's text format, version 0.0.4, as its description has it."""


def test_the_text_of_metrics() -> None:
    families = (
        gauge("cdn_a_bytes", "Bytes.\nOf a \\ kind.", 3),
        counter("cdn_b", "Things.", 2.5),
        labelled("cdn_c", Kind.COUNTER, "By reason.", "reason", {'a "quoted"\\\n': 1, "b": 2}),
        labelled("cdn_none", Kind.GAUGE, "Nothing.", "node", {}),
    )
    assert metrics_text(families) == (
        "# HELP cdn_a_bytes Bytes.\\nOf a \\\\ kind.\n# TYPE cdn_a_bytes gauge\ncdn_a_bytes 3\n"
        "# HELP cdn_b_total Things.\n# TYPE cdn_b_total counter\ncdn_b_total 2.5\n"
        "# HELP cdn_c_total By reason.\n# TYPE cdn_c_total counter\n"
        'cdn_c_total{reason="a \\"quoted\\"\\\\\\n"} 1\ncdn_c_total{reason="b"} 2\n'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (True, "1"), (-1.5, "-1.5"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (1e300, None)],
)
def test_every_number_can_be_shown(value: float, shown: str | None) -> None:
    text = metrics_text([gauge("a", "A.", value)]).splitlines()[-1]
    assert LINE.fullmatch(text)
    assert shown is None or text == f"a {shown}"
    if shown is None:
        assert float(text.split()[1]) == value


def test_a_process_says_what_it_uses() -> None:
    text = metrics_text(process_metrics("edge"))
    assert all(LINE.fullmatch(line) for line in text.splitlines()), text
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert values["process_open_fds"] >= 3
    assert values["process_resident_memory_bytes"] > 1_000_000
    assert values["process_cpu_seconds_total"] > 0
    assert any(name.startswith('cdn_build_info{role="edge",version="') for name in values)


async def test_readiness_is_told_with_its_reason() -> None:
    reasons: list[str | None] = [None, "draining"]

    async def why_not_ready() -> str | None:
        return reasons.pop(0)

    def metrics() -> list[Family]:
        return [gauge("a", "A.", 1)]

    async with TestClient(TestServer(Admin("edge", why_not_ready, metrics).application())) as client:
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok", "role": "edge"})
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ready", "role": "edge"})
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (503, {"status": "draining", "role": "edge"})
            assert answer.headers["Cache-Control"] == "no-store"
        async with client.get("/metrics") as answer:
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            assert await answer.text() == "# HELP a A.\n# TYPE a gauge\na 1\n"
        async with client.get("/else") as answer:
            assert answer.status == 404
        async with client.post("/readyz") as answer:
            assert answer.status == 405
