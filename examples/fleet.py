"""A fleet on this machine: two controls, three edges in two regions, a name server, NATS and an S3 server; some die.

`make demo FLEET=1` runs it. It ends with status 0 only when every receipt and every answer was as it should be.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

from examples.counted_server import counted_server
from examples.cuttable_line import CuttableLine, line_to
from examples.demo import EXAMPLE, ZONE, DemoFailed, expect, okay, step
from examples.fleet_roles import (
    CHECK_INTERVAL_S,
    DETACH_AFTER_S,
    DOWN_AFTER,
    Fleet,
    Role,
    Standing,
    free_address,
    servers,
)
from examples.visitors import NameServer, Visitor
from tests.servers.nats import NatsFailed, NatsMissing
from tests.servers.seaweed import ServerFailed, ServerMissing

SITE, PINNED, PULLED = "harbour", "pilots", "prices"
EUROPE, AMERICA = "europe", "america"

STANDINGS = {
    "eu-1": Standing(EUROPE, "52.37,4.90", "127.0.1.1"),  # Amsterdam
    "eu-2": Standing(EUROPE, "41.39,2.17", "127.0.1.2", weight=50),  # Barcelona
    "us-1": Standing(AMERICA, "40.71,-74.01", "127.0.1.3"),  # New York
}
"""Lag takes at most a third of a region's weight out of DNS: eu-2 is a third of Europe, so lag takes out all of it."""

HAARLEM = Visitor("Haarlem", "145.38.0.0")
MADRID = Visitor("Madrid", "147.96.0.0")
BOSTON = Visitor("Boston", "128.103.0.0")
NEAREST = {HAARLEM: "eu-1", MADRID: "eu-2", BOSTON: "us-1"}

SLACK_S = 20.0
"""On top of what is promised: a machine that does everything at once is slow."""


