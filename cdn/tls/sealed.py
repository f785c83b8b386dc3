"""Secrets at rest: sealed with AES-256-GCM under keys that stand in a file of the operator's.

What may only be read by name servers, by control, or by the edges of a region is sealed under a key file of its own,
and a node holds only those files that are its part. A file has one key a line; the first one seals, all of them open.
So a key is replaced in three steps: the new one is added as the last line wherever the file is, then it is moved to the
first, and once everything was sealed anew (`KeyRing.is_current`) the old line goes.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdn.errors import InvalidInput, TooLarge

KEY_BYTES = 32

MAX_KEYS = 8
"""In one file: a key and its successor are what a rotation needs, and every key that opens is one more to lose."""

MAX_FILE_BYTES = 4096
"""Of a key file: eight keys and their comments are far below it."""

MAX_SECRET_BYTES = 65_536
"""Of what is sealed at once: the largest keys and chains of certificates are a tenth of that."""

_FORMAT = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES + _NONCE_BYTES


class Purpose(Enum):
    """What a secret is for. What was sealed for one opens for no other."""

    ZONE_KEY = "zone-key"
    CERTIFICATE_KEY = "certificate-key"
    ACCOUNT_KEY = "account-key"
    HOOK_SECRET = "hook-secret"  # noqa: S105 - a word, not a secret
    SIGNING_SECRET = "signing-secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class SealingKey:
    """One key. `key_id` names it in what it sealed and says nothing about it."""

    secret: bytes = field(repr=False)
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise InvalidInput(f"a key has {KEY_BYTES} octets, not {len(self.secret)}")
        object.__setattr__(self, "key_id", sha256(b"cdn sealing key id\0" + self.secret).digest()[:_ID_BYTES])


class KeyRing:
    """The keys of one file. An envelope is 37 octets longer than what is in it."""

    def __init__(self, keys: Sequence[SealingKey], source: str) -> None:
        """`keys[0]` seals. `source` is what faults call them, a file's path. Raises InvalidInput."""
        if not 1 <= len(keys) <= MAX_KEYS:
            raise InvalidInput(f"{source} has {len(keys)} keys, give 1 to {MAX_KEYS}, one a line")
        self._source = source
        self._current = keys[0].key_id
        self._ciphers = {key.key_id: AESGCM(key.secret) for key in keys}
        if len(self._ciphers) < len(keys):
            raise InvalidInput(f"{source} has a key twice")

    @classmethod
    def read(cls, path: Path) -> KeyRing:
        """The keys of a file: each 32 random octets in base64 on a line of its own; empty lines and what follows a `#`
        are passed over. Raises InvalidInput that names the file and the line, never what stands there."""
        return cls(_keys_of(_text_of(path), str(path)), str(path))

    def sealed(self, secret: bytes, purpose: Purpose, name: str) -> bytes:
        """An envelope that opens only for this purpose and name. Another one each time. Raises TooLarge."""
        if len(secret) > MAX_SECRET_BYTES:
            raise TooLarge(f"{purpose.value} {name} has {len(secret)} octets, {MAX_SECRET_BYTES} at most are sealed")
        head = _FORMAT + self._current + os.urandom(_NONCE_BYTES)
        return head + self._ciphers[self._current].encrypt(head[-_NONCE_BYTES:], secret, _bound(head, purpose, name))

    def opened(self, envelope: bytes, purpose: Purpose, name: str) -> bytes:
        """What was sealed for this purpose and name. Raises InvalidInput, which says whether a key is missing."""
        if len(envelope) < _HEAD_BYTES + _TAG_BYTES or envelope[:1] != _FORMAT:
            raise InvalidInput(f"{purpose.value} {name} is not sealed in a form that this program knows")
        head, content = envelope[:_HEAD_BYTES], envelope[_HEAD_BYTES:]
        key_id = head[len(_FORMAT) : len(_FORMAT) + _ID_BYTES]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise InvalidInput(
                f"{purpose.value} {name} is sealed with the key {key_id.hex()}, which is not in {self._source}: "
                "add that key to the file as a line of its own"
            )
        try:
            return cipher.decrypt(head[-_NONCE_BYTES:], content, _bound(head, purpose, name))
        except InvalidTag as exc:
            raise InvalidInput(
                f"{purpose.value} {name} does not open: it is damaged, or was sealed as something else"
            ) from exc

    def shares_key_with(self, other: KeyRing) -> bool:
        """Whether a key is in both: whoever holds the one file opens what only the other should."""
        return not self._ciphers.keys().isdisjoint(other._ciphers)

    def is_current(self, envelope: bytes) -> bool:
        """Whether it is sealed with the first key. Otherwise it should be sealed anew before the other one goes."""
        return envelope[len(_FORMAT) : len(_FORMAT) + _ID_BYTES] == self._current


def make_key_file(path: Path) -> None:
    """Write a file with one new key that its owner alone may read, whole or not at all; one that is there stays.

    Raises InvalidInput when it cannot be written.
    """
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    text = f"{base64.b64encode(os.urandom(KEY_BYTES)).decode('ascii')}\n"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike a rename it never takes the place of another's
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
    except FileExistsError:
        return  # somebody else was first, and theirs is as good
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be written: {exc.strerror}") from exc


def _bound(head: bytes, purpose: Purpose, name: str) -> bytes:
    """What an envelope says in clear and what it is for: all of it is authenticated with the secret."""
    return head + purpose.value.encode("ascii") + b"\0" + name.encode("utf-8")


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror}") from exc
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        raise InvalidInput(f"{path} holds keys and everybody on this machine may use it: run `chmod o-rwx {path}`")
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_FILE_BYTES} bytes: it is no file of keys")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{path} is not ASCII: give one key a line, as `openssl rand -base64 32` prints it") from exc


def _keys_of(text: str, source: str) -> list[SealingKey]:
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        written = line.partition("#")[0].strip()
        if not written:
            continue
        try:
            secret = base64.b64decode(written, validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise InvalidInput(
                f"{source}, line {number}: give {KEY_BYTES} octets in base64, as `openssl rand -base64 32` prints them"
            )
        keys.append(SealingKey(secret))
    return keys


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
