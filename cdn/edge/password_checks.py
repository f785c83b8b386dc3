"""Whether a password is right, without standing in anybody's way.

A check takes a fifth of a second of CPU on purpose. So it is made beside the event loop, once for all who ask at the
same time; what came of it is remembered under a digest that only this process can make; and who guesses is turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from ipaddress import IPv6Address, ip_address
from typing import Final

from cdn.edge.collapse import Shared
from cdn.sites.password import verify_password

THREADS: Final = 2
"""Checks at one time, each with 16 MiB: guessing never takes more than this of a machine."""

NICENESS: Final = 10
"""Of these threads: where cores are scarce a check takes longer, and answers do not."""

MAX_WAITING: Final = 64
"""Checks that wait for their turn, six seconds' worth; more are turned away."""

MAX_WAITING_PER_SITE: Final = 32
"""Of them those of one site, so that guessing at one leaves the others their turn (DESIGN I10)."""

MAX_RIGHT: Final = 16_384
"""Right passwords remembered, 200 bytes each; one that was forgotten is checked again."""

MAX_WRONG: Final = 4096
"""Wrong ones: a browser that keeps sending one costs nothing."""

MAX_GUESSERS: Final = 65_536
"""Networks whose wrong guesses are counted; the one that guessed first is forgotten first."""

MAX_GUESSES: Final = 10
GUESSES_WITHIN_S: Final = 60.0
"""A network that was wrong so often within this time waits for its end: people mistype, and 14,400 guesses a day find
nothing."""

NETWORK_BITS: Final = 64
"""Of an IPv6 address: what one subscriber has at least (RFC 6177)."""


class Checked(Enum):
    """What came of it. Values double as metric labels."""

    RIGHT = "right"
    WRONG = "wrong"
    TOO_MANY = "too-many"  # not looked at: too many guesses from there, or too many checks under way


class PasswordChecks:
    """One per node. `verify` is asked in a thread."""

    def __init__(self, monotonic: Callable[[], float], verify: Callable[[str, str], bool] = verify_password) -> None:
        self._monotonic = monotonic
        self._verify = verify
        self._secret = secrets.token_bytes(32)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords", initializer=_step_back)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._bounds = {True: MAX_RIGHT, False: MAX_WRONG}
        self._checking: Shared[bytes, bool] = Shared()
        self._under_way: dict[bytes, str] = {}  # the site of each
        self._guesses: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self.counted: dict[Checked, int] = dict.fromkeys(Checked, 0)
        """Passwords that visitors gave, by what came of it."""

    async def check(self, password: str, hashed: str, *, site_id: str, address: str, is_real: bool = True) -> Checked:
        """Whether `password` is the one that was `hashed`, asked by a visitor of a site from `address`.

        Without `is_real` the answer is WRONG, and takes as long: whether a user exists shows in nothing.
        """
        checked = await self._check(password, hashed, site_id, network_of(address), is_real)
        self.counted[checked] += 1
        return checked

    def wait_s(self, site_id: str, address: str) -> int:
        """In how many whole seconds a visitor who was turned away may try again, 1 at least."""
        first_at, _ = self._guesses.get((site_id, network_of(address)), (self._monotonic() - GUESSES_WITHIN_S, 0))
        return max(1, int(first_at + GUESSES_WITHIN_S - self._monotonic()) + 1)

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await self._checking.aclose()
        self._pool.shutdown(wait=False)

    async def _check(self, password: str, hashed: str, site_id: str, network: str, is_real: bool) -> Checked:
        sign = self._sign(password, hashed if is_real else f"{hashed} nobody")
        if self._remembers(sign, is_right=True):
            return Checked.RIGHT
        if self._is_guessing(site_id, network):
            return Checked.TOO_MANY
        if self._remembers(sign, is_right=False):
            return Checked.WRONG
        if sign not in self._under_way and self._is_full(site_id):
            return Checked.TOO_MANY

        def begin() -> Coroutine[object, object, bool]:
            self._under_way[sign] = site_id
            return self._ask(sign, password, hashed, network, is_real)

        return Checked.RIGHT if await self._checking.join(sign, begin) else Checked.WRONG

    def _is_full(self, site_id: str) -> bool:
        sites = list(self._under_way.values())
        return len(sites) >= MAX_WAITING or sites.count(site_id) >= MAX_WAITING_PER_SITE

    async def _ask(self, sign: bytes, password: str, hashed: str, network: str, is_real: bool) -> bool:
        """A check belongs to nobody: who asks and goes away has asked, and who waits with others guessed once."""
        loop = asyncio.get_running_loop()
        try:
            is_right = await loop.run_in_executor(self._pool, self._verify, password, hashed) and is_real
        finally:
            site_id = self._under_way.pop(sign)
        self._remember(sign, is_right=is_right)
        if not is_right:
            self._note_guess(site_id, network)
        return is_right

    def _sign(self, password: str, hashed: str) -> bytes:
        said = f"{hashed}\0{password}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(said, key=self._secret, digest_size=32).digest()

    def _remembers(self, sign: bytes, *, is_right: bool) -> bool:
        known = self._known[is_right]
        if sign not in known:
            return False
        known.move_to_end(sign)
        return True

    def _remember(self, sign: bytes, *, is_right: bool) -> None:
        known = self._known[is_right]
        known[sign] = None
        if len(known) > self._bounds[is_right]:
            known.popitem(last=False)

    def _is_guessing(self, site_id: str, network: str) -> bool:
        first_at, count = self._guesses.get((site_id, network), (0.0, 0))
        return count >= MAX_GUESSES and self._monotonic() < first_at + GUESSES_WITHIN_S

    def _note_guess(self, site_id: str, network: str) -> None:
        now, key = self._monotonic(), (site_id, network)
        first_at, count = self._guesses.get(key, (now, 0))
        if now >= first_at + GUESSES_WITHIN_S:
            self._guesses.pop(key)
            first_at, count = now, 0
        self._guesses[key] = (first_at, count + 1)
        if len(self._guesses) > MAX_GUESSERS:
            self._guesses.popitem(last=False)


def _step_back() -> None:
    """Let visitors go before guesses: on Linux a thread has a niceness of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def network_of(address: str) -> str:
    """Whose guesses count together: an IPv4 address, or the network of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> NETWORK_BITS << NETWORK_BITS))
