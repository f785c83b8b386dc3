"""Aliases: what is said of them, where branches go, and steps back and forth."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import AliasState, Deploy
from cdn.sites.name import MAX_NAME_OCTETS, MAX_PAIR_OCTETS, PRODUCTION, alias_of_branch, check_alias, check_pair
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site

MARKED = re.compile(r"(?:.*-)?[0-9a-f]{6}")


def deploy(number: int, alias: str = PRODUCTION) -> Deploy:
    return Deploy(f"d{number}", "s1", alias, f"{number:064x}", 1, 2, "ann", "", 0.0, number)


@pytest.fixture
def catalog() -> Catalog:
    result = Catalog("cdn.localhost")
    assert result.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    return result


def made(catalog: Catalog, *numbers: int, alias: str = PRODUCTION) -> None:
    for number in numbers:
        assert catalog.prepare_deploy(deploy(number, alias))
        assert catalog.activate("s1", alias, f"d{number}", 0.0, number)


def active(catalog: Catalog, alias: str = PRODUCTION) -> str | None:
    state = catalog.alias("s1", alias)
    return None if state is None or state.active is None else state.active.id


def state(catalog: Catalog, alias: str) -> AliasState:
    found = catalog.alias("s1", alias)
    assert found is not None
    return found


def test_back_and_forth_goes_step_by_step_and_ends_where_it_began(catalog: Catalog) -> None:
    made(catalog, 1, 2, 3)

    def walk(target_of: Callable[[str, str], Deploy | None]) -> list[str]:
        steps = []
        while (target := target_of("s1", PRODUCTION)) is not None:
            steps.append(target.id)
            catalog.activate("s1", PRODUCTION, target.id, 0.0, 10)
        return steps

    for _ in range(2):
        assert walk(catalog.rollback_target) == ["d2", "d1"]
        assert walk(catalog.roll_forward_target) == ["d2", "d3"]


def test_forth_is_where_the_rollback_began_however_far_it_went(catalog: Catalog) -> None:
    made(catalog, 1, 2, 3)
    catalog.activate("s1", PRODUCTION, "d1", 0.0, 10)
    assert catalog.roll_forward_target("s1", PRODUCTION) == deploy(3)
    made(catalog, 4)
    assert catalog.roll_forward_target("s1", PRODUCTION) is None, "a new deploy is in front of all"


def test_a_rollback_undoes_the_promotion_of_a_preview_that_was_made_earlier(catalog: Catalog) -> None:
    made(catalog, 1)
    made(catalog, 2, alias="next")
    made(catalog, 3)
    catalog.activate("s1", PRODUCTION, "d2", 0.0, 4)
    assert catalog.rollback_target("s1", PRODUCTION) == deploy(3), "what was active before"
    assert catalog.roll_forward_target("s1", PRODUCTION) is None
    catalog.activate("s1", PRODUCTION, "d3", 0.0, 5)
    assert catalog.rollback_target("s1", PRODUCTION) == deploy(1), "further back, not forth again"
    assert catalog.roll_forward_target("s1", PRODUCTION) == deploy(2, "next")
    made(catalog, 6)
    assert catalog.rollback_target("s1", PRODUCTION) == deploy(3)
    assert state(catalog, PRODUCTION).promoted == (("d2", 4),)
    assert state(catalog, "next").promoted == ()


def test_what_is_promoted_first_and_what_is_forgotten_needs_no_place(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.sites.catalog.MAX_RETAINED_PER_ALIAS", 1)
    made(catalog, 1, 2, alias="next")
    catalog.activate("s1", PRODUCTION, "d2", 0.0, 3)
    catalog.activate("s1", PRODUCTION, "d2", 0.0, 4)
    assert state(catalog, PRODUCTION).promoted == ()
    catalog.activate("s1", PRODUCTION, "d1", 0.0, 5)
    assert state(catalog, PRODUCTION).promoted == (("d1", 5),)
    made(catalog, 6, 7, 8)
    assert state(catalog, PRODUCTION).promoted == ()


class Walk:
    """A plain model of one alias: who came to it first in which order, and who was active how lately."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.lately: list[str] = []

    def activate(self, deploy_id: str) -> None:
        if deploy_id in self.lately:
            self.lately.remove(deploy_id)
        else:
            self.came.append(deploy_id)
        self.lately.insert(0, deploy_id)

    def target(self, step: int) -> str | None:
        """Back (-1) or forth (1) from the active one."""
        place = self.came.index(self.lately[0])
        found = [one for one in self.lately[1:] if (self.came.index(one) - place) * step > 0]
        return found[0] if found else None


