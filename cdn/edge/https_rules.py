"""When a visitor is sent to another address of the site: from http to https, and from one of two names to the other."""

from __future__ import annotations

from typing import assert_never

from cdn.edge.site_view import SiteView
from cdn.http.fields import FieldLines
from cdn.http.request import Request
from cdn.journal.certificate_fold import CertificateFold
from cdn.sites.settings import HttpsPolicy
from cdn.sites.site import Site

ACME_PATH = "/.well-known/acme-challenge/"
"""What an authority asks for is answered by whoever it asks (RFC 8555 section 8.3)."""

HTTPS_PORT = 443


HSTS = "strict-transport-security"


def with_hsts(fields: FieldLines, request: Request, site: Site) -> FieldLines:
    """With what the site's owner tells browsers, in place of what its upstream did; over http it means nothing
    (RFC 6797 section 7.2)."""
    told = site.settings.strict_transport_security
    if told is None or request.scheme != "https":
        return fields
    return (*(line for line in fields if line[0] != HSTS), (HSTS, told))


def bundle_place(request: Request, site: Site) -> str:
    """The path under which a hit of a site of bundles is prepared: apart for https where that says more."""
    return f"https:{request.target.path}" if is_apart(request.scheme, site) else request.target.path


def is_apart(scheme: str, site: Site) -> bool:
    """Whether hits over this scheme say more than others do."""
    return scheme == "https" and site.settings.hsts_s != 0


class HttpsRules:
    """One per process. Answers from memory, and alike until a record touches the site."""

    def __init__(self, view: SiteView, certificates: CertificateFold, https_port: int | None) -> None:
        """`https_port` is where visitors reach the node by https; None: nowhere, and nobody is sent there."""
        self._view = view
        self._certificates = certificates
        self.https_port = https_port

    def answer_of_challenge(self, request: Request, now: float) -> str | None:
        """What the node answers an authority that asks for this, whatever site it is; `now` is wall time."""
        path = request.target.path
        if not path.startswith(ACME_PATH):
            return None
        return self._certificates.answer("http-01", request.host, path.removeprefix(ACME_PATH), now)

    def moves(self, request: Request, site: Site) -> bool:
        """Whether the visitor is sent to `location`."""
        return not request.target.path.startswith(ACME_PATH) and self.moves_all(request.host, request.scheme, site)

    def moves_all(self, host: str, scheme: str, site: Site) -> bool:
        """Whether all visitors of `host` are, but for authorities; alike until a record is applied."""
        return bool(self._twin(host)) or (scheme == "http" and self._wants_https(host, site))

    def location(self, request: Request, site: Site) -> str:
        """The absolute URL that a request which `moves` is answered with: never of a name that moves on again."""
        host = self._twin(request.host) or request.host
        target = request.target
        asked = target.path if target.query is None else f"{target.path}?{target.query}"
        if self._wants_https(host, site) or (request.scheme == "https" and self._may_https(host)):
            port = "" if self.https_port == HTTPS_PORT else f":{self.https_port}"
            return f"https://{host}{port}{asked}"
        port = "" if request.scheme == "https" or request.port is None else f":{request.port}"
        return f"http://{host}{port}{asked}"

    def _twin(self, host: str) -> str:
        """The name that answers in the place of this one; "": this one answers. Two that name each other both do."""
        catalog = self._view.catalog
        twin = catalog.redirect_of(host)
        is_whole = twin and not catalog.redirect_of(twin) and catalog.domain_owner(twin) == catalog.domain_owner(host)
        return twin if is_whole else ""

    def _may_https(self, host: str) -> bool:
        return self.https_port is not None and self._certificates.for_host(host) is not None

    def _wants_https(self, host: str, site: Site) -> bool:
        """Whether visitors of `host` who come by http are sent to https."""
        match site.settings.https:
            case _ if self.https_port is None:
                return False
            case HttpsPolicy.OFF:
                return False
            case HttpsPolicy.ALWAYS:
                return True
            case HttpsPolicy.AUTO:
                facts = self._certificates.for_host(host)
                return facts is not None and facts.site_id != ""
            case _:
                assert_never(site.settings.https)
