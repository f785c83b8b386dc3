"""Where an upstream sends visitors, in terms of the site they are at (Location, Content-Location)."""

from __future__ import annotations

from cdn.sites.origin import HttpOrigin


def visitor_reference(reference: str, origin: HttpOrigin, host_sent: str) -> str:
    """A URI reference of the upstream as a visitor of the site can follow it.

    What lies on the upstream below the site's prefix becomes an absolute path of the site: an upstream that knows only
    its own name would lead visitors away from the site. `host_sent` is the host that it was asked for. Everything else
    stays as it is, also another scheme of the same host: shortened, that would lead in a circle.
    """
    rest = reference
    for authority in (origin.authority, host_sent):
        start = f"{origin.scheme}://{authority}"
        if reference[: len(start)].lower() == start.lower() and reference[len(start) : len(start) + 1] in "/?#":
            rest = reference[len(start) :]
            rest = rest if rest.startswith("/") else f"/{rest}"
            break
    else:
        if not reference.startswith("/") or reference.startswith("//"):
            return reference
    if origin.prefix:
        below = rest.removeprefix(origin.prefix)
        if below == rest or below[:1] not in {"", "/", "?", "#"}:
            return reference
        rest = below if below.startswith("/") else f"/{below}"
    # "//host" would name another host.
    return reference if rest.startswith("//") else rest
