"""Metrics of every role: the format to the letter, names and units as Prometheus has them, each documented."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from cdn.cli import control_metrics as of_control
from cdn.cli import dns_metrics as of_dns
from cdn.cli import edge_metrics as of_edge
from cdn.cli.control_metrics import control_metrics
from cdn.cli.edge_metrics import edge_metrics
from cdn.cli.metrics import Family, Kind, gauge, histogram, labelled, metrics_text
from cdn.cli.process_metrics import process_metrics
from cdn.control.domain_parts import COUNTERS
from tests.cli.prometheus_text import Metric, NotPrometheus, read
from tests.e2e.fleet import Fleet

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(
    r"\| `(?P<name>\w+)` \| (?P<kind>counter|gauge|histogram) \| (?P<labels>[^|]*) \| (?P<meaning>[^|]+) \|"
)


def documented() -> dict[str, tuple[str, frozenset[str], str]]:
    """Kind, labels and meaning of every metric in the tables, by name."""
    rows = [ROW.fullmatch(line) for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()]
    found = {
        row["name"]: (row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"])), row["meaning"].strip())
        for row in rows
        if row is not None
    }
    assert len(found) == sum(row is not None for row in rows), "a metric stands twice"
    return found


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Leases are long, so that a machine that is busy changes no state."""
    fleet = await Fleet(tmp_path, lease_s=60.0).start()
    yield fleet
    await fleet.aclose()


async def families(fleet: Fleet) -> dict[str, Sequence[Family]]:
    """What control and an edge that work together say."""
    node = await fleet.add("n1", region="eu")
    await fleet.create_site("one")
    await fleet.deploy("one", {"/index.html": b"x"})
    await fleet.visit("n1", "one.cdn.localhost")
    return {
        "control": control_metrics(fleet.plane),
        "edge": edge_metrics(node.edge, has_caught_up=True),
        "process": process_metrics("edge"),
    }


def of_names(counted: Mapping[str, str], prefix: str, gauges: frozenset[str]) -> dict[str, str]:
    """Kinds by the names that counters get."""
    return {
        f"{prefix}{name}" if name in gauges else f"{prefix}{name}_total": "gauge" if name in gauges else "counter"
        for name in counted
    }


async def test_every_metric_is_well_formed_and_documented_and_nothing_else_is(fleet: Fleet) -> None:
    known = documented()
    live = [family for of_role in (await families(fleet)).values() for family in of_role]
    parsed = read(metrics_text(live))
    assert len(parsed) > 60
    kinds = {family.name: family.kind.value for family in live}
    kinds |= of_names(of_edge.HELP, "cdn_edge_", of_edge.GAUGES) | of_names(
        {**of_control.HELP, **of_control.HELP_OF_DOMAINS}, "cdn_control_", frozenset()
    )
    assert {name: kind for name, (kind, _, _) in known.items() if not name.startswith("cdn_dns_")} == kinds
    for name, metric in parsed.items():
        assert metric.labels == known[name][1], name
        assert metric.help == known[name][2], name


def test_metrics_of_dns_are_documented() -> None:
    source = (ROOT / "cdn" / "cli" / "dns_metrics.py").read_text()
    made = re.findall(r'(counter|gauge|labelled)\(\s*"(cdn_dns_\w+)"(?:,\s*Kind\.(\w+))?', source)
    names = {f"{name}_total" if "COUNTER" in kind or make == "counter" else name for make, name, kind in made}
    names |= {f"cdn_dns_{name.replace('.', '_')}_total" for name, _ in of_dns._COUNTERS}
    assert len(names) > 10
    assert {name for name in documented() if name.startswith("cdn_dns_")} == names


def test_whatever_an_edge_counts_has_a_meaning() -> None:
    """Names in every method called `counted` of the edge: also of those that a node alone does not have."""
    names: set[str] = set()
    for path in (ROOT / "cdn" / "edge").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name == "counted":
                for each in ast.walk(function):
                    keys = each.keys if isinstance(each, ast.Dict) else [getattr(each, "key", None)]
                    names |= {key for value in keys if (key := _begins(value)) is not None}
    assert {"upstream_fetches", "workers", "not_stored_", "disk_bytes"} <= names
    listeners = {name for name in names if documented().keys() & {f"cdn_edge_{name}", f"cdn_edge_{name}_total"}}
    unknown = names - listeners - of_edge.HELP.keys() - of_edge.LABELLED.keys() - {"fetch_"}
    assert unknown == set(), "say in cdn/cli/edge_metrics.py and docs/metrics.md what they mean"


def _begins(key: ast.expr | None) -> str | None:
    """The text of a key, or what it begins with."""
    match key:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return text
        case _:
            return None


async def test_whatever_control_counts_has_a_meaning(fleet: Fleet) -> None:
    services = fleet.plane.services
    counted = {**services.hub.counters, **services.repair.counters, **services.archive.counters}
    assert counted.keys() == of_control.HELP.keys()
    assert set(COUNTERS) == of_control.HELP_OF_DOMAINS.keys()


