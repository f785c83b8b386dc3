"""From the texts of a bundle's rule files to rules, or to every fault in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cdn.sites.path import plain_names_of, shown
from cdn.sites.rules.applied_fields import MAX_FIELDS_BYTES
from cdn.sites.rules.cdn_toml import CdnTomlRead, read_cdn_toml
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.field_rules import glob_of
from cdn.sites.rules.headers_file import MAX_FIELD_RULES, HeadersRead, PlacedFields, read_headers
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.netlify_toml import read_netlify_toml
from cdn.sites.rules.pages_program import pages_programs
from cdn.sites.rules.path_glob import PathGlob
from cdn.sites.rules.path_index import PathIndex
from cdn.sites.rules.redirect_checks import check_redirects
from cdn.sites.rules.redirects_file import RedirectsRead, read_redirects
from cdn.sites.rules.rule_set import NO_RULES, RULE_FILES, RuleSet
from cdn.sites.rules.security_preset import preset_rule

MAX_RULE_FILE_BYTES = 1024 * 1024
"""One rule file: 10,000 rules of a hundred octets."""

MAX_TRIED = 500
"""Patterns of fields that one request is compared with, each in some three microseconds: other sites wait meanwhile."""

MAX_SAID = 200
"""Faults, and warnings, that are listed: whoever has more has made one mistake many times."""


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """`rules` count only without `faults`. `warnings` do not keep a deploy from being made."""

    rules: RuleSet = NO_RULES
    faults: tuple[RuleFault, ...] = ()
    warnings: tuple[RuleFault, ...] = ()


def compile_rules(texts: Mapping[str, bytes], mode: RulesMode, files: Collection[str]) -> CompiledRules:
    """The rules in `texts`: content by the name of a rule file (`RULE_FILES`). `files` are the paths of the bundle, to
    say which targets do not exist. Never raises: what is wrong is a fault, all of them at once.

    Redirects: those of `cdn.toml` are looked at first, then `_redirects`, then `netlify.toml`; the first that covers a
    request counts. Fields: the preset, `_headers`, `netlify.toml`, `cdn.toml`; a later one says otherwise.
    """
    faults: list[RuleFault] = []
    usable: dict[str, bytes] = {}
    for name in RULE_FILES:
        content = texts.get(name, b"")
        if len(content) > MAX_RULE_FILE_BYTES:
            message = f"the file has {len(content)} bytes, at most {MAX_RULE_FILE_BYTES} are read"
            faults.append(RuleFault(name, 0, "", message))
        elif content:
            usable[name] = content
    compiled = _compile(usable, mode, files)
    warnings = [*compiled.warnings, *_warnings_about(files, mode)]
    found = [*faults, *compiled.faults]
    return CompiledRules(compiled.rules if not found else NO_RULES, _listed(found), _listed(warnings))


def _compile(texts: Mapping[str, bytes], mode: RulesMode, files: Collection[str]) -> CompiledRules:
    ours = read_cdn_toml(texts.get("cdn.toml", b""), mode)
    netlify = read_netlify_toml(texts.get("netlify.toml", b""), mode)
    redirects = (ours.redirects, read_redirects(texts.get("_redirects", b""), mode), netlify.redirects)
    headers = (read_headers(texts.get("_headers", b""), mode), netlify.headers, ours.headers)
    checked = check_redirects([rule for each in redirects for rule in each.rules], mode, files)
    placed = [rule for each in headers for rule in each.rules]
    reads: Sequence[RedirectsRead | HeadersRead] = (*redirects, *headers, checked)
    rules = replace(
        ours.rules,
        mode=mode,
        redirects=tuple(placed.rule for placed in checked.rules),
        fields=(*(() if ours.preset is None else (preset_rule(ours.preset),)), *(each.rule for each in placed)),
    )
    if not texts and not (mode is RulesMode.CLOUDFLARE and any(pages_programs(files))):
        rules = NO_RULES
    return CompiledRules(
        rules=rules,
        faults=(
            *ours.file.findings.faults,
            *netlify.file.findings.faults,
            *(fault for read in reads for fault in read.faults),
            *_faults_of_fields(placed),
            *_faults_of_pages(ours, files),
        ),
        warnings=(
            *ours.file.findings.warnings,
            *netlify.file.findings.warnings,
            *(warning for read in reads for warning in read.warnings),
            *_warnings_about_access(ours, files),
        ),
    )


def _faults_of_pages(ours: CdnTomlRead, files: Collection[str]) -> Iterable[RuleFault]:
    """Of pages that are named and not there."""
    named = {path: f"error_pages.{status}" for status, path in reversed(ours.rules.error_pages)}
    named[ours.rules.spa] = "spa"
    for path, key in named.items():
        if path and (path not in files or path[1:] in RULE_FILES):
            line = ours.file.line(tuple(key.split(".")))
            yield RuleFault("cdn.toml", line, key, f"the bundle has no page {shown(path)}")


def _warnings_about_access(ours: CdnTomlRead, files: Collection[str]) -> Iterable[RuleFault]:
    """Of tables that keep nobody out: a capital, or an accent written otherwise, leaves open what should be closed."""
    places = [("auth", number, rule.source) for number, rule in enumerate(ours.rules.guards)]
    places += [("countries", number, rule.source) for number, rule in enumerate(ours.rules.countries)]
    index = PathIndex([PathGlob(source) for _, _, source in places])
    idle = set(range(len(places)))
    for path in files:
        if not idle:
            return
        idle.difference_update(number for number, _ in index.covering(plain_names_of(path)))
    for number in sorted(idle):
        table, place, source = places[number]
        message = "it covers no file of this bundle: are its letters the same, capitals and accents too?"
        yield RuleFault("cdn.toml", ours.file.line((table, place)), f"[[{table}]] for = {source!r}", message)


def _faults_of_fields(placed: Sequence[PlacedFields]) -> Iterable[RuleFault]:
    """Of more fields than one response can carry, where rules may meet: judged by folders, so rather too early."""
    if len(placed) > MAX_FIELD_RULES:
        message = f"there are {len(placed)} rules for fields, at most {MAX_FIELD_RULES} are allowed"
        yield placed[MAX_FIELD_RULES].fault(message)
        return
    if len(placed) <= MAX_TRIED and sum(_octets(each.rule) for each in placed) <= MAX_FIELDS_BYTES:
        return
    at_folder: dict[str, int] = {}
    at_path: dict[str, int] = {}
    globs = [(glob_of(each.rule), each) for each in placed]
    yield from _faults_of_tries(globs)
    for glob, each in globs:
        sums = at_path if glob.is_exact else at_folder
        sums[glob.folder] = sums.get(glob.folder, 0) + _octets(each.rule)
    for glob, each in globs:
        above = sum(at_folder.get(folder, 0) for folder in _folders(glob.folder))
        octets = above + (at_path.get(glob.folder, 0) if glob.is_exact else 0)
        if octets > MAX_FIELDS_BYTES:
            message = (
                f"rules that may meet at or below {glob.folder or '/'} have {octets} octets of fields together, "
                f"at most {MAX_FIELDS_BYTES} are allowed"
            )
            yield each.fault(message)
            return


def _faults_of_tries(globs: Sequence[tuple[PathGlob, PlacedFields]]) -> Iterable[RuleFault]:
    """Of more patterns than are tried for one request: all those whose folder is the path's, or above it."""
    tried = Counter(glob.folder for glob, _ in globs)
    for glob, each in globs:
        count = sum(tried[folder] for folder in _folders(glob.folder))
        if count > MAX_TRIED:
            yield each.fault(
                f"a request at or below {glob.folder or '/'} would be compared with {count} patterns, "
                f"at most {MAX_TRIED} are allowed: give them folders of their own before the first placeholder or star"
            )
            return


def _octets(rule: FieldRule) -> int:
    return sum(len(name) + len(value) + 4 for name, value in rule.fields)


def _folders(folder: str) -> Iterable[str]:
    """The folder and all above it, the root as ""."""
    while folder:
        yield folder
        folder = folder[: folder.rfind("/")]
    yield ""


def _warnings_about(files: Collection[str], mode: RulesMode) -> Iterable[RuleFault]:
    if mode is RulesMode.CLOUDFLARE:
        for name in pages_programs(files):
            yield RuleFault(name, 0, "", "programs are not run here: it is neither run nor answered")


def _listed(found: Sequence[RuleFault]) -> tuple[RuleFault, ...]:
    """Sorted by file and line; at most MAX_SAID, and how many more there are."""
    ordered = sorted(found, key=lambda fault: (fault.file, fault.line))
    if len(ordered) <= MAX_SAID:
        return tuple(ordered)
    last = ordered[MAX_SAID - 1]
    more = RuleFault(last.file, last.line, "", f"and {len(ordered) - MAX_SAID + 1} more like these")
    return (*ordered[: MAX_SAID - 1], more)
