"""Where a site's content comes from: bundles, an HTTP server, or a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from cdn.errors import InvalidInput
from cdn.http.target import HostName, Target, TargetFault, parse_host, parse_target
from cdn.sites.path import check_path, shown

MAX_ORIGIN_OCTETS = 2048
"""One origin as text: room for a long host and a prefix of 1024 octets; it travels in every record of the site."""

MAX_PREFIX_OCTETS = 1024
"""A prefix stands before every path that is asked for, so that both together have to fit a request line."""

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports that a URL of the scheme need not name (RFC 9110 section 4.2)."""

_FORMS = "bundle, https://HOST[:PORT][/PREFIX], http://HOST[:PORT][/PREFIX] or s3://BUCKET[/PREFIX]"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_RESERVED_BUCKET_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_BUCKET_ENDS = ("--ol-s3", ".mrap", "--x-s3", "--table-s3")


@dataclass(frozen=True, slots=True)
class BundleOrigin:
    """The site is deployed as bundles."""

    def __str__(self) -> str:
        return "bundle"


@dataclass(frozen=True, slots=True)
class HttpOrigin:
    """An HTTP server. `scheme` is "http" or "https"; `host` is as in `HostName`: a lower-case name without trailing
    dot, an IPv4 address, or "[IPv6]". `prefix` stands before every path: "" or a percent-encoded path in normal form
    that starts with "/" and does not end with one."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def authority(self) -> str:
        """The host, with the port where it is not the scheme's own: what the Host field says (RFC 9110 7.2)."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class BucketOrigin:
    """A bucket that speaks S3. `prefix` is the literal beginning of every key, without escapes: "" or "a/b" with no
    slash at either end; the key of the path /x is "a/b/x"."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


Origin = BundleOrigin | HttpOrigin | BucketOrigin

BUNDLE = BundleOrigin()
"""The origin of a site that is deployed as bundles."""


def parse_origin(text: str) -> Origin:
    """The origin that `text` names; `str()` of it gives the normal form of the text back.

    Takes `bundle`, `https://HOST[:PORT][/PREFIX]`, `http://...` and `s3://BUCKET[/PREFIX]`. A slash at the end means
    nothing. Raises InvalidInput that says what is wrong with it.
    """
    if text == str(BUNDLE):
        return BUNDLE
    if len(text) > MAX_ORIGIN_OCTETS or len(text.encode("utf-8", "surrogatepass")) > MAX_ORIGIN_OCTETS:
        raise InvalidInput(f"an origin has at most {MAX_ORIGIN_OCTETS} octets")
    scheme = _SCHEME.match(text)
    rest = "" if scheme is None else text[scheme.end() :]
    match None if scheme is None else scheme[1].lower():
        case "http" | "https" as name:
            return _parse_http(text, name, rest)
        case "s3":
            return _parse_bucket(text, rest)
        case _:
            raise InvalidInput(f"{shown(text)} is no origin: give {_FORMS}")


def parse_authority(text: str) -> HostName:
    """A host with an optional port, as it may be sent upstream (RFC 9110 7.2).

    Raises InvalidInput for what is malformed, and for whatever a resolver could read as something else: names that are
    not ASCII, numbers that are no full IPv4 address.
    """
    if not text.isascii():
        raise InvalidInput(f"the host {shown(text)} is not ASCII: give its ASCII form, which starts with xn--")
    host = parse_host(text)
    if host is None:
        raise InvalidInput(f"{shown(text)} is no host with an optional port from 1 to 65535")
    # Resolvers take 127.1, 2130706433 and 0x7f.1 for addresses: what looks like one has to be a whole one.
    if _NUMBER.fullmatch(host.name.rpartition(".")[2]) is not None and not _is_ipv4_address(host.name):
        raise InvalidInput(f"the host {shown(host.name)} ends in a number and is no IPv4 address")
    return host


def _parse_http(text: str, scheme: str, rest: str) -> HttpOrigin:
    if "@" in rest.partition("/")[0]:
        # Not repeated: errors are logged, and this one may hold a password.
        raise InvalidInput("the origin names a user or a password, which all who may see the site would read")
    fault = _fault_of_rest(rest)
    if fault is not None:
        raise InvalidInput(f"the origin {shown(text)} cannot be used: {fault}")
    authority, slash, path = rest.partition("/")
    try:
        host = parse_authority(authority)
        prefix = _prefix_of_path(slash + path)
    except InvalidInput as exc:
        raise InvalidInput(f"the origin {shown(text)} cannot be used: {exc.message}") from exc
    return HttpOrigin(scheme, host.name, host.port or DEFAULT_PORTS[scheme], prefix)


def _parse_bucket(text: str, rest: str) -> BucketOrigin:
    bucket, _, prefix = rest.partition("/")
    fault = _fault_of_rest(rest) or _fault_of_bucket(bucket)
    if fault is None and "%" in prefix:
        # aws-cli reads s3:// literally and browsers would decode it: neither is guessed.
        fault = "its prefix has a %; write the key's own letters, without escapes"
    if fault is not None:
        raise InvalidInput(f"the origin {shown(text)} cannot be used: {fault}")
    prefix = prefix.removesuffix("/")
    if prefix:
        try:
            check_path(f"/{prefix}", max_octets=MAX_PREFIX_OCTETS)
        except InvalidInput as exc:
            raise InvalidInput(f"the origin {shown(text)} cannot be used: {exc.message}") from exc
    return BucketOrigin(bucket, prefix)


def _fault_of_rest(rest: str) -> str | None:
    if "?" in rest:
        return "it has a query, and every request brings its own"
    if "#" in rest:
        return "it has a fragment, which is never sent"
    return None


def _prefix_of_path(path: str) -> str:
    path = path.removesuffix("/")
    if not path:
        return ""
    if "//" in path or path.endswith("/"):
        raise InvalidInput("its prefix has an empty segment")
    try:
        target = parse_target(path.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise InvalidInput("its prefix has a lone surrogate, which is not Unicode text") from exc
    match target:
        case Target(path=normal) if len(normal) <= MAX_PREFIX_OCTETS:
            return normal
        case TargetFault() as fault:
            raise InvalidInput(f"as a prefix, {shown(path)} is refused. {fault.value}")
        case _:
            raise InvalidInput(f"its prefix has more than {MAX_PREFIX_OCTETS} octets")


def _fault_of_bucket(bucket: str) -> str | None:
    """S3's rules for names of general purpose buckets; what it reserves are kinds with another API."""
    if _BUCKET.fullmatch(bucket) is None:
        return (
            f"{shown(bucket)} is no bucket: 3 to 63 lower-case letters, digits, dots and hyphens, the first and the "
            "last a letter or digit"
        )
    if ".." in bucket:
        return f"the bucket {shown(bucket)} has two dots in a row"
    if _is_ipv4_address(bucket):
        return f"the bucket {shown(bucket)} looks like an IPv4 address"
    if bucket.startswith(_RESERVED_BUCKET_STARTS) or bucket.endswith(_RESERVED_BUCKET_ENDS):
        return f"names like {shown(bucket)} are reserved by S3 and no ordinary bucket has one"
    return None


def _is_ipv4_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
