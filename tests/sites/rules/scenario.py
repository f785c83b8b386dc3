"""Scenarios that a person can read: the files of a bundle, what is asked, and what is answered.

A scenario has parts that begin with `--- NAME`. Parts named like a rule file are that file. `mode`: netlify (default)
or cloudflare. `files`, `retained`: paths, one a line. `faults` and `warnings`: all of them, a line each. `requests`:
lines like

    GET /old?a=1 country=DE origin=https://a.example -> 302 /new?a=1
      vary: Origin            (below an answer: a field it has)
      ! x-frame-options       (one that it has not)
      tags: news, all         (its cache tags)
      edge: 3600              (its freshness lifetime)
      not general             (it depends on more than the path)

After `->` stands the status, and then: of a file its path, of a redirect the Location, of a proxied answer its URL, of
a refusal its realm. `retained PATH` says that a file of an earlier deploy answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cdn.http.fields import Fields
from cdn.http.target import Target, parse_target
from cdn.sites.manifest import FileEntry, Manifest, digest_of, load_manifest
from cdn.sites.representation import Representation, representation_of
from cdn.sites.route import AbsentRoute, DeniedRoute, FileRoute, ProxyRoute, RedirectRoute, Route, add_retained, resolve
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.compiling import compile_rules
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.rule_set import RULE_FILES
from cdn.sites.settings import DEFAULT_SETTINGS

FOLDER = Path(__file__).parent / "scenarios"


@dataclass(slots=True)
class Scenario:
    """One file, read."""

    parts: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Scenario:
        scenario, part = cls(), "what it is about"
        for line in path.read_text().splitlines():
            if line.startswith("--- "):
                part = line[4:].strip()
            else:
                scenario.parts.setdefault(part, []).append(line)
        return scenario

    def lines(self, part: str) -> list[str]:
        return [line for line in self.parts.get(part, []) if line.strip() and not line.startswith("#")]

    def play(self) -> None:
        """Raises AssertionError where an answer is another one."""
        mode = RulesMode(*self.lines("mode")) if "mode" in self.parts else RulesMode.NETLIFY
        texts = {name: "\n".join(self.parts[name]).encode() for name in RULE_FILES if name in self.parts}
        files = {path: entry(path) for path in [*self.lines("files"), *(f"/{name}" for name in texts)]}
        compiled = compile_rules(texts, mode, files)
        assert list(map(str, compiled.faults)) == self.lines("faults")
        assert list(map(str, compiled.warnings)) == self.lines("warnings")
        manifest = load_manifest(Manifest(files, compiled.rules).to_bytes()).prepare()
        assert manifest == Manifest(files, compiled.rules)
        retained: dict[str, FileEntry] = {}
        former = {path: entry(f"{path} once") for path in self.lines("retained")}
        add_retained(retained, Manifest(former), manifest.rules.keep)
        for asked, expected in self.exchanges():
            assert asked, "a request comes before what is said of its answer"
            found = answer(manifest, retained, *asked)
            assert found.said == expected[0], f"{asked}: {found}"
            for wanted in expected[1:]:
                found.check(wanted, asked)

    def exchanges(self) -> Iterator[tuple[tuple[Target, Asking], list[str]]]:
        asked: tuple[Target, Asking] | None = None
        expected: list[str] = []
        for line in self.lines("requests"):
            if line.startswith(" "):
                expected.append(line.strip())
                continue
            if asked is not None:
                yield asked, expected
            request, _, said = line.partition("->")
            asked, expected = asking_of(request.split()), [said.strip()]
        if asked is not None:
            yield asked, expected


def asking_of(words: list[str]) -> tuple[Target, Asking]:
    method, path, *more = words
    target = parse_target(path.encode())
    assert isinstance(target, Target), f"{path}: {target}"
    given = dict(word.split("=", 1) for word in more)
    country, host, scheme = given.pop("country", ""), given.pop("host", "a.example"), given.pop("scheme", "https")
    fields = Fields(tuple((name, value.replace("+", " ")) for name, value in given.items()))
    return target, Asking(host=host, scheme=scheme, method=method, fields=fields, country=lambda: country)


@dataclass(frozen=True, slots=True)
class Answer:
    route: Route
    representation: Representation | None
    said: str

    def check(self, wanted: str, asked: object) -> None:
        if wanted == "not general":
            is_general = self.route.is_general and (self.representation is None or self.representation.is_general)
            assert not is_general, f"{asked}: {self}"
            return
        assert self.representation is not None, f"{asked}: {self}"
        fields = Fields(self.representation.fields)
        if wanted.startswith("!"):
            assert wanted[1:].strip() not in fields, f"{asked}: {fields}"
            return
        name, _, value = wanted.partition(":")
        if name == "tags":
            assert ", ".join(self.representation.tags) == value.strip(), f"{asked}: {self.representation.tags}"
        elif name == "edge":
            assert self.representation.freshness_lifetime_s == float(value), f"{asked}: {self.representation}"
        else:
            assert fields.get(name) == value.strip(), f"{asked}: {name} is {fields.get(name)!r}"


def answer(manifest: Manifest, retained: dict[str, FileEntry], target: Target, asking: Asking) -> Answer:
    preflight = manifest.rules.preflight(target.decoded_path, asking)
    if preflight is not None:
        plain = representation_of("/x", entry("/x"), DEFAULT_SETTINGS, 404)
        return Answer(AbsentRoute(is_general=False), replaced(plain, preflight), "204")
    route = resolve(manifest, retained, target, asking)
    match route:
        case FileRoute(path, content, status):
            representation = representation_of(
                path,
                content,
                DEFAULT_SETTINGS,
                status,
                rules=manifest.rules,
                asked_path=target.decoded_path,
                asking=asking,
            )
            return Answer(route, representation, f"{status} {'retained ' if route.is_retained else ''}{path}")
        case RedirectRoute(location, status):
            return Answer(route, None, f"{status} {location}")
        case ProxyRoute(url):
            return Answer(route, None, f"proxy {url}")
        case DeniedRoute(status, realm):
            return Answer(route, None, f"{status} {realm}".strip())
        case AbsentRoute():
            return Answer(route, None, "404")


def replaced(representation: Representation, fields: tuple[tuple[str, str], ...]) -> Representation:
    from dataclasses import replace

    return replace(representation, fields=fields)


def entry(text: str) -> FileEntry:
    return FileEntry(digest_of(text.encode()), len(text))
