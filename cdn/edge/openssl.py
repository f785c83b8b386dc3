"""What Python's ssl module leaves out of OpenSSL: ticket keys that several processes share, sessions that belong to one
certificate, and certificates that are given to a connection instead of to a context.

A context for each certificate costs a millisecond to make and 20 KB to keep; a certificate alone a sixth and a third of
that. All of it is OpenSSL's documented interface, called by ctypes on OpenSSL's own objects, whose addresses stand in
Python's. Those places are no promise of Python's, so everything is tried once per process, and where it does not work
the product does without (`tls_contexts`).
"""

from __future__ import annotations

import _ssl
import ctypes
import logging
import re
import ssl
import sys
from base64 import b64decode
from enum import Enum, auto
from functools import cache
from typing import Any, Protocol
from weakref import WeakValueDictionary

from cdn.edge.ticket_keys import TICKET_KEY_BYTES
from cdn.edge.tls_source import CertificateMaterial

_log = logging.getLogger(__name__)

_SET_TICKET_KEYS = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS
_GET_TICKET_KEYS = 58  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS
_MAX_SESSION_CONTEXT_BYTES = 32  # SSL_MAX_SID_CTX_LENGTH

_POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)
_WANT_READ = 2  # SSL_ERROR_WANT_READ
_CONTEXT_AT = object.__basicsize__  # PySSLContext: SSL_CTX *ctx
_SSL_AT = object.__basicsize__ + _POINTER_BYTES  # PySSLSocket: PyObject *Socket, SSL *ssl, PySSLContext *ctx
_OWNER_AT = _SSL_AT + _POINTER_BYTES

_CHECK_FLAGS = 0x2 | 0x20  # X509_CHECK_FLAG_NO_WILDCARDS, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT (RFC 9525)

_BEGIN = b"-----BEGIN "
_LABEL = re.compile(rb"[A-Z ]{1,64}")

# PKCS #8 of a P-256 key as OpenSSL and all others write it: 32 octets of key behind the first, 64 behind the second.
_P256_HEAD = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_P256_MIDDLE = bytes.fromhex("a144034200")
_P256 = 415  # NID_X9_62_prime256v1


class Step(Enum):
    """Where a handshake is."""

    DONE = auto()
    WAITS = auto()  # for the client
    FAILED = auto()


class Secured(Protocol):
    """OpenSSL's side of a connection, as Python's ssl module has it below its SSLObject: who goes without that spares
    200 octets for each connection and a call of Python's for each of OpenSSL's. All of it raises ssl.SSLError."""

    @property
    def session_reused(self) -> bool:
        """Whether the handshake resumed a session."""
        ...

    def do_handshake(self) -> None:
        """Go on with the handshake; ssl.SSLWantReadError when that needs more from the client."""
        ...

    def read(self, size_bytes: int, /) -> bytes:
        """Content of one record; b"" when the client has said its end."""
        ...

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Encrypt; how much of it was, which is all of it unless OpenSSL is told to take one record at a time."""
        ...

    def shutdown(self) -> object:
        """Say the end; ssl.SSLWantReadError while the client has not said its own."""
        ...

    def version(self) -> str | None:
        """Like "TLSv1.3"."""
        ...

    def selected_alpn_protocol(self) -> str | None:
        """What ALPN led to."""
        ...


def secured(context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> Secured:
    """The server's side of a new connection."""
    made: Secured = context._wrap_bio(incoming, outgoing, True)  # type: ignore[attr-defined]
    return made


class Handle:
    """An object of OpenSSL's, given back when nobody holds it here; connections hold it on their own."""

    __slots__ = ("__weakref__", "_free", "address")

    def __init__(self, address: int | None, free: Any, what: str) -> None:
        if not address:
            raise ssl.SSLError(f"OpenSSL cannot read {what}")
        self.address = address
        self._free = free

    def __del__(self) -> None:
        if hasattr(self, "_free"):
            self._free(self.address)


class ReadyCertificate:
    """A certificate with its chain and key, read. `arguments` is what OpenSSL is given for a connection: they are made
    once. `session_name` is what its sessions are bound to."""

    __slots__ = ("_chain", "_intermediates", "_key", "arguments", "leaf", "session_name")

    def __init__(
        self, leaf: Handle, key: Handle, chain: Handle, intermediates: list[Handle], session_name: bytes
    ) -> None:
        self.leaf = leaf
        self._key = key
        self._chain = chain
        self.arguments = (leaf.address, key.address, chain.address, 1)
        self._intermediates = intermediates
        self.session_name = session_name[:_MAX_SESSION_CONTEXT_BYTES]


