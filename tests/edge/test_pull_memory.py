"""Prepared hits of pull sites: found by what the request says, forgotten by key, kept only while they hold."""

from __future__ import annotations

import pytest

from cdn.edge import pull_memory
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared, SiteRuntime
from cdn.edge.pull_key import PullKey
from cdn.edge.pull_memory import MAX_SELECTIONS, PullMemory
from cdn.http.fields import Fields
from tests.edge.pull_stage import FRESH, Stage, soon

KEY = PullKey("s1", "http  /a", "/a")
OTHER = PullKey("s1", "http  /b", "/b")


def prepared(content: bytes = b"x") -> Prepared:
    return Prepared(
        status=200,
        fields=(),
        content=content,
        base_age_at=0.0,
        site=SiteRuntime("s1"),
        generation=0,
        fresh_until=100.0,
    )


def fields(**lines: str) -> Fields:
    return Fields(tuple((name.replace("_", "-"), value) for name, value in lines.items()))


@pytest.fixture
def tier() -> MemoryTier[Prepared]:
    return MemoryTier(1 << 20)


@pytest.fixture
def memory(tier: MemoryTier[Prepared]) -> PullMemory:
    return PullMemory(tier)


def put(
    memory: PullMemory,
    key: PullKey,
    names: tuple[str, ...] = (),
    *,
    is_coded: bool = False,
    since: int | None = None,
    **lines: str,
) -> Prepared:
    hit = prepared()
    memory.put(key, names, is_coded, fields(**lines), hit, memory.mark() if since is None else since)
    return hit


def test_one_without_vary_is_found_by_every_request(memory: PullMemory) -> None:
    assert memory.get(KEY, fields()) is None
    hit = put(memory, KEY)
    assert memory.get(KEY, fields()) is hit
    assert memory.get(KEY, fields(accept="text/html", accept_encoding="br")) is hit
    assert memory.get(OTHER, fields()) is None


def test_vary_tells_requests_apart(memory: PullMemory) -> None:
    names = ("accept-language", "x-kind")
    german = put(memory, KEY, names, accept_language="de", x_kind="1")
    french = put(memory, KEY, names, accept_language="fr", x_kind="1")
    bare = put(memory, KEY, names)
    assert memory.get(KEY, fields(accept_language="de", x_kind="1")) is german
    assert memory.get(KEY, fields(accept_language="DE;q=1.0", x_kind="1")) is german
    assert memory.get(KEY, fields(accept_language="fr", x_kind="1")) is french
    assert memory.get(KEY, fields()) is bare
    assert memory.get(KEY, fields(accept_language="de")) is None
    assert memory.get(KEY, fields(x_kind="")) is None, "empty is not absent"


def test_long_keys_and_fields_are_told_apart_and_not_kept(memory: PullMemory, tier: MemoryTier[Prepared]) -> None:
    """Visitors write both, and much is remembered of them."""
    query = "x" * 8000
    keys = [PullKey("s1", f"http  /a?{query}{end}", f"/a?{query}{end}") for end in "12"]
    kinds = [f"{query}{end}" for end in "12"]
    hits = {(key, kind): put(memory, key, ("x-kind",), x_kind=kind) for key in keys for kind in kinds}
    for (key, kind), hit in hits.items():
        assert memory.get(key, fields(x_kind=kind)) is hit
    kept = [*memory._ways, *tier._order, *(way.selections for way in memory._ways.values())]
    assert all(len(text) < 200 for texts in kept for text in texts)
    memory.forget(keys[0])
    assert [memory.get(key, fields(x_kind=kinds[0])) is None for key in keys] == [True, False]


def test_codings_are_told_apart_by_what_the_client_prefers(memory: PullMemory) -> None:
    zstd = put(memory, KEY, is_coded=True, accept_encoding="gzip, zstd")
    plain = put(memory, KEY, is_coded=True)
    assert memory.get(KEY, fields(accept_encoding="zstd;q=0.5")) is zstd
    assert memory.get(KEY, fields(accept_encoding="gzip")) is None
    assert memory.get(KEY, fields(accept_encoding="identity")) is plain


