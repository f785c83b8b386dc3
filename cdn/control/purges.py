"""The *purge* road on control's side, whoever asked in whatever dialect: scopes, one record."""

from __future__ import annotations

from functools import partial

from cdn.control.purge_lanes import PurgeLanes
from cdn.control.services import Services
from cdn.journal.record import Purged, Record
from cdn.purge.request import PurgeRequest, scopes_of
from cdn.sites.site import Site


class Purges:
    """Records purges. One for all who ask: lanes are shared."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lanes = PurgeLanes()

    async def purge(self, site: Site, wanted: PurgeRequest, actor: str) -> Record:
        """The purge's last record: another follows when the site's query policy changed before the first was there.

        Raises InvalidInput for scopes that are none, hosts of other sites among them; TooLarge; JournalUnavailable.
        """
        state = self._services.state
        while True:
            query = site.settings.query
            scopes = scopes_of(wanted, partial(self.is_host_of, site=site), query)
            change = Purged(site.id, tuple(scope.to_record() for scope in scopes), wanted.soft)
            with self._lanes.taken(site.id) as subject:
                record = await state.append_always(subject, change, actor)
            present = self._services.catalog.site(site.id)
            if present is None or present.settings.query == query:
                return record
            site = present

    def is_host_of(self, host: str, site: Site) -> bool:
        """Whether URLs of this host are the site's: its own hosts with any alias, and its domains."""
        binding = self._services.catalog.bind(host)
        return binding is not None and binding.site_id == site.id
