"""The peers: gdnsd with its geoip plugin and PowerDNS with its geoip backend, as their users tune them for one core."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.dns_world import SITE, World

GDNSD_CONFIG = """\
options => {{
  listen => [ "127.0.0.1:{port}" ]
  udp_threads => 1
  tcp_threads => 1
  zones_default_ttl => 30
  run_dir => {folder}/run
  state_dir => {folder}/state
}}
plugins => {{
  geoip => {{
    maps => {{ world => {{
      geoip2_db => {database}
      datacenters => [ {names} ]
      auto_dc_coords => {{ {coordinates} }}
    }} }}
    resources => {{ site => {{ map => world, service_types => up, dcmap => {{ {addresses} }} }} }}
  }}
}}
"""

GDNSD_ZONE = """\
@ SOA ns1 hostmaster 1 7200 1800 259200 10
@ NS ns1
ns1 A 127.0.0.1
{site} 30 DYNA geoip!site
"""

PDNS_CONFIG = """\
launch=geoip
geoip-database-files=mmdb:{database}
geoip-zones-file={folder}/zones.yaml
local-address=127.0.0.1
local-port={port}
socket-dir={folder}
daemon=no
guardian=no
disable-syslog=yes
loglevel=3
edns-subnet-processing=yes
edns-cookie-secret=00112233445566778899aabbccddeeff
receiver-threads=1
distributor-threads=1
{caches}"""

NO_CACHES = "cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n"


@contextlib.contextmanager
def running_gdnsd(folder: Path, world: World, zone: str, core: int) -> Iterator[tuple[int, int]]:
    """Its process and its port. It has no packet cache."""
    for name in ("zones", "run", "state", "geoip"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = [f"dc{number}" for number in range(len(world.places))]
    coordinates = ", ".join(
        f"{name} => [ {place.city.latitude}, {place.city.longitude} ]"
        for name, place in zip(names, world.places, strict=True)
    )
    addresses = ", ".join(
        f"{name} => {{ {', '.join(f'n{number} => {address}' for number, address in enumerate(place.addresses))} }}"
        for name, place in zip(names, world.places, strict=True)
    )
    port = _free_port()
    (folder / "config").write_text(
        GDNSD_CONFIG.format(
            port=port,
            folder=folder,
            database=world.database,
            names=", ".join(names),
            coordinates=coordinates,
            addresses=addresses,
        )
    )
    (folder / "zones" / zone).write_text(GDNSD_ZONE.format(site=SITE))
    with _running(["gdnsd", "-c", str(folder), "start"], folder, core) as pid:
        yield pid, port


@contextlib.contextmanager
def running_pdns(folder: Path, world: World, zone: str, core: int, *, caches: bool) -> Iterator[tuple[int, int]]:
    """Its process and its port; `caches`: its packet and query caches as they come."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    (folder / "pdns.conf").write_text(
        PDNS_CONFIG.format(database=world.database, folder=folder, port=port, caches="" if caches else NO_CACHES)
    )
    lines = ["domains:", f"- domain: {zone}", "  ttl: 30", "  records:", f"    {zone}:"]
    lines += [f"      - soa: ns1.{zone} hostmaster.{zone} 1 7200 1800 259200 10", f"      - ns: ns1.{zone}"]
    lines += [f"    ns1.{zone}:", "      - a: 127.0.0.1"]
    for country, place in world.nearest.items():
        lines += [f"    {country.lower()}.place.{zone}:", *(f"      - a: {address}" for address in place.addresses)]
    lines += ["  services:", f"    {SITE}.{zone}: '%cc.place.{zone}'"]
    (folder / "zones.yaml").write_text("\n".join(lines) + "\n")
    with _running(["pdns_server", f"--config-dir={folder}"], folder, core) as pid:
        yield pid, port


@contextlib.contextmanager
def _running(words: list[str], folder: Path, core: int) -> Iterator[int]:
    environ = dict(os.environ, PATH=f"{os.environ.get('PATH', '')}:/usr/sbin")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["taskset", "-c", str(core), *words], stdout=log, stderr=log, env=environ)
    try:
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(f"{words[0]} ended: {(folder / 'log').read_text()[-2000:]}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
