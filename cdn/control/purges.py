"""The *purge* road on control's side, whoever asked in whatever dialect: scopes, one record."""

from __future__ import annotations

from functools import partial

import msgspec

from cdn.control.services import Services
from cdn.journal.record import Purged, Record
from cdn.purge.request import PurgeRequest, scopes_of
from cdn.purge.scope import Scope, ScopeKind
from cdn.sites.site import Site

_ALL_PATHS = Scope(ScopeKind.PREFIX, "/")
"""The whole site by another name: visitors go to where its content comes from just the same."""


class Purges:
    """Records purges. What has to be shared by all who ask is in the services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def purge(self, site: Site, wanted: PurgeRequest, actor: str, *, counted_as: str | None = None) -> Record:
        """The purge's last record: another follows when the site's query policy changed before the first was there.

        How much may be purged in a minute is counted by actor, or by `counted_as` where an actor is somebody once only.
        Raises InvalidInput for scopes that are none, hosts of other sites among them; TooLarge; TooMany;
        JournalUnavailable.
        """
        state = self._services.state
        is_counted = False
        while True:
            query = site.settings.query
            scopes = scopes_of(wanted, partial(self.is_host_of, site=site), query)
            if not is_counted:  # what is refused for its content costs nothing
                is_whole = any(scope == _ALL_PATHS for scope in scopes)
                counted = msgspec.structs.replace(wanted, everything=True) if is_whole else wanted
                self._services.purge_rate.take(counted_as or actor, site.id, counted)
                is_counted = True
            change = Purged(site.id, tuple(scope.to_record() for scope in scopes), wanted.soft)
            with self._services.purge_lanes.taken(site.id) as subject:
                record = await state.append_always(subject, change, actor)
            present = self._services.catalog.site(site.id)
            if present is None or present.settings.query == query:
                return record
            site = present

    def is_host_of(self, host: str, site: Site) -> bool:
        """Whether URLs of this host are the site's: its own hosts with any alias, and its domains."""
        binding = self._services.catalog.bind(host)
        return binding is not None and binding.site_id == site.id
