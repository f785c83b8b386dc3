"""The fields of a request as they go upstream (RFC 9110 section 7, RFC 7239, RFC 8586).

A cache keys on few fields; whatever else a client can send and an upstream may obey would poison what is stored. So
what claims to come from a proxy, and what changes method, path, host or scheme behind the cache's back, never leaves
this place as the client sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from cdn.http.cdn_loop import with_loop
from cdn.http.connection_fields import CONNECTION_FIELDS, connection_options
from cdn.http.fields import FieldLines, Fields
from cdn.http.request import Request
from cdn.http.vary import normal_value

WITHHELD_FIELDS = frozenset(
    # who asks, as a proxy would say it: replaced by what this edge knows
    {"cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "client-ip", "fastly-client-ip", "fly-client-ip"}
    | {"forwarded", "forwarded-for", "forwarded-for-ip", "incap-client-ip", "real-ip", "remote-addr", "true-client-ip"}
    | {"x-appengine-user-ip", "x-azure-clientip", "x-azure-socketip", "x-client-ip", "x-cluster-client-ip"}
    | {"x-custom-ip-authorization", "x-forward-for", "x-forwarded", "x-forwarder-for", "x-originating-ip"}
    | {"x-proxyuser-ip", "x-real-ip", "x-remote-addr", "x-remote-ip", "x-true-ip"}
    | {"client-cert", "client-cert-chain", "x-client-cert", "x-ssl-client-cert", "x-ssl-client-verify"}
    # host, scheme, port and prefix
    | {"base-url", "cloudfront-forwarded-proto", "forwarded-host", "forwarded-proto", "forwarded-server"}
    | {"front-end-https", "http-host", "proxy-host", "x-backend-host", "x-forward-host", "x-forward-proto"}
    | {"x-forward-server", "x-host", "x-host-override", "x-http-host", "x-http-host-override", "x-proto"}
    | {"x-real-host", "x-scheme", "x-script-name", "x-server-name", "x-url-scheme", "x-wap-profile"}
    # path and query
    | {"http-url", "proxy-url", "redirect-url", "request-uri", "uri", "url", "x-http-destinationurl"}
    | {"x-http-path-override", "x-matched-path", "x-proxy-url", "x-request-uri"}
    # method and status
    | {"http-method", "http-method-override", "x-http-method", "x-http-method-override", "x-http-status-code-override"}
    | {"x-method-override"}
    # what makes frameworks, application servers and stores act upon a request
    | {"proxy", "surrogate-capability", "x-accel-mapping", "x-amz-server-side-encryption"}
    | {"x-amz-website-redirect-location", "x-nextjs-data", "x-sendfile-type"}
    # for this edge
    | {"cdn-debug"}
)
"""Names that are never forwarded, beside those that WITHHELD_PREFIXES cover."""

WITHHELD_PREFIXES = (
    *("x-envoy-", "x-forwarded-", "x-invoke-", "x-middleware-", "x-now-"),
    *("x-original-", "x-override-", "x-rewrite-"),
)
"""Families of such names; every year brings a new member."""

SET_FIELDS = frozenset(
    {"accept-encoding", "cdn-loop", "forwarded", "host", "via", "x-forwarded-for", "x-forwarded-proto"}
)
"""Fields that go upstream with a value of this edge."""

_FRAMING = frozenset({"content-length", "expect"})
_CHANGED_FIELDS = (SET_FIELDS | CONNECTION_FIELDS | _FRAMING) - {"accept-encoding"}
"""What upstream does not see as it was sent. The normal form of Accept-Encoding selects as the sent one does."""

_COMMON_PREFIXES = ("accept-", "cache-", "content-", "if-", "max-forwards", "proxy-", "sec-", "user-agent")
"""Fields by which responses differ: under another spelling they would do so without being told apart."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]")


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How this edge speaks to one upstream.

    `cdn_id` names the network in CDN-Loop, `pseudonym` this node in Via. `client_address` is the visitor's IP address;
    anything else counts as unknown. `host` is the Host field for the upstream, with its port where one is needed.
    `extra_withheld`: further field names of the site that are not forwarded, lower-case.
    """

    cdn_id: str
    pseudonym: str
    client_address: str
    host: str
    extra_withheld: frozenset[str] = frozenset()


def forwarded_fields(request: Request, forwarding: Forwarding) -> FieldLines:
    """The request's fields for the upstream, Host first, then the client's in their order, then this edge's.

    Connection-specific fields, Content-Length and Expect belong to one connection and are gone; Cache-Control,
    conditions and Range are as the client sent them. Of fields that mean the same, only one form goes upstream:
    Accept-Encoding is in its normal form.
    """
    fields = request.fields
    removed = CONNECTION_FIELDS | connection_options(fields.lines) | SET_FIELDS | _FRAMING
    extra = forwarding.extra_withheld
    lines = [("host", forwarding.host)]
    lines += [line for line in fields.lines if line[0] not in removed and not _is_withheld(line[0], extra)]
    codings = fields.get("accept-encoding")
    if codings is not None:
        lines.append(("accept-encoding", normal_value("accept-encoding", codings)))
    via = fields.get("via")
    hop = f"1.1 {forwarding.pseudonym}"
    lines.append(("via", f"{via}, {hop}" if via else hop))
    lines.append(("cdn-loop", with_loop(fields.get("cdn-loop"), forwarding.cdn_id)))
    lines += _client_lines(forwarding.client_address, request.scheme)
    return tuple(lines)


def seen_fields(names: Iterable[str], request: Request, forwarding: Forwarding) -> Fields:
    """Fields in which the values of `names` (lower-case) are those that the upstream sees.

    Selecting by these, and not by what the client sent, keeps responses apart that the upstream made different. They
    are the request's own where it sees `names` as they were sent, so that this costs nothing per field of the request.
    """
    fields = request.fields
    options = connection_options(fields.lines) if "connection" in fields else frozenset()
    extra = forwarding.extra_withheld
    if any(name in options or name in _CHANGED_FIELDS or _is_withheld(name, extra) for name in names):
        return Fields(forwarded_fields(request, forwarding))
    return fields


def _is_withheld(name: str, extra: frozenset[str]) -> bool:
    """Gateways (CGI and its kind) read every character that is no letter or digit as the same one."""
    plain = _NOT_IN_NAMES.sub("-", name)
    if name in extra or plain in extra or plain in WITHHELD_FIELDS or plain.startswith(WITHHELD_PREFIXES):
        return True
    return plain != name and (plain in _CHANGED_FIELDS or plain.startswith(_COMMON_PREFIXES))


def _client_lines(address: str, scheme: str) -> FieldLines:
    client = _address(address)
    if client is None:
        return (("x-forwarded-proto", scheme), ("forwarded", f"for=unknown;proto={scheme}"))
    node = f'"[{client}]"' if client.version == 6 else f"{client}"
    return (
        ("x-forwarded-for", f"{client}"),
        ("x-forwarded-proto", scheme),
        ("forwarded", f"for={node};proto={scheme}"),
    )


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Without the zone, which means nothing elsewhere, and IPv4 as IPv4 (a listener on both families maps it)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
