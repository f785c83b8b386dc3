"""What an edge says of itself: weight, public addresses and region in its file, and from there to control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.cli.role_settings import read_edge_role
from cdn.errors import InvalidInput
from tests.e2e.fleet import Fleet

TOKEN = {"CDN_NODE_TOKEN": "cdn_0123456789abcdef_" + "5" * 64}
EDGE = """[edge]
node_id = "n1"
data_dir = "data"
zone = "cdn.localhost"
control_url = "http://127.0.0.1:8700"
[store]
url = "bytes"
"""


def written(folder: Path, *lines: str) -> Path:
    """A file with these lines from its sixth on."""
    file = folder / "edge.toml"
    file.write_text(EDGE.replace("[store]", "\n".join((*lines, "[store]"))))
    return file


def test_weight_and_addresses_are_read(tmp_path: Path) -> None:
    file = written(tmp_path, "weight = 0", 'public_addresses = ["192.0.2.7", "2001:DB8::0:7"]')
    edge = read_edge_role(file, TOKEN).edge
    assert (edge.weight, edge.public_addresses) == (0, ("192.0.2.7", "2001:db8::7"))


def test_place_and_bias_are_read(tmp_path: Path) -> None:
    edge = read_edge_role(written(tmp_path, 'location = "-33.87,151.21"', "bias = -99"), TOKEN).edge
    assert (edge.location, edge.bias) == ("-33.87,151.21", -99)


def test_without_them_a_node_has_the_usual_weight_and_no_address(tmp_path: Path) -> None:
    edge = read_edge_role(written(tmp_path), TOKEN).edge
    assert (edge.weight, edge.public_addresses, edge.region) == (100, (), "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wieght = 5", "line 6: edge.wieght: there is no such setting; did you mean weight?"),
        ("public_adresses = []", "line 6: edge.public_adresses: there is no such setting; did you mean public_add"),
        ("weight = -1", "line 6: edge.weight: -1 is no weight: give 0 (no visitors from DNS) to 10000"),
        ("weight = 10001", "line 6: edge.weight: 10001 is no weight"),
        ("weight = 0.5", "line 6: edge.weight: Expected `int`, got `float`"),
        ("weight = inf", "line 6: edge.weight: Expected `int`, got `float`"),
        ('weight = "heavy"', "line 6: edge.weight: Expected `int`, got `str`"),
        ('public_addresses = ["192.0.2.7:80"]', "line 6: edge.public_addresses: '192.0.2.7:80' is no IP address"),
        ('public_addresses = ["edge.example"]', "line 6: edge.public_addresses: 'edge.example' is no IP address"),
        ('public_addresses = ["::"]', "line 6: edge.public_addresses: '::' is no address of one machine"),
        ('public_addresses = "192.0.2.7"', "line 6: edge.public_addresses: Expected `array`, got `str`"),
        ('location = "north"', "line 6: edge.location: 'north' is no place: give the latitude and the longitude"),
        ('location = "91,0"', "line 6: edge.location: 91.0,0.0 is no place"),
        ('location = "1,2,3"', "line 6: edge.location: '1,2,3' is no place"),
        ('location = "nan,0"', "line 6: edge.location: nan,0.0 is no place"),
        ("bias = 100", "line 6: edge.bias: 100 is no bias: give -99 (counts as farther away) to 99"),
        ("bias = -100", "line 6: edge.bias: -100 is no bias"),
        ("bias = 0.5", "line 6: edge.bias: Expected `int`, got `float`"),
        ('region = "EU West"', "line 6: edge.region: 'EU West' cannot name a region"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_edge_role(written(tmp_path, line), TOKEN)
    assert any(detail.startswith(said) for detail in refused.value.details), refused.value.details


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = await Fleet(tmp_path).start()
    yield fleet
    await fleet.aclose()


async def test_they_reach_control_and_its_view_of_the_fleet(fleet: Fleet) -> None:
    told: dict[str, Any] = {"region": "eu", "weight": 300, "location": "50.11, 8.68", "bias": -20}
    await fleet.add("n1", None, public_addresses=("192.0.2.1", "2001:db8::1"), **told)
    await fleet.add("n2", region="eu")
    nodes = (await fleet.call("GET", "/v1/fleet/view"))["nodes"]
    assert [(node["node"], node["region"], node["weight"], node["addresses"]) for node in nodes] == [
        ("n1", "eu", 300, ["192.0.2.1", "2001:db8::1"]),
        ("n2", "eu", 100, []),
    ]
    await fleet.stop_control()
    await fleet.start_control()
    nodes = (await fleet.call("GET", "/v1/fleet/view"))["nodes"]
    assert [(node["weight"], node["addresses"]) for node in nodes] == [(300, ["192.0.2.1", "2001:db8::1"]), (100, [])]
    assert [(node["location"], node["bias"]) for node in nodes] == [([50.11, 8.68], -20), (None, 0)]


async def test_a_node_of_another_zone_is_refused_and_says_why(fleet: Fleet) -> None:
    node = await fleet.add("n1")
    fleet.plane.hub.zone = "cdn.other.example"
    node.line.cut()
    node.line.mend()

    async def refused() -> bool:
        return "this control's zone is cdn.other.example" in (node.edge.follower.fault or "")

    await until(refused)
    status = await fleet.call("GET", "/v1/status")
    assert status["refusals"]["other-zone"] >= 1
    fleet.plane.hub.zone = "cdn.localhost"

    async def follows() -> bool:
        return bool((await fleet.call("GET", "/v1/status"))["nodes"][0]["connected"])

    await until(follows)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.02)
