"""The routes with which content leaves the store: takedowns, and the sweep."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.control import schema
from cdn.control.route import NOT_COMPLETE, WAIT, Access, Parameter, Route
from cdn.control.services import Services
from cdn.control.sweeps_api import SweepsApi, SweepStore, SweptView
from cdn.control.takedowns import Takedowns
from cdn.control.takedowns_api import TakeDown, TakedownList, TakedownsApi, TakenDownView


def takedown_routes(services: Services) -> Sequence[Route]:
    """All of them."""
    api, sweeps = TakedownsApi(services, Takedowns(services)), SweepsApi(services, services.sweeps)
    return (
        Route(
            "POST", "/v1/takedowns", "takeDown", "Take content down: of a site, or everywhere", api.take_down,
            Access.ANY_TOKEN, {201: TakenDownView}, takes=TakeDown, query=(WAIT,), detail=NOT_COMPLETE,
        ),
        Route(
            "GET", "/v1/takedowns", "listTakedowns", "What was taken down of the sites that the token may read",
            api.list, Access.ANY_TOKEN, {200: TakedownList},
        ),
        Route(
            "DELETE", "/v1/takedowns/{digest}", "liftTakedown", "Let content be uploaded and deployed again", api.lift,
            Access.ADMIN, {200: schema.ReceiptOnly},
            query=(Parameter("site", "Of which site; of every site when left out"), WAIT),
        ),
        Route(
            "POST", "/v1/sweeps", "sweepStore", "Remove from the store what no deploy names any more",
            sweeps.sweep, Access.ADMIN, {200: SweptView}, takes=SweepStore,
        ),
    )  # fmt: skip
