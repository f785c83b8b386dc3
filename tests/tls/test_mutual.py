"""Certificates between nodes: who has none, or one of another authority, is not let in."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from cdn.errors import InvalidInput
from cdn.tls.mutual import ClientTls, ServerTls, require_pair, shows_certificate
from tests.servers.authority import Authority, Issued


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "others")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    return authority.issue("server", "IP:127.0.0.1")


async def shown(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether a client that got in was seen to show a certificate. Raises what either side makes of the other."""
    seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(shows_certificate(writer.transport))
        writer.write(b"in")
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server)
    try:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="127.0.0.1")
        try:
            assert await reader.readexactly(2) == b"in"
        finally:
            writer.transport.abort()
        return await seen
    finally:
        listening.close()


async def test_both_sides_know_each_other(authority: Authority, server: Issued) -> None:
    mine = authority.issue("edge-1")
    tls = ServerTls(server.cert_file, server.key_file, authority.ca_file)
    client = ClientTls(authority.ca_file, mine.cert_file, mine.key_file)
    assert await shown(tls.context(), client.context())
    assert await shown(tls.context(requires_certificate=False), client.context())


async def test_who_shows_none_is_not_let_in_unless_another_looks(authority: Authority, server: Issued) -> None:
    tls = ServerTls(server.cert_file, server.key_file, authority.ca_file)
    client = ClientTls(authority.ca_file).context()
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await shown(tls.context(), client)
    assert not await shown(tls.context(requires_certificate=False), client)


async def test_a_certificate_of_another_authority_is_none(
    authority: Authority, other: Authority, server: Issued
) -> None:
    tls = ServerTls(server.cert_file, server.key_file, authority.ca_file)
    theirs = other.issue("edge-1")
    client = ClientTls(authority.ca_file, theirs.cert_file, theirs.key_file).context()
    for requires in (True, False):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await shown(tls.context(requires_certificate=requires), client)


async def test_a_server_of_another_authority_or_name_is_not_spoken_to(
    authority: Authority, other: Authority, server: Issued
) -> None:
    tls = ServerTls(server.cert_file, server.key_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        await shown(tls.context(), ClientTls(other.ca_file).context())
    with pytest.raises(ssl.SSLCertVerificationError):
        await shown(tls.context(), ClientTls().context())
    elsewhere = authority.issue("elsewhere", "IP:127.0.0.9")
    with pytest.raises(ssl.SSLCertVerificationError):
        await shown(
            ServerTls(elsewhere.cert_file, elsewhere.key_file).context(), ClientTls(authority.ca_file).context()
        )


def test_no_transport_shows_nothing() -> None:
    assert not shows_certificate(None)


def test_a_certificate_without_its_key_is_refused(authority: Authority, server: Issued) -> None:
    with pytest.raises(InvalidInput, match="cert_file is there and key_file is not"):
        ClientTls(None, server.cert_file, None)
    with pytest.raises(InvalidInput, match="key_file is there and cert_file is not"):
        require_pair(None, server.key_file)


@pytest.mark.parametrize("kind", ["missing", "nonsense", "other-key", "password"])
def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority, server: Issued, kind: str) -> None:
    file = tmp_path / "file.pem"
    if kind == "nonsense":
        file.write_text("nonsense")
    elif kind == "other-key":
        file.write_bytes(authority.issue("another").key_file.read_bytes())
    elif kind == "password":
        words = [
            "openssl",
            "pkcs8",
            "-topk8",
            "-in",
            str(server.key_file),
            "-out",
            str(file),
            "-passout",
            "pass:secret",
        ]
        subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(InvalidInput, match=str(file)) as refused:
        ServerTls(server.cert_file, file).context()
    assert refused.value.field == ("key_file" if kind == "missing" else "cert_file")
    if kind in {"missing", "nonsense"}:
        with pytest.raises(InvalidInput, match=str(file)) as refused:
            ClientTls(file).context()
        assert refused.value.field == "ca_file"
        with pytest.raises(InvalidInput, match=str(file)):
            ServerTls(server.cert_file, server.key_file, file).context()