@given(st.lists(st.sampled_from(["deploy", "preview", "promote", "back", "forth"]), max_size=40), st.data())
def test_every_walk_back_and_forth_is_that_of_a_plain_model(steps: list[str], data: st.DataObject) -> None:
    catalog = Catalog("cdn.localhost")
    catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    walk, all_made, sequence = Walk(), [], 0
    for step in steps:
        sequence += 2
        chosen: str | None = None
        if step in {"deploy", "preview"}:
            alias = PRODUCTION if step == "deploy" else "next"
            one = Deploy(f"d{sequence}", "s1", alias, "0" * 64, 1, 2, "ann", "", 0.0, sequence)
            catalog.prepare_deploy(one)
            all_made.append(one.id)
            if step == "deploy":
                chosen = one.id
        elif step == "promote" and all_made:
            chosen = data.draw(st.sampled_from(all_made))
        elif step in {"back", "forth"} and walk.lately:
            chosen = walk.target(-1 if step == "back" else 1)
        if chosen is not None:
            catalog.activate("s1", PRODUCTION, chosen, 0.0, sequence + 1)
            walk.activate(chosen)
        if walk.lately:
            for target_of, way in ((catalog.rollback_target, -1), (catalog.roll_forward_target, 1)):
                target = target_of("s1", PRODUCTION)
                assert (None if target is None else target.id) == walk.target(way)


def test_nothing_leads_forth_from_nothing(catalog: Catalog) -> None:
    assert catalog.roll_forward_target("s9", PRODUCTION) is None
    assert catalog.roll_forward_target("s1", PRODUCTION) is None
    catalog.prepare_deploy(deploy(1))
    assert catalog.roll_forward_target("s1", PRODUCTION) is None


def test_what_is_said_of_an_alias_stays_through_activations_and_goes_with_it(catalog: Catalog) -> None:
    assert not catalog.set_alias("s9", "next", password="", expires_at=None, lock="")
    assert catalog.set_alias("s1", "next", password="hash", expires_at=100.0, lock="ann: why")
    made(catalog, 1, 2, alias="next")
    found = state(catalog, "next")
    assert (found.password, found.expires_at, found.lock) == ("hash", 100.0, "ann: why")
    assert not found.is_over(99.9)
    assert found.is_over(100.0)
    assert not AliasState().is_over(1e12)
    assert catalog.remove_alias("s1", "next")
    assert catalog.alias("s1", "next") is None
    assert [one.id for one in catalog.deploys("s1")] == ["d2", "d1"], "they stay in the list"
    assert not catalog.remove_alias("s1", "next")
    assert not catalog.remove_alias("s9", "next")
    made(catalog, 3)
    assert not catalog.remove_alias("s1", PRODUCTION)
    assert active(catalog) == "d3"


def test_a_site_keeps_as_many_deploys_as_it_says_and_those_in_use(catalog: Catalog) -> None:
    made(catalog, 1, 2, 3, 4, 5)
    made(catalog, 6, alias="next")
    assert catalog.change_site("s1", SiteSettings(keep_deploys=2, retention_s=0))
    catalog.forget_retained(1e9)
    made(catalog, 7)
    assert [one.id for one in catalog.deploys("s1")] == ["d7", "d6", "d5"], "6 is the preview's, 5 the way back"
    assert catalog.rollback_target("s1", PRODUCTION) == deploy(5)