def test_what_vary_names_has_changed_so_all_of_the_key_is_forgotten(memory: PullMemory) -> None:
    old = put(memory, KEY, ("accept",), accept="a")
    new = put(memory, KEY, ("x-kind",), x_kind="1")
    assert memory.get(KEY, fields(accept="a")) is None
    assert memory.get(KEY, fields(x_kind="1")) is new
    assert not old.is_usable(0.0), "copies of it elsewhere are retired"
    put(memory, KEY, ("x-kind",), is_coded=True, x_kind="2")
    assert memory.get(KEY, fields(x_kind="1")) is None


def test_forgetting_a_key_forgets_all_of_it_and_nothing_else(memory: PullMemory, tier: MemoryTier[Prepared]) -> None:
    hits = [put(memory, KEY, ("accept",), accept=value) for value in "abc"]
    other = put(memory, OTHER)
    memory.forget(KEY)
    assert [memory.get(KEY, fields(accept=value)) for value in "abc"] == [None] * 3
    assert not any(hit.is_usable(0.0) for hit in hits)
    assert memory.get(OTHER, fields()) is other
    assert len(tier) == 1


def test_what_was_forgotten_while_it_was_looked_for_is_not_kept(memory: PullMemory) -> None:
    mark = memory.mark()
    memory.forget(KEY)
    put(memory, KEY, since=mark)
    assert memory.get(KEY, fields()) is None
    hit = put(memory, OTHER, since=mark)
    assert memory.get(OTHER, fields()) is hit
    hit = put(memory, KEY)
    assert memory.get(KEY, fields()) is hit


def test_what_was_forgotten_stays_so_however_much_else_is(memory: PullMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_memory, "MAX_FORGOTTEN", 3)
    mark = memory.mark()
    memory.forget(KEY)
    for number in range(5):
        memory.forget(PullKey("s1", f"http  /{number}", f"/{number}"))
    put(memory, KEY, since=mark)
    assert memory.get(KEY, fields()) is None
    assert len(memory._forgotten) == 3
    hit = put(memory, KEY)
    assert memory.get(KEY, fields()) is hit


def test_a_client_that_makes_values_up_does_not_fill_the_tier(memory: PullMemory, tier: MemoryTier[Prepared]) -> None:
    for number in range(3 * MAX_SELECTIONS + 1):
        put(memory, KEY, ("x-kind",), x_kind=str(number))
        assert len(tier) <= MAX_SELECTIONS
    assert memory.get(KEY, fields(x_kind=str(3 * MAX_SELECTIONS))) is not None


def test_keys_are_bounded_and_the_oldest_goes_with_all_of_it(tier: MemoryTier[Prepared]) -> None:
    memory = PullMemory(tier, max_keys=2)
    put(memory, KEY)
    put(memory, OTHER)
    put(memory, KEY)
    put(memory, PullKey("s1", "http  /c", "/c"))
    assert memory.get(OTHER, fields()) is None
    assert memory.get(KEY, fields()) is not None
    assert len(tier) == 2


def test_one_that_is_too_large_for_the_tier_is_not_remembered() -> None:
    memory = PullMemory(MemoryTier(1000))
    memory.put(KEY, (), False, fields(), prepared(b"x" * 5000), memory.mark())
    assert memory.get(KEY, fields()) is None


def test_a_site_that_is_gone_leaves_nothing(memory: PullMemory, tier: MemoryTier[Prepared]) -> None:
    put(memory, KEY)
    kept = PullKey("s2", KEY.path, KEY.name)
    put(memory, kept)
    memory.drop_site("s1")
    assert memory.get(KEY, fields()) is None
    assert memory.get(kept, fields()) is not None
    assert len(tier) == 1


# What is prepared at all


@pytest.mark.parametrize(
    ("vary", "asked", "is_prepared"),
    [
        ("accept", {"accept": "a"}, True),
        ("x-kind", {}, True),
        ("x-forwarded-for", {}, False),
        ("x-forwarded-proto", {}, False),
        ("via", {}, False),
        ("cdn-debug", {}, False),
        ("accept-encoding", {"accept_encoding": "br"}, True),
    ],
)
async def test_what_upstream_chose_by_fields_that_are_not_the_clients_is_not_prepared(
    stage: Stage, vary: str, asked: dict[str, str], is_prepared: bool
) -> None:
    await stage.fetch("/a", FRESH, ("vary", vary), **asked)  # type: ignore[arg-type]
    assert (await stage.get("/a", **asked)).is_hit
    assert (stage.road.recall(stage.request("/a", **asked), stage.site(), stage.now) is not None) is is_prepared


