"""A node's workers and what they stand on: their pool, and the socket where they ask for what they do not have."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cdn.edge.pipeline import Pipeline
from cdn.edge.pull_memory import PullMemory
from cdn.edge.service import ListenerCounters
from cdn.edge.settings import EdgeSettings
from cdn.edge.worker_exchange import MAX_PATH_BYTES, ExchangeServer
from cdn.edge.worker_pool import WorkerPool
from cdn.edge.worker_relay import WorkerRelay
from cdn.edge.worker_settings import WorkerSettings
from cdn.errors import Conflict

EXCHANGE_NAME = "exchange"
"""The Unix socket, in the node's folder: a node that is killed leaves one, and the next one takes its place."""


def memory_share(settings: EdgeSettings) -> int:
    """What each process of a node may hold in memory: a hit is held once by each that answers it."""
    return settings.memory_bytes if settings.workers == 1 else settings.memory_bytes // (settings.workers + 1)


class Workers:
    """A Front of several processes."""

    def __init__(self, exchange: ExchangeServer, pool: WorkerPool, stack: contextlib.AsyncExitStack) -> None:
        self.exchange = exchange
        self.pool = pool
        self._stack = stack

    @classmethod
    async def start(
        cls,
        settings: EdgeSettings,
        pipeline: Pipeline,
        memory: PullMemory,
        relay: WorkerRelay,
        *,
        sockets: Sequence[socket.socket],
        command: Sequence[str],
        clock: Callable[[], float],
        secure: Sequence[socket.socket] = (),
        https_port: int | None = None,
        on_missing: Callable[[str], None] = lambda certificate_id: None,
    ) -> Workers:
        """All listening when this returns. Takes over `sockets`, and `secure`, which are for https, where visitors
        reach the node at `https_port`. `on_missing(certificate_id)`: a worker needs a certificate.

        Raises Unavailable, Conflict and OSError.
        """
        async with contextlib.AsyncExitStack() as stack:
            for each in (*sockets, *secure):
                stack.callback(each.close)
            path = _exchange_path(settings.data_dir.absolute())
            exchange = ExchangeServer(pipeline, pipeline.hints, settled=relay.settled)
            await exchange.start(path)
            stack.push_async_callback(exchange.aclose)
            memory.on_forget = relay.forget
            pool = await WorkerPool.start(
                worker_settings(settings, path, https_port),
                sockets,
                relay,
                command=command,
                clock=clock,
                on_used=exchange.used,
                secure=secure,
                on_missing=on_missing,
            )
            return cls(exchange, pool, stack.pop_all())

    @property
    def port(self) -> int:
        """Where visitors connect."""
        return self.pool.port

    @property
    def https_port(self) -> int | None:
        """Where they connect by https."""
        return self.pool.https_port

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What the workers accept from."""
        return self.pool.sockets

    @property
    def counters(self) -> ListenerCounters:
        """What happened on every connection so far."""
        return self.pool.counters

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self.pool.open_connections

    def counted(self) -> Mapping[str, int]:
        """What there is to count beside the connections, by name."""
        return self.pool.counted()

    def traffic(self) -> Mapping[str, int]:
        """What the workers counted of their answers, see `Traffic.numbers`."""
        return self.pool.traffic()

    def reopen_log(self) -> None:
        """The access log goes on in a new file, in every worker."""
        self.pool.reopen_log()

    def withdraw(self) -> None:
        """Go on serving, and say with every answer that its connection closes."""
        self.pool.withdraw()

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, answer what was asked for, close; after `timeout_s` reset what is left."""
        await self.pool.drain(timeout_s)
        await self._stack.aclose()

    async def aclose(self) -> None:
        """Stop at once."""
        await self.pool.aclose()
        await self._stack.aclose()


def _exchange_path(data_dir: Path) -> Path:
    """In the node's folder; where that has a path too long for a socket, in a folder for it that only this user enters,
    the same at every start. Raises Conflict, OSError."""
    path = data_dir / EXCHANGE_NAME
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        return path
    name = f"cdn-{os.getuid()}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise Conflict(
            f"{folder} is not this user's alone, and the path of data_dir is too long for the socket of the workers: "
            "remove that folder, or choose a shorter data_dir"
        )
    return folder / EXCHANGE_NAME


def worker_settings(settings: EdgeSettings, exchange_path: Path, https_port: int | None = None) -> WorkerSettings:
    """What each worker is told. `https_port` is where visitors reach the node by https."""
    return WorkerSettings(
        number=0,
        zone=settings.zone,
        cache_name=settings.cache_name,
        exchange_path=str(exchange_path),
        memory_bytes=memory_share(settings),
        limits=settings.limits,
        http2=settings.http2,
        access_log=replace(settings.access_log, file=None),
        access_log_file="" if settings.access_log.file is None else str(settings.access_log.file.absolute()),
        trusted_proxies=tuple(str(network) for network in settings.trusted_proxies),
        proxy_protocol=settings.proxy_protocol,
        https_port=https_port,
        shelf_path=str(settings.certificates_path.absolute()),
        edge_key_file="" if settings.edge_key_file is None else str(settings.edge_key_file.absolute()),
        key_groups=settings.key_groups,
        tls=settings.tls,
    )
