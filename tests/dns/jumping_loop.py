"""An event loop whose time jumps to the next moment at which something is due, instead of passing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is due any more: it would wait for ever"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run_jumping(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; `asyncio.get_running_loop().time()` is its clock."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(work)
