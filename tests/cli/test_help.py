"""Help in a narrow terminal: nothing that has to be typed is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cdn.cli.main import COMMANDS, app
from tests.cli.conftest import Cdn


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that name it."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root)
    yield (), root
    for name in COMMANDS:
        yield from _with_inner((name,), root.get_command(context, name))


def _with_inner(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for inner, each in getattr(command, "commands", {}).items():
        yield from _with_inner((*words, inner), each)


@pytest.fixture
def narrow_cdn(lonely_cdn: Cdn) -> Cdn:
    return Cdn(None, {**lonely_cdn.environ, "COLUMNS": "80"})


async def test_every_option_of_every_command_is_readable_at_80_columns(narrow_cdn: Cdn) -> None:
    every = dict(commands())
    assert {("site", "create"), ("site", "update"), ("up",), ("domain", "certificate", "set")} <= every.keys()
    for words, command in every.items():
        ended = await narrow_cdn(*words, "--help")
        assert ended.status == 0, words
        assert max(map(len, ended.out.splitlines())) <= 80, words
        assert ended.out.startswith("Usage: "), words
        shown = set(ended.out.replace(",", " ").split())
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert {*parameter.opts, *parameter.secondary_opts} <= shown, words


async def test_lists_of_commands_say_whole_sentences(narrow_cdn: Cdn) -> None:
    for words in ((), ("site",), ("token",)):
        shown = (await narrow_cdn(*words, "--help")).out
        assert "..." not in shown.replace("[ARGS]...", ""), words
    assert "it answers from, and its settings." in " ".join((await narrow_cdn("site", "--help")).out.split())


async def test_options_for_upstreams_stand_together(narrow_cdn: Cdn) -> None:
    for command in ("create", "update"):
        usual, _, upstream = (await narrow_cdn("site", command, "--help")).out.partition("\nWith an upstream")
        assert "--origin ORIGIN" in usual
        assert "--help" in usual
        assert "--obeys-client-directives / --no-obeys-client-directives" in upstream
        assert "\nArguments:\n  NAME" in usual


async def test_hooks_is_hook(narrow_cdn: Cdn) -> None:
    """The plural is what people type beside `cdn deploys`; the list of commands has one of them."""
    singular, plural = await narrow_cdn("hook", "--help"), await narrow_cdn("hooks", "--help")
    assert (plural.status, "deliveries" in plural.out) == (0, True)
    assert plural.out.replace("hooks", "hook") == singular.out.replace("hooks", "hook")
    assert "  hooks " not in (await narrow_cdn("--help")).out
