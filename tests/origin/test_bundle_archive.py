"""Good archives in every format, and every bad one refused whole with the name at fault."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.errors import CdnError, InvalidInput, TooLarge
from cdn.origin.bundle.archive import ArchiveFormat, ArchiveLimits, sniff_format, unpack

ROOT = Path(__file__).resolve().parents[2]

SITE = {
    "index.html": b"<h1>Home</h1>",
    "docs/index.html": b"<h1>Docs</h1>",
    "docs/Über uns.html": "<h1>Über uns</h1>".encode(),
    "empty.txt": b"",
    "large.bin": random.Random(1).randbytes(1024 * 1024 + 5),
    "a" * 90 + "/" + "b" * 150 + ".txt": b"a long name",
}
SMALL = ArchiveLimits(max_files=10, max_file_bytes=1000, max_total_bytes=2000, max_path_bytes=100, max_folders=10)


class Stream(io.RawIOBase):
    """Content that arrives in small pieces and cannot be sought, as from a network."""

    def __init__(self, content: bytes, piece_bytes: int = 1000) -> None:
        super().__init__()
        self._content = io.BytesIO(content)
        self._piece_bytes = piece_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._content.read(min(len(buffer), self._piece_bytes))
        buffer[: len(piece)] = piece
        return len(piece)


def tar_of(
    files: Mapping[str, bytes], *, tar_format: int = tarfile.PAX_FORMAT, also: tuple[tarfile.TarInfo, ...] = ()
) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tar_format, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in also:
            archive.addfile(entry)
    return made.getvalue()


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def same(content: bytes) -> bytes:
    return content


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"tar": same, "tar.gz": gzip.compress, "tar.zst": zstd}


def packed(archive_format: str, files: Mapping[str, bytes]) -> bytes:
    return zip_of(files) if archive_format == "zip" else COMPRESSIONS[archive_format](tar_of(files))


def contents(archive: bytes, into: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    found = unpack(io.BytesIO(archive), into, limits)
    assert [source.path for source in found] == sorted(source.path for source in found)
    assert all(source.size_bytes == source.file.stat().st_size for source in found)
    return {source.path: source.file.read_bytes() for source in found}


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def refused(archive: bytes, into: Path, limits: ArchiveLimits | None = None) -> CdnError:
    """The error, the same one for a stream; and nothing is left behind."""
    into.mkdir(exist_ok=True)
    (into / "of somebody else").write_text("stays")
    with pytest.raises(InvalidInput) as caught:
        unpack(io.BytesIO(archive), into, limits)
    with pytest.raises(type(caught.value)) as caught_streamed:
        unpack(Stream(archive), into, limits)  # type: ignore[arg-type]
    assert caught_streamed.value.message == caught.value.message
    assert names_in(into) == ["of somebody else"]
    return caught.value


FORMATS = pytest.mark.parametrize("archive_format", ["zip", "tar", "tar.gz", "tar.zst"])


@FORMATS
@pytest.mark.parametrize("is_stream", [False, True])
def test_every_format_gives_the_same_files(tmp_path: Path, archive_format: str, is_stream: bool) -> None:
    archive = packed(archive_format, SITE)
    found = unpack(Stream(archive) if is_stream else io.BytesIO(archive), tmp_path)  # type: ignore[arg-type]
    assert {source.path: source.file.read_bytes() for source in found} == {f"/{name}": SITE[name] for name in SITE}
    assert len(names_in(tmp_path)) == len(SITE)


@FORMATS
def test_the_format_is_told_by_the_first_bytes(archive_format: str) -> None:
    assert sniff_format(packed(archive_format, SITE)[:512]) is ArchiveFormat(archive_format)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_is_read(tmp_path: Path, tar_format: int) -> None:
    longest = 220 if tar_format == tarfile.USTAR_FORMAT else 1000
    files = {name: content for name, content in SITE.items() if len(name) < longest}
    assert contents(tar_of(files, tar_format=tar_format), tmp_path) == {f"/{name}": files[name] for name in files}


@pytest.mark.parametrize("options", [["-cf"], ["-czf"], ["--zstd", "-cf"], ["--format=v7", "-cf"]])
def test_what_the_tar_program_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    for name in ("index.html", "docs/index.html", "docs/deep/er.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "nothing in it").mkdir()
    subprocess.run(["tar", *options, str(tmp_path / "site"), "-C", str(source), "."], check=True)
    assert contents((tmp_path / "site").read_bytes(), tmp_path / "into") == {
        f"/{name}": name.encode() for name in ("index.html", "docs/index.html", "docs/deep/er.txt")
    }


def test_folders_and_a_leading_dot_are_no_part_of_a_path(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("./docs")
    folder.type = tarfile.DIRTYPE
    root = tarfile.TarInfo("./")
    root.type = tarfile.DIRTYPE
    archive = tar_of({"./index.html": b"home", "./docs/a.html": b"a"}, also=(folder, root))
    assert contents(archive, tmp_path) == {"/index.html": b"home", "/docs/a.html": b"a"}
    assert contents(zip_of({"docs/": b"", "docs/a.html": b"a"}), tmp_path) == {"/docs/a.html": b"a"}


@FORMATS
def test_what_git_and_finder_leave_is_left_out(tmp_path: Path, archive_format: str) -> None:
    archive = packed(archive_format, {".git/config": b"x", "a/.git": b"x", "a/.DS_Store": b"x", "a/b": b"content"})
    assert contents(archive, tmp_path) == {"/a/b": b"content"}


@FORMATS
def test_an_archive_of_nothing_is_empty(tmp_path: Path, archive_format: str) -> None:
    assert contents(packed(archive_format, {}), tmp_path) == {}


@FORMATS
@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../outside",
        "a/../../outside",
        "./../outside",
        "a/./b",
        "a//b",
        ".//etc/passwd",
        "..",
        "a\\b",
        "..\\outside",
        "C:\\windows",
        "line\nbreak",
        "x" * 1100,
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, archive_format: str, name: str) -> None:
    error = refused(packed(archive_format, {"good.html": b"good", name: b"evil"}), tmp_path)
    shown = name[:50]
    assert repr(shown)[1:-1] in error.message or repr("/" + shown.removeprefix("./"))[1:-1] in error.message


@FORMATS
@pytest.mark.parametrize("name", ["/etc/", "../up/", "a/../../b/"])
def test_a_folder_that_leads_elsewhere_is_refused(tmp_path: Path, archive_format: str, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    archive = (
        zip_of({name: b""}) if archive_format == "zip" else COMPRESSIONS[archive_format](tar_of({}, also=(entry,)))
    )
    assert name.rstrip("/") in refused(archive, tmp_path).message


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
        (b"Z", "unknown kind"),
    ],
)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tar_with_links_or_devices_is_refused(tmp_path: Path, compression: str, kind: bytes, word: str) -> None:
    entry = tarfile.TarInfo("docs/strange")
    entry.type = kind
    entry.linkname = "index.html"
    archive = COMPRESSIONS[compression](tar_of({"index.html": b"home"}, also=(entry,)))
    assert word in (message := refused(archive, tmp_path).message)
    assert "docs/strange" in message


@pytest.mark.parametrize(
    ("mode", "word"),
    [(stat.S_IFLNK, "symbolic link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device"), (stat.S_IFSOCK, "device")],
)
def test_a_zip_with_links_or_devices_is_refused(tmp_path: Path, mode: int, word: str) -> None:
    entry = zipfile.ZipInfo("docs/strange")
    entry.external_attr = (mode | 0o644) << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("index.html", b"home")
        archive.writestr(entry, b"index.html")
    assert word in (message := refused(made.getvalue(), tmp_path).message)
    assert "docs/strange" in message


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "holes.bin").open("wb") as file:
        file.truncate(10_000_000)
        file.seek(5_000_000)
        file.write(b"x")
    subprocess.run(["tar", "--sparse", "-cf", str(tmp_path / "site.tar"), "-C", str(tmp_path), "holes.bin"], check=True)
    assert "holes.bin" in refused((tmp_path / "site.tar").read_bytes(), tmp_path / "into").message


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = bytearray(zip_of({"secret.html": b"content"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive[archive.index(mark) + offset] |= 1
    assert "'secret.html' is encrypted" in refused(bytes(archive), tmp_path).message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_other_methods_is_refused(tmp_path: Path, method: int) -> None:
    assert "'a.html' is compressed by" in refused(zip_of({"a.html": b"content"}, method), tmp_path).message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@FORMATS
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("a.html", "a.html", "twice"),
        ("a.html", "./a.html", "twice"),
        ("About.html", "about.html", "same name"),
        ("straße", "STRASSE", "same name"),
        ("\u00e9", "e\u0301", "same name"),
        ("a", "a/b", "folder"),
        ("a/b", "a", "'/a'"),
        ("a/b/c", "A", "'/A'"),
    ],
)
def test_names_that_collide_are_refused(
    tmp_path: Path, archive_format: str, first: str, second: str, words: str
) -> None:
    if archive_format == "zip":
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(first, b"one")
            archive.writestr(second, b"two")
        content = made.getvalue()
    else:
        entries = tar_of({first: b"one"})[:1536], tar_of({second: b"two"})
        is_extended = not (first.isascii() and second.isascii())
        joined = (
            tar_of({first: b"one", second: b"two"})
            if is_extended or first != second
            else b"".join((entries[0][:1024], entries[1]))
        )
        content = COMPRESSIONS[archive_format](joined)
    message = refused(content, tmp_path).message
    assert words in message
    assert repr("/" + second.removeprefix("./")) in message


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("raw", [b"caf\xe9.html", b"\xff" * 120 + b"/a"])
def test_a_tar_name_that_is_not_utf8_is_refused(tmp_path: Path, compression: str, tar_format: int, raw: bytes) -> None:
    name = raw.decode(errors="surrogateescape")
    archive = COMPRESSIONS[compression](tar_of({"good.html": b"", name: b""}, tar_format=tar_format))
    message = refused(archive, tmp_path).message
    assert repr(raw) in message
    assert "not valid UTF-8" in message


def test_a_zip_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    plain = zip_of({"caf_.html": b"content"}).replace(b"caf_", b"caf\xe9")
    assert r"b'caf\xe9.html'" in (message := refused(plain, tmp_path).message)
    assert "not valid UTF-8" in message
    flagged = zip_of({"cafü.html": b"content"}).replace("ü".encode(), b"\xff\xfe")
    assert r"b'caf\xff\xfe.html'" in (message := refused(flagged, tmp_path).message)
    assert "not valid UTF-8" in message


def test_a_zip_name_in_utf8_without_the_flag_is_read(tmp_path: Path) -> None:
    archive = zip_of({"caf__.html": b"content"}).replace(b"caf__", "café".encode())
    assert contents(archive, tmp_path) == {"/café.html": b"content"}


@FORMATS
@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({f"{number:02}.html": b"" for number in range(11)}, "10.html"),
        ({f"{number:02}/a/b.html": b"" for number in range(6)}, "05/a/b.html"),
        ({"good.html": b"x" * 1000, "single.html": b"x" * 1001}, "single.html"),
        ({"one.html": b"x" * 900, "two.html": b"x" * 900, "three.html": b"x" * 900}, "three.html"),
        ({"x" * 100: b""}, "x" * 100),
    ],
)
def test_more_than_a_limit_is_refused(tmp_path: Path, archive_format: str, files: dict[str, bytes], name: str) -> None:
    error = refused(packed(archive_format, files), tmp_path, SMALL)
    assert name in error.message
    if len(name) < 100:
        assert isinstance(error, TooLarge)


@FORMATS
def test_a_limit_itself_is_allowed(tmp_path: Path, archive_format: str) -> None:
    files = {"one.html": b"x" * 1000, "two.html": b"y" * 1000, **{f"{number}/e": b"" for number in range(8)}}
    assert len(contents(packed(archive_format, files), tmp_path, SMALL)) == 10


@pytest.mark.parametrize("archive_format", ["zip", "tar.gz", "tar.zst"])
def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, archive_format: str) -> None:
    error = refused(packed(archive_format, {"good.html": b"good", "bomb.bin": bytes(24_000_000)}), tmp_path)
    assert isinstance(error, TooLarge)
    assert "200 times" in error.message
    assert "bomb.bin" in error.message


@pytest.mark.parametrize("archive_format", ["zip", "tar.gz", "tar.zst"])
def test_a_bomb_of_many_small_files_is_refused(tmp_path: Path, archive_format: str) -> None:
    limits = ArchiveLimits(max_ratio=20)
    files = {f"{number:03}.bin": bytes(200_000) for number in range(150)}
    error = refused(packed(archive_format, files), tmp_path, limits)
    assert "20 times" in error.message
    assert ".bin" in error.message


def test_a_bomb_in_what_is_left_out_is_refused(tmp_path: Path) -> None:
    assert "times" in refused(gzip.compress(tar_of({".git/bomb": bytes(24_000_000)})), tmp_path).message


def test_a_bomb_after_the_end_mark_is_refused(tmp_path: Path) -> None:
    assert "times" in refused(gzip.compress(tar_of({"a": b""}) + bytes(24_000_000)), tmp_path).message


def test_a_zip_whose_entries_overlap_is_refused(tmp_path: Path) -> None:
    """Many directory entries that point at the same compressed bytes: small to send, endless to unpack."""
    content = random.Random(3).randbytes(100_000)
    single = zip_of({"0000": content}, zipfile.ZIP_STORED)
    start = single.index(b"PK\x01\x02")
    entry = single[start : single.index(b"PK\x05\x06")]
    names = [f"{number:04}".encode() for number in range(400)]
    directory = b"".join(entry.replace(b"0000", name) for name in names)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 400, 400, len(directory), start, 0)
    error = refused(single[:start] + directory + end, tmp_path, ArchiveLimits(max_ratio=20))
    assert "damaged" in error.message or "times" in error.message


def test_a_zip_with_a_directory_of_endless_entries_is_refused_before_it_is_read(tmp_path: Path) -> None:
    archive = zip_of({f"{number}/": b"" for number in range(30)})
    assert "more than 20 entries" in refused(archive, tmp_path, SMALL).message


def test_a_zip_with_a_directory_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.origin.bundle.zip.MAX_DIRECTORY_BYTES", 70_000)
    archive = zip_of({f"{number:0200}": b"" for number in range(400)})
    assert "at most 70000" in refused(archive, tmp_path).message


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    archive = bytearray(zip_of({"liar.bin": bytes(100_000)}))
    position = archive.index(b"PK\x01\x02") + 24
    archive[position : position + 4] = (10).to_bytes(4, "little")
    assert "liar.bin" in refused(bytes(archive), tmp_path).message


def test_a_tar_header_without_end_is_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("a.html")
    entry.pax_headers = {"comment": "x" * 100_000}
    assert "header of 100" in refused(tar_of({"first.html": b""}, also=(entry,)), tmp_path).message
    assert "header" in refused(tar_of({"x" * 100_000: b""}, tar_format=tarfile.GNU_FORMAT), tmp_path).message


def test_headers_upon_headers_are_refused(tmp_path: Path) -> None:
    name = tarfile.TarInfo("././@LongLink")
    name.type = tarfile.GNUTYPE_LONGNAME
    name.size = 4
    block = name.tobuf(tarfile.GNU_FORMAT) + b"abc\0".ljust(512, b"\0")
    assert "damaged" in refused(block * 5000, tmp_path).message


def test_a_tar_with_a_negative_size_is_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("minus.html")
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    assert "damaged" in refused(bytes(header) + bytes(1024), tmp_path).message


@pytest.mark.parametrize("archive_format", ["zip", "tar", "tar.gz", "tar.zst"])
def test_an_archive_that_breaks_off_is_refused(tmp_path: Path, archive_format: str) -> None:
    content = {f"{number}.bin": random.Random(number).randbytes(5000) for number in range(5)}
    archive = packed(archive_format, content)
    end = len(archive.rstrip(b"\0")) if archive_format == "tar" else len(archive) - 10
    for cut in range(513, end, end // 40):
        assert refused(archive[:cut], tmp_path).message


@pytest.mark.parametrize("archive_format", ["zip", "tar.gz", "tar.zst"])
def test_a_damaged_archive_is_refused(tmp_path: Path, archive_format: str) -> None:
    archive = bytearray(packed(archive_format, {"a.bin": random.Random(1).randbytes(50_000)}))
    if archive_format == "tar.zst":
        archive[4] ^= 0xFF
    else:
        archive[len(archive) // 2] ^= 0xFF
    assert "damaged" in refused(bytes(archive), tmp_path).message


def test_damage_in_a_tar_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    archive = bytearray(tar_of({"a.html": b"a", "b.html": b"b"}))
    archive[archive.index(b"b.html")] ^= 0xFF
    assert "no end mark" in refused(bytes(archive), tmp_path).message


def test_tars_that_were_joined_are_refused(tmp_path: Path) -> None:
    assert "one tar" in refused(tar_of({"a.html": b"a"}) + tar_of({"b.html": b"b"}), tmp_path).message


def test_a_zstd_window_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    archive = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(archive, closefd=False) as out:
        out.write(tar_of({"a.bin": random.Random(1).randbytes(1000)}))
    assert "damaged" in refused(archive.getvalue(), tmp_path).message


@pytest.mark.parametrize("content", [b"", b"x", b"<html>", b'{"files": {}}', b"BZh9", b"\xfd7zXZ\0", b"x" * 2000])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    assert ".zip, .tar, .tar.gz or .tar.zst" in refused(content, tmp_path).message


def test_gzip_of_something_else_is_refused(tmp_path: Path) -> None:
    assert "damaged" in refused(gzip.compress(b"<html>" * 1000), tmp_path).message


def test_a_source_that_fails_leaves_nothing_and_its_error_is_seen(tmp_path: Path) -> None:
    class Failing(Stream):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            if self._content.tell() > 600_000:
                raise ConnectionResetError("the uploader went away")
            return super().readinto(buffer)

    for archive_format in ("zip", "tar", "tar.gz", "tar.zst"):
        with pytest.raises(ConnectionResetError):
            unpack(Failing(packed(archive_format, SITE)), tmp_path)  # type: ignore[arg-type]
        assert names_in(tmp_path) == []


_FULL_DISK = """
import io, os, resource, sys
from pathlib import Path
from cdn.errors import Unavailable
from cdn.origin.bundle.archive import unpack

