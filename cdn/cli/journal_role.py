"""The table [journal] of control's settings: where the journal is, when it is not a file of this control's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdn.cli.secret_setting import secret_setting
from cdn.cli.settings_file import SettingsFile
from cdn.errors import InvalidInput
from cdn.journal.jetstream_settings import MAX_JOURNAL_BYTES, JetStreamSettings
from cdn.journal.nats_settings import NatsSettings

NATS_PASSWORD = "CDN_NATS_PASSWORD"  # noqa: S105 - the name of the variable that holds it
NATS_TOKEN = "CDN_NATS_TOKEN"  # noqa: S105 - the name of the variable that holds it


@dataclass(frozen=True, slots=True)
class JournalRole:
    """The journal on NATS JetStream, which several replicas of control share. Without `servers`: SQLite in data_dir."""

    servers: tuple[str, ...] = ()
    """URLs of NATS servers, nats://HOST:PORT or tls://HOST:PORT, in any order."""
    name: str = "cdn"
    """Keeps the journals of several CDNs on the same servers apart."""
    replicas: int = 3
    """How many servers hold each record: 1, 3 or 5."""
    domain: str = ""
    """The JetStream domain of the journal, where the servers have domains."""
    max_bytes: int = MAX_JOURNAL_BYTES
    """What the journal may take on each server's disk."""
    credentials_file: Path | None = None
    """A user's JWT and seed, as `nsc` writes them."""
    nkey_seed_file: Path | None = None
    """A user's seed alone."""
    user: str | None = None
    """A user with a password, which is in password_file or in CDN_NATS_PASSWORD."""
    password_file: Path | None = None
    """The file with the user's password; the environment's CDN_NATS_PASSWORD goes before it."""
    token_file: Path | None = None
    """The file with the servers' token; the environment's CDN_NATS_TOKEN goes before it."""
    tls_ca_file: Path | None = None
    """Authorities in PEM form that are trusted in place of those of the system."""
    tls_certificate_file: Path | None = None
    """The certificate with which control shows who it is."""
    tls_key_file: Path | None = None
    """The certificate's key."""
    tls_hostname: str | None = None
    """The name in the servers' certificates, where it is not that of their URLs."""


def journal_settings(file: SettingsFile, environ: Mapping[str, str]) -> JetStreamSettings | None:
    """The journal that the file names; None: SQLite. Raises InvalidInput, which never repeats a secret."""
    role = file.made("journal", JournalRole)
    if not role.servers:
        if role != JournalRole():
            raise file.fault("journal", "servers", "the other settings of [journal] need this one: name NATS servers")
        return None
    if role.password_file is not None and role.user is None:
        raise file.fault("journal", "user", "a password is given, and no user")
    password = (
        secret_setting(file, "journal", "password_file", role.password_file, NATS_PASSWORD, environ)
        if role.user
        else None
    )
    token = secret_setting(file, "journal", "token_file", role.token_file, NATS_TOKEN, environ)
    try:
        nats = NatsSettings(
            role.servers,
            credentials_file=role.credentials_file,
            nkey_seed_file=role.nkey_seed_file,
            user=role.user,
            password=password,
            token=token,
            tls_ca_file=role.tls_ca_file,
            tls_certificate_file=role.tls_certificate_file,
            tls_key_file=role.tls_key_file,
            tls_hostname=role.tls_hostname,
        )
        nats.check_files()
        return JetStreamSettings(
            nats, name=role.name, replicas=role.replicas, domain=role.domain, max_bytes=role.max_bytes
        )
    except InvalidInput as exc:
        raise file.fault("journal", exc.field or "", exc.message) from exc
