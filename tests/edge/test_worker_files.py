"""Large content is named, not sent: the worker maps the files that the node has checked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.edge.clocks import Clocks
from cdn.edge.content import ChunkStream
from cdn.edge.mapped_file import map_file, path_of
from cdn.edge.response import Response
from cdn.edge.worker_files import LentFiles
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.engine_application import TEXT, EchoApplication
from tests.edge.worker_stage import Exchanged, ask, exchanged

SIZE_BYTES = 3 * CHUNK_BYTES + 70_000
CONTENT = os.urandom(SIZE_BYTES)


class Chunks:
    """Content in files, as the disk tier has it. `gone` are removed after they were mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: set[int] = set()
        for number, start in enumerate(range(0, SIZE_BYTES, CHUNK_BYTES)):
            (folder / str(number)).write_bytes(CONTENT[start : start + CHUNK_BYTES])

    async def chunk(self, number: int) -> memoryview:
        path = self.folder / str(number)
        with path.open("rb") as file:
            mapped = map_file(file.fileno(), path.stat().st_size, path)
        if number in self.gone:
            path.unlink()
        return mapped


class LendingApplication(EchoApplication):
    """Answers /START-STOP with these bytes."""

    def __init__(self, chunks: Chunks) -> None:
        super().__init__()
        self.chunks = chunks

    async def answer(self, request, content, visitor):  # type: ignore[no-untyped-def]
        start, stop = (int(each) for each in request.target.path[1:].split("-"))
        first = await self.chunks.chunk(start // CHUNK_BYTES)
        return Response(200, TEXT, ChunkStream(self.chunks.chunk, start, stop, first))


@pytest.fixture
def chunks(tmp_path: Path) -> Chunks:
    return Chunks(tmp_path)


@pytest.fixture
async def stage(chunks: Chunks) -> AsyncIterator[Exchanged]:
    clock = asyncio.get_running_loop().time()
    async with exchanged(LendingApplication(chunks), clocks=Clocks(lambda: clock, lambda: 1.7e9)) as stage:
        yield stage


RANGES = [(0, SIZE_BYTES), (5, CHUNK_BYTES + 1), (CHUNK_BYTES - 1, SIZE_BYTES - 1), (7, 9), (0, CHUNK_BYTES)]


@pytest.mark.parametrize(("start", "stop"), RANGES)
async def test_lent_content_arrives_whole(start: int, stop: int, stage: Exchanged) -> None:
    worker = await stage.add_worker()
    for _ in range(2):
        assert (await ask(worker.port, f"GET /{start}-{stop}")).content == CONTENT[start:stop]


@pytest.mark.parametrize("gone", [{0}, {1}, {1, 2}, {0, 1, 2, 3}])
async def test_a_file_that_goes_meanwhile_is_sent(gone: set[int], chunks: Chunks, stage: Exchanged) -> None:
    worker = await stage.add_worker()
    chunks.gone = gone
    assert (await ask(worker.port, f"GET /0-{SIZE_BYTES}")).content == CONTENT


async def test_several_at_a_time(stage: Exchanged) -> None:
    worker = await stage.add_worker()
    answers = await asyncio.gather(*(ask(worker.port, f"GET /{start}-{stop}") for start, stop in RANGES * 4))
    assert [answer.content for answer in answers] == [CONTENT[start:stop] for start, stop in RANGES * 4]


def test_a_file_that_was_replaced_is_mapped_anew(tmp_path: Path) -> None:
    files, path = LentFiles(most=2), tmp_path / "a"
    path.write_bytes(b"damaged")
    assert bytes(files.part(str(path), 7, 0, 7) or b"") == b"damaged"
    path.unlink()
    assert files.part(str(path), 7, 0, 7) is None
    path.write_bytes(b"mended!")
    assert bytes(files.part(str(path), 7, 0, 4) or b"") == b"mend"
    (tmp_path / "new").write_bytes(b"again..")
    (tmp_path / "new").rename(path)
    assert bytes(files.part(str(path), 7, 0, 7) or b"") == b"again.."


def test_a_file_of_another_size_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"short")
    assert LentFiles().part(str(tmp_path / "a"), 6, 0, 6) is None


def test_only_so_many_stay_mapped(tmp_path: Path) -> None:
    files = LentFiles(most=2)
    for name in "abcabc":
        (tmp_path / name).write_bytes(name.encode())
        assert bytes(files.part(str(tmp_path / name), 1, 0, 1) or b"") == name.encode()
    assert len(files._mapped) == 2


def test_only_whole_files_have_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb") as file:
        assert path_of(map_file(file.fileno(), 3, tmp_path / "a")) == tmp_path / "a"
    assert path_of(b"abc") is None
    assert path_of(memoryview(b"abc")) is None
