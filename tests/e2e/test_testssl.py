"""What testssl.sh says of a site's https: no finding above "low"."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.running import RunningCdn
from tests.e2e.secure_visits import port_of, trusting, visit_once_there
from tests.e2e.test_https_of_up import HTTPS, with_site

HOST = "www.harbour.example"

ABOVE_LOW = frozenset({"MEDIUM", "HIGH", "CRITICAL", "FATAL"})

LEFT_OUT = {
    "BREACH": "it looks for compressed answers, which only who reflects a visitor's words next to a secret has to fear",
    "cert_revocation": "the development authority has no list of what it revoked",
    "OCSP_stapling": "as authorities end their responders",
}
"""By the beginning of a finding's name."""

MUST_BE_JUDGED = frozenset(
    {"TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "SSLv3", "heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_client_renego"}
)
"""Some of what a whole look has: one that broke off has less."""

SHORT = ("--protocols", "--std", "--fs", "--server-defaults", "--vulnerable")
"""Everything but what simulates browsers, tries each cipher alone, and looks at fields of answers."""


def findings(cdn: RunningCdn, folder: Path, words: tuple[str, ...]) -> list[dict[str, str]]:
    program = shutil.which("testssl")
    assert program is not None, "testssl is missing: run `sh scripts/need.sh testssl`"
    report = folder / "report.json"
    fixed = ("--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--add-ca", str(cdn.root_file))
    done = subprocess.run(
        [program, *fixed, "--jsonfile", str(report), *words, f"{HOST}:{port_of(cdn.https_url)}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        stdin=subprocess.DEVNULL,
    )
    assert report.exists(), done.stdout + done.stderr
    found: list[dict[str, str]] = json.loads(report.read_text())
    return found


@pytest.mark.parametrize(
    "words", [pytest.param(SHORT, id="short"), pytest.param((), id="whole", marks=pytest.mark.soak)]
)
@pytest.mark.timeout(960)
def test_nothing_is_found_above_low(
    start_cdn: Callable[..., RunningCdn], tmp_path: Path, words: tuple[str, ...]
) -> None:
    cdn = with_site(start_cdn(*HTTPS), tmp_path)
    cdn.run("domain", "add", HOST, "--site", "blog", "--verified")
    assert visit_once_there(cdn.https_url, HOST, trusting(cdn.root_file)).status == 200
    found = findings(cdn, tmp_path, words)
    assert {each["id"] for each in found} >= MUST_BE_JUDGED, "the look did not come to its end"
    bad = [each for each in found if each["severity"] in ABOVE_LOW and not each["id"].startswith(tuple(LEFT_OUT))]
    assert not bad