async def test_a_hit_found_under_another_query_is_not_prepared(stage: Stage) -> None:
    await stage.fetch("/a?x=1", FRESH, ("no-vary-search", "params"))
    assert (await stage.get("/a?x=2")).is_hit
    assert stage.road.recall(stage.request("/a?x=2"), stage.site(), stage.now) is None


async def test_parts_and_refusals_are_not_prepared(stage: Stage) -> None:
    await stage.fetch("/a", FRESH, ("etag", '"1"'))
    for asked in ({"range": "bytes=0-0"}, {"if_none_match": '"1"'}, {"if_match": '"2"'}, {"cdn_debug": "1"}):
        await stage.get("/a", **asked)
        assert stage.road.recall(stage.request("/a"), stage.site(), stage.now) is None


async def test_a_head_prepares_what_get_is_sent(stage: Stage) -> None:
    await stage.fetch("/a", FRESH, content=b"one")
    assert (await stage.get("/a", "HEAD")).is_hit
    recalled = stage.road.recall(stage.request("/a"), stage.site(), stage.now)
    assert recalled is not None
    assert recalled.size_bytes == 3


def test_what_is_forgotten_is_told_in_order_also_when_nothing_was_there(memory: PullMemory) -> None:
    told: list[tuple[str, str, int]] = []
    memory.on_forget = lambda site_id, path, number: told.append((site_id, path, number))
    put(memory, KEY)
    memory.forget(KEY)
    memory.forget(KEY)
    memory.forget_site("s2")
    memory.forget(OTHER)
    assert told == [("s1", KEY.path, 1), ("s1", KEY.path, 2), ("s2", pull_memory.WHOLE_SITE, 3), ("s1", OTHER.path, 4)]
    assert memory.mark() == 4


def test_another_process_forgets_by_the_same_numbers(memory: PullMemory) -> None:
    put(memory, KEY)
    memory.forget_at(KEY.place, 7)
    assert memory.get(KEY, fields()) is None
    put(memory, KEY, since=6)
    assert memory.get(KEY, fields()) is None
    put(memory, OTHER, since=6)
    assert memory.get(OTHER, fields()) is not None
    put(memory, KEY, since=7)
    assert memory.get(KEY, fields()) is not None


def test_how_requests_are_told_apart_can_be_asked(memory: PullMemory) -> None:
    assert memory.way(KEY) is None
    put(memory, KEY, ("accept-language",), is_coded=True)
    assert memory.way(KEY) == (("accept-language",), True)


async def test_whatever_makes_hits_unusable_without_a_record_is_told(stage: Stage) -> None:
    """An unsafe method, a group, a 304, an answer to HEAD, another answer, one that is not to be stored."""
    told: list[str] = []
    stage.memory.on_forget = lambda site_id, path, number: told.append(path.split(" ")[-1])
    tagged = (FRESH, ("etag", '"1"'), ("cache-groups", '"g"'))
    await stage.fetch("/a", *tagged)
    assert told == ["/a"]
    told.clear()

    stage.now += 61
    client = stage.begin("/a")
    (await stage.upstream.next()).answer(304, *tagged)
    assert (await soon(client)).status == 200
    await stage.idle()
    assert told == ["/a"]
    told.clear()

    client = stage.begin("/a", "HEAD", cache_control="no-cache")
    (await stage.upstream.next()).answer(200, FRESH, ("etag", '"1"'), ("x-new", "1"))
    await soon(client)
    await stage.idle()
    assert "/a" in told
    told.clear()

    await stage.unsafe("/a", ("cache-group-invalidation", '"g"'))
    assert set(told) == {"/a", pull_memory.WHOLE_SITE}
    await stage.fetch("/a", FRESH, ("etag", '"2"'))
    told.clear()

    stage.now += 61
    client = stage.begin("/a")
    (await stage.upstream.next()).answer(200, ("cache-control", "no-store"), content=b"new")
    assert (await soon(client)).content == b"new"
    await stage.idle()
    assert told == ["/a"]
