"""Prepared responses: the same for GET and HEAD, their age, and when they end."""

from __future__ import annotations

import math

import pytest

from cdn.edge.prepared import JOINED_BYTES, VIEWED_BYTES, Prepared, SiteRuntime
from cdn.errors import InvalidInput
from tests.edge.engine_responses import read_responses

FIELDS = (("content-type", "text/css"), ("cache-control", "public, max-age=300"))


class Wall:
    def __init__(self, now: float) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


def make(
    content: bytes = b"hello",
    *,
    extends: int | None = None,
    wall: Wall | None = None,
    fields: tuple[tuple[str, str], ...] = FIELDS,
    status: int = 200,
    site: SiteRuntime | None = None,
) -> Prepared:
    return Prepared(
        status=status,
        fields=fields,
        content=content,
        base_age_at=100.0,
        site=site or SiteRuntime("s", 7),
        generation=7,
        fresh_until=500.0,
        extends_max_age=extends,
        wall_clock=wall or Wall(1_700_000_000.25),
    )


@pytest.mark.parametrize(("usable_until", "last"), [(math.inf, 499.9), (900.0, 499.9), (150.0, 149.9)])
def test_it_may_end_before_it_is_stale_and_still_says_how_long_it_is_fresh(usable_until: float, last: float) -> None:
    prepared = Prepared(
        status=200,
        fields=FIELDS,
        content=b"",
        base_age_at=100.0,
        site=SiteRuntime("s", 7),
        generation=7,
        fresh_until=500.0,
        usable_until=usable_until,
        hit="cdn; hit",
    )
    assert prepared.is_usable(last)
    assert not prepared.is_usable(last + 0.2)
    assert read_responses(prepared.wire(140.0))[0].fields["cache-status"] == "cdn; hit; ttl=360"
    prepared.retire()
    assert not prepared.is_usable(120.0)


