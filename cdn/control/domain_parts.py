"""The work behind domains, put together once by ControlPlane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cdn.control.certificate_office import CertificateOffice
from cdn.control.certificate_records import CertificateRecords
from cdn.control.challenge_solver import ElsewhereDns, RecordSolver
from cdn.control.challenges import Challenges
from cdn.control.colleagues import Colleagues
from cdn.control.dns_followers import DnsFollowers
from cdn.control.domain_desk import DomainDesk
from cdn.control.domain_documents import DomainDocuments
from cdn.control.domain_sight import DomainSight
from cdn.control.domain_watch import DomainWatch
from cdn.control.domain_work import DomainWork
from cdn.control.issuing import Issuing
from cdn.control.name_offices import NameOffices
from cdn.control.node_directory import NodeDirectory
from cdn.control.office_turn import OfficeTurn
from cdn.control.replica_roll import ReplicaRoll
from cdn.control.settings import ControlSettings
from cdn.control.state import ControlState
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFold
from cdn.journal.claim_fold import ClaimFold
from cdn.journal.record import Record
from cdn.journal.zone_fold import ZoneFold
from cdn.origin.store import ObjectStore

TURN_RENEWALS = 4
"""How often within its time the office of all domains is held on to."""


COUNTERS = (
    "domain_looks",
    "certificate_orders",
    "certificate_orders_failed",
    "certificate_orders_put_off",
    "certificates_issued",
    "certificates_resealed",
)
"""What is counted."""


@dataclass(frozen=True, slots=True)
class DomainFolds:
    """What records say of domains."""

    catalog: CatalogFold
    claims: ClaimFold
    certificates: CertificateFold
    zones: ZoneFold


@dataclass(frozen=True, slots=True)
class DomainFleet:
    """Who answers authorities: nodes, and name servers of this replica and of others."""

    directory: NodeDirectory
    dns: DnsFollowers
    colleagues: Colleagues
    roll: ReplicaRoll | None


class _Elsewhere:
    """See `ElsewhereDns`."""

    def __init__(self, colleagues: Colleagues, roll: ReplicaRoll) -> None:
        self._colleagues = colleagues
        self._roll = roll

    async def dns_behind(self, record: Record, timeout_s: float) -> tuple[str, ...]:
        return await self._colleagues.dns_behind(await self._roll.names(), record.position, timeout_s)


class DomainParts:
    """Started with the plane, and closed before its state is."""

    def __init__(
        self,
        settings: ControlSettings,
        state: ControlState,
        store: ObjectStore,
        *,
        folds: DomainFolds,
        fleet: DomainFleet,
        issuing: Issuing,
        sight: DomainSight,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        limits = issuing.settings
        elsewhere: ElsewhereDns | None = None if fleet.roll is None else _Elsewhere(fleet.colleagues, fleet.roll)
        self._issuing = issuing
        self.solver = RecordSolver(
            state,
            fleet.directory,
            fleet.dns,
            Challenges(settings, state, folds.zones, clock),
            elsewhere=elsewhere,
            timeout_s=limits.present_timeout_s,
            clock=clock,
        )
        documents = DomainDocuments(store)
        self.records = CertificateRecords(
            state,
            folds.catalog,
            folds.certificates,
            store=store,
            rings=issuing.rings,
            directory=fleet.directory,
        )
        self.office = CertificateOffice(self.records, documents, issuing, self.solver, clock=clock)
        self.work = DomainWork(
            state=state,
            catalog_fold=folds.catalog,
            claims=folds.claims,
            certificates=folds.certificates,
            documents=documents,
            records=self.records,
            office=self.office,
            offices=NameOffices(issuing.offices, issuing.holder, office_s=limits.office_s, monotonic=monotonic),
            sight=sight,
            own_zone=settings.zone if issuing.own_zone else None,
            methods=issuing.methods,
            lapse_s=limits.lapse_s,
            clock=clock,
        )
        turn = OfficeTurn(
            issuing.offices,
            "domains",
            issuing.holder,
            renew_every_s=limits.office_s / TURN_RENEWALS,
            monotonic=monotonic,
        )
        self.watch = DomainWatch(self.work, state, turn, round_s=limits.round_s, most=limits.max_checks, clock=clock)
        self.desk = DomainDesk(
            self.work,
            self.watch,
            documents,
            self.records,
            folds.certificates,
            most=limits.max_checks,
            clock=clock,
            monotonic=monotonic,
        )

    @property
    def counters(self) -> Mapping[str, int]:
        """What was done, by names of metrics."""
        counted = {**self.office.counters, **self.work.counters}
        return {name: counted.get(name, 0) for name in COUNTERS}

    def start(self) -> None:
        """Work from now on."""
        self.watch.start()

    async def aclose(self) -> None:
        """Stop. What is under way is gone on with later."""
        await self.watch.aclose()
        await self.desk.aclose()
        if self._issuing.issuer is not None:
            await self._issuing.issuer.aclose()
