"""A bundle for benchmarks: the same files on every machine, in folders as generators of sites write them."""

from __future__ import annotations

import random
from pathlib import Path

SEED = 20_111_107
LEAST_BYTES, MOST_BYTES = 1024, 100 * 1024
MEAN_BYTES = 200 * 1024 * 1024 // 10_000
"""200 MiB in 10,000 files."""

PAGES, IMAGES, CODE = 0.45, 0.3, 0.25
"""Parts of the files: HTML in folders of their own, images, and scripts and styles whose names carry a fingerprint."""

SECTIONS = ("guides", "reference", "blog", "changelog", "tutorials", "community", "press", "careers")


def write_bundle(folder: Path, file_count: int) -> list[str]:
    """Write the files below the new `folder`; their paths, in order. Content is random and does not compress."""
    source = random.Random(SEED)
    sizes = _sizes(source, file_count)
    paths = [_path(source, number) for number in range(file_count)]
    for path, size_bytes in zip(paths, sizes, strict=True):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.randbytes(size_bytes))
    return paths


def change_file(folder: Path, path: str, round_number: int) -> None:
    """Other bytes of the same size."""
    file = folder / path
    file.write_bytes(random.Random(f"{path} {round_number}").randbytes(file.stat().st_size))


def _sizes(source: random.Random, file_count: int) -> list[int]:
    """Many small files, few large ones, MEAN_BYTES on average to the byte."""
    sizes = [min(MOST_BYTES, LEAST_BYTES + int(source.expovariate(1 / MEAN_BYTES))) for _ in range(file_count)]
    missing_bytes = MEAN_BYTES * file_count - sum(sizes)
    while missing_bytes:
        share = max(1, abs(missing_bytes) // file_count)
        for number, size_bytes in enumerate(sizes):
            if not missing_bytes:
                break
            wanted = size_bytes + (share if missing_bytes > 0 else -share)
            sizes[number] = max(LEAST_BYTES, min(MOST_BYTES, wanted))
            missing_bytes -= sizes[number] - size_bytes
    return sizes


def _path(source: random.Random, number: int) -> str:
    section = source.choice(SECTIONS)
    match source.choices(("page", "image", "code"), (PAGES, IMAGES, CODE))[0]:
        case "page":
            return f"{section}/{number % 97:02d}/topic-{number}/index.html"
        case "image":
            return f"images/{section}/{number % 31:02d}/picture-{number}.webp"
        case _:
            suffix = source.choice(("js", "css"))
            return f"assets/{section}/chunk-{number}.{source.getrandbits(64):016x}.{suffix}"
