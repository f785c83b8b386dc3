"""The embedded size: control and one edge in one process (docs/decisions/005)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import uvloop

from cdn.cli.address import Address
from cdn.cli.config import Config, config_path, write_config
from cdn.cli.result import ExitStatus
from cdn.cli.run import print_error
from cdn.cli.settings_file import NO_FILE, SettingsFile
from cdn.cli.text import safe
from cdn.control.listener import listening
from cdn.control.node_directory import NodeDirectory
from cdn.control.plane import ControlPlane
from cdn.control.settings import ControlSettings
from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.errors import CdnError, Conflict, Unavailable
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.opening import open_store

CATCH_UP_TIMEOUT_S = 60.0
"""How long the edge may take to apply the journal before the start counts as failed."""

USUAL_GARBAGE_THRESHOLDS = (700, 10, 10)
"""Those of Python, which the command raises for short runs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """What `cdn up` was told."""

    data_dir: Path
    control: Address
    http: Address
    zone: str
    store_url: str | None
    s3_endpoint: str | None
    memory_bytes: int
    disk_bytes: int
    node_id: str
    limits_file: Path | None = None


class Embedded:
    """Everything that `cdn up` started, closed in the opposite order."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        control_url: str,
        edge: EdgeNode,
        admin_token: str,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self.control_url = control_url
        self.edge = edge
        self.admin_token = admin_token
        self.settings = settings
        self._stack = stack

    @property
    def http_url(self) -> str:
        """Where visitors connect to."""
        return f"http://{Address(self.settings.http.host, self.edge.port)}"

    @classmethod
    async def start(cls, settings: EmbeddedSettings) -> Embedded:
        """Start every role; when this returns the edge has applied the whole journal.

        Raises CdnError, and OSError for addresses and folders that cannot be used.
        """
        limits = NO_FILE if settings.limits_file is None else SettingsFile.read(settings.limits_file)
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_locked(settings.data_dir))
            store = open_store(settings.store_url or str(settings.data_dir / "store"), settings.s3_endpoint)
            stack.push_async_callback(store.aclose)
            journal = await SqliteJournal.open(settings.data_dir / "journal.db")
            stack.push_async_callback(journal.aclose)
            await _require_kept(journal, settings.data_dir)
            directory = await NodeDirectory.open(settings.data_dir / "nodes.db")
            stack.push_async_callback(directory.aclose)
            plane = ControlPlane(
                _control_settings(settings, limits),
                journal,
                store,
                directory,
            )
            stack.push_async_callback(plane.aclose)
            await plane.start()
            control_port = await stack.enter_async_context(_listening(plane, settings.control))
            control = Address(settings.control.host, control_port)
            admin_token = await _token(plane, settings, "admin")
            edge = await EdgeNode.start(
                _edge_settings(settings, limits, control, await _token(plane, settings, "node")),
                store,
            )
            stack.push_async_callback(edge.stop)
            try:
                async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                    await edge.follower.wait_caught_up()
            except TimeoutError as exc:
                raise Unavailable(
                    f"the edge did not apply the journal within {CATCH_UP_TIMEOUT_S:g} s: {edge.follower.fault}"
                ) from exc
            control_url = f"http://{_reachable(control)}"
            _tell_commands(settings.data_dir, control_url, admin_token)
            return cls(settings, control_url, edge, admin_token, stack.pop_all())

    async def aclose(self) -> None:
        """Stop every role: requests under way are finished first."""
        await self._stack.aclose()


def serve(start: Callable[[], Coroutine[Any, Any, Embedded]], *, is_json: bool) -> ExitStatus:
    """Run until SIGTERM or Ctrl-C. Errors become one sentence and a status."""
    _raise_descriptor_limit()
    gc.set_threshold(*USUAL_GARBAGE_THRESHOLDS)
    try:
        uvloop.run(_serve(start, is_json))
    except CdnError as exc:
        print_error(exc, is_json=False)
        return ExitStatus.FAILED
    except OSError as exc:
        print(f"cdn up: {safe(str(exc))}: choose another address or folder", file=sys.stderr)
        return ExitStatus.FAILED
    return ExitStatus.DONE


async def _serve(start: Callable[[], Coroutine[Any, Any, Embedded]], is_json: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    embedded = await start()
    try:
        _print_ready(embedded, is_json)
        await stopping.wait()
    finally:
        await embedded.aclose()


def _print_ready(embedded: Embedded, is_json: bool) -> None:
    zone, port = embedded.settings.zone, embedded.edge.port
    if is_json:
        document = {"control_url": embedded.control_url, "http_url": embedded.http_url, "zone": zone}
        print(json.dumps(document), flush=True)
        return
    print(f"control   {embedded.control_url}")
    print(f"sites     http://NAME.{zone}:{port}/")
    print(f"data      {embedded.settings.data_dir}")
    print("next      cdn site create blog && cdn deploy FOLDER --site blog", flush=True)


def _reachable(address: Address) -> Address:
    """Where this machine itself reaches what listens on `address`."""
    return {"0.0.0.0": Address("127.0.0.1", address.port), "::": Address("::1", address.port)}.get(  # noqa: S104
        address.host, address
    )


@contextlib.contextmanager
def _locked(data_dir: Path) -> Any:
    """One `cdn up` per folder; the lock goes with the process, however that ends."""
    file: IO[str]
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Conflict(f"another cdn up uses {data_dir}: stop it, or give this one another --data") from exc
        yield


@contextlib.asynccontextmanager
async def _listening(plane: ControlPlane, address: Address) -> AsyncIterator[int]:
    """Control's API on an address; gives the port."""
    async with listening(plane.application(), address.host, address.port) as port:
        try:
            yield port
        finally:
            await plane.hub.aclose()


