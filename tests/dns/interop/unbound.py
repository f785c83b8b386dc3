"""A real resolver with our server as what it asks for a few zones, and with trust in the keys that it is told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.servers.ports import free_ports

PATIENCE_S = 60.0
PROGRAM = "/usr/sbin/unbound"

SETTINGS = """
server:
    interface: 127.0.0.1
    port: {port}
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    logfile: "{folder}/unbound.log"
    verbosity: 1
    val-log-level: 2
    module-config: "subnetcache validator iterator"
    send-client-subnet: 127.0.0.1
    client-subnet-always-forward: yes
    max-client-subnet-ipv4: 24
    do-not-query-localhost: no
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    num-threads: 1
    msg-cache-size: 1m
    rrset-cache-size: 1m
    {anchors}
"""


@contextmanager
def running(folder: Path, upstream_port: int, zones: Sequence[str], anchors: Sequence[str]) -> Iterator[int]:
    """The port at which it answers. `anchors` are DS records as text."""
    [port] = free_ports(1)
    trusted = "\n    ".join(f'trust-anchor: "{anchor}"' for anchor in anchors)
    text = SETTINGS.format(port=port, folder=folder, anchors=trusted)
    for zone in zones:
        text += f'\nstub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@{upstream_port}\n'
    settings = folder / "unbound.conf"
    settings.write_text(text)
    process = subprocess.Popen([PROGRAM, "-d", "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _wait_until_it_answers(process, port, zones[0])
        yield port
    finally:
        process.terminate()
        process.communicate()


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, zone: str) -> None:
    question = dns.message.make_query(zone, "SOA")
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read().decode())
        try:
            dns.query.udp(question, "127.0.0.1", timeout=1, port=port, raise_on_truncation=False)
        except (dns.exception.Timeout, OSError):
            continue
        return
    raise AssertionError("unbound does not answer")
