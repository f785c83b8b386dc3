"""The file of `cdn dns`: complete, checked in full, faults named by line, the token never shown."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from cdn.cli.address import Address
from cdn.cli.dns_settings import DNS_FILE, DnsProcess, read_dns_role
from cdn.dns.geo_settings import GeoSettings
from cdn.dns.rate_limit import RateLimits
from cdn.dns.settings import CheckScheme, CheckSettings, DnsSettings, TcpSettings
from cdn.errors import InvalidInput
from cdn.tls.sealed import make_key_file

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "dns.toml"
SECRET = "cdn_0123456789abcdef_" + "5" * 64
LEAST = """
[dns]
dns_id = "ns-1"
data_dir = "data"
zone = "cdn.localhost"
name_servers = ["ns.example.org"]
hostmaster = "people@example.net"
control_url = "http://127.0.0.1:8700"
token_file = "token"
"""


def refusal(path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        read_dns_role(path, {} if environ is None else environ)
    told = "\n".join((refused.value.message, *refused.value.details))
    assert SECRET not in told
    return told


def test_the_example_names_every_setting_once_with_its_default() -> None:
    text = re.sub(r"^# (\w+) = .*$", lambda found: f'{found[1]} = "(none)"', EXAMPLE.read_text(), flags=re.MULTILINE)
    document = tomllib.loads(text)
    assert document.keys() == DNS_FILE.keys()
    for table, section in DNS_FILE.items():
        assert document[table].keys() == section.keys.keys()
    defaults: dict[str, Any] = {}
    for settings in (DnsSettings, CheckSettings, TcpSettings, GeoSettings, DnsProcess):
        for field in fields(settings):
            if field.default_factory is not MISSING:
                defaults[field.name] = field.default_factory()
            elif field.default is not MISSING:
                defaults[field.name] = field.default
    for key, value in document["dns"].items():
        if key in DNS_FILE["dns"].required:
            assert value != "(none)", key
            continue
        default = defaults[key]
        shown = str(default) if isinstance(default, Address) else default
        shown = [str(each) for each in default] if isinstance(default, tuple) else shown
        shown = shown.value if isinstance(shown, Enum) else shown
        assert value == ("(none)" if shown is None else shown), key


def test_the_example_limits_rates_as_usual() -> None:
    assert tomllib.loads(EXAMPLE.read_text())["rate_limits"] == {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in fields(RateLimits)
    }


def test_the_example_can_be_used() -> None:
    role = read_dns_role(EXAMPLE, {"CDN_DNS_TOKEN": SECRET})
    assert [len(server.ipv4) + len(server.ipv6) for server in role.dns.made_zone().servers] == [2, 1]


def test_everything_is_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    file = tmp_path / "dns.toml"
    file.write_text(f'{LEAST}listen = [":53", "[::]:53"]\ncheck_port = 8080\nmax_tcp_connections = 7\n')
    role = read_dns_role(file, {})
    assert role.process.listen == (Address("0.0.0.0", 53), Address("::", 53))
    assert (role.dns.token, role.dns.data_dir) == (SECRET, tmp_path / "data")
    assert (role.dns.checks.check_port, role.dns.tcp.max_tcp_connections) == (8080, 7)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("answer_nods = 3", "line 10: dns.answer_nods: there is no such setting; did you mean answer_nodes?"),
        ("answer_nodes = 9", "line 10: dns.answer_nodes: answer_nodes is 9, give 1 to 8"),
        ("answer_ttl_s = 0", "line 10: dns.answer_ttl_s: 0 is not above 0"),
        ("listen = []", "line 10: dns.listen: give 1 to 64 addresses"),
        ('listen = ["1.2.3.4"]', "line 10: dns.listen: '1.2.3.4' is not an address"),
        ('listen = ":53"', "line 10: dns.listen: Expected `array`"),
        ('listen = [":53", ":53"]', "line 10: dns.listen: an address stands twice"),
        ("check_port = 70000", "line 10: dns.check_port: 70000 is no port"),
        (f'other_control_urls = ["{SECRET}"]', "line 10: dns.other_control_urls: this is no URL"),
        ('[control_tls]\nca_file = "none.pem"', "line 11: control_tls.ca_file"),
        ('[store]\nurl = "x"', "line 10: [store]: there is no such setting"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, more: str, told: str) -> None:
    (tmp_path / "token").write_text(SECRET)
    assert told in refusal(tmp_path / "dns.toml", LEAST + more + "\n")


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ('"ns.example.org"', '"ns.cdn.localhost"', "line 6: dns.name_servers: ns.cdn.localhost is in the zone"),
        ("people@", "people.", "line 7: dns.hostmaster: 'people.example.net' is no mail address"),
        ('"ns-1"', '"NS"', "line 3: dns.dns_id: 'NS' cannot name a DNS process"),
        ('zone = "cdn.localhost"\n', "", "line 2: dns.zone: this setting is needed, and missing"),
        ('"token"', f'"{SECRET}"', "line 9: dns.token_file: this is a token: write it into a file"),
        ('token_file = "token"\n', "", "unless CDN_DNS_TOKEN holds the token"),
        ('"token"', '"gone"', "line 9: dns.token_file"),
    ],
)
def test_what_has_to_be_there_is_checked_too(tmp_path: Path, before: str, now: str, told: str) -> None:
    (tmp_path / "token").write_text(SECRET)
    assert told in refusal(tmp_path / "dns.toml", LEAST.replace(before, now))


def test_what_is_no_token_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret words")
    told = refusal(tmp_path / "dns.toml", LEAST)
    assert "holds no token: `cdn token create --scope dns:ID` prints one" in told
    assert "secret" not in told
    told = refusal(tmp_path / "dns.toml", LEAST, {"CDN_DNS_TOKEN": "secret words"})
    assert "CDN_DNS_TOKEN holds no token" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('dns_key_file = "none"', "dns.dns_key_file: "),
        ('cookie_secret_file = "none"', "dns.cookie_secret_file: "),
        ('cookie_secret_file = "short"', "dns.cookie_secret_file: a cookie secret has 16 octets"),
        ('check_path = "alive"', "dns.check_path: 'alive' is no path"),
        ('check_scheme = "gopher"', "dns.check_scheme: "),
        ("processes = 65", "dns.processes: processes is 65"),
        ("[rate_limits]\nslip = 101", "rate_limits.slip: slip is 101"),
        ('[rate_limits]\nexempt = ["192.0.2.1/24"]', "rate_limits.exempt: "),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "short").write_text("abcd\n")
    said = refusal(tmp_path / "dns.toml", LEAST + line)
    assert sentence in said
    assert f"line {(LEAST + line).count(chr(10)) + 1}: " in said


def test_more_is_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "cookies").write_text("ab" * 16)
    make_key_file(tmp_path / "key")
    file = tmp_path / "dns.toml"
    file.write_text(
        f'{LEAST}processes = 4\ncheck_scheme = "https"\nhttps_alpn = ["h2"]\ngeo_files = ["a.mmdb", "b.mmdb"]\n'
        'dns_key_file = "key"\ncookie_secret_file = "cookies"\n[rate_limits]\nslip = 0\nexempt = ["::1/128"]\n'
    )
    told = read_dns_role(file, {}).dns
    assert (told.processes, told.checks.check_scheme, told.https_alpn) == (4, CheckScheme.HTTPS, ("h2",))
    assert told.geo.geo_files == (tmp_path / "a.mmdb", tmp_path / "b.mmdb")
    assert told.rate_limits == RateLimits(slip=0, exempt=("::1/128",))
    assert (told.dns_key_file, told.cookie_secret_file) == (tmp_path / "key", tmp_path / "cookies")


@pytest.mark.parametrize(
    ("lines", "announced"),
    [
        ("", ()),
        ('check_scheme = "https"\ncheck_port = 443\n', ("h2",)),
        ('check_scheme = "https"\ncheck_port = 8443\n', ()),
        ("check_port = 443\n", ()),
        ('check_scheme = "https"\ncheck_port = 443\nhttps_alpn = []\n', ()),
        ('https_alpn = ["h3", "h2"]\n', ("h3", "h2")),
    ],
)
def test_what_https_records_announce_where_nothing_is_said(
    tmp_path: Path, lines: str, announced: tuple[str, ...]
) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    file = tmp_path / "dns.toml"
    file.write_text(LEAST + lines)
    assert read_dns_role(file, {}).dns.announced_protocols == announced
