"""What a look at a domain goes by: sites, claims, nodes and zones of the control plane; and public suffixes."""

from __future__ import annotations

import pytest

from cdn.control.control_surroundings import ControlSurroundings
from cdn.control.public_suffixes import is_public_suffix
from cdn.journal.record import DomainClaimed, DomainVerified
from tests.control.control_room import ControlMaker


async def test_what_a_domain_may_lead_to(make_control: ControlMaker) -> None:
    control = await make_control()
    plane = control.plane
    for name in ("blog", "shop"):
        assert (await control.api.post("/v1/sites", {"name": name})).status == 201
    blog, shop = (plane.services.catalog.site_named(name) for name in ("blog", "shop"))
    assert blog is not None
    assert shop is not None
    around = ControlSurroundings(plane.services.settings)
    with pytest.raises(RuntimeError):
        around.is_ours("blog.cdn.localhost")
    around.attach(plane.services)
    zone = around.own_zone
    assert around.is_ours(f"blog.{zone}")
    assert around.is_ours(f"next--blog.{zone}")
    assert not around.is_ours(f"none.{zone}")
    domain = "www.example.com"
    assert around.target_of(domain, None) == zone
    for site, token in ((blog, "one"), (shop, "two")):
        change = DomainClaimed(domain, site.id, token)
        await plane.state.append(f"domain/{domain}", lambda change=change: change, "test")
    assert around.target_of(domain, "one") == f"blog.{zone}"
    assert around.target_of(domain, "two") == f"shop.{zone}"
    await plane.state.append(f"domain/{domain}", lambda: DomainVerified(domain, shop.id), "test")
    assert around.target_of(domain, None) == f"shop.{zone}"
    assert around.target_of(domain, "one") == f"shop.{zone}"
    assert list(around.addresses()) == []
    assert around.imported_zone(domain) == ""


@pytest.mark.parametrize("name", ["com", "co.uk", "github.io", "kawasaki.jp", "foo.ck", "localhost", "xn--55qx5d.cn"])
def test_names_below_which_anybody_registers(name: str) -> None:
    assert is_public_suffix(name)


@pytest.mark.parametrize(
    "name", ["example.com", "example.co.uk", "a.github.io", "city.kawasaki.jp", "www.ck", "a.test"]
)
def test_names_of_somebody(name: str) -> None:
    assert not is_public_suffix(name)
