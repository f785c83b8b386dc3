"""Keeps a process's geography: the settings' own files, or the journal's table fetched from control, or the default."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import aiohttp

from cdn.dns.geo_default import default_table
from cdn.dns.geo_files import SUFFIX, FileWatch, checked_table, made_table, newest_table, ready_table, remove_others
from cdn.dns.geo_settings import GeoSettings
from cdn.dns.geo_table import MAX_TABLE_BYTES, GeoTable, open_table
from cdn.dns.round_trips import RoundTripTable, read_round_trips
from cdn.errors import CdnError, InvalidInput, Unavailable

TABLE_PATH = "/v1/geography/"

LOOK_EVERY_S = 2.0
"""From one look at the settings' files to the next."""

PATIENCE_S = 900.0
"""For a whole table from control: 64 MiB over a line of one megabit takes nine minutes."""

SILENCE_S = 20.0
"""Without a byte from control, beyond which another one is asked."""

FIRST_PAUSE_S = 2.0
"""Before control is asked again when it did not answer; twice as long every time, and up to half as long again."""

LAST_PAUSE_S = 60.0
"""The longest of these pauses."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GeoState:
    """What a process goes by. `table_path` is None for the embedded default (`cdn.dns.geo_default`); the file there is
    the feed's own and never written again: another table has another name, so that other processes can map it too. It
    stays until the second change after it."""

    table: GeoTable
    table_path: Path | None
    round_trips: RoundTripTable | None


class GeoFeed:
    """Make it, tell it with `want` what the journal holds, `load` what is on disk, and let it `run`."""

    def __init__(
        self,
        settings: GeoSettings,
        folder: Path,
        changed: Callable[[GeoState], None],
        *,
        control_urls: Sequence[str] = (),
        token: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`folder` is the feed's own, for copies of tables; it is made. `changed` is called with every new state, on
        the loop's thread."""
        self._folder = folder
        self._changed = changed
        self._urls = tuple(url.rstrip("/") + TABLE_PATH for url in control_urls)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._ssl: ssl.SSLContext | bool = True if tls is None else tls
        self._state: GeoState | None = None
        self._files = FileWatch(settings.geo_files)
        self._round_trips = FileWatch((settings.round_trip_file,) if settings.round_trip_file else ())
        self._faults: dict[str, str] = {}
        self._wanted = ("", 0)
        self._held = ("", 0)
        self._refused: tuple[str, int] | None = None
        self._is_wanted = asyncio.Event()
        self._turn = 0

    @property
    def state(self) -> GeoState:
        """What holds now; before `load` the embedded default."""
        if self._state is None:
            self._state = GeoState(default_table(), None, None)
        return self._state

    @property
    def fault(self) -> str | None:
        """Why what is wanted does not hold yet, None when it does."""
        return "; ".join(self._faults.values()) or None

    @property
    def has_news(self) -> bool:
        """Whether something is wanted that it has not looked into yet."""
        return self._is_wanted.is_set()

    def want(self, digest: str, size_bytes: int) -> None:
        """What the journal says (`GeographySet`); "": the default. Does nothing when the settings name files."""
        self._wanted = (digest, size_bytes if digest else 0)
        self._is_wanted.set()

    async def load(self) -> None:
        """Take what is on disk, asking nobody; for the start. What is damaged is said in `fault` and passed over.

        Raises OSError when the folder cannot be used.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._look_at_round_trips(at_once=True)
        if self._files.paths:
            await self._load_own()
        elif _DIGEST.fullmatch(digest := self._wanted[0]):
            table = await asyncio.to_thread(_kept, self._path(digest))
            if table is not None:
                self._held = self._wanted
                self._take(table, self._path(digest))

    async def run(self) -> None:
        """Look for changes of files, fetch what is wanted. Until cancelled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_again_and_again())
            if not self._files.paths:
                tasks.create_task(self._fetch_what_is_wanted())

    # The settings' own files.

    async def _load_own(self) -> None:
        """What needs compiling is compiled by `run`; until then the last one that was made of them holds."""
        try:
            key = await asyncio.to_thread(self._files.look, at_once=True)
            path = self._path(key or "")
            table = await asyncio.to_thread(ready_table, self._files.paths, path)
            if table is not None:
                self._take(table, path)
                return
            self._files.forget()
        except (InvalidInput, OSError) as exc:
            self._not_read("table", exc, self._files)
        newest = await asyncio.to_thread(newest_table, self._folder)
        if newest is not None:
            self._become(replace(self.state, table=newest[0], table_path=newest[1]))

    async def _look_again_and_again(self) -> None:
        while self._files.paths or self._round_trips.paths:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look_at_files()
            await self._look_at_round_trips()

    async def _look_at_files(self) -> None:
        if not self._files.paths:
            return
        try:
            key = await asyncio.to_thread(self._files.look)
            if key is not None:
                path = self._path(key)
                self._take(await made_table(self._files.paths, path), path)
        except (InvalidInput, OSError) as exc:
            self._not_read("table", exc, self._files)

    async def _look_at_round_trips(self, *, at_once: bool = False) -> None:
        if not self._round_trips.paths:
            return
        try:
            if await asyncio.to_thread(self._round_trips.look, at_once=at_once) is not None:
                read = await asyncio.to_thread(read_round_trips, self._round_trips.paths[0])
                self._faults.pop("round trips", None)
                self._become(replace(self.state, round_trips=read))
        except (InvalidInput, OSError) as exc:
            self._not_read("round trips", exc, self._round_trips)

    # The journal's table.

    async def _fetch_what_is_wanted(self) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S, sock_read=SILENCE_S)
        pause_s = FIRST_PAUSE_S
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout, auto_decompress=False) as client:
            while True:
                await self._is_wanted.wait()
                self._is_wanted.clear()
                wanted = self._wanted
                if wanted == self._held:
                    self._faults.pop("table", None)
                if wanted in (self._held, self._refused):
                    continue
                try:
                    await self._get(client, *wanted)
                except InvalidInput as exc:
                    self._refused = wanted
                    self._failed("table", exc)
                except (aiohttp.ClientError, Unavailable, OSError) as exc:
                    self._failed("table", exc)
                    self._turn += 1
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause_s * random.uniform(1.0, 1.5)):  # noqa: S311 - jitter, no secret
                            await self._is_wanted.wait()
                    self._is_wanted.set()
                    pause_s = min(2 * pause_s, LAST_PAUSE_S)
                else:
                    self._held = wanted
                    pause_s = FIRST_PAUSE_S

    async def _get(self, client: aiohttp.ClientSession, digest: str, size_bytes: int) -> None:
        """Raises InvalidInput for what will never do; Unavailable, ClientError, OSError."""
        if digest == "":
            self._take(default_table(), None)
            return
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"the journal names a table of places {digest!r}, which is no SHA-256 in hex")
        if not 0 < size_bytes <= MAX_TABLE_BYTES:
            raise InvalidInput(f"the table of places in the journal takes {size_bytes} bytes, of {MAX_TABLE_BYTES}")
        path = self._path(digest)
        table = await asyncio.to_thread(_kept, path)
        if table is None:
            temporary = path.with_name(f".{path.name}")
            try:
                await self._fetch(client, digest, size_bytes, temporary)
                table = await asyncio.to_thread(checked_table, temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        self._take(table, path)

    async def _fetch(self, client: aiohttp.ClientSession, digest: str, size_bytes: int, path: Path) -> None:
        if not self._urls:
            raise InvalidInput("nobody can be asked for the journal's table of places: no control is named")
        url = self._urls[self._turn % len(self._urls)] + digest
        async with client.get(url, allow_redirects=False, ssl=self._ssl) as response:
            if response.status != 200:
                raise Unavailable(f"control answers {response.status} when asked for the table of places")
            checksum, length = sha256(), 0
            with path.open("wb") as file:
                async for part in response.content.iter_chunked(1 << 16):
                    length += len(part)
                    if length > size_bytes:
                        break
                    checksum.update(part)
                    file.write(part)
                await asyncio.to_thread(_synced, file.fileno())
        if length != size_bytes or checksum.hexdigest() != digest:
            raise Unavailable(
                f"{url} is not the table of {size_bytes} bytes that the journal names: it will be asked again"
            )

    # What comes of both.

    def _take(self, table: GeoTable, path: Path | None) -> None:
        self._faults.pop("table", None)
        former = self.state.table_path
        self._become(replace(self.state, table=table, table_path=path))
        try:
            remove_others(self._folder, {each for each in (path, former) if each is not None})
        except OSError as exc:
            _log.warning("tables of places that are used no more stay in %s: %s", self._folder, exc)

    def _become(self, state: GeoState) -> None:
        self._state = state
        self._changed(state)

    def _not_read(self, what: str, exc: Exception, watch: FileWatch) -> None:
        self._failed(what, exc)
        if isinstance(exc, OSError):  # not what the files are, but what the disk is just now: it is tried again
            watch.forget()

    def _failed(self, what: str, exc: Exception) -> None:
        fault = exc.message if isinstance(exc, CdnError) else str(exc) or type(exc).__name__
        if self._faults.get(what) != fault:
            _log.warning("places and distances stay as they were: %s", fault)
        self._faults[what] = fault

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"


def _kept(path: Path) -> GeoTable | None:
    try:
        table = open_table(path)
    except (OSError, InvalidInput):
        return None
    return table if table.summary.digest == path.stem else None


def _synced(descriptor: int) -> None:
    os.fsync(descriptor)
