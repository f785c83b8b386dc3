"""Custom domains: from what a user types to the one form that is kept and compared."""

from __future__ import annotations

import ipaddress
import re

from cdn.errors import InvalidInput

MAX_DOMAIN_OCTETS = 253
"""A name in presentation form without the final dot (RFC 1035 2.3.4)."""

MAX_ZONE_OCTETS = MAX_DOMAIN_OCTETS - 64
"""What a label of 63 octets and a dot leave of a name."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEVIATIONS = frozenset("\u00df\u1e9e\u03c2\u200c\u200d")


WILDCARD = "*."
"""Before a name: every name with one label more (RFC 4592, and as certificates have it, RFC 9525 6.3)."""


def normalise_domain(text: str, *, may_be_wildcard: bool = False) -> str:
    """The domain in lower-case ASCII without a final dot (RFC 1035, RFC 5890 A-labels). Raises InvalidInput.

    Refused: URLs and ports, IP addresses, single labels, labels over 63 octets, names over 253, A-labels that stand for
    nothing, and wildcards: unless they may be, as `*.` before a domain.
    """
    if may_be_wildcard and text.strip().startswith(WILDCARD):
        below = normalise_domain(text.strip().removeprefix(WILDCARD))
        if len(WILDCARD) + len(below) > MAX_DOMAIN_OCTETS:
            raise _too_long(len(WILDCARD) + len(below))
        return WILDCARD + below
    if len(text) > 2 * MAX_DOMAIN_OCTETS:
        raise _too_long(len(text))
    name = _to_ascii(text.strip())
    if len(name) > MAX_DOMAIN_OCTETS:
        raise _too_long(len(name))
    if len(_labels(name, text)) < 2:
        raise _fault(f'"{text}" has a single label: give a whole domain such as www.example.com')
    return name


def normalise_zone(text: str) -> str:
    """The zone that sites are named in, like `normalise_domain`; one label will do. Raises InvalidInput.

    It leaves room for a site's label and its dot.
    """
    name = _to_ascii(text[: 2 * MAX_DOMAIN_OCTETS].strip())
    if len(name) > MAX_ZONE_OCTETS:
        raise _fault(f"the zone has more than {MAX_ZONE_OCTETS} octets, no name of a site fits before it")
    _labels(name, text)
    return name


def _labels(name: str, text: str) -> list[str]:
    labels = name.split(".")
    for label in labels:
        _check_label(label, text)
    if _NUMBER.fullmatch(labels[-1]) is not None:
        raise _fault(f'"{text}" is an IP address or ends like one: give a domain name')
    return labels


def _to_ascii(text: str) -> str:
    if any(mark in text for mark in "/:@?#[]"):
        raise _fault(f'"{text}" is not a bare domain: leave out scheme, port and path' + _address_hint(text))
    if "*" in text:
        raise _fault(
            f'"{text}" has a wildcard where none can be: it stands alone before a domain, as *.example.com, where '
            "wildcards are possible at all"
        )
    if not _DEVIATIONS.isdisjoint(text):
        # Browsers encode these letters as they are, the library here replaces them: that would be another domain.
        raise _fault(f'"{text}" has a letter that is encoded in two ways: give the domain in its xn-- form')
    bare = text.removesuffix(".")
    if bare.isascii():
        return bare.lower()
    try:
        return bare.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as exc:
        raise _fault(f'"{text}" is not a domain name: {_reason(exc)}') from exc


def _check_label(label: str, text: str) -> None:
    if not label:
        raise _fault(f'"{text}" is not a domain name: it has an empty label')
    if len(label) > 63:
        raise _fault(
            f'"{text}" is not a domain name: the label "{label}" has {len(label)} octets, at most 63 are allowed'
        )
    if _LABEL.fullmatch(label) is None:
        raise _fault(
            f'"{text}" is not a domain name: "{label}" has something else than letters, digits and inner hyphens'
        )
    if label.startswith("xn--"):
        try:
            decoded = label[4:].encode().decode("punycode")
        except UnicodeError as exc:
            raise _fault(f'"{text}" is not a domain name: "{label}" is not a well-formed encoded label') from exc
        # Only what comes out of encoding is an A-label (RFC 5890 2.3.2.1): others are second names of the same.
        if decoded.encode("punycode").decode() != label[4:]:
            raise _fault(f'"{text}" is not a domain name: what "{label}" stands for is encoded another way')


def _address_hint(text: str) -> str:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return ""
    return "; an IP address cannot be a domain"


def _reason(error: UnicodeError) -> str:
    return str(error.__cause__ or error)


def _too_long(octets: int) -> InvalidInput:
    return _fault(f"the domain has {octets} octets, at most {MAX_DOMAIN_OCTETS} are allowed")


def _fault(message: str) -> InvalidInput:
    return InvalidInput(message, field="domain")
