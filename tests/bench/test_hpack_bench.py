"""The bench of header blocks runs, and both decoders read the same in it."""

from __future__ import annotations

from pathlib import Path

from hpack import Decoder

from bench.hpack import CONNECTIONS, MAX_LIST_BYTES, connections_of, run
from cdn.edge.hpack_decoder import HpackDecoder


def test_both_decode_what_browsers_send_alike() -> None:
    connections = connections_of(0, 6)
    assert [len(connection) for connection in connections] == [6] * CONNECTIONS
    for connection in connections:
        ours, other = HpackDecoder(MAX_LIST_BYTES), Decoder(max_header_list_size=MAX_LIST_BYTES)
        for block in connection:
            fields = other.decode(block, raw=True)
            assert ours.decode(block) == [(bytes(name).decode(), bytes(value).decode()) for name, value in fields]


def test_the_bench_measures_what_it_says(tmp_path: Path) -> None:
    rows = run(tmp_path, rounds=1, paths=3)
    assert [row.peer_name for row in rows] == ["hpack", "hpack", "hpack decoding it"]
    assert all(row.ours > 0 < row.peer for row in rows)
