"""What coding processes make and take: every form is the content, whoever made it, or it is not there."""

from __future__ import annotations

import gzip
import io
import random
import resource
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.cli.coding_process import serve
from cdn.control.coding_plan import sources_of
from cdn.control.coding_work import (
    EFFORT,
    HEAD_BYTES,
    MIN_GAIN,
    MIN_GAIN_BYTES,
    CodingAnswer,
    CodingFault,
    CodingJob,
    answer_of,
    fault_of,
    framed,
    job_of,
    length_of,
    pays,
    work,
)
from cdn.errors import InvalidInput
from cdn.http.content_coding import CODINGS, MAX_CODED_BYTES
from tests.control.control_room import entry_of, manifest_of

TEXT = b"".join(b"line %d of a file that says much the same again and again\n" % number for number in range(900))
NOISE = random.Random(7).randbytes(20_000)
SHORT = TEXT[:3000]
SHORT_FORMS = {coding: form for coding, form in work(CodingJob(SHORT, CODINGS)).forms.items() if form is not None}
DECODE = {"zstd": zstandard.decompress, "br": brotli.decompress, "gzip": gzip.decompress}


def coded(content: bytes, codings: tuple[str, ...] = CODINGS) -> dict[str, bytes]:
    answer = work(CodingJob(content, codings))
    assert not answer.faults
    return {coding: form for coding, form in answer.forms.items() if form is not None}


def test_every_form_is_the_content() -> None:
    forms = coded(TEXT)
    assert tuple(forms) == CODINGS
    for coding, form in forms.items():
        assert DECODE[coding](form) == TEXT
        assert fault_of(form, coding, TEXT) is None
    assert coded(TEXT) == forms, "the same content gives the same octets"


@pytest.mark.parametrize("content", [b"", b"x", NOISE, TEXT[:300]])
def test_what_does_not_pay_is_not_there(content: bytes) -> None:
    assert all(pays(len(content), len(form)) for form in coded(content).values())
    assert content == TEXT[:300] or not coded(content)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_form_pays_when_it_saves_a_tenth_and_a_packet(size_bytes: int, coded_bytes: int) -> None:
    saved = size_bytes - coded_bytes
    assert pays(size_bytes, coded_bytes) == (saved >= MIN_GAIN_BYTES and saved >= MIN_GAIN * size_bytes)


def test_content_of_every_size_has_a_level_of_every_coding() -> None:
    assert [most for most, _ in EFFORT] == sorted(most for most, _ in EFFORT)
    assert EFFORT[-1][0] == MAX_CODED_BYTES
    assert all(tuple(levels) == CODINGS for _, levels in EFFORT)
    for size_bytes in (1024 * 1024 + 1, 4 * 1024 * 1024 + 1):
        large = TEXT * (size_bytes // len(TEXT) + 1)
        assert set(coded(large, ("zstd", "gzip"))) == {"zstd", "gzip"}
    with pytest.raises(InvalidInput, match=f"at most {MAX_CODED_BYTES} are coded"):
        work(CodingJob(bytes(MAX_CODED_BYTES + 1), CODINGS))
    with pytest.raises(InvalidInput):
        work(CodingJob(TEXT, ("lzma",)))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_right_form_that_came_along_is_taken(coding: str) -> None:
    """Made at another level than ours: what build tools make."""
    ready = {
        "zstd": zstandard.ZstdCompressor(level=3).compress(TEXT),
        "br": brotli.compress(TEXT, quality=4),
        "gzip": gzip.compress(TEXT, 3),
    }[coding]
    assert ready != coded(TEXT)[coding]
    answer = work(CodingJob(TEXT, CODINGS, {coding: ready}))
    assert answer.faults == ()
    assert answer.forms[coding] is None
    assert all(answer.forms[other] for other in CODINGS if other != coding)


@settings(deadline=None)
@given(st.sampled_from(CODINGS), st.integers(0, 10**6), st.binary(max_size=4), st.booleans())
def test_a_form_that_came_along_is_taken_only_when_it_is_the_content(
    coding: str, place: int, damage: bytes, is_cut: bool
) -> None:
    """However little is wrong with it, and however it is: then ours is made."""
    good = SHORT_FORMS[coding]
    cut = place % len(good)
    ready = good[:cut] + damage + (b"" if is_cut else good[cut + len(damage) :])
    is_taken = work(CodingJob(SHORT, (coding,), {coding: ready})).forms[coding] is None
    if is_taken:
        assert DECODE[coding](ready) == SHORT
    else:
        assert ready != good


@pytest.mark.parametrize("coding", CODINGS)
def test_what_follows_a_form_or_is_missing_is_a_fault(coding: str) -> None:
    good = coded(TEXT, (coding,))[coding]
    for wrong in (b"", good[:-1], good + b"\0", good + good, good[1:], NOISE):
        assert fault_of(wrong, coding, TEXT) is not None
        if wrong == good + good:
            assert fault_of(wrong, coding, TEXT + TEXT) is not None, "one frame, as browsers read it"
    assert fault_of(good, coding, TEXT[:-1]) is not None
    assert fault_of(good, coding, TEXT + b"x") == "it is other content"


def bomb(coding: str) -> bytes:
    zeros = bytes(16 * 1024 * 1024)
    if coding == "br":
        maker = brotli.Compressor(quality=3)
        return b"".join([*(maker.process(zeros) for _ in range(8)), maker.finish()])
    if coding == "zstd":
        zstd = zstandard.ZstdCompressor(level=3, write_content_size=False).compressobj()
        return b"".join([*(zstd.compress(zeros) for _ in range(8)), zstd.flush()])
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(deflate.compress(zeros) for _ in range(8)), deflate.flush()])


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_takes_no_more_than_its_source(coding: str) -> None:
    """128 MiB of zeros beside a file of 54 KB."""
    wrong = bomb(coding)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fault_of(wrong, coding, TEXT) is not None
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024, f"{grown_kib} KiB more"


