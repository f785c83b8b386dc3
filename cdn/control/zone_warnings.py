"""What is probably forgotten where an imported zone leads visitors to sites: the zone is right, and they would see an
error all the same."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator

import dns.name

from cdn.journal.record import ZoneSet
from cdn.sites.catalog import Catalog
from cdn.sites.name import split_label

MAX_WARNINGS = 100
"""In one answer; whoever mends so many imports the zone again."""

_CNAME, _ALIAS = 5, 65401


def warnings_of(zone: ZoneSet, catalog: Catalog) -> tuple[str, ...]:
    """A sentence for each name that leads to no site, or to one that does not know the name; up to MAX_WARNINGS."""
    return tuple(sentence for sentence, _ in zip(_warnings(zone, catalog), range(MAX_WARNINGS), strict=False))


def _warnings(zone: ZoneSet, catalog: Catalog) -> Iterator[str]:
    for rrset in zone.rrsets:
        if rrset.type not in (_CNAME, _ALIAS):
            continue
        for rdata in rrset.rdatas:
            target = dns.name.from_wire(b64decode(rdata), 0)[0].to_text(omit_final_dot=True).lower()
            label, _, above = target.partition(".")
            if above == catalog.zone:
                yield from _of_site(rrset.name, target, split_label(label)[1], catalog)


def _of_site(name: str, target: str, site_name: str, catalog: Catalog) -> Iterator[str]:
    site = catalog.site_named(site_name)
    if site is None:
        yield f"{name} leads to {target}, and there is no site {site_name} (yet): cdn site create {site_name}"
    elif not target.startswith(f"{site_name}."):
        yield (
            f"{name} leads to the preview {target}, and edges know previews by their own names only: a domain is "
            "answered from what is in production"
        )
    elif "_" not in name and not _is_known(name, site.id, catalog):
        yield (
            f"{name} leads to {target}, and the site {site_name} does not answer to that name (yet): "
            f"cdn domain add {_quoted(name)} --site {site_name}"
        )


def _is_known(name: str, site_id: str, catalog: Catalog) -> bool:
    """Whether the site answers to the name, by itself or by a wildcard of it."""
    if name.startswith("*."):
        return catalog.domain_owner(name) == site_id
    binding = catalog.bind(name)
    return binding is not None and binding.site_id == site_id


def _quoted(name: str) -> str:
    """As a shell takes it."""
    return f"'{name}'" if "*" in name else name
