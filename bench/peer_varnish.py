"""Varnish in front of an upstream: content in memory, its access log written by varnishncsa as Debian starts it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.listening import free_port, wait_for_port

PATIENCE_S = 60.0
RULES = """\
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{origin_port}"; }}
sub vcl_recv {{ unset req.http.Cookie; }}
"""
"""Of its own accord it answers no request with a cookie from its cache."""


@dataclass(frozen=True, slots=True)
class RunningVarnish:
    """`pids` are the manager, whose child serves, and the process that writes the log."""

    pids: tuple[int, ...]
    port: int


@contextlib.contextmanager
def running_varnish(folder: Path, origin_port: int, *, core: int) -> Iterator[RunningVarnish]:
    """Varnish in front of 127.0.0.1:`origin_port`, pinned to `core`."""
    folder.mkdir(parents=True)
    port = free_port()
    pinned = ["taskset", "-c", str(core)]
    name = ["-n", str(folder / "work")]
    rules = folder / "rules.vcl"
    rules.write_text(RULES.format(origin_port=origin_port))
    words = ["/usr/sbin/varnishd", "-j", "none", "-F", *name, "-a", f"127.0.0.1:{port}", "-f", str(rules)]
    words += ["-s", "malloc,512m", "-p", "thread_pools=1", "-p", "default_ttl=3600"]
    with (folder / "varnish.log").open("w") as log, contextlib.ExitStack() as stack:
        server = stack.enter_context(_running([*pinned, *words], log))
        wait_for_port(port, server, "Varnish")
        writer_words = [*pinned, "varnishncsa", *name, "-w", str(folder / "access.log")]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            writer = stack.enter_context(_running(writer_words, log))
            time.sleep(0.3)
            if writer.poll() is None:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"varnishncsa does not start, see {folder}/varnish.log")
        yield RunningVarnish((server.pid, writer.pid), port)


@contextlib.contextmanager
def _running(words: list[str], log: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdout=log, stderr=log)  # type: ignore[call-overload]  # a text file
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
