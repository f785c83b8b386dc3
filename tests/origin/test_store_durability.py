"""DESIGN I11: what the directory store acknowledged is on the disk. Traced system calls prove the order."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_PROGRAM = """
import asyncio, hashlib, os, sys
from pathlib import Path
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import UploadTarget

async def content():
    yield b"streamed content"

async def main():
    store = DirectoryStore(Path(sys.argv[1]))
    digest = hashlib.sha256(b"streamed content").hexdigest()
    for name, call in (
        ("put", lambda: store.put("one/a", b"content of put")),
        ("if_absent", lambda: store.put("two/b/c", b"content if absent", if_absent=True)),
        ("stream", lambda: store.put_stream(UploadTarget("three/d", digest, 16), content())),
        ("again", lambda: store.put_stream(UploadTarget("three/d", digest, 16), content())),
        ("delete", lambda: store.delete("one/a")),
    ):
        os.write(1, f"BEGIN {name}\\n".encode())
        await call()
        os.write(1, f"RETURNED {name}\\n".encode())
    await store.aclose()

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call, with descriptors already named by their path."""

    name: str
    text: str


def _strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.fail("The program strace is missing. Install it with `apt-get install strace`, then run again.")
    return found


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Call]]:
    """The system calls of each store call, in the order in which they ended."""
    folder = tmp_path_factory.mktemp("traced")
    trace = folder / "trace"
    traced = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat"
    command = [_strace(), "-f", "-y", "-s", "64", "-e", traced, "-o", str(trace), sys.executable, "-c", _PROGRAM]
    subprocess.run([*command, str(folder / "store")], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60)
    return _by_store_call(_joined(trace.read_text()))


def _joined(trace: str) -> list[Call]:
    """Successful calls; a call that another thread interrupted in the trace counts when it resumed, that is, ended."""
    unfinished: dict[str, str] = {}
    joined = []
    for line in trace.splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            unfinished[thread] = text.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if resumed:
            text = unfinished.pop(thread) + resumed[1]
        if re.search(r"\) += +\d+", text):
            joined.append(Call(text.partition("(")[0], text))
    return joined


def _by_store_call(calls: list[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    current: list[Call] | None = None
    for call in calls:
        if begun := re.search(r'"BEGIN (\w+)\\n"', call.text):
            current = found.setdefault(begun[1], [])
        elif "RETURNED" in call.text:
            current = None
        elif current is not None:
            current.append(call)
    return found


def _index(calls: list[Call], pattern: str) -> int:
    for index, call in enumerate(calls):
        if re.match(pattern, call.text):
            return index
    raise AssertionError(f"no call {pattern} in:\n" + "\n".join(call.text for call in calls))


@pytest.mark.parametrize(
    ("name", "content", "show", "folder"),
    [
        ("put", "content of put", r"rename", "one"),
        ("if_absent", "content if absent", r"link", "two/b"),
        ("stream", "streamed content", r"link", "three"),
    ],
)
def test_a_write_syncs_the_file_before_and_the_folder_after_it_is_shown(
    calls: dict[str, list[Call]], name: str, content: str, show: str, folder: str
) -> None:
    made = calls[name]
    written = _index(made, rf'p?write(64)?\(\d+</.*/incoming/[^>]*>, "{content}')
    synced = _index(made, r"fsync\(\d+</.*/incoming/")
    shown = _index(made, rf'{show}\w*\(.*"/.*/objects/{folder}/')
    folder_synced = max(
        index for index, call in enumerate(made) if re.match(rf"fsync\(\d+</.*/objects/{folder}>\)", call.text)
    )
    assert written < synced < shown < folder_synced


@pytest.mark.parametrize(
    ("name", "folders"), [("put", ["one"]), ("if_absent", ["two", "two/b"]), ("stream", ["three"])]
)
def test_the_folders_above_a_new_folder_are_synced_before_the_call_returns(
    calls: dict[str, list[Call]], name: str, folders: list[str]
) -> None:
    for folder in folders:
        made = _index(calls[name], rf'mkdir\w*\(.*/objects/{folder}"')
        above = f"objects/{folder}".rpartition("/")[0]
        synced = [index for index, call in enumerate(calls[name]) if re.match(rf"fsync\(\d+</.*/{above}>\)", call.text)]
        assert synced
        assert synced[-1] > made


def test_what_is_there_already_is_made_durable_too(calls: dict[str, list[Call]]) -> None:
    _index(calls["again"], r"fsync\(\d+</.*/objects/three>\)")


def test_a_delete_syncs_the_folder(calls: dict[str, list[Call]]) -> None:
    removed = _index(calls["delete"], r"unlink")
    assert removed < _index(calls["delete"], r"fsync\(\d+</.*/objects/one>\)")
