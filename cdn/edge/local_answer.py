"""Answers the node makes by itself: plain pages that say what is the matter and what to do about it."""

from __future__ import annotations

from cdn.edge.response import Response
from cdn.http.cache_status import CacheStatus
from cdn.http.fields import FieldLines


def plain_page(
    status: int, text: str, cache_status: CacheStatus, *, fields: FieldLines = (), cache_control: str = "no-store"
) -> Response:
    """A short text/plain page. No one may keep it, unless `cache_control` says otherwise."""
    return Response(
        status,
        (
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", cache_control),
            ("x-content-type-options", "nosniff"),
            ("cache-status", cache_status.serialise()),
            *fields,
        ),
        f"{text}\n".encode(),
    )


def unknown_host(cache: str, host: str, zone: str) -> Response:
    """No site answers for this host name."""
    return plain_page(
        404,
        f"There is no site for the host {printable(host)!r} here.\n"
        f"Sites answer at NAME.{zone}; other domains are added with: cdn domain add DOMAIN --site NAME",
        CacheStatus(cache, detail="unknown-host"),
    )


def misdirected(cache: str, reason: str) -> Response:
    """The site may not be answered from where this node stands (DESIGN I12); another node may (RFC 9110 15.5.20)."""
    return plain_page(
        421,
        "This site is answered only from servers in certain regions, and this one is not in them.\n"
        "Ask its name in DNS again: that leads to one which is.",
        CacheStatus(cache, detail=reason),
    )


def nothing_deployed(cache: str, alias: str) -> Response:
    """The site exists, but nothing was activated under this alias yet."""
    return plain_page(
        404,
        f"Nothing has been deployed here yet (alias {printable(alias)!r}). Deploy with: cdn deploy FOLDER --site NAME",
        CacheStatus(cache, detail="no-deploy"),
    )


def not_found(cache: str, fields: FieldLines = ()) -> Response:
    """No such file, and the site brought no 404 page."""
    return plain_page(
        404,
        "404 Not Found",
        CacheStatus(cache, hit=True, detail="no-file"),
        fields=fields,
        cache_control="public, max-age=0, must-revalidate",
    )


def method_not_allowed(cache: str, method: str) -> Response:
    """A bundle is read only (RFC 9110 15.5.6)."""
    return plain_page(
        405,
        f"{printable(method)} is not allowed here: files are read with GET or HEAD.",
        CacheStatus(cache, detail="method"),
        fields=(("allow", "GET, HEAD, OPTIONS"),),
    )


def method_unknown(cache: str, method: str) -> Response:
    """A bundle has no use for a method that nobody here has heard of (RFC 9110 15.6.2)."""
    return plain_page(
        501,
        f"{printable(method)} is not known here: files are read with GET or HEAD.",
        CacheStatus(cache, detail="unknown-method"),
    )


def allowed_methods(cache: str) -> Response:
    """OPTIONS (RFC 9110 9.3.7)."""
    return Response(
        204, (("allow", "GET, HEAD, OPTIONS"), ("cache-status", CacheStatus(cache, detail="options").serialise()))
    )


def taken_down(cache: str, fields: FieldLines = ()) -> Response:
    """The content was taken down, and does not come back by itself (RFC 9110 15.5.11)."""
    return plain_page(
        410,
        "This was taken down.",
        CacheStatus(cache, detail="taken-down"),
        fields=fields,
        cache_control="public, max-age=0, must-revalidate",
    )


def preview_over(cache: str) -> Response:
    """The time of a preview is over (RFC 9110 15.5.11)."""
    return plain_page(410, "The time of this preview is over.", CacheStatus(cache, detail="preview-over"))


def too_many_guesses(cache: str, wait_s: int) -> Response:
    """Passwords were guessed, or more of them are being looked at than the node can (RFC 6585 section 4)."""
    return plain_page(
        429,
        "Too many passwords were tried. Please try again in a little while.",
        CacheStatus(cache, detail="too-many-guesses"),
        fields=(("retry-after", str(wait_s)),),
    )


