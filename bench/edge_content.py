"""What all servers of `bench.edge` hold: files of four sizes, the files of pages, and ten thousand small ones."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from bench.edge_requests import VISIT_REQUESTS, Visit

HOST = "hits.cdn.localhost"
PULL_HOST = "pull.cdn.localhost"
"""A site in front of the same upstream as nginx."""

KIB = 1024
SIZES = {"1k.css": KIB, "16k.css": 16 * KIB, "128k.css": 128 * KIB, "10m.css": 10 * KIB * KIB}
MANY = 10_000
PAGES = 40
"""Pages that browsers visit, of sixty files each."""

PAGE_SIZES = (1 * KIB, 2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB)
PAGE_KINDS = ("css", "js", "js", "webp", "webp", "webp", "webp", "woff2")


@dataclass(frozen=True, slots=True)
class EdgeContent:
    """`sizes` are files by name, `many` paths of 1 KiB each, `visits` the pages."""

    folder: Path
    sizes: dict[str, Path]
    many: tuple[str, ...]
    visits: tuple[Visit, ...]


def write_content(folder: Path, *, many: int = MANY) -> EdgeContent:
    """Random octets: nobody has a smaller form of them."""
    folder.mkdir(parents=True)
    source = random.Random(1)
    sizes = {}
    for name, size_bytes in SIZES.items():
        sizes[name] = folder / name
        sizes[name].write_bytes(source.randbytes(size_bytes))
    (folder / "many").mkdir()
    paths = []
    for number in range(many):
        paths.append(f"/many/{number:05}.css")
        (folder / paths[-1][1:]).write_bytes(source.randbytes(KIB))
    return EdgeContent(folder, sizes, tuple(paths), tuple(_page(folder, number, source) for number in range(PAGES)))


def _page(folder: Path, number: int, source: random.Random) -> Visit:
    (folder / f"page-{number}").mkdir()
    paths = [f"/page-{number}/start.html"]
    for place in range(1, VISIT_REQUESTS):
        kind = PAGE_KINDS[place % len(PAGE_KINDS)]
        paths.append(f"/page-{number}/{kind}/part-{place}-{source.randbytes(4).hex()}.{kind}")
    for place, path in enumerate(paths):
        file = folder / path[1:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(source.randbytes(PAGE_SIZES[place % len(PAGE_SIZES)]))
    return Visit(tuple(paths))
