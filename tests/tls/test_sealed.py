"""Secrets at rest: what opens what, and what files of keys may be like."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput, TooLarge
from cdn.tls.sealed import MAX_KEYS, MAX_SECRET_BYTES, KeyRing, Purpose, SealingKey, make_key_file

OLD, NEW = SealingKey(b"o" * 32), SealingKey(b"n" * 32)


def ring(*keys: SealingKey) -> KeyRing:
    return KeyRing(keys, "keys.txt")


@given(secret=st.binary(max_size=200), name=st.text(max_size=40))
def test_what_was_sealed_opens(secret: bytes, name: str) -> None:
    envelope = ring(OLD).sealed(secret, Purpose.ZONE_KEY, name)
    assert ring(OLD).opened(envelope, Purpose.ZONE_KEY, name) == secret
    assert len(envelope) == len(secret) + 37


def test_it_is_another_envelope_each_time_and_tells_nothing() -> None:
    envelopes = {ring(OLD).sealed(b"a secret", Purpose.ZONE_KEY, "example.com") for _ in range(100)}
    assert len(envelopes) == 100
    assert not any(b"a secret" in envelope or b"oooo" in envelope for envelope in envelopes)


@pytest.mark.parametrize(("purpose", "name"), [(Purpose.ACCOUNT_KEY, "a"), (Purpose.ZONE_KEY, "b")])
def test_it_opens_for_its_purpose_and_name_alone(purpose: Purpose, name: str) -> None:
    envelope = ring(OLD).sealed(b"secret", Purpose.ZONE_KEY, "a")
    with pytest.raises(InvalidInput, match="does not open"):
        ring(OLD).opened(envelope, purpose, name)


def test_every_changed_octet_and_every_cut_is_seen() -> None:
    envelope = ring(OLD).sealed(b"secret", Purpose.ZONE_KEY, "a")
    for place in range(len(envelope)):
        changed = envelope[:place] + bytes((envelope[place] ^ 1,)) + envelope[place + 1 :]
        for damaged in (changed, envelope[:place]):
            with pytest.raises(InvalidInput):
                ring(OLD).opened(damaged, Purpose.ZONE_KEY, "a")


def test_a_key_is_replaced_step_by_step() -> None:
    first = ring(OLD).sealed(b"secret", Purpose.ZONE_KEY, "a")
    added, moved = ring(OLD, NEW), ring(NEW, OLD)
    assert added.is_current(first)
    assert not moved.is_current(first)
    again = moved.sealed(moved.opened(first, Purpose.ZONE_KEY, "a"), Purpose.ZONE_KEY, "a")
    assert moved.is_current(again)
    assert added.opened(again, Purpose.ZONE_KEY, "a") == ring(NEW).opened(again, Purpose.ZONE_KEY, "a") == b"secret"
    with pytest.raises(InvalidInput, match=rf"{OLD.key_id.hex()}, which is not in keys.txt: add that key"):
        ring(NEW).opened(first, Purpose.ZONE_KEY, "a")


def test_what_is_too_long_is_not_sealed() -> None:
    with pytest.raises(TooLarge, match="65536"):
        ring(OLD).sealed(bytes(MAX_SECRET_BYTES + 1), Purpose.CERTIFICATE_KEY, "a")


def test_secrets_are_not_shown() -> None:
    assert "ooo" not in repr(OLD)


def line(key: SealingKey) -> str:
    return base64.b64encode(key.secret).decode()


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "dns.keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_has_a_key_a_line(tmp_path: Path) -> None:
    read = KeyRing.read(key_file(tmp_path, f"# name servers\n\n{line(NEW)}  # since May\n{line(OLD)}\n", 0o640))
    assert read.is_current(ring(NEW).sealed(b"", Purpose.ZONE_KEY, "a"))
    assert read.opened(ring(OLD).sealed(b"secret", Purpose.ZONE_KEY, "a"), Purpose.ZONE_KEY, "a") == b"secret"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 0 keys"),
        (f"{line(OLD)}\n" * 2, "has a key twice"),
        ("\n".join(line(SealingKey(bytes([each]) * 32)) for each in range(MAX_KEYS + 1)), "has 9 keys, give 1 to 8"),
        (f"{line(OLD)}\nc2VjcmV0\n", "line 2: give 32 octets"),
        (f"secret! {line(OLD)}\n", "line 1: give 32 octets"),
        ("é" * 44, "is not ASCII"),
        ("#" * 5000, "is larger than 4096 bytes"),
    ],
)
def test_a_file_that_is_wrong_is_named_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as raised:
        KeyRing.read(key_file(tmp_path, text))
    assert "dns.keys" in raised.value.message
    assert "secret!" not in raised.value.message


@pytest.mark.parametrize("mode", [0o644, 0o602])
def test_a_file_that_everybody_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidInput, match="run `chmod o-rwx"):
        KeyRing.read(key_file(tmp_path, line(OLD), mode))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"dns.keys cannot be read: No such file"):
        KeyRing.read(tmp_path / "dns.keys")


def test_a_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "dns.keys"
    make_key_file(path)
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    KeyRing.read(path)
    make_key_file(path)
    assert path.read_text() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"dns.keys cannot be written"):
        make_key_file(tmp_path / "nowhere" / "dns.keys")
