"""The load of the benches says what it claims, and sees when a server does not answer as it should."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from bench.browsers import BROWSERS
from bench.edge_hits import timed
from bench.edge_peers import Server
from bench.edge_plot import draw_plot
from bench.edge_programs import Load, LoadFailed, LoadProgram, _judged, compile_program
from bench.edge_requests import (
    CLIENTS,
    COUNTER,
    Visit,
    browser_like,
    by_zipf,
    h1_request,
    h2_visits,
    identical,
    never_repeating,
    write_scripts,
)
from bench.table import Comparison, Fact, Measured, Row, as_table, as_wide_table, save_json, saved

HOST = "hits.example"
CONTENT = b"c" * 1000


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> LoadProgram:
    return LoadProgram.compiled(tmp_path_factory.mktemp("load"), core=0)


@pytest.fixture(scope="module")
def floor_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("floor")
    (folder / "1k.css").write_bytes(CONTENT)
    process = subprocess.Popen(
        [compile_program("edge_floor", folder), folder / "1k.css"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def test_heads_of_browsers_are_a_thousand_and_each_is_whole() -> None:
    heads = browser_like(["/a", "/b"], HOST, [("range", "bytes=0-1")])
    assert len(set(heads)) == CLIENTS
    for head in heads:
        lines = head.decode().split("\r\n")
        assert lines[0] in {"GET /a HTTP/1.1", "GET /b HTTP/1.1"}
        assert lines[1] == f"Host: {HOST}"
        assert lines[-2:] == ["", ""]
        assert "Range: bytes=0-1" in lines
        assert sum(line.startswith("Cookie: ") for line in lines) == 1
    agents = {line for head in heads for line in head.decode().split("\r\n") if line.startswith("User-Agent: ")}
    assert len(agents) == len({browser.user_agent for browser in BROWSERS}) == len(BROWSERS) - 1  # two on Android alike
    assert len(identical("/a", HOST, [])) == 1


def test_zipf_asks_for_the_first_path_most() -> None:
    paths = [f"/{number}" for number in range(100)]
    heads = by_zipf(paths, HOST, count=3000, seed=1)
    counts = [sum(head.startswith(f"GET {path} ".encode()) for head in heads) for path in paths]
    assert sum(counts) == 3000
    assert counts[0] == max(counts) > 3 * counts[9] > 0


def test_visits_over_http2_are_what_browsers_send() -> None:
    paths = ("/start.html", *(f"/part-{number}.css" for number in range(59)))
    scripts = h2_visits([Visit(paths)], HOST, connections=len(BROWSERS), seed=1)
    sizes = []
    for script, browser in zip(scripts, BROWSERS, strict=True):
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        server.initiate_connection()
        asked = []
        for octets in script:
            for event in server.receive_data(octets):
                if isinstance(event, h2.events.RequestReceived):
                    asked.append({str(name): str(value) for name, value in event.headers})
        assert tuple(fields[":path"] for fields in asked) == paths
        assert all(fields["user-agent"] == browser.user_agent for fields in asked)
        assert len({fields["cookie"] for fields in asked}) == 1
        sizes.append((len(script[0]), max(map(len, script[2:]))))
    assert all(first > 200 > later for first, later in sizes)  # what was sent before is compressed


def test_the_closed_loop_counts_answers(load: LoadProgram, floor_port: int, tmp_path: Path) -> None:
    requests = write_scripts(tmp_path / "requests", [identical("/1k.css", HOST, [])])
    settings: dict[str, str | int] = {"port": floor_port, "requests": str(requests), "connections": 3}
    done = load.run("closed", **settings, duration=20, ends_after=500, content=len(CONTENT))
    assert done.requests == 500


@pytest.mark.parametrize(
    ("name", "value", "reason"), [("status", 206, "another status"), ("content", 7, "other content")]
)
def test_the_load_sees_wrong_answers(
    load: LoadProgram, floor_port: int, tmp_path: Path, name: str, value: int, reason: str
) -> None:
    requests = write_scripts(tmp_path / "requests", [identical("/1k.css", HOST, [])])
    settings: dict[str, str | int] = {"port": floor_port, "requests": str(requests), name: value}
    with pytest.raises(LoadFailed, match=reason):
        load.run("closed", **settings, duration=20, ends_after=50)


def test_a_server_that_closes_is_seen(load: LoadProgram, floor_port: int, tmp_path: Path) -> None:
    requests = write_scripts(tmp_path / "requests", [[h1_request("/absent", HOST, [])]])
    with pytest.raises(LoadFailed, match="closed the connection"):
        load.run("closed", port=floor_port, requests=str(requests), duration=20, ends_after=10)


def test_heads_never_repeat(load: LoadProgram, tmp_path: Path) -> None:
    """What a server reads of them: every counter is another one."""
    heads = never_repeating("/1k.css", HOST)
    assert len(heads) == len(BROWSERS)
    assert all(head.count(COUNTER) == 1 for head in heads)
    requests = write_scripts(tmp_path / "requests", [heads])
    seen = _recorded(load, requests, wanted=60)
    cookies = [line for head in seen for line in head.split(b"\r\n") if line.startswith(b"Cookie: ")]
    assert len(set(cookies)) == 60


def test_the_open_loop_sends_at_its_rate(load: LoadProgram, floor_port: int, tmp_path: Path) -> None:
    requests = write_scripts(tmp_path / "requests", [identical("/1k.css", HOST, [])])
    settings: dict[str, str | int] = {"port": floor_port, "requests": str(requests), "connections": 8}
    done = load.run("open", **settings, duration=1, rate=500)
    assert 380 < done.requests < 620  # 500 at random times: beyond is one in ten million
    assert 0 < done.p50_ms <= done.p99_ms


def test_latencies_of_the_open_loop_are_those_of_all_requests() -> None:
    told = {"requests": 99, "due": 99, "bad": 0, "elapsed_s": 1.0, "p50_ms": 1.0, "p99_ms": 2.0}
    assert _judged(json.dumps(told), {"port": 1}).p99_ms == 2.0
    with pytest.raises(LoadFailed, match="99 of 100 requests were answered in time"):
        _judged(json.dumps(told | {"due": 100}), {"port": 1})


def test_a_round_in_which_nothing_was_answered_is_said() -> None:
    with pytest.raises(LoadFailed, match=r"ours has answered nothing within .* s: give longer rounds"):
        timed(Server("ours", (), 0), lambda: Load(0))


def test_comparisons_are_tables_a_document_and_a_plot(tmp_path: Path) -> None:
    servers = {
        "cdn": Measured(5.0, 9000.0, 0.9),
        "nginx": Measured(10.0, 5000.0, 1.0),
        "floor": Measured(4.0, 1.0, 1.0),
    }
    met, missed, shown = (Comparison(f"{most} & more", most, servers) for most in (0.5, 0.4, None))
    assert (met.is_met, missed.is_met, shown.is_met) == (True, False, True)
    table = as_table([met, missed, shown])
    assert "| 0.5 & more | 5 us CPU | 10 us CPU (nginx) | 0.50 | 0.50 | met |" in table
    assert "| 0.4 & more | 5 us CPU | 10 us CPU (nginx) | 0.50 | 0.40 | **missed** |" in table
    assert "| None & more | 5 us CPU | 10 us CPU (nginx) | 0.50 |  |  |" in table
    assert "| 0.5 & more | 5.0; 9,000 | 10.0; 5,000 |  |  | 4.0; 1 | 1.25 |" in as_wide_table([met, Fact("a", 1, 1)])
    assert as_wide_table([Fact("a", 1, 1)]) == ""
    file = tmp_path / "results.json"
    save_json([met, Row("r", "s", 1.0, 2.0, "peer", 1.0)], file)
    save_json([Comparison(met.name, 0.5, servers | {"cdn": Measured(6.0, 1.0, 1.0)})], file)
    row, renewed = saved(file)
    assert (row["name"], renewed["ratio"], renewed["met"], renewed["floor_ratio"]) == ("r", 0.6, False, 1.5)
    plot = draw_plot(saved(file))
    assert "0.5 &amp; more" in plot
    assert ">0.60<" in plot


def _recorded(load: LoadProgram, requests: Path, *, wanted: int) -> list[bytes]:
    """The heads that the load sends on one connection."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                kept = b""
                while data := connection.recv(65536):
                    kept += data
                    while b"\r\n\r\n" in kept:
                        head, _, kept = kept.partition(b"\r\n\r\n")
                        heads.append(head)
                        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        load.run("closed", port=port, requests=str(requests), connections=1, duration=20, ends_after=wanted)
        thread.join()
    return heads
