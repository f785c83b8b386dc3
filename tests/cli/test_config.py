from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cdn.cli.config import Config, NotConfigured, config_path, endpoint_from, read_config, write_config
from cdn.errors import InvalidInput

LOCAL = "http://127.0.0.1:8700"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}


def test_the_place_of_the_file(tmp_path: Path) -> None:
    assert config_path({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == Path("/x/cdn/config.json")
    assert config_path({"HOME": "/h"}) == Path("/h/.config/cdn/config.json")
    assert config_path({"HOME": "/h", "XDG_CONFIG_HOME": "relative"}) == Path("/h/.config/cdn/config.json")


def test_what_is_written_is_read_and_only_the_owner_may(environ: dict[str, str]) -> None:
    path = config_path(environ)
    write_config(path, Config(LOCAL, "t1"))
    write_config(path, Config(LOCAL, "t2"))
    assert read_config(path) == Config(LOCAL, "t2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["config.json"]


def test_the_file_serves_when_the_environment_says_nothing(environ: dict[str, str]) -> None:
    write_config(config_path(environ), Config(LOCAL, "filed"))
    endpoint = endpoint_from(environ)
    assert (endpoint.url, endpoint.token) == (LOCAL, "filed")


def test_the_environment_goes_first(environ: dict[str, str]) -> None:
    write_config(config_path(environ), Config(LOCAL, "filed"))
    endpoint = endpoint_from({**environ, "CDN_CONTROL_URL": "https://cdn.example", "CDN_TOKEN": "given"})
    assert (endpoint.url, endpoint.token) == ("https://cdn.example", "given")
    endpoint = endpoint_from({**environ, "CDN_TOKEN": "given"})
    assert (endpoint.url, endpoint.token) == (LOCAL, "given")
    endpoint = endpoint_from({**environ, "CDN_CONTROL_URL": LOCAL + "/"})
    assert endpoint.token == "filed"


def test_a_token_is_not_sent_to_another_control_plane(environ: dict[str, str]) -> None:
    write_config(config_path(environ), Config(LOCAL, "filed"))
    with pytest.raises(NotConfigured, match=r"no token for https://elsewhere\.example"):
        endpoint_from({**environ, "CDN_CONTROL_URL": "https://elsewhere.example"})


def test_a_token_alone_means_the_local_control(environ: dict[str, str]) -> None:
    assert endpoint_from({**environ, "CDN_TOKEN": "given"}).url == LOCAL


def test_nothing_at_all_is_a_sentence(environ: dict[str, str]) -> None:
    with pytest.raises(NotConfigured, match="cdn up"):
        endpoint_from(environ)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"control_url": 5', b"\xff", b'"x"'])
def test_a_damaged_file_is_a_sentence_with_its_name(environ: dict[str, str], content: bytes) -> None:
    path = config_path(environ)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"config\.json is not a config file"):
        endpoint_from(environ)


def test_a_file_that_cannot_be_read_is_a_sentence(environ: dict[str, str]) -> None:
    config_path(environ).mkdir(parents=True)
    with pytest.raises(InvalidInput, match="cannot be read"):
        endpoint_from(environ)
