"""What docs/rules.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

from cdn.sites.rules.cdn_toml import ERROR_STATUSES, KEYS, KEYS_OF_TIME
from cdn.sites.rules.compiling import compile_rules
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.security_preset import SecurityPreset, preset_rule

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "rules.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", DOCUMENT, re.DOTALL)
HASH = "scrypt$ln=14,r=8,p=5$MDAwMDAwMDAwMDAwMDAwMA$Yvl9SDvKpherNg6qUSO0FoGu2g29QYXFlYiCkNuApN4"


def test_the_example_has_every_key_and_no_fault() -> None:
    (example,) = [text for kind, text in BLOCKS if kind == "toml" and "clean_urls" in text]
    text = example.replace("scrypt$ln=14,r=8,p=5$...", HASH).encode()
    pages = ["/index.html", "/404.html", "/sorry.html", "/down.html", "/staff/a.html", "/shop/a.html"]
    compiled = compile_rules({"cdn.toml": text}, RulesMode.NETLIFY, pages)
    assert (compiled.faults, compiled.warnings) == ((), ())
    assert all(re.search(rf"(^|\[){key}\b", example, re.MULTILINE) for key in KEYS + KEYS_OF_TIME)
    assert all(status in example for status in ERROR_STATUSES)
    assert {status for status, _ in compiled.rules.error_pages} == {403, 404, 500, 502, 503, 504}


def test_messages_are_those_that_are_shown() -> None:
    (shown,) = [text for _, text in BLOCKS if text.startswith("_redirects:1: ")]
    texts = {
        "_redirects": b"/old ftp://files.example 301",
        "_headers": b"/*\n\n  X-Frame-Options DENY",
        "cdn.toml": b'\n\n\n\n\n[[auth]]\nusers = { ann = "secret" }',
    }
    faults = compile_rules(texts, RulesMode.NETLIFY, []).faults
    assert sorted(map(str, faults)) == sorted(shown.splitlines())


def test_presets_are_those_that_are_listed() -> None:
    for preset in SecurityPreset:
        for name, value in preset_rule(preset).fields:
            if name != "permissions-policy":
                assert f"`{value}`" in DOCUMENT, name
