"""One node with 100,000 domains, each with a certificate of its own: what it takes in memory, and to begin."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.process_cpu import children_of
from bench.table import Fact, Row
from bench.tls_certificates import Authority, domain_of, zipf
from bench.worker_process import running, serve

DOMAINS = 100_000
SITES = 1_000
VISITED = 6_000
"""Handshakes: so many that the contexts of certificates are as many as are kept."""

MIB = 1024 * 1024
ZONE = "cdn.localhost"


def run(
    folder: Path, *, domains: int = DOMAINS, visited: int = VISITED, workers: tuple[int, ...] = (1, 2)
) -> list[Row | Fact]:
    """Memory is what no other process shares, of the node and its workers together (PSS)."""
    results: list[Row | Fact] = []
    settings = {"folder": str(folder), "domains": domains, "workers": 1, "fills": True}
    with running("bench.certificates", settings):
        pass
    for count in workers:
        with running("bench.certificates", {**settings, "workers": count, "fills": False}) as node:
            pids = children_of(node.pid)
            began, fresh = node.first["began_s"], memory_mib(pids)
            failed = visit(node.first["port"], domains, visited)
            used = memory_mib(pids)
        who = "one process" if count == 1 else f"{count} workers"
        print(f"  {domains:,} domains, {who}: {fresh:.0f} MiB, began in {began:.2f} s", file=sys.stderr, flush=True)
        results += [
            Row(f"memory of a node with {domains:,} domains, {who}", "MiB", used, 500.0, "promised", 1.0),
            Fact(f"handshakes that failed, {who}", failed, 0),
        ]
    return results


def memory_mib(pids: list[int]) -> float:
    """What these processes take, shared pages counted once."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def visit(port: int, domains: int, count: int) -> int:
    """Shake hands by many names; how many failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def once(name: str) -> int:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 30) as raw,
                context.wrap_socket(raw, server_hostname=name),
            ):
                return 0
        except OSError:
            return 1

    with ThreadPoolExecutor(2) as threads:
        return sum(threads.map(once, zipf(domains, count, seed=1)))


async def main() -> None:
    """Settings: `folder`, `domains`, `workers`. Answers with its port for https and how long it took to begin."""
    from cdn.cli.worker_process import worker_command
    from cdn.edge.node import EdgeNode
    from cdn.edge.settings import EdgeSettings
    from cdn.origin.directory import DirectoryStore
    from cdn.tls.sealed import make_key_file

    nodes: list[Any] = []

    async def answer(question: dict[str, Any]) -> Any:
        folder = Path(question["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        key_file = folder / "edge-key"
        settings = EdgeSettings(
            "n1",
            folder / "node",
            ZONE,
            "http://127.0.0.1:9",
            "cdn_0_0",
            port=0,
            https_port=0,
            edge_key_file=key_file,
            workers=question["workers"],
        )
        if question["fills"]:
            make_key_file(key_file)
            await _fill(settings, question["domains"])
            return {}
        began = time.monotonic()
        store = DirectoryStore(folder / "store")
        nodes.append(await EdgeNode.start(settings, store, worker_command=worker_command()))
        return {"port": nodes[0].https_port, "began_s": time.monotonic() - began}

    await serve(answer)
    for node in nodes:
        await node.stop()


async def _fill(settings: Any, domains: int) -> None:
    """The node's own copy of the journal and its certificates, as if it had followed. One chain and key stand for all:
    how long they are is what counts."""
    from cdn.edge.certificate_shelf import CertificateShelf, ShelvedCertificate
    from cdn.fleet.position import Position
    from cdn.journal.catalog_fold import CatalogFold
    from cdn.journal.certificate_fold import CertificateFold
    from cdn.journal.record import (
        RECORD_VERSION,
        Audience,
        CertificateSet,
        Change,
        DomainVerified,
        Record,
        SiteCreated,
    )
    from cdn.journal.replica import Replica
    from cdn.journal.snapshot import SNAPSHOT_VERSION, Snapshot
    from cdn.purge.floors import Floors
    from cdn.tls.sealed import KeyRing, Purpose

    settings.data_dir.mkdir(parents=True)
    catalog = CatalogFold(ZONE)
    folds = (catalog, CertificateFold(catalog.catalog), Floors())
    sequence = 0

    def apply(change: Change) -> None:
        nonlocal sequence
        sequence += 1
        record = Record(RECORD_VERSION, "e1", sequence, "s", 0.0, "a", Audience.ALL, change)
        for fold in folds:
            fold.apply(record)

    ring = KeyRing.read(settings.edge_key_file)
    chain, key, _ = Authority().certificate(domain_of(0))
    shelf = await CertificateShelf.open(settings.certificates_path)
    batch = []
    for number in range(SITES):
        apply(SiteCreated(f"{number:016x}", f"site-{number}", {}))
    for number in range(domains):
        name, certificate_id, site_id = domain_of(number), os.urandom(32).hex(), f"{number % SITES:016x}"
        sealed = base64.b64encode(ring.sealed(key, Purpose.CERTIFICATE_KEY, certificate_id)).decode()
        apply(DomainVerified(name, site_id))
        issuer = "https://acme-v02.api.letsencrypt.org/directory"
        end = 1.8e9 + number
        apply(CertificateSet(name, certificate_id, site_id, (name,), end - 7e6, end, issuer, "", {}))
        batch.append(ShelvedCertificate(certificate_id, chain.decode(), {"": sealed}))
        if len(batch) == 1000:
            await shelf.put(batch)
            batch.clear()
    await shelf.put(batch)
    await shelf.aclose()
    replica = await Replica.open(settings.replica_path)
    await replica.replace(
        Snapshot(SNAPSHOT_VERSION, Position("e1", sequence), 0, {fold.name: fold.dump() for fold in folds})
    )
    await replica.aclose()


if __name__ == "__main__":
    asyncio.run(main())
