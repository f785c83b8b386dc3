from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from cdn.cli.result import ExitStatus, result_with_receipt
from cdn.cli.text import columns, counted, in_bytes, in_time, safe


@given(st.text())
def test_safe_text_has_nothing_a_terminal_obeys(text: str) -> None:
    shown = safe(text)
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    shown.encode()


@given(st.text(st.characters(categories=("L", "N", "P", "S"))))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_columns_line_up() -> None:
    assert columns(("a", "bb"), [("ccc", "d"), ("e\n", "")]) == ("a    bb", "ccc  d", r"e\n")


def test_sizes_and_counts() -> None:
    assert [in_bytes(size) for size in (0, 1023, 1536, 5 * 1024**3, 3 * 1024**5)] == [
        *("0 B", "1023 B", "1.5 KiB", "5.0 GiB", "3072.0 TiB")
    ]
    assert (counted(1, "file"), counted(0, "file")) == ("1 file", "0 files")


def test_moments() -> None:
    assert (in_time(None), in_time(1_800_000_000.4)) == ("-", "2027-01-15 08:00:00Z")


def receipt(*outcomes: tuple[str, float | None], is_complete: bool) -> dict[str, object]:
    nodes = [{"node": f"n{number}", "outcome": each, "applied_at": at} for number, (each, at) in enumerate(outcomes)]
    return {"position": {"sequence": 7}, "recorded_at": 100.0, "complete": is_complete, "nodes": nodes}


def test_a_receipt_is_a_table_with_the_time_each_node_took() -> None:
    document = receipt(("applied", 100.0125), ("fenced", None), ("excused", None), is_complete=True)
    result = result_with_receipt({}, ("x",), document)
    assert result.status is ExitStatus.DONE
    assert result.lines == (
        "x",
        "node  outcome  applied after",
        "n0    applied  12.5 ms",
        "n1    fenced   -",
        "n2    excused  -",
        "recorded as 7; complete on 2 of 3 nodes, of which 1 cut off and asking the store first; "
        "1 cut off, and may still serve what was there before",
    )


def test_a_node_whose_clock_is_behind_took_no_negative_time() -> None:
    document = receipt(("applied", 99.0), is_complete=True)
    assert "0.0 ms" in result_with_receipt({}, (), document).lines[1]


def test_pending_is_said_aloud() -> None:
    result = result_with_receipt({}, (), receipt(("pending", None), ("applied", 100.0), is_complete=False))
    assert result.status is ExitStatus.NOT_COMPLETE
    assert result.lines[-2:] == (
        "recorded as 7; NOT complete: 1 of 2 nodes have not applied it yet",
        "wait for them: cdn receipt 7 --wait 1m; their state: cdn status",
    )


def test_without_nodes_there_is_no_table() -> None:
    assert result_with_receipt({}, (), receipt(is_complete=True)).lines == ("recorded as 7; no node serves yet",)