def main() -> int:
    """0 when every step did what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up at the end and print the URLs")
    parser.add_argument("--short", action="store_true", help="leave out the pinned site and the edge that dies")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything that was started is ended then, too
    folder = Path(tempfile.mkdtemp(prefix="cdn-fleet-"))
    began = time.monotonic()
    try:
        step("NATS JetStream for the journal, SeaweedFS for the bytes")
        with servers(folder) as fleet:
            okay(f"both answer: {fleet.nats.urls[0]} and {fleet.s3.endpoint_url}")
            Story(fleet).tell(is_short=options.short)
            print(f"\ndone, after {time.monotonic() - began:.0f} s", flush=True)
            if options.keep:
                stay(fleet)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (DemoFailed, NatsFailed, NatsMissing, ServerFailed, ServerMissing) as failure:
        print(f"\ndemo failed: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


class Story:
    """The steps, in order."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._bundle = fleet.folder / "bundle"
        self._edges = tuple(STANDINGS)

    def tell(self, *, is_short: bool) -> None:
        """All of it, or the part that needs no waiting for a lease."""
        first, second = self._start_controls()
        with line_to(second.ready["control_url"]) as line:
            self._start_edges(first, second, line)
            self._deploy(first, second)
            self._purge(first)
            name_server = self._start_name_server(first, second)
            if not is_short:
                self._shield(second)
                self._keep_in_europe(second, name_server)
                self._kill_an_edge(first, name_server)
                self._cut_an_edge_off(first, name_server, line)
            self._kill_a_control(first, second)

    def _start_controls(self) -> tuple[Role, Role]:
        step("two controls, none of them special: they share the journal, the store and what they know of nodes")
        first, second = (self._fleet.start_control(name) for name in ("control-1", "control-2"))
        for control in (first, second):
            control.wait_ready()
            print(f"   {control.name} at {control.ready['control_url']}")
        return first, second

    def _start_edges(self, first: Role, second: Role, line: CuttableLine) -> None:
        step("three edges in two regions; eu-1 is the others' shield, us-1 runs two workers")
        shield = free_address()
        asks = f'[shield]\nurls = ["http://{shield}"]\nregion = "{EUROPE}"'
        shields = f'[peers]\nlisten = "{shield}"'
        self._fleet.start_edge("eu-1", STANDINGS["eu-1"], first, second, more=shields)
        self._fleet.start_edge("eu-2", STANDINGS["eu-2"], second, first, follows=[line.url], more=asks)
        self._fleet.start_edge("us-1", STANDINGS["us-1"], first, second, more=f"workers = 2\n{asks}")
        for name in self._edges:
            print(f"   {name} at {self._fleet.roles[name].ready['http_url']}")
        self._status(first)

    def _start_name_server(self, first: Role, second: Role) -> NameServer:
        step("a name server of our own: it sends each visitor to the nearest edge that is healthy and current")
        server = self._fleet.start_dns("ns-1", first, second)
        address = server.ready["listen"]
        print(f"   ns-1 at {address}: dig -p {address.rpartition(':')[2]} @127.0.0.1 +subnet=... {SITE}.{ZONE}")
        name_server = NameServer(address, {standing.address: name for name, standing in STANDINGS.items()})
        for visitor, edge in NEAREST.items():
            name_server.wait_sends(visitor, _host(SITE), (edge,), SLACK_S)
            okay(f"a visitor in {visitor.city} is sent to {edge}")
        return name_server

    def _deploy(self, first: Role, second: Role) -> None:
        shutil.copytree(EXAMPLE, self._bundle)
        step("a site, and a deploy through control-1; a node that loses control shall validate what it has")
        self._cdn(first, "site", "create", SITE, "--on-detach", "validate")
        self._cdn(first, "deploy", str(self._bundle), "--site", SITE, "--message", "first")
        okay("the receipt is complete: every node serves it")
        for name in self._edges:
            self._visit(name, "/", says="fwd=")
            self._visit(name, "/", says="hit")
        step("one file changes; the deploy goes through control-2")
        self._change("The harbour office opens at six.")
        self._cdn(second, "deploy", str(self._bundle), "--site", SITE, "--message", "opening hours")
        for name in self._edges:
            expect(
                b"opens at six" in self._visit(name, "/"), f"{name} serves the new page once the receipt is complete"
            )
        self._visit("us-1", "/robots.txt")
        self._visit("us-1", "/robots.txt", says="hit")

    def _purge(self, control: Role) -> None:
        step("a purge, acknowledged by every node in both regions")
        self._cdn(control, "purge", "--site", SITE, "--all")
        okay("the receipt is complete")
        for name in self._edges:
            self._visit(name, "/robots.txt", lacks="hit")
        okay("nothing from before the purge is served")

    def _shield(self, control: Role) -> None:
        with counted_server() as server:
            step("a site in front of a server: the edges ask their shield, and the server is asked once")
            self._cdn(control, "site", "create", PULLED, "--origin", server.url)
            for name in ("eu-2", "us-1"):
                self._wait_shielded(name)
            for name in ("us-1", "eu-2", "eu-1"):
                self._visit(name, "/prices", site=PULLED)
            asked = server.asked.count("/prices")
            expect(asked == 1, f"three edges answered, and the server was asked {asked} time")

    def _wait_shielded(self, edge: str) -> None:
        """An edge that has not reached its shield yet asks by itself."""
        deadline = time.monotonic() + 30
        for number in itertools.count():
            told = self._fetch(edge, PULLED, f"/warm-{edge}-{number}")[1]
            if told.startswith("eu-1"):
                return
            if time.monotonic() > deadline:
                raise DemoFailed(f"{edge} does not ask its shield: {told}")
            time.sleep(0.1)

    def _keep_in_europe(self, control: Role, name_server: NameServer) -> None:
        step("a site whose bytes may only be in Europe")
        self._cdn(control, "site", "create", PINNED, "--region", EUROPE)
        self._cdn(control, "deploy", str(self._bundle), "--site", PINNED)
        self._visit("eu-1", "/", site=PINNED)
        self._visit("us-1", "/", site=PINNED, status=421)
        okay("the node in America refuses it and fetched nothing")
        for visitor in (BOSTON, HAARLEM):
            name_server.wait_sends(visitor, _host(PINNED), ("eu-1",), SLACK_S)
            okay(f"a visitor in {visitor.city} is sent to eu-1")

    def _kill_an_edge(self, control: Role, name_server: NameServer) -> None:
        step("kill -9 of us-1, and a deploy while it is gone")
        self._fleet.roles["us-1"].kill()
        promised_s = CHECK_INTERVAL_S * DOWN_AFTER + 1
        took_s = name_server.wait_sends(BOSTON, _host(SITE), ("eu-1",), promised_s + SLACK_S)
        okay(f"the visitor in Boston is sent to eu-1 after {took_s:.1f} s (promised: {promised_s:g} s)")
        self._change("The pilot boat is out.")
        self._cdn(control, "deploy", str(self._bundle), "--site", SITE, "--wait", "30s")
        okay(f"complete once the lease of us-1 ({DETACH_AFTER_S:g} s) was surely over: it serves nothing unasked after")
        self._status(control)
        for name in ("eu-1", "eu-2"):
            expect(b"pilot boat" in self._visit(name, "/"), f"{name} serves the new page")
        step("us-1 comes back, with what it had on its disk")
        self._fleet.roles["us-1"].start()
        self._fleet.roles["us-1"].wait_ready()
        expect(b"pilot boat" in self._visit("us-1", "/"), "us-1 serves the new page")
        self._visit("us-1", "/robots.txt", says="hit")
        okay("and what it had kept is a hit at once")
        self._status(control)

    def _cut_an_edge_off(self, control: Role, name_server: NameServer, line: CuttableLine) -> None:
        step("the line of eu-2 to control is cut: it is well and answers visitors, and hears of no purge")
        line.cut()
        self._cdn(control, "purge", "--site", SITE, "--all", "--wait", "30s")
        self._visit("eu-2", "/")
        took_s = name_server.wait_sends(MADRID, _host(SITE), ("eu-1",), DETACH_AFTER_S + SLACK_S)
        okay(f"the receipt says so, and the visitor in Madrid is sent to eu-1 ({took_s:.1f} s after the receipt)")
        self._cdn(control, "explain", "--from", MADRID.network, f"http://{_host(SITE)}/")
        line.mend()
        self._wait_connected(control)
        okay("the line is back: eu-2 takes on visitors again, more and more of them within a minute")

    def _kill_a_control(self, first: Role, second: Role) -> None:
        step("kill -9 of control-1; its edges go to control-2")
        first.kill()
        self._change("Fog in the outer harbour.")
        self._cdn(second, "deploy", str(self._bundle), "--site", SITE, "--wait", "30s")
        purged = self._cdn(second, "purge", "--site", SITE, "--all", "--wait", "30s", "--json", quiet=True)
        sequence = str(json.loads(purged)["position"]["sequence"])
        self._cdn(second, "receipt", sequence, "--wait", "30s")
        for name in self._edges:
            expect(b"Fog" in self._visit(name, "/"), f"{name} serves the new page")
        self._wait_connected(second)
        self._status(second)
        step("control-1 comes back and knows what happened while it was gone")
        first.start()
        first.wait_ready()
        self._cdn(first, "receipt", sequence, "--wait", "30s")
        self._status(first)

    def _change(self, sentence: str) -> None:
        page = self._bundle / "index.html"
        page.write_text(page.read_text().replace("</body>", f"<p>{sentence}</p></body>"))

    def _status(self, control: Role) -> None:
        self._cdn(control, "status")

    def _wait_connected(self, control: Role) -> None:
        """Every edge follows this control: those of the other one needed a moment to notice."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            nodes = json.loads(self._fleet.cdn(control, "status", "--json"))["nodes"]
            if all(node["connected"] for node in nodes):
                return
            time.sleep(0.3)
        raise DemoFailed("not every edge found the control that was left")

    def _cdn(self, control: Role, *words: str, quiet: bool = False) -> str:
        """Run one command against this control and show what a person sees."""
        print(f"$ cdn {shlex.join(words)}    # {control.name}", flush=True)
        began = time.perf_counter()
        said = self._fleet.cdn(control, *words)
        took_ms = (time.perf_counter() - began) * 1000
        lines = "" if quiet else "".join(f"   {line}\n" for line in said.splitlines())
        print(f"{lines}   ({took_ms:.0f} ms)", flush=True)
        return said

    def _visit(
        self, edge: str, path: str, *, site: str = SITE, status: int = 200, says: str = "", lacks: str | None = None
    ) -> bytes:
        """Fetch from one edge as a visitor whom DNS sent there, and look at what it says it did."""
        found, told, content = self._fetch(edge, site, path)
        print(f"   {edge}: GET http://{site}.{ZONE}{path}: {found}, Cache-Status: {told}", flush=True)
        own = told.split(", ")[-1].replace(";", " ").split()
        if found != status or says not in told or (lacks is not None and lacks in own):
            raise DemoFailed(f"{edge} answered {found} ({told}), expected {status} {says}")
        return content

    def _fetch(self, edge: str, site: str, path: str) -> tuple[int, str, bytes]:
        """Status, Cache-Status and content."""
        address = urlsplit(self._fleet.roles[edge].ready["http_url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=20)
        with closing(connection):
            connection.request("GET", path, headers={"Host": f"{site}.{ZONE}"})
            response = connection.getresponse()
            content = response.read()
        told = ", ".join(response.headers.get_all("Cache-Status") or ())
        return response.status, told, content


def _host(site: str) -> str:
    return f"{site}.{ZONE}"


def stay(fleet: Fleet) -> None:
    """Leave everything running until Ctrl-C."""
    command = shlex.quote(str(Path(sys.executable).with_name("cdn")))
    print("\nIt stays up until Ctrl-C.")
    for role in fleet.roles.values():
        if role.kind == "edge":
            url = role.ready["http_url"]
            print(f"  {role.name:10} curl -H 'Host: {SITE}.{ZONE}' {url}/")
    for role in fleet.roles.values():
        if role.kind == "control":
            environ = fleet.command_environ(role)
            spoken = f"CDN_CONTROL_URL={environ['CDN_CONTROL_URL']} CDN_TOKEN={environ['CDN_TOKEN']}"
            print(f"  {role.name:10} {spoken} {command} status")
    print(f"  files      {fleet.folder}: settings and logs of each role", flush=True)
    processes = [role.process for role in fleet.roles.values() if role.process is not None]
    with suppress(KeyboardInterrupt):
        while all(process.poll() is None for process in processes):
            with suppress(subprocess.TimeoutExpired):
                processes[0].wait(1)


if __name__ == "__main__":
    sys.exit(main())
