"""Where visitors of an edge are, by the tables that name servers use."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cdn.dns.client import client_at
from cdn.dns.geo_default import default_table
from cdn.dns.geo_files import SUFFIX, FileWatch, made_table, remove_others
from cdn.dns.geography import Geography
from cdn.edge.trusted_proxies import parse_address
from cdn.errors import InvalidInput


class VisitorCountries:
    """Countries of addresses (`cdn.edge.countries.Countries`): by a file, else by the program's own table.

    The table is read when it is first needed: unpacking it takes a quarter of a second and 20 MB, and most sites have
    no rule about countries.
    """

    def __init__(self, file: Path | None = None, folder: Path | None = None) -> None:
        """`file`: a table (`cdn geo update`) or a database (`.mmdb`); a copy of it is kept in `folder`."""
        self._file = file
        self._folder = folder
        self._table: Geography | None = None
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """The table is in memory. Raises InvalidInput when the file cannot be used."""
        if self._table is not None:
            return
        async with self._turn:
            if self._table is None:
                self._table = await self._read()

    def of(self, address: str) -> str:
        """The country of an IP address, "" when it is not known."""
        if self._table is None:
            return ""
        parsed = parse_address(address)
        if parsed is None:
            return ""
        client = client_at(str(parsed))
        return self._table.place(self._table.locate(client.family, client.address).place).country

    async def _read(self) -> Geography:
        file, folder = self._file, self._folder
        if file is None or folder is None:
            return await asyncio.to_thread(default_table)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            key = FileWatch((file,)).look(at_once=True)
            path = folder / f"{key}{SUFFIX}"
            table = await made_table((file,), path)
            await asyncio.to_thread(remove_others, folder, (path,))
        except OSError as exc:
            raise InvalidInput(f"the geography file {file} cannot be read: {exc}", field="geography_file") from exc
        except InvalidInput as exc:
            raise InvalidInput(f"the geography file cannot be used: {exc.message}", field="geography_file") from exc
        return table
