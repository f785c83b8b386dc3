"""From texts to rules: never an exception, all faults at once, bounds of everything."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.sites.rules.applied_fields import MAX_FIELDS_BYTES
from cdn.sites.rules.compiling import MAX_RULE_FILE_BYTES, MAX_SAID, MAX_TRIED, CompiledRules, compile_rules
from cdn.sites.rules.fault import RuleFault
from cdn.sites.rules.findings import MAX_FINDINGS, MAX_RULE_SHOWN, Findings
from cdn.sites.rules.header_tables import read_header_tables
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.rule_set import NO_RULES, RULE_FILES

PIECES = st.sampled_from(
    [
        *("/", "*", ":a", "/a", "\n", "\n  ", "X-A: 1", "! X-A", "#", "https://a.example", " 301", "\x00", "é", "\r\n"),
        *("=", "[[headers]]", "[[auth]]", "for", '"/*"', "users", "{", "}", "[", "]", "values.X", "spa", "true", "3"),
        *("'''", '"', "[[cors]]", "origins", "[retention]", "keep", "[[redirects]]", "from", "to", "[error_pages]"),
        *("404", "\ufeff", "."),
    ]
)
CONTENTS = st.lists(PIECES, max_size=30).map(" ".join).map(str.encode) | st.binary(max_size=60)


def netlify(**texts: bytes) -> CompiledRules:
    names = {"headers": "_headers", "redirects": "_redirects", "cdn": "cdn.toml", "netlify": "netlify.toml"}
    return compile_rules({names[name]: text for name, text in texts.items()}, RulesMode.NETLIFY, ["/index.html"])


@given(st.dictionaries(st.sampled_from(RULE_FILES), CONTENTS), st.sampled_from(RulesMode))
def test_any_text_is_rules_or_has_faults(texts: dict[str, bytes], mode: RulesMode) -> None:
    compiled = compile_rules(texts, mode, ["/index.html"])
    assert not compiled.faults or compiled.rules is NO_RULES
    for found in (*compiled.faults, *compiled.warnings):
        assert found.file in texts
        assert str(found).isprintable()
        assert found.line <= texts[found.file].count(b"\n") + 1
    compiled.rules.prepare()


def test_nothing_says_nothing() -> None:
    assert compile_rules({}, RulesMode.CLOUDFLARE, ["/index.html"]) == CompiledRules()
    assert netlify(headers=b"", cdn=b"# nothing\n", netlify=b"") == CompiledRules()


def test_a_file_that_is_too_long_is_not_read() -> None:
    (fault,) = netlify(headers=b"#" * (MAX_RULE_FILE_BYTES + 1)).faults
    assert (
        str(fault) == f"_headers: the file has {MAX_RULE_FILE_BYTES + 1} bytes, at most {MAX_RULE_FILE_BYTES} are read"
    )
    assert netlify(headers=b"#" * MAX_RULE_FILE_BYTES).faults == ()


def test_faults_are_listed_up_to_a_bound() -> None:
    faults = netlify(headers=b"/*\n" + b"nonsense\n" * 5000).faults
    assert len(faults) == MAX_SAID
    assert faults[-1].message == f"and {MAX_FINDINGS - MAX_SAID + 1} more like these"
    warnings = netlify(headers=b"/*\n" + b"Date: 1\n" * 5000).warnings
    assert len(warnings) == MAX_SAID


def test_findings_are_bounded_and_printable() -> None:
    findings = Findings("f")
    for _ in range(MAX_FINDINGS + 5):
        findings.fault(1, "x" * 500 + "\n", "m")
        findings.warn(1, "a\x00b", "m")
    assert len(findings.faults) == len(findings.warnings) == MAX_FINDINGS
    assert findings.faults[0].rule == "x" * MAX_RULE_SHOWN + "..."
    assert findings.warnings[0].rule == "a b"


@pytest.mark.parametrize("name", ["headers", "cdn", "netlify"])
def test_a_file_that_is_no_utf8(name: str) -> None:
    (fault,) = netlify(**{name: b'a = "b"\n\xff'}).faults
    assert (fault.line, fault.message) == (2, "this is not UTF-8: save the file as UTF-8 text")


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        (b"a = 1\nb = \n", 2, "this is no TOML: invalid value"),
        (b"a = [\n\n", 3, "this is no TOML: "),
        (b"a = " + b"[" * 5000, 0, "nested too deeply"),
        (b"a = " + b"9" * 5000, 0, "this is no TOML"),
        (b"\n[" + b"a." * 65 + b"a]", 2, "too many dots"),
        (b'"a".' + b"a." * 65 + b"a = 1", 1, "too many dots"),
        (b"a = {" + b"a." * 257 + b"a = 1}", 1, "too many dots"),
    ],
)
def test_what_is_no_toml(text: bytes, line: int, word: str) -> None:
    (fault,) = netlify(cdn=text).faults
    assert fault.line == line
    assert word in fault.message


@pytest.mark.parametrize("text", [b"k%d=1\n", b"k%d={a" + b".a" * 256 + b"=1}\n"])
def test_long_files_do_not_take_long(text: bytes) -> None:
    """Of keys in a deep table, and of keys with many parts; an eighth of what is allowed, to be quick here."""
    lines = [b"[" + b".".join([b"t"] * 64) + b"]\n", *(text % n for n in range(MAX_RULE_FILE_BYTES // 8 // len(text)))]
    started = time.process_time()
    assert netlify(cdn=b"".join(lines)).faults
    assert time.process_time() - started < 3.0


def test_many_rules_of_fields() -> None:
    many = b"".join(b"/folder%d/*\n  X-A: 1\n" % n for n in range(10_000))
    compiled = netlify(headers=many)
    assert compiled.faults == ()
    assert len(compiled.rules.fields) == 10_000
    (fault,) = netlify(headers=many + b"/more\n  X-A: 1\n").faults
    assert str(fault) == "_headers:20001: /more: there are 10001 rules for fields, at most 10000 are allowed"


def test_more_patterns_than_a_request_is_compared_with() -> None:
    """Also of rules that only take fields away, and of those for other hosts: each would be looked at."""
    root = b"".join(b"/*a%d\n  ! X-A\n" % n for n in range(MAX_TRIED))
    below = b"/docs/*\n  ! X-A\n"
    assert netlify(headers=root).faults == ()
    (fault,) = netlify(headers=root + below).faults
    assert fault.line == 2 * MAX_TRIED + 1
    assert "a request at or below /docs would be compared with 501 patterns, at most 500 are allowed" in str(fault)
    hosts = b"".join(b"https://h%d.example/*\n  ! X-A\n" % n for n in range(MAX_TRIED + 1))
    assert compile_rules({"_headers": hosts}, RulesMode.CLOUDFLARE, ["/index.html"]).faults


def test_more_fields_than_a_response_can_carry() -> None:
    big = b"  X-Big: " + b"x" * 8000 + b"\n"
    apart = b"/a/*\n" + big + b"/b/*\n" + big + b"/c\n" + big
    assert netlify(headers=apart).faults == ()
    together = b"/*\n" + big + b"/a/*\n" + big + b"/a/b\n" + big
    (fault,) = netlify(headers=together).faults
    assert fault.line == 5
    assert (
        f"rules that may meet at or below /a/b have 24027 octets of fields together, at most {MAX_FIELDS_BYTES}"
        in str(fault)
    )
    long = b"/x\n  X-A: " + b"x" * 8193
    assert "8193 octets, at most 8192" in netlify(headers=long).faults[0].message
    assert "more than 64 colons" in netlify(headers=b"/x\n  X-A: " + b":" * 65).faults[0].message


def test_limits_of_cloudflare_are_warned_of() -> None:
    text = b"".join(b"/f%d\n  X-A: 1\n" % n for n in range(101)) + b"/long\n  X-Long: " + b"x" * 2000
    compiled = compile_rules({"_headers": text}, RulesMode.CLOUDFLARE, ["/index.html"])
    assert compiled.faults == ()
    assert [warning.message for warning in compiled.warnings] == [
        "102 rules: Cloudflare Pages reads the first 100 only, here all count",
        "Cloudflare Pages leaves out lines of more than 2000 letters, here they count",
    ]
    assert len(compiled.rules.fields) == 102


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"caching = 3", "caching: write each as a table [[caching]]"),
        (b"caching = [3]", "caching: write each as a table [[caching]]"),
        (b"retention = []", "retention: write it as a table [retention]"),
        (b"headers = {}", "headers: write each rule as a table [[headers]]"),
        (b'[[cors]]\norigins = "*"\n' * 101, "cors: there are 101 of them, at most 100 are allowed"),
        (b"[retention]\nkeep = [" + b'"/a",' * 65 + b"]", "[retention] keep: there are 65 of them, at most 64 are"),
        (b"[[auth]]\nusers = {" + b", ".join(b'u%d = ""' % n for n in range(101)) + b"}", "there are 101 of them"),
        (b"[[auth]]\nusers = { ann = 3 }", "users.ann: give a text in quotes"),
        (b'[[headers]]\nvalues.X = "1"', 'say which paths it is for: for = "/*"'),
        (b'[[cors]]\norigins = "https://[::1"', "is no origin"),
        (b'[[cors]]\norigins = ["' + b'","'.join(b"https://h%d.example.org" % n for n in range(101)) + b'"]', "101 of"),
    ],
)
def test_shapes_of_toml(text: bytes, message: str) -> None:
    assert message in str(netlify(cdn=text).faults[0])


def test_tables_that_keep_nobody_out_are_warned_of() -> None:
    text = 'users = { ann = "scrypt$ln=4,r=1,p=1$MDAwMDAwMDAwMDAwMDAwMA$Yvl9SDvKpherNg6qUSO0FoGu2g29QYXFlYiCkNuApN4" }'
    tables = "".join(f'[[auth]]\nfor = "{source}"\n{text}\n' for source in ("/caf\u00e9/*", "/Staff/*", "/staff"))
    countries = '[[countries]]\ndeny = "XK"\n[[countries]]\nfor = "/none"\ndeny = "XK"\n'
    files = ["/cafe\u0301/menu.html", "/staff.html"]
    compiled = compile_rules({"cdn.toml": (tables + countries).encode()}, RulesMode.NETLIFY, files)
    assert compiled.faults == ()
    assert [(warning.line, warning.rule) for warning in compiled.warnings] == [
        (1, "[[auth]] for = '/caf\u00e9/*'"),
        (4, "[[auth]] for = '/Staff/*'"),
        (12, "[[countries]] for = '/none'"),
    ]


def test_a_page_is_no_rule_file() -> None:
    compiled = compile_rules({"cdn.toml": b'spa = "/_headers"'}, RulesMode.NETLIFY, ["/_headers", "/cdn.toml"])
    assert [str(fault) for fault in compiled.faults] == ["cdn.toml:1: spa: the bundle has no page '/_headers'"]


def test_spa_may_be_said_to_be_off() -> None:
    assert netlify(cdn=b"spa = false") == CompiledRules()


def test_lines_of_tables_need_not_be_known() -> None:
    read = read_header_tables([{"for": "x"}], "netlify.toml")
    assert str(read.faults[0]).startswith("netlify.toml: [[headers]] for = 'x': ")


def test_a_place_in_a_file_is_quoted_for_people() -> None:
    read = netlify(cdn=b'[[headers]]\nfor = "/*"\nvalues.X = "1"\n[[headers]]\nfor = "y"').faults
    assert read[0] == RuleFault(
        "cdn.toml", 4, "[[headers]] for = 'y'", 'the pattern \'y\' has to start with "/" or "*"'
    )
