"""Help as plain text: names of options are never cut, however narrow the terminal is."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


def make_plain(command: Any) -> None:
    """Make a command print its help without tables, and say its whole first paragraph where commands are listed."""
    command.rich_markup_mode = None
    if command.help:
        command.short_help = command.help.partition("\n\n")[0]


class CommandWithParts(TyperCommand):
    """A command whose options stand under headings: those without `rich_help_panel` first, then panel by panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options."""
        parts: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                parts.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for heading, records in parts.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
