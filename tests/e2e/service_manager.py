"""As much of systemd as a service with kept sockets needs: a notification socket, a store of descriptors, restarts."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 60.0

_LAUNCH = """
import os, sys
descriptors = [int(each) for each in sys.argv[1].split(",") if each]
parked = [os.dup2(each, 200 + place) for place, each in enumerate(descriptors)]
for place, each in enumerate(parked):
    os.dup2(each, 3 + place, inheritable=True)
    os.close(each)
if descriptors:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES="visitors")
os.execv(sys.executable, [sys.executable, "-m", "cdn", *sys.argv[2:]])
"""
"""Puts the kept descriptors where a service looks for them, and becomes the service (sd_listen_fds(3))."""


class ServiceManager:
    """Runs one service, again and again; what it gave to keep is handed to the next process."""

    def __init__(self, words: list[str], environ: Mapping[str, str], log: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cdn-manager-")
        self._words = words
        self._environ = dict(environ)
        self._log = log
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(Path(self._folder.name) / "notify"))
        self._ready = threading.Event()
        self.kept: list[int] = []
        self.process: subprocess.Popen[str] | None = None
        self.announced: dict[str, str] = {}
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def start(self) -> None:
        """Return when the service says that it is ready."""
        self._ready.clear()
        given = ",".join(str(each) for each in self.kept)
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, given, *self._words],
                env={**self._environ, "NOTIFY_SOCKET": str(Path(self._folder.name) / "notify")},
                pass_fds=self.kept,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self._log.read_text()[-2000:]
        self.announced = json.loads(line)
        assert self._ready.wait(TIMEOUT_S), "the service did not say that it is ready"

    def end(self, number: signal.Signals) -> int:
        """Send a signal that ends it; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def close(self) -> None:
        """Everything goes."""
        if self.process is not None:
            self.end(signal.SIGKILL)
        self._notified.shutdown(socket.SHUT_RDWR)
        self._listening.join(TIMEOUT_S)
        self._notified.close()
        for each in self.kept:
            os.close(each)
        self._folder.cleanup()

    def _listen(self) -> None:
        descriptors = array.array("i")
        while True:
            message, ancillary, _, _ = self._notified.recvmsg(4096, socket.CMSG_SPACE(128 * descriptors.itemsize))
            if not message:
                return
            lines = message.decode().splitlines()
            if "FDSTOREREMOVE=1" in lines:
                for each in self.kept:
                    os.close(each)
                self.kept = []
            for _, _, raw in ancillary:
                came = array.array("i", raw)
                assert "FDSTORE=1" in lines
                self.kept += came
            if "READY=1" in lines:
                self._ready.set()
