"""What there is here that a domain could lead to, as a control plane knows it."""

from __future__ import annotations

from collections.abc import Iterable

from cdn.control.services import Services
from cdn.control.settings import ControlSettings
from cdn.control.views import host_of
from cdn.control.zone_names import is_within
from cdn.fleet.withdrawal import ShareReason


class ControlSurroundings:
    """See `cdn.control.dns_sight.Surroundings`. A plane is made with who looks, and who looks goes by what the plane
    knows: `attach` it before it starts."""

    def __init__(self, settings: ControlSettings) -> None:
        self._settings = settings
        self._services: Services | None = None

    def attach(self, services: Services) -> None:
        """Go by these from now on."""
        self._services = services

    @property
    def own_zone(self) -> str:
        return self._settings.zone.lower().strip(".")

    def target_of(self, domain: str, token: str | None) -> str:
        services = self._plane()
        site_id = services.catalog.domain_owner(domain)
        if token is not None:
            claims = services.claims.of_domain(domain)
            site_id = next((claim.site_id for claim in claims if claim.token == token), site_id)
        site = None if site_id is None else services.catalog.site(site_id)
        return self.own_zone if site is None else host_of(self._settings, site)

    def is_ours(self, name: str) -> bool:
        return self._plane().catalog.bind(name) is not None

    def addresses(self) -> Iterable[str]:
        for node in self._plane().fleet.shown.nodes:
            if node.share.reason is not ShareReason.OUT:
                yield from node.facts.public_addresses

    def imported_zone(self, name: str) -> str:
        zones = (zone.name for zone in self._plane().zones.zones() if is_within(name, zone.name))
        return max(zones, key=len, default="")

    def _plane(self) -> Services:
        if self._services is None:
            raise RuntimeError("whoever makes the plane attaches it before it looks at domains")
        return self._services