into = Path(sys.argv[1])
archive = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    unpack(io.BytesIO(archive), into)
except Unavailable as exc:
    assert "Make room" in exc.message and "large.bin" in exc.message, exc.message
else:
    raise AssertionError("no error")
assert os.listdir(into) == []
"""


@FORMATS
def test_a_full_disk_is_said(tmp_path: Path, archive_format: str) -> None:
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, input=packed(archive_format, SITE), timeout=60)


_SEGMENT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=20)
_FILES = st.dictionaries(
    st.lists(_SEGMENT.filter(lambda segment: segment not in {".", ".."}), min_size=1, max_size=3).map("/".join),
    st.binary(max_size=2000),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=_FILES, archive_format=st.sampled_from(["zip", "tar", "tar.gz", "tar.zst"]))
def test_what_was_packed_is_unpacked_or_refused_with_a_name(
    files: dict[str, bytes], archive_format: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    into = tmp_path_factory.mktemp("into")
    forms = [unicodedata.normalize("NFC", name).casefold() for name in files]
    is_colliding = len(set(forms)) < len(forms) or any(
        other.startswith(f"{form}/") for form in forms for other in forms
    )
    archive = packed(archive_format, files)
    if is_colliding:
        refused(archive, into)
    else:
        assert contents(archive, into) == {f"/{name}": content for name, content in files.items()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), archive_format=st.sampled_from(["zip", "tar", "tar.gz", "tar.zst"]))
def test_noise_in_an_archive_never_gives_anything_but_a_refusal(
    data: st.DataObject, archive_format: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = bytearray(packed(archive_format, {"a.html": b"home" * 50, "docs/b.html": b"docs" * 50}))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    into = tmp_path_factory.mktemp("into")
    try:
        unpack(io.BytesIO(bytes(archive)), into)
    except InvalidInput:
        assert names_in(into) == []
