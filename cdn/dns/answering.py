"""Everything that answers come from, put together: what the journal says, how the fleet is, where clients are.

It asks nobody and has no sockets: whoever holds it tells it what is known. The process that follows the journal has
one, and so has every process that answers beside it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cdn.dns.answer import AnswerSettings, Responder
from cdn.dns.cookie import CookieSecrets
from cdn.dns.edge_zone import EdgeZone
from cdn.dns.explain import NameExplainer
from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.fleet_state import FleetState
from cdn.dns.geography import Geography, RoundTrips
from cdn.dns.kept_view import kept_view
from cdn.dns.rate_limit import RateLimits
from cdn.dns.settings import DnsSettings
from cdn.dns.signer_book import SignerBook, ZoneTtls
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_book import ZoneBook
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import Record
from cdn.journal.zone_fold import ZoneFold
from cdn.tls.sealed import KeyRing

ANY_TTL_S = 3600
"""The longest TTL that a zone has beside those in settings: of answers to ANY."""


class Answering:
    """Made with nothing but the view of the fleet that an earlier process left. Times are monotonic seconds."""

    def __init__(self, settings: DnsSettings, cookie_secrets: tuple[bytes, ...]) -> None:
        """Raises InvalidInput when the key file cannot be used."""
        zone = settings.made_zone()
        self.catalog_fold = CatalogFold(settings.zone)
        self.zone_fold = ZoneFold()
        kept, now = kept_view(settings.fleet_path), time.monotonic()
        self.fleet = FleetState(kept, settings.answer_nodes, now, settings.full_load)
        self.down: frozenset[str] = frozenset()
        self.ttls_s: Mapping[str, int] = {}
        sites = SiteNames(self.catalog_fold.catalog, settings.answer_ttl_s)
        self.zones = ZoneBook(EdgeZone(zone, sites, settings.announced_protocols), sites, self.zone_fold)
        self.explainer = NameExplainer(self.zones, sites, self.fleet)
        self.signers = SignerBook(
            self.zone_fold,
            None if settings.dns_key_file is None else KeyRing.read(settings.dns_key_file),
            edge_zone=settings.zone,
            edge_ttls=ZoneTtls(
                max(settings.answer_ttl_s, zone.times.ttl_s, ANY_TTL_S),
                min(zone.times.ttl_s, zone.times.negative_ttl_s),
            ),
        )
        self.responder = Responder(self.zones, self.signers, answer_settings(settings, cookie_secrets))
        self.folds = (self.catalog_fold, self.zone_fold)

    def answer_udp(self, message: bytes, source: str) -> bytes | None:
        """The response to what the address `source` sent; None: say nothing."""
        return self.responder.answer_udp(message, source, time.time())

    def answer_tcp(self, message: bytes, source: str) -> bytes | None:
        """See `answer_udp`."""
        return self.responder.answer_tcp(message, source, time.time())

    def journal_loaded(self, position: Position | None) -> None:
        """The folds were replaced; None: there is no copy of the journal."""
        self.zones.journal_loaded(position, time.time())
        self.signers.journal_loaded()

    def journal_applied(self, records: Sequence[Record], position: Position) -> None:
        """The folds have applied `records`."""
        self.zones.journal_applied(records, position, time.time())
        self.signers.journal_applied(records)

    def hear(self, seen: SeenFleet, at: float) -> None:
        """Control's view of the fleet."""
        self.fleet.hear(seen, at)

    def check(self, down: frozenset[str], ttls_s: Mapping[str, int]) -> None:
        """What the checks found, see `FleetState.look`."""
        self.down, self.ttls_s = down, ttls_s

    def place(self, geography: Geography, round_trips: RoundTrips | None) -> None:
        """Where clients and nodes are from now on."""
        self.fleet.use(geography, round_trips)

    def look(self) -> None:
        """Let answers follow what was heard, and what time alone does: to be called upon a change and every second."""
        self.zones.choose(self.fleet.look(self.down, time.monotonic(), self.ttls_s))
        self.zones.expire(time.time())

    def counted(self) -> dict[str, float]:
        """What was counted so far, by name."""
        counters = self.responder.counters
        return {
            **{f"queries.{each.value}": count for each, count in counters.queries.items()},
            **{f"rcodes.{each.name.lower()}": count for each, count in counters.rcodes.items()},
            "truncated": counters.truncated,
            "silent": counters.silent,
            "limited": counters.limited,
            "slipped": counters.slipped,
            "bad_cookies": counters.bad_cookies,
        }

    @property
    def faults(self) -> dict[str, str]:
        """By zone, why it is not answered as the journal has it."""
        return self.zones.faults | self.signers.faults


def answer_settings(settings: DnsSettings, cookie_secrets: tuple[bytes, ...]) -> AnswerSettings:
    """How one of the processes answers."""
    limits = _part(settings.rate_limits, settings.processes) if settings.limits_rates else None
    return AnswerSettings(settings.nsid.encode(), CookieSecrets(cookie_secrets), limits)


def _part(limits: RateLimits, processes: int) -> RateLimits:
    """What one of several processes allows: the system spreads a network's questions among all of them."""
    return replace(
        limits,
        answers_per_s=-(-limits.answers_per_s // processes),
        absences_per_s=-(-limits.absences_per_s // processes),
        errors_per_s=-(-limits.errors_per_s // processes),
    )
