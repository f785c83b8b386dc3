"""From `domain add`, with DNS already right, to the first HTTPS answer: against Caddy on demand, both with Pebble."""

from __future__ import annotations

import http.client
import socket
import ssl
import statistics
import sys
import time
from pathlib import Path

from bench.bundle import write_bundle
from bench.peer_caddy import running_caddy
from bench.running_cdn import RunningCdn, running_cdn
from bench.table import Fact, Row
from examples.pebble import running_pebble

ZONE = "bench.example"

ZONE_TEXT = """\
$ORIGIN {zone}.
$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
"""

PATIENCE_S = 60.0
PAUSE_S = 0.005


def run(folder: Path, *, domains: int = 12) -> list[Row | Fact]:
    """They take turns, each with a Pebble of its own that waits for nothing; no domain is asked for twice."""
    folder.mkdir(parents=True, exist_ok=True)
    http_port, https_port, dns_port, caddy_http, caddy_https = _free_ports(5)
    dns = f"127.0.0.1:{dns_port}"
    ours: list[float] = []
    peers: list[float] = []
    with (
        running_pebble(folder / "ours", dns=dns, http_port=http_port, https_port=https_port, is_quick=True) as pebble,
        running_pebble(folder / "peer", dns=dns, http_port=caddy_http, https_port=caddy_https, is_quick=True) as other,
    ):
        options = ("--http", f"127.0.0.1:{http_port}", "--https", f"127.0.0.1:{https_port}", "--dns", dns)
        acme = ("--acme", pebble.directory_url, "--acme-ca", str(pebble.ca_file))
        lookups = ("--resolver", dns, "--name-server-port", str(dns_port))
        with (
            running_cdn(folder / "cdn", options=(*options, *acme, *lookups)) as cdn,
            running_caddy(folder / "caddy", other, http_port=caddy_http, https_port=caddy_https),
        ):
            cdn.run("site", "create", "bench")
            write_bundle(folder / "content", 20)
            cdn.run("deploy", str(folder / "content"), "--site", "bench")
            _import_zone(cdn, folder, domains)
            for number in range(domains):
                ours.append(_add(cdn, f"d{number}.{ZONE}", https_port))
                peers.append(first_answer(f"e{number}.{ZONE}", caddy_https, time.monotonic()))
    for name, values in (("cdn", ours), ("caddy", peers)):
        print(f"  domain add: {name} {[round(value, 2) for value in values]}", file=sys.stderr, flush=True)
    ours_s, peers_s = statistics.median(ours[1:]), statistics.median(peers[1:])  # the first makes the account
    what = "domain add to the first HTTPS answer, Pebble without delays"
    return [Row(what, "s", ours_s, peers_s, "Caddy on demand", 0.6), Row(what, "s", ours_s, 3.0, "promise", 1.0)]


def _import_zone(cdn: RunningCdn, folder: Path, domains: int) -> None:
    """The zone of all domains, which our name server has: those of Caddy are addresses, ours point at the site."""
    lines = [ZONE_TEXT.format(zone=ZONE)]
    for number in range(domains):
        lines.append(f"d{number} IN ALIAS bench.cdn.localhost.\n")
        lines.append(f"e{number} IN A 127.0.0.1\n")
    (folder / "zone").write_text("".join(lines))
    cdn.run("zone", "import", str(folder / "zone"))


def _add(cdn: RunningCdn, domain: str, https_port: int) -> float:
    """An administrator says whose it is, as who embeds the program does; the rest is as for everybody."""
    began = time.monotonic()
    cdn.post("/v1/sites/bench/domains", {"domain": domain, "verified": True})
    return first_answer(domain, https_port, began)


def first_answer(domain: str, port: int, began: float) -> float:
    """Seconds from `began` until the domain is answered over HTTPS with a certificate for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # Pebble makes a root of its own at every start
    context.verify_mode = ssl.CERT_NONE
    while time.monotonic() < began + PATIENCE_S:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname=domain) as secret,
            ):
                secret.sendall(f"GET / HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n".encode())
                response = http.client.HTTPResponse(secret)
                response.begin()
                response.read()
                return time.monotonic() - began
        except (OSError, http.client.HTTPException):
            time.sleep(PAUSE_S)
    raise RuntimeError(f"{domain} was not answered over HTTPS within {PATIENCE_S:g} s")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()
