"""Fields that end at each connection (RFC 9110 section 7.6.1, RFC 9111 section 3.1)."""

from __future__ import annotations

from cdn.http.fields import FieldLines

CONNECTION_FIELDS = frozenset(
    {"connection", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authentication-info"}
    | {"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Fields that no intermediary forwards or stores, whether Connection names them or not."""

NEVER_CONNECTION_OPTIONS = frozenset(
    {"age", "cache-control", "cdn-cache-control", "cdn-loop", "content-encoding", "content-length", "content-range"}
    | {"content-type", "date", "etag", "expires", "host", "last-modified", "pragma", "set-cookie", "surrogate-control"}
    | {"vary", "via"}
)
"""Fields meant for every recipient: a Connection field that names one is not obeyed.

To send such an option is forbidden; to obey it would lose "private", the variants, or the trace of a loop.
"""


def without_connection_fields(lines: FieldLines) -> FieldLines:
    """`lines` without what concerns one connection only: CONNECTION_FIELDS and what a Connection field names.

    The names are those of any case and of every Connection line, except NEVER_CONNECTION_OPTIONS.
    """
    removed = CONNECTION_FIELDS | connection_options(lines)
    return tuple(line for line in lines if line[0] not in removed)


def connection_options(lines: FieldLines) -> frozenset[str]:
    """The lower-case names of the fields that a Connection field makes connection-specific."""
    options = {
        option.strip(" \t").lower() for name, value in lines if name == "connection" for option in value.split(",")
    }
    return frozenset(options - NEVER_CONNECTION_OPTIONS - {""})