@pytest.mark.parametrize("size", [0, 5, JOINED_BYTES, JOINED_BYTES + 1])
def test_head_and_get_say_the_same(size: int) -> None:
    prepared = make(b"x" * size)
    (got,) = read_responses(prepared.wire(142.9))
    (headed,) = read_responses(prepared.wire_head(142.9), ["HEAD"])
    assert got.fields == headed.fields
    assert got.content == b"x" * size
    assert got.fields["age"] == "42"
    assert got.fields["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert got.fields["content-length"] == str(size)
    assert b"".join(prepared.pieces(142.9)) == prepared.wire(142.9)
    assert prepared.size_bytes == size
    assert prepared.cost_bytes > size


@pytest.mark.parametrize("size", [5, JOINED_BYTES + 1])
def test_a_closing_response_differs_by_one_field(size: int) -> None:
    prepared = make(b"x" * size)
    (got,) = read_responses(prepared.wire(142.9))
    (closing,) = read_responses(b"".join(prepared.closing_pieces(142.9)))
    (closing_head,) = read_responses(prepared.closing_head(142.9), ["HEAD"])
    assert closing.fields == closing_head.fields == {**got.fields, "connection": "close"}
    assert closing.content == got.content


def test_age_and_date_are_renewed_with_the_second_of_the_wall_clock_only() -> None:
    wall = Wall(1_700_000_000.25)
    prepared = make(wall=wall)
    first = prepared.wire(200.0)
    assert prepared.wire(200.7) is first
    assert wall.asked == 1
    wall.now += 0.75
    (renewed,) = read_responses(prepared.wire(200.75))
    assert renewed.fields["date"] == "Tue, 14 Nov 2023 22:13:21 GMT"
    wall.now += 1
    (renewed,) = read_responses(prepared.wire(201.75))
    assert (renewed.fields["age"], renewed.content) == ("101", b"hello")


def test_a_clock_before_its_time_gives_age_0() -> None:
    (got,) = read_responses(make().wire(99.0))
    assert got.fields["age"] == "0"


def test_max_age_grows_with_age_when_asked_to() -> None:
    (got,) = read_responses(make(extends=300).wire(150.0))
    assert got.fields["cache-control"] == "public, max-age=350"
    (got,) = read_responses(make(extends=None).wire(150.0))
    assert got.fields["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("value", ["public, max-age=3000", "public, s-maxage=300", "no-cache", "x-max-age=300"])
def test_other_cache_control_is_left_alone(value: str) -> None:
    (got,) = read_responses(make(extends=300, fields=(("cache-control", value),)).wire(150.0))
    assert got.fields["cache-control"] == value


def test_directives_after_max_age_stay() -> None:
    fields = (("cache-control", "max-age=60, stale-if-error=9"), ("etag", '"a"'))
    (got,) = read_responses(make(extends=60, fields=fields).wire(101.0))
    assert got.fields["cache-control"] == "max-age=61, stale-if-error=9"
    assert got.fields["etag"] == '"a"'


def test_it_ends_with_its_time_with_its_site_s_generation_or_when_retired() -> None:
    site = SiteRuntime("s", 7)
    prepared = make(site=site)
    assert prepared.is_usable(499.9)
    assert not prepared.is_usable(500.0)
    site.generation += 1
    assert not prepared.is_usable(200.0)
    site.generation -= 1
    prepared.retire()
    assert not prepared.is_usable(-math.inf)
    assert len(prepared.wire(200.0)) == 0, "the bytes are released"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\N{SNOWMAN}"])
def test_a_field_cannot_break_out(value: str) -> None:
    with pytest.raises(InvalidInput):
        make(fields=(("location", value),))


@pytest.mark.parametrize("size", [0, 1, VIEWED_BYTES - 1, VIEWED_BYTES, JOINED_BYTES, JOINED_BYTES + 1])
def test_content_is_seen_alike_before_and_after_it_was_joined_with_a_head(size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    prepared = make(content)
    assert bytes(prepared.content_view) == content
    prepared.wire(100.0)
    assert bytes(prepared.content_view) == content == prepared.content
    view = prepared.content_view
    prepared.retire()
    assert bytes(view) == content
    assert not prepared.content_view


def test_a_status_without_content_has_no_length() -> None:
    assert b"content-length" not in make(b"", status=304).wire(100.0)


def test_one_that_is_sent_says_about_once_a_minute_that_it_is_in_use() -> None:
    used: list[float] = []
    now = 1000.0
    prepared = Prepared(
        status=200,
        fields=(),
        content=b"x",
        base_age_at=0.0,
        site=SiteRuntime("s", 1),
        generation=1,
        fresh_until=math.inf,
        on_use=lambda: used.append(now),
    )
    for _ in range(180):
        prepared.wire(now)
        now += 1.0
    assert used == [1000.0, 1060.0, 1120.0]


def test_a_date_of_the_response_is_never_renewed() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    prepared = make(fields=(("date", date), *FIELDS))
    for now in (142.9, 150.0, 200.0):
        for wire, method in ((prepared.wire(now), "GET"), (prepared.wire_head(now), "HEAD")):
            (response,) = read_responses(wire, [method])
            assert response.fields["date"] == date
            assert response.fields["age"] == str(int(now - 100))


@pytest.mark.parametrize("size", [0, 5, JOINED_BYTES, JOINED_BYTES + 1])
@pytest.mark.parametrize("sent_before", [False, True])
@pytest.mark.parametrize("extends", [None, 300])
def test_another_process_makes_the_same_one(size: int, sent_before: bool, extends: int | None) -> None:
    prepared = make(b"x" * size, extends=extends)
    if sent_before:
        prepared.wire(150.0)
    site = SiteRuntime("s", 3)
    assert prepared.content == b"x" * size
    other = Prepared.of(
        prepared.encoded(), prepared.content, site=site, generation=3, wall_clock=Wall(1_700_000_000.25)
    )
    for now in (200.0, 333.0, 499.9):
        assert other.wire(now) == prepared.wire(now)
        assert other.wire_head(now) == prepared.wire_head(now)
        assert other.is_usable(now)
    assert not other.is_usable(500.0)
    assert (other.size_bytes, other.cost_bytes) == (prepared.size_bytes, prepared.cost_bytes)
    site.generation += 1
    assert not other.is_usable(100.0)
    prepared.retire()
    assert prepared.content == b""
