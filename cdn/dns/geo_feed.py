"""Keeps a process's geography: the settings' own files, or the journal's table fetched from control, or the default."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdn.dns.geo_table import GeoTable
from cdn.dns.round_trips import RoundTripTable


@dataclass(frozen=True, slots=True)
class GeoSettings:
    """`geo_files`: one compiled table, or one or two `.mmdb` files; empty: what the journal says, else the default."""

    geo_files: tuple[Path, ...] = ()
    round_trip_file: Path | None = None


@dataclass(frozen=True, slots=True)
class GeoState:
    """What a process goes by. `table_path` is None for the embedded default (`cdn.dns.geo_default`); the file there is
    the process's own, never written again, and its name is its digest, so that another process can map it too."""

    table: GeoTable
    table_path: Path | None
    round_trips: RoundTripTable | None


class GeoFeed:
    """`changed` is called with every new state, on the loop's thread."""

    def __init__(
        self,
        settings: GeoSettings,
        folder: Path,
        changed: Callable[[GeoState], None],
        control_urls: Sequence[str] = (),
        token: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`folder` is the feed's own, for copies of tables; it is made."""

    @property
    def state(self) -> GeoState:
        """What holds now; before `load` the embedded default."""
        raise NotImplementedError

    @property
    def fault(self) -> str | None:
        """Why what is wanted does not hold yet, None when it does."""
        raise NotImplementedError

    def want(self, digest: str, size_bytes: int) -> None:
        """What the journal says (`GeographySet`); "": the default. Does nothing when the settings name files."""
        raise NotImplementedError

    async def load(self) -> None:
        """Take what is on disk, asking nobody; for the start. What is damaged is said in `fault` and passed over."""
        raise NotImplementedError

    async def run(self) -> None:
        """Look for changes of files, fetch what is wanted. Until cancelled."""
        raise NotImplementedError
