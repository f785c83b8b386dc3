"""The table [journal] of `cdn control`: SQLite unless servers are named; secrets from files or the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cdn.cli.role_settings import ControlRole, read_control_role
from cdn.errors import InvalidInput

CONTROL = '[control]\ndata_dir = "data"\nzone = "cdn.localhost"\n[store]\nurl = "bytes"\n'
SERVERS = 'servers = ["nats://127.0.0.1:4222", "nats://127.0.0.1:4223"]\n'


def read(folder: Path, journal: str, environ: Mapping[str, str] | None = None) -> ControlRole:
    file = folder / "control.toml"
    file.write_text(f"{CONTROL}[journal]\n{journal}")
    return read_control_role(file, environ or {})


def refusal(folder: Path, journal: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(InvalidInput) as refused:
        read(folder, journal, environ)
    return " ".join((refused.value.message, *refused.value.details))


@pytest.mark.parametrize("journal", ["", 'name = "cdn"\nreplicas = 3\n'])
def test_without_servers_the_journal_is_sqlite(tmp_path: Path, journal: str) -> None:
    assert read(tmp_path, journal).journal is None


def test_settings_without_servers_would_do_nothing(tmp_path: Path) -> None:
    assert "journal.servers: the other settings of [journal] need this one" in refusal(tmp_path, "replicas = 1")


def test_servers_name_a_journal_on_jetstream(tmp_path: Path) -> None:
    settings = read(tmp_path, SERVERS + 'name = "blue"\nreplicas = 1\nmax_bytes = 1000000').journal
    assert settings is not None
    assert settings.nats.servers == ("nats://127.0.0.1:4222", "nats://127.0.0.1:4223")
    assert (settings.name, settings.replicas, settings.max_bytes) == ("blue", 1, 1_000_000)
    assert (settings.nats.user, settings.nats.token) == (None, None)


def test_secrets_come_from_files_and_before_them_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("of-the-file\n")
    journal = SERVERS + 'user = "control"\npassword_file = "password"'
    first = read(tmp_path, journal).journal
    second = read(tmp_path, journal, {"CDN_NATS_PASSWORD": "of-the-environment"}).journal
    assert first is not None
    assert second is not None
    assert (first.nats.password, second.nats.password) == ("of-the-file", "of-the-environment")
    token = read(tmp_path, SERVERS, {"CDN_NATS_TOKEN": "told"}).journal
    assert token is not None
    assert token.nats.token == "told"


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        (SERVERS + "replicas = 2", "a journal cannot have 2 replicas: choose 1, 3 or 5"),
        ('servers = ["http://127.0.0.1"]', "is not the URL of a NATS server"),
        (SERVERS + 'user = "control"', "a NATS user and its password belong together"),
        (SERVERS + 'token_file = "missing"', "line 8: journal.token_file: "),
        (SERVERS + 'password_file = "x"\nuser = "u"', "x cannot be read"),
        (SERVERS + 'tls_ca_file = "missing.pem"', "a TLS file for NATS cannot be used"),
        (SERVERS + 'credentials_file = "missing"', "a login for NATS cannot be read"),
        (SERVERS + "replica = 3", "did you mean replicas?"),
    ],
)
def test_faults_are_named(tmp_path: Path, journal: str, said: str) -> None:
    assert said in refusal(tmp_path, journal)
    assert "of-the-file" not in refusal(tmp_path, journal)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert "is empty" in refusal(tmp_path, SERVERS + 'token_file = "token"')
    assert "CDN_NATS_TOKEN is set and empty" in refusal(tmp_path, SERVERS, {"CDN_NATS_TOKEN": " "})
