"""The memory tier: bounded in bytes, least recently used first, one site's share (DESIGN I10)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.memory_tier import ENTRY_OVERHEAD_BYTES, MemoryKey, MemoryTier


@dataclass(eq=False)
class Value:
    cost_bytes: int
    is_retired: bool = False

    def retire(self) -> None:
        assert not self.is_retired
        self.is_retired = True


def cost(value: Value, key: MemoryKey) -> int:
    return value.cost_bytes + ENTRY_OVERHEAD_BYTES + len(key[2])


def test_a_value_is_found_until_it_is_dropped() -> None:
    tier: MemoryTier[Value] = MemoryTier(10_000)
    value = Value(100)
    assert tier.put(("s", "production", "/"), value)
    assert tier.get(("s", "production", "/")) is value
    assert tier.get(("s", "next", "/")) is None
    assert tier.get(("t", "production", "/")) is None
    tier.drop(("s", "production", "/"))
    assert tier.get(("s", "production", "/")) is None
    assert value.is_retired
    assert tier.cost_bytes == 0


def test_the_least_recently_used_goes_first() -> None:
    tier: MemoryTier[Value] = MemoryTier(3 * (1000 + ENTRY_OVERHEAD_BYTES + 2), site_share=1.0)
    values = {name: Value(1000) for name in "abcd"}
    for name in "abc":
        tier.put(("s", "production", "/" + name), values[name])
    assert tier.get(("s", "production", "/a")) is values["a"]
    tier.put(("s", "production", "/d"), values["d"])
    assert [name for name in "abcd" if values[name].is_retired] == ["b"]
    assert tier.evicted == 1


def test_a_replaced_value_is_retired_and_the_same_one_put_again_is_not() -> None:
    tier: MemoryTier[Value] = MemoryTier(10_000)
    key = ("s", "production", "/")
    first, second = Value(10), Value(20)
    tier.put(key, first)
    tier.put(key, first)
    retired_by_itself = first.is_retired
    tier.put(key, second)
    assert (retired_by_itself, first.is_retired, second.is_retired) == (False, True, False)
    assert len(tier) == 1


def test_a_value_larger_than_a_share_is_not_kept_nor_retired() -> None:
    tier: MemoryTier[Value] = MemoryTier(10_000)
    small, large = Value(10), Value(6_000)
    tier.put(("s", "production", "/small"), small)
    assert not tier.put(("s", "production", "/large"), large)
    assert not large.is_retired
    assert not small.is_retired


def test_one_site_cannot_empty_the_others() -> None:
    tier: MemoryTier[Value] = MemoryTier(100_000)
    kept = [Value(1000) for _ in range(20)]
    for number, value in enumerate(kept):
        tier.put(("quiet", "production", f"/{number}"), value)
    for number in range(1000):
        tier.put(("crawled", "production", f"/{number}"), Value(1000))
    assert not any(value.is_retired for value in kept)
    assert tier.cost_bytes <= tier.max_bytes


def test_dropping_a_site_leaves_the_others() -> None:
    tier: MemoryTier[Value] = MemoryTier(100_000)
    ours, theirs = Value(10), Value(10)
    tier.put(("s", "production", "/"), ours)
    tier.put(("t", "production", "/"), theirs)
    tier.drop_site("s")
    tier.drop_site("s")
    assert (ours.is_retired, theirs.is_retired) == (True, False)
    tier.clear()
    assert theirs.is_retired
    assert (tier.cost_bytes, len(tier)) == (0, 0)


Step = tuple[str, str, int, int]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "drop", "drop_site"]),
            st.sampled_from(["s", "t", "u"]),
            st.integers(0, 7),
            st.integers(0, 4000),
        ),
        max_size=120,
    )
)
def test_it_behaves_like_a_plain_list_in_order_of_use(steps: list[Step]) -> None:
    """The model is one list in order of use; the bound holds after every step, and what left was retired once."""
    max_bytes = 12_000
    tier: MemoryTier[Value] = MemoryTier(max_bytes)
    model: OrderedDict[MemoryKey, Value] = OrderedDict()

    def site_cost(site: str) -> int:
        return sum(cost(value, key) for key, value in model.items() if key[0] == site)

    for verb, site, number, size in steps:
        key = (site, "production", f"/{number}")
        if verb == "put":
            value = Value(size)
            model.pop(key, None)
            if cost(value, key) <= max_bytes // 2:
                while site_cost(site) + cost(value, key) > max_bytes // 2:
                    del model[next(each for each in model if each[0] == site)]
                while sum(map(site_cost, "stu")) + cost(value, key) > max_bytes:
                    model.popitem(last=False)
                model[key] = value
            assert tier.put(key, value) is (key in model)
        elif verb == "get":
            found = tier.get(key)
            assert found is model.get(key)
            if key in model:
                model.move_to_end(key)
        elif verb == "drop":
            tier.drop(key)
            model.pop(key, None)
        else:
            tier.drop_site(site)
            for each in [each for each in model if each[0] == site]:
                del model[each]
        assert tier.cost_bytes == sum(map(site_cost, "stu")) <= max_bytes
        assert not any(value.is_retired for value in model.values())
        assert len(tier) == len(model)
