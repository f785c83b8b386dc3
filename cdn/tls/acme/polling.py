"""Looking again until something is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cdn.tls.acme.problem import AuthorityAway

FIRST_PAUSE_S = 0.05
"""A quick authority has looked by then."""

PAUSE_FACTOR = 1.4
MAX_PAUSE_S = 3.0
"""A slow one is not asked more often than that."""

_Shown = TypeVar("_Shown")


async def polled(
    look: Callable[[], Awaitable[tuple[_Shown, float | None]]],
    is_over: Callable[[_Shown], bool],
    *,
    until: float,
    what: str,
    retry_after_s: float | None = None,
) -> _Shown:
    """What `look` shows once it is over; it gives for how long the authority wants not to be asked, too (Retry-After).
    `retry_after_s`: that of the request before. `until` is the time of the event loop.

    Raises AuthorityAway, with that patience, where it would be later.
    """
    now = asyncio.get_running_loop().time
    pause_s = FIRST_PAUSE_S
    while True:
        wait_s = pause_s if retry_after_s is None else max(retry_after_s, FIRST_PAUSE_S)
        if now() + wait_s > until:
            raise AuthorityAway(f"{what} is not over yet; it is gone on with later", retry_after_s=retry_after_s)
        await asyncio.sleep(wait_s)
        shown, retry_after_s = await look()
        if is_over(shown):
            return shown
        pause_s = min(pause_s * PAUSE_FACTOR, MAX_PAUSE_S)
