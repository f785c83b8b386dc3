"""The embedded size: control and one edge in one process (docs/decisions/005)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import resource
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvloop

from cdn.cli.address import Address
from cdn.cli.config import Config, config_path, read_config, write_config
from cdn.cli.data_folder import DataFolder, StoreChoice
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

ANSWER_TIMEOUT_S = 1.0
"""How long a control plane that was saved before may take to say that it is still there."""

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
    allows_private_upstreams: bool = False


class Embedded:
    """Everything that `cdn up` started, closed in the opposite order."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        control_url: str,
        edge: EdgeNode,
        *,
        saved_in: Path | None,
        has_sites: bool,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self.control_url = control_url
        self.edge = edge
        self.settings = settings
        self.saved_in = saved_in
        """The config file that now leads the other commands here; None when it leads elsewhere."""
        self.has_sites = has_sites
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
        folder = DataFolder(settings.data_dir)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(folder.locked())
            choice = folder.settle_store(settings.store_url, settings.s3_endpoint)
            store = open_store(folder.store_url(choice), choice.endpoint_url)
            stack.push_async_callback(store.aclose)
            journal = await SqliteJournal.open(folder.journal)
            stack.push_async_callback(journal.aclose)
            await _require_kept(journal, folder)
            directory = await NodeDirectory.open(folder.nodes)
            stack.push_async_callback(directory.aclose)
            plane = ControlPlane(_control_settings(settings, folder, limits), journal, store, directory)
            stack.push_async_callback(plane.aclose)
            await plane.start()
            with _taken("--control", settings.control):
                control_port = await stack.enter_async_context(_listening(plane, settings.control))
            control_url = f"http://{_reachable(Address(settings.control.host, control_port))}"
            admin_token = await _token(plane, folder, "admin", settings.node_id)
            node_token = await _token(plane, folder, "node", settings.node_id)
            with _taken("--http", settings.http):
                follows = EdgeSettings(settings.node_id, folder.edge, settings.zone, control_url, node_token)
                edge = await EdgeNode.start(edge_settings(settings, limits, choice, follows), store)
            stack.push_async_callback(edge.stop)
            await _caught_up(edge)
            folder.keep_control_url(control_url)
            saved_in = await asyncio.to_thread(_tell_commands, Config(control_url, admin_token))
            has_sites = bool(plane.services.catalog.sites())
            return cls(settings, control_url, edge, saved_in=saved_in, has_sites=has_sites, stack=stack.pop_all())

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
        where = f"{exc.filename}: " if exc.filename else ""
        print(f"cdn up: {safe(where + (exc.strerror or str(exc)))}: give another folder with --data", file=sys.stderr)
        return ExitStatus.FAILED
    return ExitStatus.DONE


async def _serve(start: Callable[[], Coroutine[Any, Any, Embedded]], is_json: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    embedded = await start()
    gc.freeze()  # what the start made stays: the collector need not walk all of it again and again
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
    if embedded.saved_in is not None:
        print(f"commands  talk to this one (saved in {embedded.saved_in})")
    else:
        token = embedded.settings.data_dir / "admin-token"
        print(f"commands  for this one: CDN_CONTROL_URL={embedded.control_url} CDN_TOKEN=$(cat {token})")
    if not embedded.has_sites:
        print("next      cdn site create blog && cdn deploy FOLDER --site blog")
    print("stop      Ctrl-C", flush=True)


def _reachable(address: Address) -> Address:
    """Where this machine itself reaches what listens on `address`."""
    return {"0.0.0.0": Address("127.0.0.1", address.port), "::": Address("::1", address.port)}.get(  # noqa: S104
        address.host, address
    )


@contextlib.contextmanager
def _taken(option: str, address: Address) -> Iterator[None]:
    """Names the option when its address cannot be listened on. Raises Conflict."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}:
            raise
        reason = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be used ({os.strerror(exc.errno)})"
        raise Conflict(f"the address {address} {reason}: give another one with {option}") from exc


async def _caught_up(edge: EdgeNode) -> None:
    """Return when the edge has applied the whole journal. Raises Unavailable."""
    try:
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            await edge.follower.wait_caught_up()
    except TimeoutError as exc:
        raise Unavailable(
            f"the edge did not apply the journal within {CATCH_UP_TIMEOUT_S:g} s: {edge.follower.fault}"
        ) from exc


@contextlib.asynccontextmanager
async def _listening(plane: ControlPlane, address: Address) -> AsyncIterator[int]:
    """Control's API on an address; gives the port."""
    async with listening(plane.application(), address.host, address.port) as port:
        try:
            yield port
        finally:
            await plane.hub.aclose()


def _control_settings(settings: EmbeddedSettings, folder: DataFolder, limits: SettingsFile) -> ControlSettings:
    control = ControlSettings(zone=settings.zone, data_dir=folder.control, public_port=settings.http.port or None)
    bundle = limits.applied("control.bundle", control.bundle)
    return replace(limits.applied("control", control), bundle=bundle)


def edge_settings(
    settings: EmbeddedSettings, limits: SettingsFile, choice: StoreChoice, follows: EdgeSettings
) -> EdgeSettings:
    """What the options and the file add to `follows`, which says whom the node follows and as whom."""
    edge = limits.applied("edge", follows)
    return replace(
        edge,
        host=settings.http.host,
        port=settings.http.port,
        memory_bytes=settings.memory_bytes,
        disk_bytes=settings.disk_bytes,
        allows_private_upstreams=settings.allows_private_upstreams or edge.allows_private_upstreams,
        s3_endpoint=choice.endpoint_url,
        own_bucket=choice.bucket,
        limits=limits.applied("edge.http", edge.limits),
    )


async def _require_kept(journal: SqliteJournal, folder: DataFolder) -> None:
    """A token was saved here, so there was a journal: an empty one must not pass for it. Raises Conflict."""
    if folder.token("admin") is not None and (await journal.position()).sequence == 0:
        raise Conflict(
            f"{folder.path} was in use, but its journal with all sites is gone: restore {folder.journal}; "
            f"or remove {folder.path / 'admin-token'} to begin with none"
        )


async def _token(plane: ControlPlane, folder: DataFolder, scope: str, node_id: str) -> str:
    """The token kept in the data folder as long as it works, else a new one."""
    token = folder.token(scope)
    if token is None or not plane.has_scope(token, scope):
        token = await plane.create_token((scope,), note=f"made by cdn up on {node_id}")
        folder.keep_token(scope, token)
    return token


def _tell_commands(here: Config) -> Path | None:
    """Lead the other commands here; None when they are led to another control plane that still answers.

    A home that cannot be written costs only the comfort.
    """
    path = config_path(os.environ)
    try:
        saved = read_config(path)
        if saved is not None and saved.control_url != here.control_url and _answers(saved.control_url):
            return None
        write_config(path, here)
    except (OSError, CdnError) as exc:
        _log.warning("%s could not be written (%s)", path, exc)
        return None
    return path


def _answers(control_url: str) -> bool:
    """Whether a control plane is there now."""
    try:
        with urllib.request.urlopen(f"{control_url}/healthz", timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, ValueError):
        return False


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
