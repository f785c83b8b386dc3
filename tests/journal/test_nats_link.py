"""Logging in to NATS, TLS, settings that contradict themselves, and names of subjects."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nkeys
import pytest

from cdn.errors import InvalidInput
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_subject import MAX_TOKEN_OCTETS, subject_token
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink
from cdn.journal.nats_settings import NatsSettings
from cdn.journal.recent_records import RecentRecords
from cdn.journal.record import Record, UnknownRecord
from tests.journal.ledger import purge
from tests.servers.nats import start_single, stop_layout


async def _can_append(settings: NatsSettings) -> None:
    journal = await JetStreamJournal.open(JetStreamSettings(settings, "j", replicas=1, max_bytes=1024 * 1024))
    assert isinstance(await journal.append(purge("/1"), expected_sequence=0), Record)
    await journal.wait_beyond(0)
    await journal.aclose()


async def _is_refused(settings: NatsSettings, because: str) -> None:
    began = time.monotonic()
    with pytest.raises(JournalUnavailable, match=because):
        await NatsLink.open(replace(settings, patience_s=1.5, connect_timeout_s=0.5), name="stranger")
    assert time.monotonic() - began < 5


def _key(make: Callable[[bytearray], bytes]) -> tuple[str, str]:
    """A new seed and its public key. `make` adds the prefix of the key's kind."""
    seed = make(bytearray(os.urandom(32)))
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


def _seed(kind: int) -> tuple[str, str]:
    return _key(lambda raw: bytes(nkeys.encode_seed(bytes(raw), kind)))


async def test_a_user_and_password_let_in_and_others_are_refused_by_name(tmp_path: Path) -> None:
    layout = start_single(tmp_path / "nats", extra='authorization { user: "control", password: "s3cret" }\n')
    try:
        good = NatsSettings(layout.urls, user="control", password="s3cret")
        await _can_append(good)
        await _is_refused(replace(good, password="wrong"), "(?i)authorization")
        await _is_refused(NatsSettings(layout.urls), "(?i)authorization")
    finally:
        stop_layout(layout)


async def test_a_token_lets_in(tmp_path: Path) -> None:
    layout = start_single(tmp_path / "nats", extra='authorization { token: "t0ken" }\n')
    try:
        await _can_append(NatsSettings(layout.urls, token="t0ken"))
        await _is_refused(NatsSettings(layout.urls, token="other"), "(?i)authorization")
    finally:
        stop_layout(layout)


async def test_an_nkey_lets_in(tmp_path: Path) -> None:
    seed, public = _seed(nkeys.PREFIX_BYTE_USER)
    other, _ = _seed(nkeys.PREFIX_BYTE_USER)
    layout = start_single(tmp_path / "nats", extra=f"authorization {{ users: [ {{ nkey: {public} }} ] }}\n")
    try:
        for name, content in (("good", seed), ("other", other)):
            (tmp_path / name).write_text(content)
        await _can_append(NatsSettings(layout.urls, nkey_seed_file=tmp_path / "good"))
        await _is_refused(NatsSettings(layout.urls, nkey_seed_file=tmp_path / "other"), "(?i)authorization")
        with pytest.raises(InvalidInput, match="missing"):
            await NatsLink.open(NatsSettings(layout.urls, nkey_seed_file=tmp_path / "missing"), name="x")
    finally:
        stop_layout(layout)