class Openssl:
    """The functions, with their types. Raises AttributeError where one is missing."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_long

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found = library[name]
            found.restype, found.argtypes = result, arguments
            return found

        self._control = function("SSL_CTX_ctrl", size, pointer, ctypes.c_int, size, ctypes.c_char_p)
        self._prefer = function("SSL_CTX_set_ciphersuites", ctypes.c_int, pointer, ctypes.c_char_p)
        self._do_handshake = function("SSL_do_handshake", ctypes.c_int, pointer)
        self._error = function("SSL_get_error", ctypes.c_int, pointer, ctypes.c_int)
        self._use = function("SSL_use_cert_and_key", ctypes.c_int, pointer, pointer, pointer, pointer, ctypes.c_int)
        self._bind = function("SSL_set_session_id_context", ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_uint)
        self._read_certificate = function("d2i_X509", pointer, pointer, pointer, size)
        self._free_certificate = function("X509_free", None, pointer)
        self._check_host = function(
            "X509_check_host", ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, pointer
        )
        self._check_address = function("X509_check_ip_asc", ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_uint)
        self._read_key = function("d2i_AutoPrivateKey", pointer, pointer, pointer, size)
        self._free_key = function("EVP_PKEY_free", None, pointer)
        self._new_key = function("EVP_PKEY_new", pointer)
        self._new_stack = function("OPENSSL_sk_new_null", pointer)
        self._push = function("OPENSSL_sk_push", ctypes.c_int, pointer, pointer)
        self._free_stack = function("OPENSSL_sk_free", None, pointer)
        self._clear_errors = function("ERR_clear_error", None)
        self._new_ec_key = function("EC_KEY_new_by_curve_name", pointer, ctypes.c_int)
        self._set_private = function("EC_KEY_oct2priv", ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t)
        self._set_public = function("EC_KEY_oct2key", ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t, pointer)
        self._set_ec_key = function("EVP_PKEY_set1_EC_KEY", ctypes.c_int, pointer, pointer)
        self._free_ec_key = function("EC_KEY_free", None, pointer)
        self._shared: WeakValueDictionary[bytes, Handle] = WeakValueDictionary()
        """Intermediates: a few authorities sign all certificates."""

    def set_ticket_keys(self, context: ssl.SSLContext, key: bytes) -> None:
        """Tickets of this context are encrypted and decrypted with `key` from now on. Raises ssl.SSLError."""
        if self._control(_context_address(context), _SET_TICKET_KEYS, TICKET_KEY_BYTES, key) != 1:
            raise ssl.SSLError("OpenSSL refuses keys for session tickets")

    def ticket_keys(self, context: ssl.SSLContext) -> bytes:
        """The keys that it has. Raises ssl.SSLError."""
        keys = ctypes.create_string_buffer(TICKET_KEY_BYTES)
        if self._control(_context_address(context), _GET_TICKET_KEYS, TICKET_KEY_BYTES, keys) != 1:
            raise ssl.SSLError("OpenSSL does not say its keys of session tickets")
        return keys.raw

    def set_ciphersuites(self, context: ssl.SSLContext, names: str) -> None:
        """What it speaks of TLS 1.3, the best first. Raises ssl.SSLError."""
        if self._prefer(_context_address(context), names.encode()) != 1:
            raise ssl.SSLError(f"OpenSSL does not have all of {names}")

    def read(self, material: CertificateMaterial, session_name: bytes) -> ReadyCertificate:
        """The certificate, its chain and its key; what is no PEM or does not belong together raises ssl.SSLError."""
        certificates = [content for label, content in _blocks(material.chain) if label == b"CERTIFICATE"]
        keys = [content for label, content in _blocks(material.key) if label.endswith(b"PRIVATE KEY")]
        if not certificates or len(keys) != 1:
            raise ssl.SSLError("a certificate and one key are needed, in PEM form")
        intermediates = [self._intermediate(content) for content in certificates[1:]]
        chain = Handle(self._new_stack(), self._free_stack, "a chain")
        for intermediate in intermediates:
            self._push(chain.address, intermediate.address)
        return ReadyCertificate(
            self._certificate(certificates[0]), self._key(keys[0]), chain, intermediates, session_name
        )

    def use(self, connection: Secured, certificate: ReadyCertificate) -> None:
        """Let this connection show this certificate; its sessions resume under no other, because who resumes is not
        shown it again. Raises ssl.SSLError, also when key and certificate do not belong together."""
        address = _ssl_address(connection)
        name = certificate.session_name
        if self._use(address, *certificate.arguments) != 1 or self._bind(address, name, len(name)) != 1:
            self._clear_errors()
            raise ssl.SSLError("OpenSSL refuses the certificate: its key or its chain does not fit")

    def shake(self, connection: Secured) -> Step:
        """Go on with the handshake: 9 us less than by an exception each time that it waits."""
        address = _ssl_address(connection)
        result = self._do_handshake(address)
        if result == 1:
            return Step.DONE
        if self._error(address, result) == _WANT_READ:
            return Step.WAITS
        self._clear_errors()
        return Step.FAILED

    def is_named(self, certificate: ReadyCertificate, host: str) -> bool:
        """Whether it is valid for `host`: a name without a final dot, or an address (IPv6 in brackets)."""
        leaf, name = certificate.leaf.address, host.encode("ascii", "replace")
        # A wildcard is asked for by its own name: OpenSSL by itself takes none right below a top-level domain.
        for each in (name, b"*." + name.partition(b".")[2]):
            if self._check_host(leaf, each, len(each), _CHECK_FLAGS, None) == 1:
                return True
        is_address: bool = self._check_address(leaf, name.strip(b"[]"), 0) == 1
        self._clear_errors()  # of what is no address
        return is_address

    def _intermediate(self, content: bytes) -> Handle:
        found = self._shared.get(content)
        if found is None:
            found = self._shared[content] = self._certificate(content)
        return found

    def _certificate(self, content: bytes) -> Handle:
        return self._handle(self._read_certificate, content, self._free_certificate, "a certificate")

    def _key(self, content: bytes) -> Handle:
        if content.startswith(_P256_HEAD) and content[68:73] == _P256_MIDDLE and len(content) == 138:
            return self._p256_key(content[36:68], content[73:])
        return self._handle(self._read_key, content, self._free_key, "a key")

    def _p256_key(self, private: bytes, public: bytes) -> Handle:
        """The kind that nearly all are: 15 us, and 380 when OpenSSL looks for a decoder."""
        parts = Handle(self._new_ec_key(_P256), self._free_ec_key, "a P-256 key")
        key = Handle(self._new_key(), self._free_key, "a P-256 key")
        if (
            self._set_private(parts.address, private, len(private)) != 1
            or self._set_public(parts.address, public, len(public), None) != 1
            or self._set_ec_key(key.address, parts.address) != 1
        ):
            self._clear_errors()
            raise ssl.SSLError("OpenSSL cannot read a P-256 key")
        return key

    def _handle(self, read: Any, content: bytes, free: Any, what: str) -> Handle:
        buffer = ctypes.c_char_p(content)
        at = ctypes.cast(buffer, ctypes.c_void_p)  # moved on by OpenSSL; `content` holds the octets
        address = read(None, ctypes.addressof(at), len(content))
        if not address:
            self._clear_errors()
        return Handle(address, free, what)


@cache
def openssl() -> Openssl | None:
    """The way to OpenSSL, tried; None, said once in the log, where there is none."""
    try:
        return _tried(Openssl(_library()))
    except (OSError, AttributeError, ssl.SSLError) as fault:
        _log.warning(
            "OpenSSL cannot be reached past Python's ssl module (%s): TLS sessions resume within one process only, and "
            "certificates take more memory",
            fault,
        )
        return None


def _library() -> ctypes.CDLL:
    """The OpenSSL that the ssl module uses. Raises OSError."""
    if sys.implementation.name != "cpython":
        raise OSError(f"{sys.implementation.name} keeps OpenSSL's objects elsewhere than CPython")
    path: str | None = getattr(_ssl, "__file__", None)  # None: a part of the interpreter
    return ctypes.CDLL(path)


def _tried(way: Openssl) -> Openssl:
    """Raises ssl.SSLError where Python's objects are laid out in another way, or do not do as they are told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    connection = secured(context, ssl.MemoryBIO(), ssl.MemoryBIO())
    if _word(id(connection) + _OWNER_AT) != id(context) or not _word(id(connection) + _SSL_AT):
        raise ssl.SSLError("a connection does not say where OpenSSL's is")
    key = bytes(range(TICKET_KEY_BYTES))
    way.set_ticket_keys(context, key)
    if way.ticket_keys(context) != key:
        raise ssl.SSLError("a context does not have the ticket keys that it was given")
    return way


def _blocks(pem: bytes) -> list[tuple[bytes, bytes]]:
    """The blocks of a PEM text: label and content."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while (at := pem.find(_BEGIN, at)) >= 0:  # a pattern for all of it takes ten times as long
        at += len(_BEGIN)
        label_end = pem.find(b"-----", at)
        label = pem[at:label_end]
        stop = pem.find(b"-----END %s-----" % label, label_end)
        if label_end < 0 or stop < 0 or not _LABEL.fullmatch(label):
            continue
        try:
            found.append((label, b64decode(pem[label_end + 5 : stop])))
        except ValueError as exc:
            raise ssl.SSLError("a certificate or a key is damaged") from exc
        at = stop
    return found


def _context_address(context: ssl.SSLContext) -> int:
    address = _word(id(context) + _CONTEXT_AT)
    if not address:
        raise ssl.SSLError("an SSLContext does not say where OpenSSL's context is")
    return address


def _ssl_address(connection: Secured) -> int:
    address = _word(id(connection) + _SSL_AT)
    if not address:
        raise ssl.SSLError("a connection does not say where OpenSSL's is")
    return address


def _word(address: int) -> int:
    return ctypes.c_void_p.from_address(address).value or 0
