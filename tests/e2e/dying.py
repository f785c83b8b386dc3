"""`cdn` that ends itself with SIGKILL at a step that the file CDN_DIES_AT names once there is one: `before:` or
`after:` a record's kind (`deploy.prepared`) or an object (`manifest`, `blob`).

Run as `python -m tests.e2e.dying up ...`: the program itself, with its journal and its store watched.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cdn.journal.record import Draft, Record
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import UploadTarget

_append, _put, _put_stream = SqliteJournal.append, DirectoryStore.put, DirectoryStore.put_stream


def _pass(place: str) -> None:
    named = Path(os.environ["CDN_DIES_AT"])
    if named.exists() and named.read_text() == place:
        os.kill(os.getpid(), signal.SIGKILL)


async def append(journal: SqliteJournal, draft: Draft, **more: Any) -> Any:
    """See Journal."""
    kind = type(draft.change).__struct_config__.tag
    _pass(f"before:{kind}")
    outcome = await _append(journal, draft, **more)
    if isinstance(outcome, Record):
        _pass(f"after:{kind}")
    return outcome


async def put(store: DirectoryStore, key: str, content: bytes, **more: Any) -> Any:
    """See ObjectStore."""
    kind = "manifest" if "/manifests/" in key else "object"
    _pass(f"before:{kind}")
    outcome = await _put(store, key, content, **more)
    _pass(f"after:{kind}")
    return outcome


async def put_stream(store: DirectoryStore, target: UploadTarget, content: AsyncIterator[bytes]) -> None:
    """See ObjectStore."""
    _pass("before:blob")
    await _put_stream(store, target, content)
    _pass("after:blob")


def main() -> None:
    """The command, in this process."""
    for kind, method in ((SqliteJournal, append), (DirectoryStore, put), (DirectoryStore, put_stream)):
        setattr(kind, method.__name__, method)
    from cdn.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
