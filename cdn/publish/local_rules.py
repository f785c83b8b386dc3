"""The rules of a bundle, judged before a byte of it is uploaded: as control will judge them, by the same function."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from cdn.errors import InvalidInput
from cdn.origin.bundle.admission import SourceFile
from cdn.publish.client import ControlClient
from cdn.sites.rules.compiling import MAX_RULE_FILE_BYTES, CompiledRules, compile_rules
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.pages_program import pages_programs
from cdn.sites.rules.rule_set import RULE_FILES


async def check_rules(client: ControlClient, site: str, files: Sequence[SourceFile]) -> tuple[str, ...]:
    """Warnings about the rules in `files`. Raises InvalidInput that lists every fault as `file:line: rule: message`, or
    what control says when it is asked whose reading the site wants."""
    rule_files = {file.path[1:]: file.file for file in files if file.path[1:] in RULE_FILES}
    paths = [file.path for file in files]
    if not rule_files and not any(pages_programs(paths)):
        return ()
    settings = (await client.site(site)).get("settings", {})
    if "rules_mode" not in settings:  # a control of an earlier release, to which these are files like others
        return ()
    mode = RulesMode(settings["rules_mode"])
    compiled = await asyncio.to_thread(_compile, rule_files, mode, frozenset(paths))
    if compiled.faults:
        count = len(compiled.faults)
        raise InvalidInput(
            f"the rules of this bundle have {count} fault{'s' if count > 1 else ''}, nothing was uploaded",
            field="rules",
            details=tuple(map(str, compiled.faults)),
        )
    return tuple(map(str, compiled.warnings))


def _compile(rule_files: Mapping[str, Path], mode: RulesMode, paths: frozenset[str]) -> CompiledRules:
    return compile_rules({name: _read(place) for name, place in rule_files.items()}, mode, paths)


def _read(place: Path) -> bytes:
    """The content, as far as it takes to see that it is too long."""
    try:
        with place.open("rb") as file:
            return file.read(MAX_RULE_FILE_BYTES + 1)
    except OSError as exc:
        raise InvalidInput(f"{place} cannot be read: {exc.strerror or exc}", field="source") from exc
