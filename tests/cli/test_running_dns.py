"""`cdn dns` in this process, with control beside it: certificates, readiness, numbers, how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from cdn.cli.dns_role import RunningDns
from cdn.cli.dns_settings import read_dns_role
from cdn.cli.role_settings import read_control_role
from cdn.cli.roles import RunningControl
from cdn.errors import Conflict
from tests.servers.authority import Authority, Issued

PATIENCE_S = 30.0
ZONE = "cdn.localhost"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def control_of(folder: Path, more: str = "") -> AsyncIterator[RunningControl]:
    path = folder / "control.toml"
    path.write_text(
        f'[control]\ndata_dir = "control"\nzone = "{ZONE}"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
        f'withdraw_s = 0.01\n{more}\n[store]\nurl = "store"\n'
    )
    running = await RunningControl.start(read_control_role(path))
    try:
        yield running
    finally:
        await running.aclose()


@asynccontextmanager
async def dns_of(folder: Path, control_url: str, token: str, more: str = "") -> AsyncIterator[RunningDns]:
    path = folder / "dns.toml"
    path.write_text(
        f'[dns]\ndns_id = "ns-1"\ndata_dir = "dns"\nzone = "{ZONE}"\nname_servers = ["ns.example.org"]\n'
        f'hostmaster = "people@example.net"\ncontrol_url = "{control_url}"\nlisten = ["127.0.0.1:0"]\n'
        f'admin = "127.0.0.1:0"\nwithdraw_s = 0.01\n{more}'
    )
    running = await RunningDns.start(read_dns_role(path, {"CDN_DNS_TOKEN": token}))
    try:
        yield running
    finally:
        await running.aclose()


async def get(running: RunningDns, target: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(running.admin_url + target) as response:
        return response.status, await response.text()


async def ready(running: RunningDns) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await get(running, "/readyz"))[0] != 200:
            await asyncio.sleep(0.02)


async def ask(running: RunningDns, name: str) -> dns.message.Message:
    query = dns.message.make_query(name, "A")
    return await dns.asyncquery.udp(query, "127.0.0.1", PATIENCE_S, running.node.ports[0])


def control_tls(authority: Authority, shown: Issued | None) -> str:
    pair = "" if shown is None else shown.toml()
    return f'[control_tls]\nca_file = "{authority.ca_file}"\n{pair}'


async def test_it_reaches_a_control_that_asks_nodes_for_a_certificate(tmp_path: Path, authority: Authority) -> None:
    shown = authority.issue("control", "IP:127.0.0.1")
    async with control_of(tmp_path, f'{shown.toml()}client_ca_file = "{authority.ca_file}"') as control:
        url, plane = control.control.url, control.control.plane
        token = await plane.create_token(("dns:ns-1",), note="")
        async with dns_of(tmp_path, url, token, control_tls(authority, authority.issue("ns-1"))) as running:
            await ready(running)
            assert (await ask(running, f"nobody.{ZONE}")).rcode() == dns.rcode.NXDOMAIN
        async with dns_of(tmp_path, url, token, control_tls(authority, None)) as running:
            async with asyncio.timeout(PATIENCE_S):
                while not plane.hub.refusals.counts()["no-certificate"]:
                    await asyncio.sleep(0.02)
            assert (await get(running, "/readyz"))[0] == 503
            assert (await ask(running, f"nobody.{ZONE}")).rcode() == dns.rcode.NXDOMAIN, "from its copy"


async def test_health_readiness_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with control_of(tmp_path) as control:
        token = await control.control.plane.create_token(("dns:ns-1",), note="")
        async with dns_of(tmp_path, control.control.url, token) as running:
            assert (await get(running, "/healthz"))[0] == 200
            await ready(running)
            await ask(running, f"nobody.{ZONE}")
            await ask(running, "example.org")
            metrics = (await get(running, "/metrics"))[1].splitlines()
            for line in (
                'cdn_dns_queries_total{transport="udp"} 2',
                'cdn_dns_answers_total{rcode="nxdomain"} 1',
                'cdn_dns_answers_total{rcode="refused"} 1',
                "cdn_dns_caught_up 1",
                "cdn_dns_fleet_frozen 0",
                "cdn_dns_stopped 0",
            ):
                assert line in metrics
            async with aiohttp.ClientSession() as client, client.get(f"{control.admin_url}/metrics") as response:
                assert "cdn_control_dns_followers 1" in (await response.text()).splitlines()
            running.announce(is_json=True)
            port = running.node.ports[0]
            told = json.loads(capsys.readouterr().out)
            assert (told["dns"], told["listen"], told["all"]) == ("ns-1", f"127.0.0.1:{port}", [f"127.0.0.1:{port}"])
            running.announce(is_json=False)
            assert f"zone      {ZONE} at 127.0.0.1:{port}" in capsys.readouterr().out
            await running.withdraw()
            status, text = await get(running, "/readyz")
            assert (status, json.loads(text)["status"]) == (503, "draining")
            assert (await ask(running, f"nobody.{ZONE}")).rcode() == dns.rcode.NXDOMAIN, "it answers to the end"


async def test_a_revoked_token_ends_it_and_its_answers_go_on(tmp_path: Path) -> None:
    async with control_of(tmp_path) as control:
        plane = control.control.plane
        token = await plane.create_token(("dns:ns-1",), note="")
        async with dns_of(tmp_path, control.control.url, token) as running:
            await ready(running)
            admin = await plane.create_token(("admin",), note="")
            headers = {"Authorization": f"Bearer {admin}"}
            async with aiohttp.ClientSession(headers=headers) as client:
                url = f"{control.control.url}/v1/tokens/{token.split('_')[1]}"
                async with client.delete(url) as response:
                    assert response.status == 200
            async with asyncio.timeout(PATIENCE_S):
                while plane.hub.dns.all() or not running.node.fleet.is_frozen:
                    await asyncio.sleep(0.05)
            assert (await get(running, "/readyz"))[0] == 200
            assert (await ask(running, f"nobody.{ZONE}")).rcode() == dns.rcode.NXDOMAIN


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        path = tmp_path / "dns.toml"
        path.write_text(
            f'[dns]\ndns_id = "ns-1"\ndata_dir = "dns"\nzone = "{ZONE}"\nname_servers = ["ns.example.org"]\n'
            f'hostmaster = "people@example.net"\ncontrol_url = "http://127.0.0.1:9"\nlisten = ["{listen}"]\n'
            'admin = "127.0.0.1:0"\n'
        )
        with pytest.raises(Conflict, match=rf"{listen} is in use: give another one with listen in \[dns\]"):
            await RunningDns.start(read_dns_role(path, {"CDN_DNS_TOKEN": "cdn_a_b"}))
