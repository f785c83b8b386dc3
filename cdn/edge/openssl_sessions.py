"""What Python's ssl module leaves out of OpenSSL's session tickets: keys that several processes share, and sessions
that belong to one certificate.

Both are set on OpenSSL's own context, whose address stands in the SSLContext. That is no promise of Python's, so it is
tried once per process, and where it does not work the product does without.
"""

from __future__ import annotations

import _ssl
import ctypes
import logging
import ssl
import sys
from functools import cache

from cdn.edge.ticket_keys import TICKET_KEY_BYTES

_log = logging.getLogger(__name__)

_SET_TICKET_KEYS = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS
_GET_TICKET_KEYS = 58  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS
_MAX_SESSION_CONTEXT_BYTES = 32  # SSL_MAX_SID_CTX_LENGTH
_CONTEXT_AT = object.__basicsize__  # the first thing in an SSLContext


class OpensslSessions:
    """Sets what decides whether a session of one context resumes in another."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._control = library.SSL_CTX_ctrl
        self._control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
        self._control.restype = ctypes.c_long
        self._set_session_context = library.SSL_CTX_set_session_id_context
        self._set_session_context.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint)
        self._set_session_context.restype = ctypes.c_int

    def set_ticket_keys(self, context: ssl.SSLContext, key: bytes) -> None:
        """Tickets of this context are encrypted and decrypted with `key` from now on. Raises ssl.SSLError."""
        if self._control(_address(context), _SET_TICKET_KEYS, TICKET_KEY_BYTES, key) != 1:
            raise ssl.SSLError("OpenSSL refuses keys for session tickets")

    def ticket_keys(self, context: ssl.SSLContext) -> bytes:
        """The keys that it has. Raises ssl.SSLError."""
        keys = ctypes.create_string_buffer(TICKET_KEY_BYTES)
        if self._control(_address(context), _GET_TICKET_KEYS, TICKET_KEY_BYTES, keys) != 1:
            raise ssl.SSLError("OpenSSL does not say its keys of session tickets")
        return keys.raw

    def set_session_context(self, context: ssl.SSLContext, name: bytes) -> None:
        """Sessions of this context resume only where the name is the same; its first 32 octets count. Raises
        ssl.SSLError."""
        name = name[:_MAX_SESSION_CONTEXT_BYTES]
        if self._set_session_context(_address(context), name, len(name)) != 1:
            raise ssl.SSLError("OpenSSL refuses a name for sessions")


@cache
def openssl_sessions() -> OpensslSessions | None:
    """The way to OpenSSL's contexts, tried; None, said once in the log, where there is none."""
    try:
        sessions = OpensslSessions(_library())
        _try(sessions)
    except (OSError, AttributeError, ssl.SSLError) as fault:
        _log.warning(
            "session tickets are not shared by the processes of this node (%s): more handshakes are full", fault
        )
        return None
    return sessions


def _library() -> ctypes.CDLL:
    """The OpenSSL that the ssl module uses. Raises OSError."""
    if sys.implementation.name != "cpython":
        raise OSError(f"{sys.implementation.name} keeps OpenSSL's contexts elsewhere than CPython")
    path: str | None = getattr(_ssl, "__file__", None)  # None: a part of the interpreter
    return ctypes.CDLL(path)


def _try(sessions: OpensslSessions) -> None:
    """Raises ssl.SSLError when what is set on a context is not what it then has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = bytes(range(TICKET_KEY_BYTES))
    before = sessions.ticket_keys(context)
    sessions.set_ticket_keys(context, key)
    sessions.set_session_context(context, b"trial")
    if sessions.ticket_keys(context) != key or before == key:
        raise ssl.SSLError("a context does not have the ticket keys that it was given")


def _address(context: ssl.SSLContext) -> int:
    address = ctypes.c_void_p.from_address(id(context) + _CONTEXT_AT).value
    if not address:
        raise ssl.SSLError("an SSLContext does not say where OpenSSL's context is")
    return address
