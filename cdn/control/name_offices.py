"""Who looks after a name now: one task of one replica at a time, so that nobody orders a certificate twice."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cdn.errors import Unavailable
from cdn.journal.tenure import Offices, Tenure

RENEWALS = 4
"""How often within its time an office is held on to: two words may be lost."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class NameOffice:
    """Held while work on a name goes on."""

    name: str
    tenure: Tenure
    monotonic: Callable[[], float]
    _is_lost: bool = False

    @property
    def is_held(self) -> bool:
        """Whether nobody else may have it."""
        return not self._is_lost and self.tenure.holds(self.monotonic())

    def require(self) -> None:
        """Raises Unavailable once another may have taken over: what follows would be done twice."""
        if not self.is_held:
            raise Unavailable(f"another control may look after {self.name} by now: it goes on there")

    def renewed(self, tenure: Tenure | None) -> None:
        """What came of asking for more time."""
        if tenure is None:
            self._is_lost = True
        else:
            self.tenure = tenure


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class NameOffices:
    """Offices by name, among the tasks of this process and among replicas."""

    def __init__(self, offices: Offices, holder: str, *, office_s: float, monotonic: Callable[[], float]) -> None:
        self._offices = offices
        self._holder = holder
        self._office_s = office_s
        self._monotonic = monotonic
        self._lines: dict[str, _Line] = {}

    def is_busy(self, name: str) -> bool:
        """Whether a task of this process has it, or waits for it."""
        return name in self._lines

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[NameOffice | None]:
        """The office while the block runs, after those of this process who came before; None: another replica has it.

        Raises Unavailable when nobody can say whose it is.
        """
        line = self._lines.setdefault(name, _Line())
        line.users += 1
        try:
            async with line.lock, self._of_replicas(name) as office:
                yield office
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[name]

    @asynccontextmanager
    async def _of_replicas(self, name: str) -> AsyncIterator[NameOffice | None]:
        title = f"name-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:32]}"  # names have letters that offices lack
        tenure = await self._offices.acquire(title, self._holder, now=self._monotonic())
        if tenure is None:
            yield None
            return
        office = NameOffice(name, tenure, self._monotonic)
        keeping = asyncio.create_task(self._keep(office), name=f"office-of-{name}")
        try:
            yield office
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            try:
                if office.is_held:
                    await self._offices.release(office.tenure)
            except Unavailable as exc:
                log.info("the office of %s is left when its time is over: %s", name, exc)

    async def _keep(self, office: NameOffice) -> None:
        while office.is_held:
            await asyncio.sleep(self._office_s / RENEWALS)
            try:
                tenure = await self._offices.acquire(office.tenure.office, self._holder, now=self._monotonic())
            except Unavailable as exc:
                log.warning("the office of %s is not held on to: %s", office.name, exc)
            else:
                office.renewed(tenure)