def preflight(cache: str, fields: FieldLines) -> Response:
    """What a browser is told before it sends a request from another origin (Fetch, CORS preflight)."""
    return Response(204, (*fields, ("cache-status", CacheStatus(cache, detail="preflight").serialise())))


def denied(cache: str, status: int, realm: str = "") -> Response:
    """A rule of the site keeps this visitor out: 401 asks for credentials (RFC 7617), other statuses do not."""
    if status == 401:
        return plain_page(
            401,
            "A name and a password are needed here.",
            CacheStatus(cache, detail="credentials"),
            fields=(("www-authenticate", f'Basic realm="{realm}", charset="UTF-8"'),),
        )
    return plain_page(status, "This is not available where you are.", CacheStatus(cache, detail="country"))


def redirect(cache: str, status: int, location: str, fields: FieldLines = ()) -> Response:
    """Another name for what was asked. Browsers ask again: the next deploy may answer otherwise."""
    return Response(
        status,
        (
            ("location", location),
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "public, max-age=0, must-revalidate"),
            ("cache-status", CacheStatus(cache, hit=True, detail="redirect").serialise()),
            *fields,
        ),
        f"Moved to {location}\n".encode(),
    )


def challenge(cache: str, value: str) -> Response:
    """What an authority is shown that looks whether we hold a name (RFC 8555 section 8.3)."""
    return Response(
        200,
        (
            ("content-type", "application/octet-stream"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cache-status", CacheStatus(cache, detail="acme-challenge").serialise()),
        ),
        value.encode("ascii", "replace"),
    )


def unavailable(cache: str, detail: str, text: str, *, status: int = 503, retry_after_s: int = 1) -> Response:
    """Something behind this node does not answer, and nothing stored may stand in for it."""
    return plain_page(
        status,
        text,
        CacheStatus(cache, detail=detail),
        fields=(("retry-after", str(retry_after_s)),),
    )


def starting(cache: str) -> Response:
    """This node is new, and does not know yet what everybody else knows already."""
    return unavailable(cache, "starting", "This server has just been set up. Please try again in a moment.")


def store_down(cache: str) -> Response:
    """The store does not answer. What exactly it said is the operator's business, not the visitor's."""
    return unavailable(
        cache, "store-down", "This file cannot be had at the moment. Please try again in a little while.", status=502
    )


def store_faulty(cache: str) -> Response:
    """The store answers, but its copy of this file is damaged or missing."""
    text = "This file cannot be served: its stored copy is damaged or missing. Deploying the site again mends it."
    return unavailable(cache, "store-faulty", text, status=502, retry_after_s=60)


def loop_detected(cache: str) -> Response:
    """The request has been through this CDN already (RFC 8586)."""
    return plain_page(
        508,
        "This request has come round in a circle: the site's upstream sends its visitors here, to itself.",
        CacheStatus(cache, detail="loop"),
    )


def only_if_cached(cache: str) -> Response:
    """The client wanted a stored response or none (RFC 9111 section 5.2.1.7)."""
    return plain_page(504, "Nothing that is stored here can answer this.", CacheStatus(cache, detail="only-if-cached"))


def upstream_failed(status: int, cache_status: CacheStatus) -> Response:
    """The site's upstream gave no answer. What exactly it did is the operator's business, not the visitor's."""
    text = "The server behind this site cannot be reached at the moment. Please try again in a little while."
    return plain_page(status, text, cache_status, fields=(("retry-after", "1"),))


def no_previews(cache: str) -> Response:
    """A site whose content comes from an upstream has no deploys, so no previews."""
    return plain_page(
        404, "This site has no previews: its content comes from an upstream.", CacheStatus(cache, detail="no-preview")
    )


def printable(text: str) -> str:
    """`text` cut to a length fit for a page, without control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])
