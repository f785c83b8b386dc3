"""Control over TLS: everybody may verify it, callers come with a token, and nodes with a certificate as well."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cdn.cli.role_settings import read_control_role, read_edge_role
from cdn.cli.roles import RunningControl
from cdn.errors import InvalidInput
from cdn.tls.mutual import ClientTls
from tests.servers.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def written(folder: Path, authority: Authority, more: str = "") -> Path:
    shown = authority.issue("control", "IP:127.0.0.1")
    path = folder / "control.toml"
    path.write_text(
        '[control]\ndata_dir = "control"\nzone = "cdn.localhost"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
        f'withdraw_s = 0.01\n{shown.toml()}{more}\n[store]\nurl = "store"\n'
    )
    return path


@pytest.fixture
async def control(tmp_path: Path, authority: Authority) -> AsyncIterator[RunningControl]:
    path = written(tmp_path, authority, f'client_ca_file = "{authority.ca_file}"')
    running = await RunningControl.start(read_control_role(path))
    yield running
    await running.aclose()


async def follows(control: RunningControl, tls: ssl.SSLContext, token: str) -> int:
    """The status with which control answers a node that wants to follow."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as client:
        try:
            async with client.ws_connect(f"{control.control.url}/v1/follow", headers=headers, ssl=tls):
                return 101
        except aiohttp.WSServerHandshakeError as exc:
            return exc.status


async def test_a_node_has_to_show_a_certificate_and_a_caller_has_not(
    control: RunningControl, authority: Authority, tmp_path: Path
) -> None:
    assert control.control.url.startswith("https://127.0.0.1:")
    plane = control.control.plane
    node, admin = await plane.create_token(("node:e1",), note=""), await plane.create_token(("admin",), note="")
    mine = authority.issue("e1")
    without = ClientTls(authority.ca_file).context()
    with_certificate = ClientTls(authority.ca_file, mine.cert_file, mine.key_file).context()
    assert await follows(control, without, node) == 401
    assert plane.hub.refusals.counts()["no-certificate"] == 1
    assert await follows(control, with_certificate, node) == 101
    assert await follows(control, with_certificate, "cdn_no_token") == 401
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {admin}"}) as client:
        async with client.get(f"{control.control.url}/v1/status", ssl=without) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.get(f"{control.control.url}/v1/status")
    strangers = Authority(tmp_path / "strangers").issue("e1")
    of_others = ClientTls(authority.ca_file, strangers.cert_file, strangers.key_file).context()
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await follows(control, of_others, node)


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as refused:
        read_control_role(path)
    return f"{refused.value}\n" + "\n".join(refused.value.details)


def test_files_that_cannot_be_used_are_named_with_their_line(tmp_path: Path, authority: Authority) -> None:
    path = written(tmp_path, authority, 'client_ca_file = "missing.pem"')
    assert f"line 9: control.client_ca_file: {tmp_path / 'missing.pem'} cannot be read" in refusal(path)
    text = path.read_text()
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("key_file")))
    assert "control.key_file: cert_file is there and key_file is not" in refusal(path)
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("key_file", "cert_file"))))
    assert "control.cert_file: without cert_file there is no TLS" in refusal(path)


EDGE = """
[edge]
node_id = "n1"
data_dir = "data"
zone = "cdn.localhost"
control_url = "https://127.0.0.1:8700"
{more}
[store]
url = "bytes"
"""


def edge_refusal(tmp_path: Path, more: str) -> str:
    path = tmp_path / "edge.toml"
    path.write_text(EDGE.replace("{more}", more))
    with pytest.raises(InvalidInput) as refused:
        read_edge_role(path, {"CDN_NODE_TOKEN": "cdn_a_b"})
    return f"{refused.value}\n" + "\n".join(refused.value.details)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('[shield]\nurls = ["10.0.0.5:8444"]', "line 8: shield.urls: '10.0.0.5:8444' is not the URL of a shield"),
        ('[shield]\nurls = ["https://10.0.0.5:8444/x"]', "is not the URL of a shield: write https://HOST:PORT"),
        ('[shield]\nurls = ["https://a:b@10.0.0.5"]', "is not the URL of a shield"),
        ('[shield]\nurls = ["https://10.0.0.5:99999"]', "is no URL"),
        ('[shield]\nurls = ["https://a", "https://a"]', "a shield is named twice"),
        (f"[shield]\nurls = {[f'https://10.0.0.{n}' for n in range(1, 35)]}", "34 shields are more than 32"),
        ('[shield]\nurl = ["https://10.0.0.5:8444"]', "there is no such setting"),
        ('[shield]\nregion = "No Region"', "shield.region"),
        ("[shield]\npatience_s = 0", "is not above 0"),
        ('[shield]\ncert_file = "x.pem"', "shield.key_file: cert_file is there and key_file is not"),
        ('[shield]\nca_file = "missing.pem"', "shield.ca_file"),
        ('[peers]\nlisten = "8444"', "is not an address"),
        ('[peers]\nlisten = "127.0.0.1:8444"\nclient_ca_file = "x.pem"', "peers.cert_file: without cert_file"),
        ('[peers]\nlisten = "127.0.0.1:8444"\nurl = "nonsense"', "is not the URL of a shield"),
        ('[control_tls]\nca_file = "missing.pem"', "control_tls.ca_file"),
        ('[peer]\nlisten = "127.0.0.1:8444"', "did you mean peers?"),
    ],
)
def test_settings_of_shields_that_cannot_be_are_named(tmp_path: Path, more: str, sentence: str) -> None:
    assert sentence in edge_refusal(tmp_path, more)


def test_settings_of_shields(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "edge.toml"
    shown = authority.issue("n1", "IP:127.0.0.1")
    more = (
        '[shield]\nurls = ["https://10.0.0.5:8444", "http://[::1]:80/"]\nregion = "eu"\n'
        f'[peers]\nlisten = "127.0.0.1:8444"\nurl = "https://10.0.0.5:8444"\n{shown.toml()}'
    )
    path.write_text(EDGE.replace("{more}", more))
    edge = read_edge_role(path, {"CDN_NODE_TOKEN": "cdn_a_b"}).edge
    assert (edge.shield.urls, edge.shield.region) == (("https://10.0.0.5:8444", "http://[::1]:80/"), "eu")
    assert (edge.peers.host, edge.peers.port, edge.peers.is_on) == ("127.0.0.1", 8444, True)
    assert edge.peers.tls is not None
    path.write_text(EDGE.replace("{more}", ""))
    plain = read_edge_role(path, {"CDN_NODE_TOKEN": "cdn_a_b"}).edge
    assert (plain.peers.is_on, plain.peers.tls, plain.shield.urls) == (False, None, ())