def test_lists_of_coded_forms_go_with_the_last_deploy_of_their_manifest(catalog: Catalog) -> None:
    assert not catalog.set_variants("s9", deploy(1).manifest_digest, "v1")
    assert not catalog.set_variants("s1", deploy(1).manifest_digest, "v1")
    made(catalog, 1, 2, 3)
    assert catalog.set_variants("s1", deploy(1).manifest_digest, "v1")
    assert catalog.variants("s1", deploy(1).manifest_digest) == "v1"
    assert catalog.variants("s1", deploy(2).manifest_digest) == ""
    assert catalog.variants("s9", deploy(1).manifest_digest) == ""
    assert catalog.variants_of("s1") == {deploy(1).manifest_digest: "v1"}
    assert catalog.variants_of("s9") == {}
    catalog.forget_retained(1e9)
    assert catalog.change_site("s1", SiteSettings(keep_deploys=1))
    assert catalog.variants_of("s1") == {}


def test_a_snapshot_brings_lists_of_coded_forms_and_what_is_said_of_aliases(catalog: Catalog) -> None:
    said = AliasState(deploy(1, "next"), 3, 4.0, password="hash", expires_at=5.0, lock="ann: why")
    site = Site("s1", "blog", 0.0, SiteSettings())
    catalog.replace_by([site], {}, [deploy(1, "next")], [("s1", "next", said)], variants={"s1": {"m1": "v1"}})
    assert catalog.variants_of("s1") == {"m1": "v1"}
    assert state(catalog, "next") == said


@pytest.mark.parametrize(
    ("branch", "alias"),
    [
        ("next", "next"),
        ("feature/Login", "feature-login"),
        ("release/1.2.3_rc", "release-1-2-3-rc"),
        ("--a//b--", "a-b"),
        ("f\u00fcr-alle", "f-r-alle"),
        ("dependabot/npm_and_yarn/x-4.17.21", "dependabot-npm-and-yarn-x-4-17-21"),
    ],
)
def test_branches_become_aliases(branch: str, alias: str) -> None:
    assert alias_of_branch(branch, "blog") == alias


@pytest.mark.parametrize(
    "branch", ["production", "PRODUCTION", "/production", "xn", "\u4e2d\u6587", "//", "a" * 61, "\ud800"]
)
def test_a_branch_that_cannot_be_an_alias_is_marked_with_its_digest(branch: str) -> None:
    alias = alias_of_branch(branch, "blog")
    assert MARKED.fullmatch(alias), alias
    assert alias != PRODUCTION


def test_long_branches_that_begin_alike_stay_apart() -> None:
    one, other = (alias_of_branch("feature/" + "x" * 80 + end, "blog") for end in "ab")
    assert one != other
    assert one.startswith("feature-xxx")


@pytest.mark.parametrize("branch", ["", " ", "\n"])
def test_no_branch_is_no_alias(branch: str) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        alias_of_branch(branch, "blog")


def test_a_site_whose_name_leaves_no_room_has_no_previews_of_branches() -> None:
    with pytest.raises(InvalidInput, match="octets together"):
        alias_of_branch("feature/x", "s" * (MAX_NAME_OCTETS - 2))
    assert alias_of_branch("fix", "s" * (MAX_PAIR_OCTETS - 3)) == "fix"


@given(st.text(max_size=200).filter(str.strip), st.integers(1, 54))
def test_every_branch_has_an_alias_that_is_one_and_none_is_production(branch: str, octets: int) -> None:
    site = "s" * octets
    alias = alias_of_branch(branch, site)
    assert check_alias(alias) == alias
    check_pair(alias, site)
    assert alias != PRODUCTION


def test_a_preview_that_begins_anew_keeps_nothing_of_what_was_deployed_to_it(catalog: Catalog) -> None:
    made(catalog, 1, 2, alias="next")
    assert catalog.set_alias("s1", "next", password="hash", expires_at=None, lock="", begins_anew=True)
    assert state(catalog, "next") == AliasState(password="hash")
    assert [one.id for one in catalog.deploys("s1")] == ["d2", "d1"], "they can be activated again"
