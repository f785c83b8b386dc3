"""Domains from nothing to HTTPS: `cdn up`, its own name server, and Pebble with its refused nonces and its delays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import CommandFailed, RunningCdn, write_bundle
from tests.e2e.secure_visits import trusting, visit, visit_once_there
from tests.servers.pebble import Pebble
from tests.servers.ports import free_ports

PATIENCE_S = 90.0
"""Pebble waits up to 15 s before it looks for a challenge, and a challenge may take two looks."""

ZONE_TEXT = """\
$ORIGIN {name}.
$TTL 60
@ IN SOA ns hostmaster {serial} 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
"""


@dataclass
class Stage:
    """A CDN whose name server has the zones of the test's domains."""

    cdn: RunningCdn
    pebble: Pebble
    folder: Path
    serials: dict[str, int] = field(default_factory=dict)

    def zone(self, name: str, *lines: str) -> None:
        """What its owner writes into it, now."""
        serial = self.serials[name] = self.serials.get(name, 0) + 1
        file = self.folder / f"{name}.zone"
        file.write_text(ZONE_TEXT.format(name=name, serial=serial) + "".join(f"{line}\n" for line in lines))
        self.cdn.run("zone", "import", str(file))

    @property
    def root_file(self) -> Path:
        """Pebble's, of this run."""
        file = self.folder / "root.pem"
        file.write_text(self.pebble.root())
        return file

    def until(self, domain: str, stage: str | None) -> Any:
        """What is said of the domain once it is at a stage, or (None) fails."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            seen = json.loads(self.cdn.call("GET", f"/v1/sites/blog/domains/{domain}").content)
            if (seen["fault"] is not None) if stage is None else (seen["stage"] == stage):
                return seen
            assert time.monotonic() < deadline, seen
            time.sleep(0.1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("domains")
    http, https, dns = free_ports(3)
    name_server = f"127.0.0.1:{dns}"
    with Pebble(folder / "pebble", names=name_server, http_port=http, tls_port=https) as pebble:
        addresses = ("--http", f"127.0.0.1:{http}", "--https", f"127.0.0.1:{https}", "--dns", name_server)
        lookups = ("--resolver", name_server, "--name-server-port", str(dns))
        acme = ("--acme", pebble.directory_url, "--acme-ca", str(pebble.ca_file))
        cdn = RunningCdn(folder, options=(*addresses, *lookups, *acme))
        try:
            cdn.start()
            cdn.run("site", "create", "blog")
            cdn.run("deploy", str(write_bundle(folder / "public", {"index.html": b"a page"})), "--site", "blog")
            yield Stage(cdn, pebble, folder)
        finally:
            cdn.kill()


def ownership(said: Any) -> str:
    """The record that shows whose the domain is, as a line of its zone."""
    record = next(each for each in said["records"] if each["purpose"] == "ownership")
    assert record["value"].startswith("cdn-verify=")
    return f'{record["name"]}. IN TXT "{record["value"]}"'


def test_from_nothing_to_https(stage: Stage) -> None:
    stage.zone("harbour.example", "www IN ALIAS blog.cdn.localhost.")
    said = stage.cdn.run("domain", "add", "www.harbour.example", "--site", "blog")
    assert (said["stage"], said["verified"], said["twin"]) == ("added", False, "harbour.example")
    line = ownership(said)

    with pytest.raises(CommandFailed) as failed:
        stage.cdn.run("domain", "check", "www.harbour.example")
    assert failed.value.status == 3, "it is not done"
    assert "_cdn-verify.www.harbour.example does not exist" in failed.value.output
    assert stage.cdn.visit("www.harbour.example").status == 404, "it is nobody's yet"

    stage.zone("harbour.example", "www IN ALIAS blog.cdn.localhost.", line)
    live = stage.cdn.run("domain", "check", "www.harbour.example", "--wait", f"{PATIENCE_S:g}s")
    assert live["stage"] == "live"
    assert [(step["step"], step["right"]) for step in live["steps"]] == [
        ("ownership", True),
        ("pointing", True),
        ("caa", True),
        ("certificate", True),
    ]
    answer = visit(stage.cdn.https_url, "www.harbour.example", trusting(stage.root_file))
    assert (answer.status, answer.content) == (200, b"a page")
    assert stage.cdn.visit("www.harbour.example").status == 308
    challenge = stage.cdn.visit("www.harbour.example", "/.well-known/acme-challenge/of-nobody")
    assert challenge.status == 404, "paths of challenges are never sent elsewhere"


def test_all_names_of_a_domain_by_dns_01(stage: Stage) -> None:
    stage.zone("wild.example", "* IN ALIAS blog.cdn.localhost.")
    line = ownership(stage.cdn.run("domain", "add", "*.wild.example", "--site", "blog"))
    stage.zone("wild.example", "* IN ALIAS blog.cdn.localhost.", line)
    live = stage.cdn.run("domain", "check", "*.wild.example", "--wait", f"{PATIENCE_S:g}s")
    assert live["certificate"]["names"] == ["*.wild.example"]
    for name in ("a.wild.example", "another.wild.example"):
        assert visit(stage.cdn.https_url, name, trusting(stage.root_file)).content == b"a page"
    with pytest.raises(OSError, match=r"(?i)eof|reset|alert|unrecognized"):
        visit(stage.cdn.https_url, "two.labels.wild.example", trusting(stage.root_file))


def test_what_the_authority_says_is_shown_as_it_said_it(stage: Stage) -> None:
    """Pebble asks for addresses and follows no CNAME of its own, so it does not find this one."""
    stage.zone("lost.example", "www IN CNAME blog.cdn.localhost.")
    line = ownership(stage.cdn.run("domain", "add", "www.lost.example", "--site", "blog"))
    stage.zone("lost.example", "www IN CNAME blog.cdn.localhost.", line)
    with pytest.raises(CommandFailed):
        stage.cdn.run("domain", "check", "www.lost.example")
    seen = stage.until("www.lost.example", None)
    assert "www.lost.example" in seen["fault"]
    assert "urn:ietf:params:acme:error:" in seen["fault"]
    assert seen["failures"] >= 1
    assert seen["next_try_at"] is not None
    assert stage.cdn.visit("www.lost.example").status == 200, "it is answered over HTTP meanwhile"


def test_an_order_goes_on_after_kill(stage: Stage) -> None:
    stage.zone("kill.example", "www IN ALIAS blog.cdn.localhost.")
    stage.cdn.run("domain", "add", "www.kill.example", "--site", "blog", "--verified")
    stage.until("www.kill.example", "issuing")
    stage.cdn.kill()
    stage.cdn.start()
    answer = visit_once_there(stage.cdn.https_url, "www.kill.example", trusting(stage.root_file), patience_s=PATIENCE_S)
    assert answer.content == b"a page"
    assert stage.until("www.kill.example", "live")["fault"] is None
