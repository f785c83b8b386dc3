from __future__ import annotations

import sys

import pytest

from cdn.cli import main as main_module
from cdn.cli.run import MAX_DETAIL_LINES, print_error
from cdn.errors import InvalidInput


def test_a_fault_of_the_program_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(module: str) -> object:
        raise RuntimeError(f"\x1b[2J {module}")

    monkeypatch.setattr(main_module, "import_module", broken)
    monkeypatch.setattr(sys, "argv", ["cdn", "status"])
    with pytest.raises(SystemExit) as caught:
        main_module.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "cdn: unexpected RuntimeError: \\x1b[2J cdn.cli.status; please report this\n"


def test_an_interrupt_anywhere_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(prog_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "app", interrupted)
    with pytest.raises(SystemExit) as caught:
        main_module.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_long_list_of_details_is_cut_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    details = tuple(f"fault {number}" for number in range(MAX_DETAIL_LINES + 5))
    print_error(InvalidInput("No.", field="files", details=details), is_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["cdn: No.", "  fault 0"]
    assert lines[-1] == "  and 5 more"
    assert len(lines) == 1 + MAX_DETAIL_LINES + 1


def test_no_sentence_is_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    details = ("urls[0]: It is no URL.", "keep[0]: too long", "tags[1]: It is long.")
    print_error(InvalidInput("It is no URL.", field="urls[0]", details=details), is_json=False)
    assert capsys.readouterr().err == "cdn: It is no URL.\n  keep[0]: too long\n  tags[1]: It is long.\n"
    print_error(InvalidInput("settings: keep[0]: too long", field="keep[0]", details=details[1:2]), is_json=False)
    assert capsys.readouterr().err == "cdn: settings: keep[0]: too long\n"
