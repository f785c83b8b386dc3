"""The files of `cdn control` and `cdn edge`: complete, checked in full, faults named by line, secrets never shown."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from cdn.cli.address import Address
from cdn.cli.issuing_role import IssuingRole, SealingFiles
from cdn.cli.journal_role import JournalRole
from cdn.cli.role_settings import (
    CONTROL_FILE,
    EDGE_FILE,
    ControlProcess,
    EdgeProcess,
    PeersProcess,
    read_control_role,
    read_edge_role,
)
from cdn.cli.settings_file import LIMITS, Section, SettingsFile
from cdn.cli.store_role import StoreRole
from cdn.control.acme_settings import AcmeSettings, IssuingSettings
from cdn.control.dns_asker import LookupSettings
from cdn.control.settings import ControlSettings
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.settings import EdgeSettings
from cdn.edge.shield_settings import PeerSettings, ShieldSettings
from cdn.errors import InvalidInput
from cdn.tls.mutual import ClientTls
from cdn.tls.sealed import make_key_file

CONFIG = Path(__file__).resolve().parents[2] / "config"
SECRET = "cdn_0123456789abcdef_" + "5" * 64

CONTROL = """
[control]
data_dir = "data"
zone = "cdn.localhost"
[store]
url = "bytes"
"""
EDGE = """
[edge]
node_id = "n1"
data_dir = "data"
zone = "cdn.localhost"
control_url = "http://127.0.0.1:8700"
token_file = "token"
[store]
url = "s3://bucket/prefix"
endpoint_url = "http://127.0.0.1:8333"
"""


def documented(path: Path) -> dict[str, dict[str, Any]]:
    """Tables of an example with the values that stand there; what is commented out has the value None."""
    text = re.sub(r"^# (\w+) = .*$", lambda found: f'{found[1]} = "(none)"', path.read_text(), flags=re.MULTILINE)
    return {
        name: {key: None if value == "(none)" else value for key, value in table.items()}
        for name, table in tomllib.loads(text).items()
    }


def defaults_of(*settings: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in settings:
        for field in fields(each):
            if field.default_factory is not MISSING:
                found[field.name] = field.default_factory()
            elif field.default is not MISSING:
                found[field.name] = field.default
    return found


@pytest.mark.parametrize(
    ("name", "sections", "settings"),
    [
        ("control", CONTROL_FILE, (ControlSettings, ControlProcess, SealingFiles)),
        ("edge", EDGE_FILE, (EdgeSettings, EdgeProcess)),
    ],
)
def test_the_example_and_the_limits_name_every_setting_once_with_its_default(
    name: str, sections: Mapping[str, Section], settings: tuple[type[Any], ...]
) -> None:
    document = documented(CONFIG / f"{name}.toml")
    assert document.keys() == sections.keys() - LIMITS.keys() | {name}
    assert document["store"].keys() == sections["store"].keys.keys()
    own = document[name].keys()
    assert own | LIMITS[name].keys.keys() == sections[name].keys.keys()
    assert not own & LIMITS[name].keys.keys(), "these stand in limits.toml"
    shared: dict[str, tuple[type[Any], ...]] = {
        "store": (StoreRole,),
        "journal": (JournalRole,),
        "acme": (AcmeSettings, IssuingSettings),
        "lookups": (LookupSettings,),
        "access_log": (AccessLogSettings,),
        "shield": (ShieldSettings,),
        "peers": (PeersProcess, PeerSettings),
        "control_tls": (ClientTls,),
    }
    for table, classes in ((name, settings), *((each, shared[each]) for each in document.keys() - {name})):
        assert table == name or document[table].keys() == sections[table].keys.keys()
        defaults = defaults_of(*classes)
        for key, value in document[table].items():
            if key in sections[table].required:
                assert value is not None, key
            else:
                default = defaults[key]
                shown = str(default) if isinstance(default, Address) else default
                assert value == shown or (isinstance(shown, tuple) and tuple(value or ()) == shown), key


def test_the_limits_can_stand_in_a_roles_file(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_text(CONTROL.replace("[store]", "max_sites = 3\n[control.bundle]\nmax_files = 4\n[store]"))
    role = read_control_role(file)
    assert (role.control.max_sites, role.control.bundle.max_files) == (3, 4)


def test_a_lease_lasts_several_heartbeats(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_text(CONTROL.replace("[store]", "heartbeat_s = 4\n[store]"))
    assert "control.detach_after_s: detach_after_s is 10 and heartbeat_s 4: give it at least 3 heartbeats" in refusal(
        lambda: read_control_role(file)
    )


def test_paths_begin_at_the_files_folder(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_text(CONTROL)
    role = read_control_role(file)
    assert role.folder.path == tmp_path / "data"
    assert role.control.data_dir == tmp_path / "data" / "control"
    assert role.store.url == str(tmp_path / "bytes")
    assert role.control.own_bucket is None
    assert role.process == ControlProcess()


def test_control_knows_the_bucket_that_no_site_may_read(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_text(CONTROL.replace('"bytes"', '"s3://own/prefix"'))
    assert read_control_role(file).control.own_bucket == "own"
    file.write_text(CONTROL.replace("[store]", "own_bucket = 'other'\n[store]"))
    assert "control.own_bucket: there is no such setting" in refusal(lambda: read_control_role(file))


def test_an_edge_is_told_everything(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    file = tmp_path / "edge.toml"
    file.write_text(EDGE.replace("[store]", 'listen = ":80"\nregion = "eu"\n[edge.http]\nmax_fields = 7\n[store]'))
    role = read_edge_role(file, {})
    edge = role.edge
    assert (edge.node_id, edge.token, edge.host, edge.port, edge.region) == ("n1", SECRET, "0.0.0.0", 80, "eu")
    assert (edge.own_bucket, edge.s3_endpoint, edge.limits.max_fields) == ("bucket", "http://127.0.0.1:8333", 7)
    assert role.process.token_file == tmp_path / "token"


def test_the_environments_token_goes_before_the_files(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(EDGE)
    assert read_edge_role(file, {"CDN_NODE_TOKEN": f" {SECRET}\n"}).edge.token == SECRET


def refusal(read: Any) -> str:
    with pytest.raises(InvalidInput) as refused:
        read()
    return "\n".join((refused.value.message, *refused.value.details))


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(
        "[edge]\n"
        "node-id = 'n1'\n"
        "trusted_proxies = [  # of two lines\n"
        "  '10.0.0.1/8' ]\n"
        "listen = '127.0.0.1'\n"
        "control_url = 'http://user:hunter2@c'\n"
        "endpoint_url = 'http://s3'\n"
        "withdraw_s = nan\n"
        "zone = 'UPPER zone'\n"
        "[edge.http]\n"
        "max_feilds = 3\n"
        "[control]\n"
        "zone = 'z'\n"
    )
    said = refusal(lambda: read_edge_role(file, {"CDN_NODE_TOKEN": SECRET}))
    for expected in (
        "edge.toml has 12 wrong settings",
        "line 1: edge.node_id: this setting is needed, and missing",
        "line 1: edge.data_dir: this setting is needed, and missing",
        "line 2: edge.node-id: there is no such setting; did you mean node_id?",
        "line 3: edge.trusted_proxies: 10.0.0.1/8 has host bits set",
        "line 5: edge.listen: '127.0.0.1' is not an address",
        "line 6: edge.control_url: leave user and password out of the URL",
        "line 7: edge.endpoint_url: there is no such setting here; it belongs into [store]",
        "line 8: edge.withdraw_s: nan is no number",
        "line 9: edge.zone: ",
        "line 11: edge.http.max_feilds: there is no such setting; did you mean max_fields?",
        "line 12: [control]: there is no such setting",
        "store.url: this setting is needed, and missing",
    ):
        assert expected in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("proxy_protocol = true", "edge.trusted_proxies: proxy_protocol is true"),
        ("max_in_memory_bytes = 99999999", "line 8: edge.max_in_memory_bytes: "),
        ("extra_ca_file = 'nowhere.pem'", "line 8: edge.extra_ca_file: The file "),
        ("[access_log]\nfile = 'absent/access.log'", "line 9: access_log.file: the access log cannot be written to"),
        ("region = 'Über'", "line 8: edge.region: "),
        ("node_id_ = 3", "line 8: edge.node_id_: there is no such setting; did you mean node_id?"),
        (
            "[edge.http2]\nheader_table_bytes = 5000000000",
            "line 9: edge.http2.header_table_bytes: header",
        ),
        ("[edge.http2]\nmax_concurrent_streams = 4294967296", "edge.http2.max_concurrent_streams: max_concurrent_"),
        ("[edge.http2]\nstream_window_bytes = 2147483648", "stream_window_bytes is 2147483648, give 1 to 2147483647"),
        ("[edge.http2]\nconnection_window_bytes = 65534", "connection_window_bytes is 65534, give 65535 to 2147483647"),
    ],
)
def test_what_only_shows_in_the_whole_is_named_with_its_line_too(tmp_path: Path, more: str, expected: str) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(EDGE.replace("[store]", f"{more}\n[store]"))
    assert expected in refusal(lambda: read_edge_role(file, {"CDN_NODE_TOKEN": SECRET}))


@pytest.mark.parametrize("url", ["", "s3://", "s3:///prefix", "https://bucket"])
def test_a_store_that_is_none_is_named(tmp_path: Path, url: str) -> None:
    file = tmp_path / "control.toml"
    file.write_text(CONTROL.replace('"bytes"', f'"{url}"'))
    assert "line 6: store.url: is neither s3://BUCKET/PREFIX nor the path" in refusal(lambda: read_control_role(file))


@pytest.mark.parametrize("key", ["token", "token_file", "listen", "node_id", "control_url"])
def test_a_token_in_the_file_is_never_repeated(tmp_path: Path, key: str) -> None:
    file = tmp_path / "edge.toml"
    text = re.sub(rf"^{key} = .*\n", "", EDGE, flags=re.MULTILINE)
    file.write_text(text.replace("[store]", f'{key} = "{SECRET}"\n[store]'))
    said = refusal(lambda: read_edge_role(file, {}))
    assert f"edge.{key}: " in said
    assert "5555" not in said
    assert "token" in said


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no token"),
        (b"secret words", "holds no token"),
        (b"\xff\xfe", "holds no token"),
        (SECRET.encode() + b"\n" + b"5" * 9000, "holds no token"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_token_file_without_a_token_is_named_but_not_shown(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    file = tmp_path / "edge.toml"
    file.write_text(EDGE)
    said = refusal(lambda: read_edge_role(file, {}))
    assert f"line 7: edge.token_file: {tmp_path / 'token'} {expected}" in said
    assert "secret" not in said
    assert "5555" not in said
    wrong = refusal(lambda: read_edge_role(file, {"CDN_NODE_TOKEN": "secret words"}))
    assert "CDN_NODE_TOKEN holds no token" in wrong
    assert "secret" not in wrong


def test_an_edge_needs_a_token(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(EDGE.replace('token_file = "token"\n', ""))
    said = refusal(lambda: read_edge_role(file, {}))
    assert "line 2: edge.token_file: this setting is needed, and missing, unless CDN_NODE_TOKEN" in said


def test_a_file_may_end_its_lines_as_windows_does(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_bytes(CONTROL.replace("zone =", "zoen =").replace("\n", "\r\n").encode())
    assert "line 4: control.zoen: there is no such setting; did you mean zone?" in refusal(
        lambda: SettingsFile.read(file, CONTROL_FILE)
    )


def key_file(path: Path) -> Path:
    make_key_file(path)
    return path


def test_certificates_need_both_key_files(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    key_file(tmp_path / "control.key")
    key_file(tmp_path / "edge.key")
    assert issuing_of(file, "") is None
    assert issuing_of(file, 'control_key_file = "control.key"') is None, "it is enough for hooks"
    said = "certificates need control_key_file beside edge_key_file"
    assert said in refusal(lambda: issuing_of(file, 'edge_key_file = "edge.key"'))
    both = 'control_key_file = "control.key"\nedge_key_file = "edge.key"\n'
    role = issuing_of(file, both)
    assert role is not None
    assert set(role.rings) == {""}
    assert "edge.keys cannot be read" in refusal(lambda: issuing_of(file, both.replace(".key", ".keys")))
    directory = '[acme]\ndirectories = ["https://acme.example/directory"]\n'
    assert "certificates need control_key_file" in refusal(lambda: issuing_of(file, "", directory))
    role = issuing_of(file, both, directory)
    assert role is not None
    assert role.acme.directories == ("https://acme.example/directory",)


def test_regions_may_have_key_files_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    for name in ("control.key", "edge.key", "edge-eu.key"):
        key_file(tmp_path / name)
    control = 'control_key_file = "control.key"\n'
    both = control + 'edge_key_file = "edge.key"\n'
    role = issuing_of(file, both + 'region_key_files = ["eu edge-eu.key"]')
    assert role is not None
    assert set(role.rings) == {"", "eu"}
    for wrong, said in (
        (both + 'region_key_files = ["eu"]', "give each region once"),
        (both + 'region_key_files = ["eu edge-eu.key", "eu edge.key"]', "give each region once"),
        (both + 'region_key_files = ["E_U edge-eu.key"]', "region"),
        (both + 'region_key_files = ["eu nowhere"]', "cannot be read"),
        (control + 'region_key_files = ["eu edge-eu.key"]', "needed beside region_key_files"),
    ):
        assert said in refusal(lambda wrong=wrong: issuing_of(file, wrong))


def test_the_key_of_an_external_account_is_in_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    for name in ("control.key", "edge.key"):
        key_file(tmp_path / name)
    both = 'control_key_file = "control.key"\nedge_key_file = "edge.key"\n'
    acme = '[acme]\ndirectories = ["https://acme.example/directory"]\neab_key_id = "kid-1"\n'
    assert "its key is missing" in refusal(lambda: issuing_of(file, both, acme))
    (tmp_path / "eab").write_text("c2VjcmV0IHNlY3JldCBzZWNyZXQ\n")
    role = issuing_of(file, both, acme + 'eab_key_file = "eab"\n')
    assert role is not None
    assert role.eab_key == "c2VjcmV0IHNlY3JldCBzZWNyZXQ"
    assert "c2VjcmV0IH" not in repr(role)
    role = issuing_of(file, both, acme, {"CDN_ACME_EAB_KEY": "b3RoZXIgb3RoZXIgb3RoZXI"})
    assert role is not None
    assert role.eab_key == "b3RoZXIgb3RoZXIgb3RoZXI"
    said = refusal(lambda: issuing_of(file, both, acme, {"CDN_ACME_EAB_KEY": "c2hvcnQ"}))
    assert "acme.eab_key_id: the key of the external account kid-1 has 5 octets" in said
    assert "c2hvcnQ" not in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('directories = ["letsencrypt"]', "acme.directories: letsencrypt is no directory of an authority"),
        ('directories = ["http://acme.example/directory"]', "give an https:// URL"),
        ('directories = ["https://[::1/directory"]', "is no directory of an authority"),
        ('contacts = ["me@example.com"]', "acme.contacts: no authority can write to me@example.com: give mailto:"),
        ('ca_file = "nowhere.pem"', "nowhere.pem holds no authorities in PEM form that can be read: No such file"),
        ('contacts = ["mailto:me"]', "give mailto:NAME@HOST"),
    ],
)
def test_what_no_authority_takes_is_refused_before_anything_starts(tmp_path: Path, setting: str, said: str) -> None:
    file = tmp_path / "control.toml"
    for name in ("control.key", "edge.key"):
        key_file(tmp_path / name)
    both = 'control_key_file = "control.key"\nedge_key_file = "edge.key"\n'
    assert said in refusal(lambda: issuing_of(file, both, f"[acme]\n{setting}\n"))


def test_control_shares_no_key_with_edges(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    for name in ("control.key", "edge.key"):
        key_file(tmp_path / name)
    said = "it has a key that edges hold too"
    both = 'control_key_file = "control.key"\nedge_key_file = "control.key"\n'
    assert said in refusal(lambda: issuing_of(file, both))
    both = 'control_key_file = "control.key"\nedge_key_file = "edge.key"\n'
    assert said in refusal(lambda: issuing_of(file, both + 'region_key_files = ["eu control.key"]'))


def test_the_limits_of_issuing_are_set_beside_the_authorities(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    for name in ("control.key", "edge.key"):
        key_file(tmp_path / name)
    both = 'control_key_file = "control.key"\nedge_key_file = "edge.key"\n'
    role = issuing_of(file, both)
    assert role is not None
    assert role.limits == IssuingSettings()
    role = issuing_of(file, both, "[acme]\norders_per_hour = 20\nmax_orders = 2\nlapse_s = 86400\n")
    assert role is not None
    assert role.limits == IssuingSettings(orders_per_hour=20.0, max_orders=2, lapse_s=86_400.0)
    assert role.acme == AcmeSettings()
    assert "acme.max_orders: 0 is not above 0" in refusal(lambda: issuing_of(file, both, "[acme]\nmax_orders = 0\n"))
    assert "acme.office_s" in refusal(lambda: issuing_of(file, both, "[acme]\noffice_s = 5\n"))


def issuing_of(
    file: Path, control: str, acme: str = "", environ: Mapping[str, str] = MappingProxyType({})
) -> IssuingRole | None:
    file.write_text(CONTROL.replace("[store]", f"{control}\n{acme}[store]"))
    return read_control_role(file, environ).issuing
