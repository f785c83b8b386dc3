"""What the API says of things that control knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdn.control.schema import DeployView, NodeReceiptView, PositionView, ReceiptCounts, ReceiptView, SiteView
from cdn.control.settings import ControlSettings
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeReceipt, Receipt
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import Deploy
from cdn.sites.name import PRODUCTION, host_label
from cdn.sites.settings import settings_to
from cdn.sites.site import Site


def position_view(position: Position) -> PositionView:
    return PositionView(position.epoch, position.sequence)


def receipt_view(receipt: Receipt, wall_of: Callable[[float], float], *, is_settled: bool = True) -> ReceiptView:
    """`is_settled`: nodes that follow other replicas of control are known as well; else nothing is complete.

    `wall_of` makes wall time of control's monotonic time.
    """
    tally = receipt.tally
    return ReceiptView(
        position=position_view(receipt.position),
        recorded_at=receipt.recorded_at,
        complete=receipt.is_complete and is_settled,
        nodes=tuple(_line_view(each, wall_of) for each in receipt.nodes),
        counts=ReceiptCounts(tally.applied, len(tally.pending), len(tally.fenced), len(tally.excused)),
        more_after=receipt.more_after,
    )


def _line_view(line: NodeReceipt, wall_of: Callable[[float], float]) -> NodeReceiptView:
    condition = line.condition
    return NodeReceiptView(
        line.node_id,
        line.outcome.value,
        line.applied_at,
        applied_by=line.applied_by if line.applied_at is None else None,
        state=None if condition is None else condition.state.value,
        reason=None if condition is None else condition.reason.value,
        since=None if condition is None else wall_of(condition.since),
    )


def host_of(settings: ControlSettings, site: Site, alias: str = PRODUCTION) -> str:
    """The name below the CDN's own zone that answers from this alias."""
    return f"{host_label(site.name, alias)}.{settings.zone}"


def url_of(settings: ControlSettings, site: Site, alias: str = PRODUCTION) -> str:
    """Where a visitor sees this alias."""
    port = "" if settings.public_port is None else f":{settings.public_port}"
    return f"{settings.public_scheme}://{host_of(settings, site, alias)}{port}/"


def site_view(settings: ControlSettings, catalog: Catalog, site: Site) -> SiteView:
    production = catalog.alias(site.id, PRODUCTION)
    active = production.active if production is not None else None
    return SiteView(
        id=site.id,
        name=site.name,
        created_at=site.created_at,
        settings=settings_to(site.settings),
        host=host_of(settings, site),
        url=url_of(settings, site),
        domains=tuple(sorted(catalog.domains(site.id))),
        active=active.id if active is not None else None,
    )


def deploy_views(catalog: Catalog, site: Site, deploys: Iterable[Deploy]) -> tuple[DeployView, ...]:
    """Deploys of one site, each with the aliases that answer from it."""
    active_on: dict[str, list[str]] = {}
    for alias, state in catalog.aliases(site.id).items():
        if state.active is not None:
            active_on.setdefault(state.active.id, []).append(alias)
    return tuple(
        DeployView(
            id=deploy.id,
            site=site.name,
            alias=deploy.alias,
            manifest_digest=deploy.manifest_digest,
            file_count=deploy.file_count,
            size_bytes=deploy.size_bytes,
            author=deploy.author,
            message=deploy.message,
            prepared_at=deploy.prepared_at,
            sequence=deploy.sequence,
            active_on=tuple(sorted(active_on.get(deploy.id, ()))),
            commit=deploy.commit,
        )
        for deploy in deploys
    )
