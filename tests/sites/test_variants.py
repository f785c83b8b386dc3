"""The list of coded forms: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput, TooLarge
from cdn.http.content_coding import CODINGS, MAX_CODED_BYTES
from cdn.sites import variants
from cdn.sites.manifest import CHUNK_BYTES, FileEntry
from cdn.sites.variants import NO_FORMS, NO_VARIANTS, Forms, Variants, index_variants, parse_variants


def digest(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def form(name: str, size_bytes: int = 100) -> FileEntry:
    count = -(-size_bytes // CHUNK_BYTES) if size_bytes > CHUNK_BYTES else 0
    return FileEntry(digest(name), size_bytes, tuple(digest(f"{name} {number}") for number in range(count)))


DIGESTS = st.integers(0, 400).map(digest)
SIZES = st.one_of(st.integers(0, 5000), st.integers(0, MAX_CODED_BYTES))
FORMS = st.dictionaries(st.sampled_from(CODINGS), st.builds(lambda n, s: form(str(n), s), st.integers(0, 99), SIZES))
LISTS = st.dictionaries(DIGESTS, FORMS, max_size=40).map(Variants)

A, B = digest("a"), digest("b")
LINE = f"{A} zstd:{digest('z')}:90 br:{digest('y')}:80"


def text(*lines: str) -> bytes:
    return ("cdn-variants 1\n" + "".join(f"{line}\n" for line in lines)).encode()


@given(LISTS)
def test_what_is_listed_is_read_again(listed: Variants) -> None:
    raw = listed.to_bytes()
    assert parse_variants(raw) == listed
    assert Variants(dict(sorted(listed.coded.items(), reverse=True))).to_bytes() == raw, "equal lists have equal bytes"


@given(LISTS, DIGESTS)
def test_a_node_finds_what_is_listed_without_reading_all_of_it(listed: Variants, other: str) -> None:
    index = index_variants(listed.to_bytes())
    assert len(index) == len(listed.coded)
    assert {one: index.of(one) for one in listed.coded} == listed.coded
    assert index.of(other) == listed.coded.get(other, NO_FORMS)


def test_a_list_of_100_000_contents_takes_little() -> None:
    """One line is what a node holds for a content: its text and four bytes."""
    forms: Forms = {coding: form(coding, 12_345) for coding in CODINGS}
    index = index_variants(Variants({digest(number): forms for number in range(1000)}).to_bytes())
    assert index.cost_bytes < 310 * len(index), "100,000 contents fit 31 MB"


@pytest.mark.parametrize("asked", [digest("x"), "", "é", A[:-1], A + "0", A.upper()])
def test_what_is_not_in_the_list_has_no_forms(asked: str) -> None:
    assert index_variants(text(LINE)).of(asked) == NO_FORMS
    assert index_variants(NO_VARIANTS.to_bytes()).of(asked) == NO_FORMS


def test_the_form_is_what_the_docs_say() -> None:
    listed = Variants({A: {"br": form("y", 80), "zstd": form("z", 90)}, B: {}})
    assert listed.to_bytes() == text(*sorted([LINE, B]))


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "begins ''"),
        (b"cdn-variants 2\n", "begins 'cdn-variants 2"),
        (text(LINE).removesuffix(b"\n"), "breaks off"),
        (text(LINE, LINE), "line 3 of the list of coded forms is not after"),
        (text(*sorted([A, B], reverse=True)), "is not after"),
        (text(""), "line 2 .*'' is not a digest"),
        (text(A.upper()), "is not a digest"),
        (text(f"{A} "), "is not a coding with"),
        (text(f"{A} br"), "is not a coding with"),
        (text(f"{A} br:{B}"), "is not a coding with"),
        (text(f"{A} br:{B}:5:{B}:5"), "is not a coding with"),
        (text(f"{A} lzma:{B}:5"), "is not a coding with"),
        (text(f"{A} br:{B[1:]}:5"), "something else than digests"),
        (text(f"{A} br:{B}:{2 * CHUNK_BYTES}:{B},"), "something else than digests"),
        (text(f"{A} br:{B}:-1"), "is not a size"),
        (text(f"{A} br:{B}:05"), "is not a size"),
        (text(f"{A} br:{B}:{MAX_CODED_BYTES + 1}"), "is not a size"),
        (text(f"{A} br:{B}:5:{B}"), "has 1 chunks"),
        (text(f"{A} br:{B}:{CHUNK_BYTES + 1}"), "has 0 chunks"),
        (text(f"{A} br:{B}:5 br:{B}:5"), "br stands twice"),
        (text(f"{A} br:{B}:5 zstd:{B}:5"), "zstd stands twice, or after"),
        (text(f"{A} br:{B}:5\r"), "is not a size"),
        (text(A) + b"\xff\n", "is not ASCII"),
    ],
)
def test_what_is_no_list_is_refused(raw: bytes, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        parse_variants(raw)


@pytest.mark.parametrize("raw", [b"", b"cdn-variants 2\n", text(LINE)[:-1], text(LINE)[:20]])
def test_what_a_node_cannot_use_at_all_is_refused_at_once(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        index_variants(raw)


def test_a_faulty_line_is_a_fault_of_its_content_alone() -> None:
    index = index_variants(text(f"{A} br:{B}:x", B) if A < B else text(B, f"{A} br:{B}:x"))
    assert index.of(B) == NO_FORMS
    with pytest.raises(InvalidInput, match="is not a size"):
        index.of(A)


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Variants({digest(number): {} for number in range(20)})
    raw = listed.to_bytes()
    monkeypatch.setattr(variants, "MAX_VARIANTS_BYTES", len(raw))
    assert parse_variants(raw) == listed
    monkeypatch.setattr(variants, "MAX_VARIANTS_BYTES", len(raw) - 1)
    for refuse in (listed.to_bytes, lambda: parse_variants(raw), lambda: index_variants(raw)):
        with pytest.raises(TooLarge, match=f"at most {len(raw) - 1} are allowed"):
            refuse()


@given(LISTS, st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_damage_is_refused_or_reads_as_some_list(listed: Variants, place: int, damage: bytes) -> None:
    """No octets make a reader do anything else than read or refuse."""
    raw = listed.to_bytes()
    cut = place % (len(raw) + 1)
    damaged = raw[:cut] + damage + raw[cut + 1 :]
    with contextlib.suppress(InvalidInput):
        assert parse_variants(damaged).to_bytes() == damaged
    try:
        index = index_variants(damaged)
    except InvalidInput:
        return
    for one in listed.coded:
        with contextlib.suppress(InvalidInput):
            index.of(one)