def _signed(claims: dict[str, Any], seed: str) -> str:
    """A JWT as NATS wants it: signed with an Ed25519 key."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    head = part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode()) + "." + part(json.dumps(claims).encode())
    return head + "." + part(nkeys.from_seed(bytearray(seed.encode())).sign(head.encode()))


async def test_a_credentials_file_lets_in(tmp_path: Path) -> None:
    operator_seed, operator = _seed(nkeys.PREFIX_BYTE_OPERATOR)
    account_seed, account = _seed(nkeys.PREFIX_BYTE_ACCOUNT)
    _, system = _seed(nkeys.PREFIX_BYTE_ACCOUNT)
    user_seed, user = _seed(nkeys.PREFIX_BYTE_USER)
    common = {"iat": 1_700_000_000, "jti": "x"}
    bounds = ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams")
    unbounded: dict[str, Any] = dict.fromkeys((*bounds, "consumer"), -1) | {"wildcards": True}
    plain = {name: bound for name, bound in unbounded.items() if not name.endswith(("storage", "streams", "consumer"))}

    def claims(key: str, kind: str, **more: Any) -> dict[str, Any]:
        return common | {"iss": operator, "sub": key, "name": kind, "nats": {"type": kind, "version": 2} | more}

    operator_jwt = _signed(claims(operator, "operator", system_account=system), operator_seed)
    account_jwt = _signed(claims(account, "account", limits=unbounded), operator_seed)
    system_jwt = _signed(claims(system, "account", limits=plain), operator_seed)
    limits = {"subs": -1, "data": -1, "payload": -1}
    user_jwt = _signed(
        common | {"iss": account, "sub": user, "name": "u", "nats": {"type": "user", "version": 2} | limits},
        account_seed,
    )
    layout = start_single(
        tmp_path / "nats",
        extra=f"operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}\n",
    )
    credentials = tmp_path / "user.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user_seed}\n------END USER NKEY SEED------\n"
    )
    try:
        await _can_append(NatsSettings(layout.urls, credentials_file=credentials))
        await _is_refused(NatsSettings(layout.urls), "(?i)authorization")
    finally:
        stop_layout(layout)


def _certificate(folder: Path, name: str, *, authority: str | None = None, names: str = "DNS:journal.example") -> None:
    """`NAME.pem` and `NAME.key`, signed by `authority` or by itself."""
    signer = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"] if authority else []
    purpose = "basicConstraints=CA:FALSE" if authority else "basicConstraints=critical,CA:TRUE"
    extensions = ["-addext", f"subjectAltName={names}", "-addext", purpose]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "3", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *extensions,
            *signer,
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )


async def test_tls_proves_both_sides(tmp_path: Path) -> None:
    _certificate(tmp_path, "ca")
    _certificate(tmp_path, "server", authority="ca")
    _certificate(tmp_path, "client", authority="ca")
    _certificate(tmp_path, "strange")
    files = ", ".join(
        f'{key}: "{tmp_path / name}"' for key, name in (("cert_file", "server.pem"), ("key_file", "server.key"))
    )
    layout = start_single(
        tmp_path / "nats", extra=f'tls {{ {files}, ca_file: "{tmp_path / "ca.pem"}", verify: true }}\n', scheme="tls"
    )
    good = NatsSettings(
        layout.urls,
        tls_ca_file=tmp_path / "ca.pem",
        tls_certificate_file=tmp_path / "client.pem",
        tls_key_file=tmp_path / "client.key",
        tls_hostname="journal.example",
    )
    try:
        await _can_append(good)
        await _is_refused(replace(good, tls_ca_file=tmp_path / "strange.pem"), "(?i)certificate")
        await _is_refused(replace(good, tls_hostname="other.example"), "(?i)hostname|certificate")
        await _is_refused(replace(good, tls_certificate_file=None, tls_key_file=None), "NATS at tls://")
        with pytest.raises(InvalidInput, match="TLS file"):
            await NatsLink.open(replace(good, tls_key_file=tmp_path / "strange.key"), name="x")
    finally:
        stop_layout(layout)


async def test_servers_that_are_not_there_are_named_in_time() -> None:
    await _is_refused(
        NatsSettings(("nats://127.0.0.1:1", "nats://127.0.0.1:2")), "nats://127.0.0.1:1, nats://127.0.0.1:2"
    )


@pytest.mark.parametrize(
    ("options", "because"),
    [
        ({"servers": ()}, "no NATS server"),
        ({"servers": ("http://x",)}, "is not the URL"),
        ({"servers": ("nats://user:secret@x:4222",)}, "carries a login"),
        ({"user": "u"}, "belong together"),
        ({"token": "t", "user": "u", "password": "p"}, "more than one way"),
        ({"tls_key_file": Path("k")}, "belong together"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(options: dict[str, Any], because: str) -> None:
    with pytest.raises(InvalidInput, match=because) as refused:
        NatsSettings(**({"servers": ("nats://x:4222",)} | options))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("options", [{"name": "A b"}, {"name": ""}, {"replicas": 2}, {"mirror_domain": "leaf"}])
def test_a_journal_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        JetStreamSettings(NatsSettings(("nats://x:4222",)), **options)


def test_every_subject_has_a_token_of_its_own_that_nats_takes() -> None:
    subjects = [
        "",
        "a",
        "A",
        "a.b",
        "a b",
        "a*",
        ">",
        "=",
        "=2E",
        ".",
        "é",
        "alias/s1/production",
        "x" * 5000,
        "x" * 5001,
    ]
    subjects += ["\n", "\r\n", "\udcff", "$", "==a"]
    tokens = [subject_token(subject) for subject in subjects]
    assert len(set(tokens)) == len(subjects)
    for token in tokens:
        assert 0 < len(token) <= MAX_TOKEN_OCTETS
        assert not set(token) & set(" .*>\r\n\t$")
    assert subject_token("alias/s1/production") == "alias/s1/production"


def test_recent_records_are_one_run_within_their_bound() -> None:
    recent = RecentRecords(max_bytes=30)
    for sequence in range(5, 9):
        recent.add(sequence, UnknownRecord(str(sequence)), 10)
    assert recent.first == 6
    assert recent.after(4, 10) == ()
    with pytest.raises(UnknownRecord, match="6"):
        recent.after(5, 10)
    recent.add(20, UnknownRecord("20"), 10)
    assert recent.first == 20
    assert recent.after(7, 10) == ()
    recent.forget_through(20)
    assert recent.after(19, 10) == ()
    assert recent.first == 21