def _control_settings(settings: EmbeddedSettings, limits: SettingsFile) -> ControlSettings:
    control = ControlSettings(
        zone=settings.zone, data_dir=settings.data_dir / "control", public_port=settings.http.port or None
    )
    bundle = limits.applied("control.bundle", control.bundle)
    return replace(limits.applied("control", control), bundle=bundle)


def _edge_settings(settings: EmbeddedSettings, limits: SettingsFile, control: Address, token: str) -> EdgeSettings:
    edge = EdgeSettings(
        node_id=settings.node_id,
        data_dir=settings.data_dir / "edge",
        zone=settings.zone,
        control_url=f"http://{_reachable(control)}",
        token=token,
    )
    return replace(
        limits.applied("edge", edge),
        host=settings.http.host,
        port=settings.http.port,
        memory_bytes=settings.memory_bytes,
        disk_bytes=settings.disk_bytes,
        limits=limits.applied("edge.http", edge.limits),
    )


async def _require_kept(journal: SqliteJournal, data_dir: Path) -> None:
    """A token was saved here, so there was a journal: an empty one must not pass for it. Raises Conflict."""
    token = data_dir / "admin-token"
    if token.exists() and (await journal.position()).sequence == 0:
        raise Conflict(
            f"{data_dir} was in use, but its journal with all sites is gone: restore {data_dir / 'journal.db'}; "
            f"or remove {token} to begin with none"
        )


async def _token(plane: ControlPlane, settings: EmbeddedSettings, scope: str) -> str:
    """The token saved in the data folder as long as it works, else a new one, saved there for its owner only."""
    path = settings.data_dir / f"{scope}-token"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        token = ""
    if token and plane.has_scope(token, scope):
        return token
    token = await plane.create_token((scope,), note=f"made by cdn up on {settings.node_id}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token


def _tell_commands(data_dir: Path, control_url: str, admin_token: str) -> None:
    """Save the control URL where the other commands look. A home that cannot be written costs only that comfort."""
    (data_dir / "control-url").write_text(control_url + "\n", encoding="utf-8")
    path = config_path(os.environ)
    try:
        write_config(path, Config(control_url=control_url, token=admin_token))
    except OSError as exc:
        _log.warning("%s could not be written (%s): set CDN_CONTROL_URL and CDN_TOKEN yourself", path, exc)


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
