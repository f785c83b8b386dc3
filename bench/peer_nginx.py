"""nginx by a configuration that a bench wrote."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.listening import free_port, wait_for_port


@contextlib.contextmanager
def running_nginx_of(folder: Path, config: str, *, core: int) -> Iterator[tuple[int, int]]:
    """nginx by `config`, pinned to `core`; gives the master's number, and the port that stands for `{port}` in it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(config.replace("{port}", str(port)))
    process = subprocess.Popen(
        ["taskset", "-c", str(core), "/usr/sbin/nginx", "-c", str(path), "-g", "user root;"], cwd=folder
    )
    try:
        wait_for_port(port, process, "nginx")
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)
