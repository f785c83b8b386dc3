"""The tables `[[headers]]` of netlify.toml and cdn.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdn.errors import InvalidInput
from cdn.sites.rules.field_line import IGNORED_FIELDS, check_field_name, check_field_value
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.findings import Findings
from cdn.sites.rules.headers_file import HeadersRead, PlacedFields, decoded_pattern
from cdn.sites.rules.path_glob import check_glob


def read_header_tables(tables: Any, file: str, lines: Sequence[int] = ()) -> HeadersRead:
    """The rules in `tables`, which is what tomllib found under "headers". `lines`: where each table starts, 0 where it
    is not known. Never raises."""
    findings = Findings(file)
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        findings.fault(0, "headers", "write each rule as a table [[headers]]")
        return HeadersRead((), findings.faults)
    placed: list[PlacedFields] = []
    for number, table in enumerate(tables):
        line = lines[number] if number < len(lines) else 0
        rule = _read_table(findings, line, table)
        if rule is not None:
            placed.append(PlacedFields(rule, file, line))
    return HeadersRead(tuple(placed), findings.faults, findings.warnings)


def _read_table(findings: Findings, line: int, table: Mapping[str, Any]) -> FieldRule | None:
    """None where nothing of it can be used."""
    source, values, unset = table.get("for"), table.get("values", {}), table.get("unset", [])
    said = f"[[headers]] for = {source!r}"
    for key in sorted(table.keys() - {"for", "values", "unset"}):
        findings.fault(line, said, f'there is no key "{key}"; there are for, values and unset')
    if not isinstance(source, str):
        findings.fault(line, "[[headers]]", 'say which paths it is for: for = "/*"')
        return None
    if not isinstance(values, Mapping) or not isinstance(unset, list):
        findings.fault(line, said, "values is a table of names and values, unset a list of names")
        return None
    try:
        source = check_glob(decoded_pattern(source.strip()))
    except InvalidInput as exc:
        findings.fault(line, said, exc.message)
        return None
    fields = [each for name, value in values.items() for each in _read_value(findings, line, said, name, value)]
    names = [name for each in unset if (name := _read_unset(findings, line, said, each))]
    if not fields and not names:
        findings.warn(line, said, "it sets no field")
        return None
    return FieldRule(source, tuple(fields), tuple(names))


def _read_value(findings: Findings, line: int, said: str, name: str, value: Any) -> list[tuple[str, str]]:
    lines = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in lines):
        findings.fault(line, said, f'give the value of "{name}" as text, or a list of texts')
        return []
    try:
        checked = check_field_name(name.strip())
        if checked in IGNORED_FIELDS:
            findings.warn(line, said, f'"{checked}" is set by the server: this line does nothing')
            return []
        # A value over several lines is written so in netlify.toml for people's sake.
        return [(checked, check_field_value(checked, _in_one_line(each))) for each in lines]
    except InvalidInput as exc:
        findings.fault(line, said, exc.message)
        return []


def _in_one_line(value: str) -> str:
    return " ".join(part for line in value.split("\n") if (part := line.strip()))


def _read_unset(findings: Findings, line: int, said: str, name: Any) -> str:
    try:
        return check_field_name(name if isinstance(name, str) else repr(name))
    except InvalidInput as exc:
        findings.fault(line, said, exc.message)
        return ""