async def test_a_large_fleet_has_no_line_for_every_node(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_control, "MAX_NODE_SERIES", 2)
    for node_id in ("n1", "n2", "n3"):
        await fleet.add(node_id)
    await fleet.nodes["n2"].edge.follower.drain()
    while fleet.plane.services.directory.condition("n2").state.value != "draining":
        await fleet.call("GET", "/v1/status")
    metrics = read(metrics_text(control_metrics(fleet.plane)))
    assert metrics["cdn_control_nodes"].samples == {(): 3.0}
    states = {labels[0][1]: value for labels, value in metrics["cdn_control_node_states"].samples.items()}
    assert (states["serving"], states["draining"], states["lagging"]) == (2.0, 1.0, 0.0)
    assert list(metrics["cdn_control_node_connected"].samples) == [(("node", "n2"),)]


GOOD = "# HELP a_b_total What it counts, in words.\n# TYPE a_b_total counter\na_b_total 1\n"


BUCKETS = (
    "# HELP a_s What it counts, in words.\n# TYPE a_s histogram\n"
    'a_s_bucket{le="1"} 2\na_s_bucket{le="2"} 3\na_s_bucket{le="+Inf"} 4\na_s_sum 5.5\na_s_count 4\n'
).replace("a_s", "a_seconds")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD[:-1], "does not end"),
        (GOOD * 2, "stands twice"),
        (GOOD + "a_b_total 1\n", "stands twice"),
        (GOOD + "a_c_total 1\n", "among those of a_b_total"),
        (GOOD.replace("counter", "gauge"), "end in _total"),
        (GOOD.replace("_total", ""), "end in _total"),
        (GOOD.replace("a_b", "a_ms"), "units are seconds and bytes"),
        (GOOD.replace("a_b", "bytes_b"), "the unit comes last"),
        (GOOD.replace("counter", "summary"), "no kind that is used here"),
        (BUCKETS.replace('le="1"', 'le="3"'), "in the order of their bounds"),
        (BUCKETS.replace('le="2"} 3', 'le="2"} 1'), "summed up"),
        (BUCKETS.replace("count 4", "count 3"), "that of the last bucket"),
        (BUCKETS.replace("+Inf", "7"), "without a bound"),
        (BUCKETS.replace("a_seconds_count 4\n", ""), "without its sum or count"),
        (BUCKETS.replace("a_seconds_sum 5.5\n", ""), "one sum, then one count"),
        (BUCKETS.replace("a_seconds_sum", "a_seconds_total"), "among those of a_seconds"),
        (GOOD.replace(" 1\n", " one\n"), "no number"),
        (GOOD.replace(" 1\n", " NaN\n"), "no number"),
        (GOOD.replace(" 1\n", " -1\n"), "below 0"),
        (GOOD.replace("total 1", 'total{job="x"} 1'), "Prometheus's own"),
        (GOOD.replace("total 1", 'total{x="a"y="b"} 1'), "without a comma"),
        (GOOD.replace("total 1", 'total{x="a",x="b"} 1'), "stands twice"),
        (GOOD.replace("total 1", 'total{x="a\\q"} 1'), "cannot be read"),
        (GOOD.replace("total 1", "total{} 1"), "empty braces"),
        (GOOD + 'a_b_total{x="1"} 1\n', "other labels"),
        (GOOD.replace(", in words.", ""), "is a sentence"),
        (GOOD.replace("# TYPE a_b_total counter\n", ""), "before its TYPE line"),
        ("".join(GOOD.splitlines(True)[1:]), "follows the HELP line"),
        ("".join(GOOD.splitlines(True)[:2]), "without samples"),
        ("".join(GOOD.splitlines(True)[:1]), "ends with a HELP line"),
    ],
)
def test_the_reader_is_strict(text: str, said: str) -> None:
    with pytest.raises(NotPrometheus, match=re.escape(said)):
        read(text)


def test_what_is_written_is_read_back() -> None:
    odd = 'a\\b"c\nd,e}f'
    made = [
        labelled("cdn_x", Kind.COUNTER, "Things, by a \\ and \n name.", "name", {odd: 3.5, "": 1e9}),
        gauge("cdn_y_seconds", "Another one of them.", -0.25),
        gauge("cdn_z", "Without any bound.", float("inf")),
        histogram("cdn_w_seconds", "Things that take time.", (0.5, 2.0), (1, 2, 4), 12.5),
    ]
    found = read(metrics_text(made))
    escaped = odd.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert found["cdn_x_total"].samples == {(("name", escaped),): 3.5, (("name", ""),): 1e9}
    assert found["cdn_y_seconds"].samples == {(): -0.25}
    assert isinstance(found["cdn_z"], Metric)
    buckets = {labels[0][1]: value for labels, value in found["cdn_w_seconds"].samples.items()}
    assert buckets == {"0.5": 1, "2": 3, "+Inf": 7}