def test_a_window_that_browsers_refuse_is_a_fault() -> None:
    content = NOISE * 500
    level = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    wide = zstandard.ZstdCompressor(compression_params=level).compress(content)
    assert fault_of(wide, "zstd", content) == f"its window of {len(content)} bytes is larger than browsers take"
    dictionary = zstandard.ZstdCompressionDict(TEXT[:5000])
    special = zstandard.ZstdCompressor(dict_data=dictionary, write_dict_id=True).compress(TEXT)
    assert fault_of(special, "zstd", TEXT) is not None


# Messages


def test_a_process_answers_job_after_job_until_there_is_none() -> None:
    jobs = io.BytesIO(
        framed(CodingJob(TEXT, CODINGS)) + framed(CodingJob(TEXT, ("lzma",))) + framed(CodingJob(b"", ()))
    )
    answers = io.BytesIO()
    assert serve(jobs, answers) == 0
    answers.seek(0)
    got = [answer_of(answers.read(length_of(answers.read(HEAD_BYTES)))) for _ in range(3)]
    assert got[0].forms == coded(TEXT)
    assert (got[1].forms, len(got[1].faults)) == ({}, 1)
    assert got[2] == CodingAnswer({})
    assert not answers.read()


def test_messages_are_bounded_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for read in (job_of, answer_of):
        with pytest.raises(CodingFault, match="this is no"):
            read(b"\xc1")
    monkeypatch.setattr("cdn.control.coding_work.MAX_MESSAGE_BYTES", 100)
    with pytest.raises(CodingFault, match="at most 100 are taken"):
        framed(CodingJob(TEXT, CODINGS))
    with pytest.raises(CodingFault, match="at most 100 are taken"):
        length_of(b"\0\0\1\0")


# What is coded


def all_there(digest: str) -> bool:
    return True


def test_only_types_that_get_smaller_are_coded_smallest_first() -> None:
    files = {"/b.js": TEXT, "/a.css": TEXT[:5000], "/photo.png": TEXT, "/tiny.js": TEXT[:255], "/same.js": TEXT}
    found = sources_of(manifest_of(files), all_there)
    assert list(found) == [entry_of(TEXT[:5000]).digest, entry_of(TEXT).digest]
    assert all(not source.ready for source in found.values())


def test_forms_beside_a_file_are_found_and_what_was_taken_down_is_not() -> None:
    forms = {"/app.js.br": b"b" * 300, "/app.js.gz": b"g" * 400, "/app.js.zst": TEXT + b"larger"}
    found = sources_of(manifest_of({"/app.js": TEXT, "/copy.js": TEXT, **forms}), all_there)
    assert found[entry_of(TEXT).digest].ready == {
        "br": entry_of(forms["/app.js.br"]),
        "gzip": entry_of(forms["/app.js.gz"]),
    }
    gone = {entry_of(forms["/app.js.br"]).digest}
    found = sources_of(manifest_of({"/app.js": TEXT, **forms}), lambda digest: digest not in gone)
    assert set(found[entry_of(TEXT).digest].ready) == {"gzip"}
    assert sources_of(manifest_of({"/app.js": TEXT}), lambda digest: False) == {}


def test_our_own_program_gets_smaller() -> None:
    """A plausible file: text that people wrote."""
    content = Path(sources_of.__code__.co_filename).read_bytes()
    forms = coded(content)
    assert len(forms["br"]) < 0.6 * len(content)
