"""What `cdn edge` is told of https."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.cli.role_settings import read_edge_role
from cdn.errors import InvalidInput
from cdn.tls.sealed import make_key_file

EDGE = """[edge]
node_id = "edge-1"
data_dir = "data"
zone = "cdn.example.net"
control_url = "https://control.example.net"
{more}
[store]
url = "store"
"""

TOKEN = {"CDN_NODE_TOKEN": "cdn_abc_def"}


def written(folder: Path, more: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(EDGE.format(more=more))
    return path


def test_https_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    edge = read_edge_role(written(tmp_path, ""), TOKEN).edge
    assert (edge.https_port, edge.edge_key_file, edge.key_groups) == (None, None, ("",))


def test_where_https_is_answered_and_with_which_key(tmp_path: Path) -> None:
    make_key_file(tmp_path / "edge-key")
    more = (
        'region = "eu"\nhttps_listen = "0.0.0.0:4443"\npublic_https_port = 443\nedge_key_file = "edge-key"\n'
        "[edge.tls]\nmax_handshakes = 7"
    )
    edge = read_edge_role(written(tmp_path, more), TOKEN).edge
    assert (edge.https_host, edge.https_port, edge.public_https_port) == ("0.0.0.0", 4443, 443)
    assert edge.edge_key_file == tmp_path / "edge-key"
    assert edge.key_groups == ("eu", "")
    assert edge.tls.max_handshakes == 7


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('https_listen = "0.0.0.0:443"', "edge_key_file"),
        ('https_listen = "0.0.0.0:443"\nedge_key_file = "nowhere"', "line 7"),
        ('edge_key_file = "edge.toml"', "line 6"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_edge_role(written(tmp_path, more), TOKEN)
    whole = " ".join((caught.value.message, *caught.value.details))
    assert said in whole
    assert "edge_key_file" in whole
