"""`cdn deploy --check`, `cdn password` and the mode in which a site's rules are read."""

from __future__ import annotations

import getpass
import sys
from io import StringIO
from pathlib import Path

import pytest

from cdn.cli.password import PASSWORD_VARIABLE
from cdn.sites.password import verify_password
from tests.cli.conftest import Cdn


async def test_a_check_says_what_is_wrong_and_uploads_nothing(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    good = await cdn("deploy", str(bundle), "--site", "blog", "--check")
    assert (good.status, good.out) == (0, "nothing keeps this from being deployed\n")
    (bundle / "_headers").write_text("/*\n  X-Frame-Options DENY\n")
    (bundle / "cdn.toml").write_text("spa = 3\n")
    for words in (("--check",), ()):
        bad = await cdn("deploy", str(bundle), "--site", "blog", *words)
        assert bad.status == 1
        assert "the rules of this bundle have 2 faults, nothing was uploaded" in bad.err
        assert '_headers:2: X-Frame-Options DENY: a field is written "Name: value"' in bad.err
        assert "cdn.toml:1: spa: give a text in quotes" in bad.err
    assert (await cdn("deploys", "--site", "blog", "--json")).document["deploys"] == []
    (bundle / "_headers").write_text("/*\n  Date: now\n")
    (bundle / "cdn.toml").unlink()
    warned = await cdn("deploy", str(bundle), "--site", "blog", "--check", "--json")
    warning = '_headers:2: Date: now: "date" is set by the server: this line does nothing'
    assert warning in warned.document["warnings"]


async def test_a_site_says_whose_reading_counts(cdn: Cdn) -> None:
    created = await cdn("site", "create", "blog", "--rules-mode", "cloudflare", "--json")
    assert created.document["settings"]["rules_mode"] == "cloudflare"
    assert "rules-mode" in (await cdn("site", "show", "blog")).out
    changed = await cdn("site", "update", "blog", "--rules-mode", "netlify", "--json")
    assert changed.document["settings"]["rules_mode"] == "netlify"
    refused = await cdn("site", "update", "blog", "--rules-mode", "vercel")
    assert refused.status == 1
    assert "give netlify or cloudflare" in refused.err


async def test_a_password_comes_from_a_variable_a_line_or_the_command(
    lonely_cdn: Cdn, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely_cdn.environ[PASSWORD_VARIABLE] = "sésame"
    hashed = (await lonely_cdn("password")).out.strip()
    assert verify_password("sésame", hashed)
    assert (await lonely_cdn("password")).out.strip() != hashed
    made = (await lonely_cdn("password", "--generate", "--json")).document
    assert len(made["password"]) == 24
    assert verify_password(made["password"], made["hash"])
    lonely_cdn.environ[PASSWORD_VARIABLE] = ""
    empty = await lonely_cdn("password")
    assert (empty.status, empty.out) == (1, "")
    assert "a password has 1 to 1024 octets" in empty.err


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_password_is_typed_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from cdn.cli import password as module
    from cdn.errors import InvalidInput

    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stdin", StringIO("from a line\nsecond line"))
    assert module._given_password() == "from a line"
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "same")
    assert module._given_password() == "same"
    typed = iter(["one", "other"])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed))
    with pytest.raises(InvalidInput, match="not the same"):
        module._given_password()
