"""Reads `*.redirects.txt`: rules and what they answer, one page for a person and for a test.

mode netlify | cloudflare      begins another set of rules
| RULE                         a line of `_redirects`
files PATH...                  paths of the bundle
ask [SCHEME://HOST]PATH [name=value]... -> ANSWER
                               name: country, language, cookie, file (yes: the deploy has a file there)
ANSWER: nothing | nowhere | 301 LOCATION | 200 PATH | 404 PATH | proxy URL, with "for some" when it is not general
fault|warning LINE TEXT        one that is found, on that line, with these words in it; all faults are listed
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cdn.http.fields import Fields
from cdn.http.target import AbsoluteTarget, Target, parse_target
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_checks import check_redirects
from cdn.sites.rules.redirect_index import Found, Proxy, Redirect, RedirectIndex, Rewrite
from cdn.sites.rules.redirects_file import read_redirects


@dataclass(frozen=True)
class Scenario:
    name: str
    mode: RulesMode
    rules: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    faults: tuple[tuple[int, str], ...] = ()
    warnings: tuple[tuple[int, str], ...] = ()


@dataclass
class Outcome:
    faults: list[RuleFault] = field(default_factory=list)
    warnings: list[RuleFault] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)


def scenarios_in(text: str) -> list[Scenario]:
    found: list[Scenario] = []
    heading = ""
    for raw in text.splitlines():
        line = raw.strip()
        word, _, rest = line.partition(" ")
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif word == "mode":
            found.append(Scenario(heading, RulesMode(rest)))
        elif line:
            found[-1] = _with(found[-1], word, rest)
    return found


def _with(one: Scenario, word: str, rest: str) -> Scenario:
    match word:
        case "|":
            return replace(one, rules=(*one.rules, rest))
        case "files":
            return replace(one, files=(*one.files, *rest.split()))
        case "ask":
            question, _, answer = rest.partition(" -> ")
            return replace(one, asked=(*one.asked, (question, answer)))
        case "fault" | "warning":
            line, _, words = rest.partition(" ")
            given = (int(line), words)
            if word == "fault":
                return replace(one, faults=(*one.faults, given))
            return replace(one, warnings=(*one.warnings, given))
    raise AssertionError(f"{one.name}: {word} {rest}")


def run(one: Scenario) -> Outcome:
    read = read_redirects("\n".join(one.rules).encode(), one.mode)
    checked = check_redirects(read.rules, one.mode, one.files)
    index = RedirectIndex([placed.rule for placed in read.rules], one.mode)
    outcome = Outcome([*read.faults, *checked.faults], [*read.warnings, *checked.warnings])
    for question, _ in one.asked:
        outcome.answers.append((question, _answer(index, question)))
    return outcome


def _answer(index: RedirectIndex, question: str) -> str:
    url, *words = question.split()
    given = dict(word.split("=", 1) for word in words)
    parsed = parse_target(url.encode())
    host, scheme = "example.com", "https"
    if isinstance(parsed, AbsoluteTarget):
        host, scheme, parsed = parsed.host, parsed.scheme, parsed.target
    assert isinstance(parsed, Target), question
    lines = [("cookie", given["cookie"])] if "cookie" in given else []
    if "language" in given:
        lines.append(("accept-language", given["language"]))
    asking = Asking(host, scheme, "GET", Fields(tuple(lines)), lambda: given.get("country", ""))
    return as_text(index.find(parsed, asking, over_file=given.get("file") == "yes"))


def as_text(found: Found) -> str:
    some = "" if found.is_general else " for some"
    match found.outcome:
        case None:
            return ("nothing" if found.number == -1 else "nowhere") + some
        case Redirect(location, status):
            return f"{status} {location}{some}"
        case Rewrite(path, status):
            return f"{status} {path}{some}"
        case Proxy(url):
            return f"proxy {url}{some}"
