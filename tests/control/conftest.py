"""Control planes for tests: each with its own folder, closed after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.control_room import Api, Control, ControlMaker


@pytest.fixture
async def make_control(tmp_path: Path) -> AsyncIterator[ControlMaker]:
    made: list[Control] = []

    async def make(store: Any = None, **more: Any) -> Control:
        control = Control(tmp_path / f"c{len(made)}", more=more, store=store)
        control.root.mkdir()
        made.append(control)
        return await control.open()

    yield make
    for control in made:
        await control.close()
        await control.store.aclose()


@pytest.fixture
async def control(make_control: ControlMaker) -> Control:
    return await make_control()


@pytest.fixture
async def api(control: Control) -> Api:
    api: Api = control.api
    return api
