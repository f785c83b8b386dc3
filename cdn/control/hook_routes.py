"""The API's routes about hooks."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.control import hook_schema
from cdn.control.hooks_api import DELIVERIES, MOST_DELIVERIES, RECEIVER_PATH, HooksApi
from cdn.control.route import WAIT, Access, Parameter, Route

HOOKS = "/v1/sites/{name}/hooks"
HOOK = HOOKS + "/{hook_id}"
DELIVERY = HOOK + "/deliveries/{delivery_id}"

LIMIT = Parameter(
    "limit", f"List at most so many; {DELIVERIES} by default, {MOST_DELIVERIES} at the most", is_number=True
)

_RECEIVE_DETAIL = (
    "What is sent is JSON, signed as the hook says; a wrong signature is answered 401. The same message is worked on "
    "once: one that comes again is answered with what came of the first, and its receipt. 202 while some node may "
    "still answer from before."
)


def hook_routes(api: HooksApi) -> Sequence[Route]:
    """All of them."""
    return (
        Route(
            "POST", HOOKS, "createHook", "Create a hook that receives or sends messages", api.create, Access.SITE_ADMIN,
            {201: hook_schema.HookCreatedView}, takes=hook_schema.CreateHook,
            detail="The answer has the secret, this once.",
        ),
        Route(
            "GET", HOOKS, "listHooks", "A site's hooks", api.list, Access.SITE_ADMIN, {200: hook_schema.HookList},
        ),
        Route("GET", HOOK, "showHook", "One hook", api.show, Access.SITE_ADMIN, {200: hook_schema.HookView}),
        Route(
            "PUT", HOOK, "changeHook", "Give a hook other settings", api.change, Access.SITE_ADMIN,
            {200: hook_schema.HookChangedView}, takes=hook_schema.ChangeHook,
        ),
        Route(
            "POST", HOOK + "/rotate", "rotateHook", "Give a hook another secret", api.rotate, Access.SITE_ADMIN,
            {200: hook_schema.HookCreatedView}, takes=hook_schema.RotateHook,
            detail="Both count for `keep_s`; what is sent meanwhile is signed with both.",
        ),
        Route(
            "DELETE", HOOK, "removeHook", "Remove a hook", api.remove, Access.SITE_ADMIN,
            {200: hook_schema.HookRemovedView},
        ),
        Route(
            "GET", HOOK + "/deliveries", "listDeliveries", "What came to a hook, or was sent", api.deliveries,
            Access.SITE_ADMIN, {200: hook_schema.DeliveryList}, query=(LIMIT,),
        ),
        Route(
            "GET", DELIVERY, "showDelivery", "One message with what was sent", api.show_delivery, Access.SITE_ADMIN,
            {200: hook_schema.DeliveryView},
        ),
        Route(
            "POST", DELIVERY + "/replay", "replayDelivery", "Send a message again", api.replay, Access.SITE_ADMIN,
            {202: hook_schema.DeliveryReplayed},
        ),
        Route(
            "POST", RECEIVER_PATH, "receiveHook", "Where messages to a hook come", api.receive, Access.ANYBODY,
            {200: hook_schema.HookAnswer, 202: hook_schema.HookAnswer}, takes_bytes="application/json",
            query=(WAIT, Parameter("token", "The secret, where the hook takes it in the query")),
            detail=_RECEIVE_DETAIL,
        ),
    )  # fmt: skip
