"""What a vendor's message is about: its event, its branch, and whether a hook lets it in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

import msgspec

from cdn.errors import InvalidInput
from cdn.purge.hook import InboundHook, Scheme
from cdn.purge.hook_template import TooManyValues, parse_pointer

BRANCH_REF = "refs/heads/"

MAX_BRANCHES = 100
"""Of one message: a push of Bitbucket names several."""

FORM = "application/x-www-form-urlencoded"

_BRANCHES: Mapping[Scheme, tuple[str, ...]] = {
    Scheme.GITHUB: (
        "/ref",
        "/workflow_run/head_branch",
        "/check_suite/head_branch",
        "/check_run/check_suite/head_branch",
        "/deployment/ref",
        "/pull_request/head/ref",
    ),
    Scheme.GITLAB: ("/ref", "/object_attributes/ref", "/object_attributes/source_branch"),
    Scheme.BITBUCKET: ("/push/changes/*/new/name", "/changes/*/ref/displayId", "/commit_status/refname"),
    Scheme.STRIPE: (),
    Scheme.STANDARD: (),
    Scheme.TOKEN: ("/ref",),
}

_EVENT_FIELD: Mapping[Scheme, str] = {
    Scheme.GITHUB: "x-github-event",
    Scheme.GITLAB: "x-gitlab-event",
    Scheme.BITBUCKET: "x-event-key",
}

_EVENTS: Mapping[Scheme, tuple[str, ...]] = {
    Scheme.GITHUB: (),
    Scheme.GITLAB: ("/object_kind", "/event_name"),
    Scheme.BITBUCKET: (),
    Scheme.STRIPE: ("/type",),
    Scheme.STANDARD: ("/type",),
    Scheme.TOKEN: ("/type", "/Records/*/eventName", "/detail-type"),
}

MAX_SNS_URL_CHARS = 800
"""Of the URL with which a subscription of SNS is confirmed."""

_SNS = re.compile(r"https://sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/[!-~]*\Z")

_PINGS = frozenset(("ping", "diagnostics:ping"))


@dataclass(frozen=True, slots=True)
class HookEvent:
    """`names` are what the vendor calls it, "push" and "Push Hook"; `branches` those that it is about."""

    names: tuple[str, ...]
    branches: tuple[str, ...]
    message: Any

    @property
    def name(self) -> str:
        """The first of its names; "" where there is none."""
        return self.names[0] if self.names else ""


def message_of(content: bytes, media_type: str) -> Any:
    """The JSON in a message, also in the form field `payload` as some send it; no content is an empty object.

    A notification of SNS is opened. Raises InvalidInput.
    """
    try:
        if media_type.partition(";")[0].strip().lower() == FORM:
            payload = parse_qs(content.decode("utf-8"), max_num_fields=100, strict_parsing=bool(content))
            content = payload.get("payload", [""])[0].encode("utf-8")
        message = msgspec.json.decode(content) if content.strip() else {}
        match message:
            case {"Type": "Notification", "Message": str() as inner}:
                return msgspec.json.decode(inner) if inner.lstrip().startswith("{") else message
            case _:
                return message
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput("The content is no JSON: choose application/json for what the sender sends.") from error
    except RecursionError as error:
        raise InvalidInput("The content is nested too deeply.") from error


def event_of(hook: InboundHook, fields: Mapping[str, str], message: Any) -> HookEvent:
    """What the message is about. `fields` have names in lower case."""
    if hook.event_pointer:
        names = tuple(_texts(message, (hook.event_pointer,)))
    else:
        named = fields.get(_EVENT_FIELD.get(hook.scheme, ""), "")
        names = tuple(dict.fromkeys((*_texts(message, _EVENTS[hook.scheme]), *([named] if named else []))))
    pointers = (hook.branch_pointer,) if hook.branch_pointer else _BRANCHES[hook.scheme]
    branches = dict.fromkeys(text.removeprefix(BRANCH_REF) for text in _texts(message, pointers))
    # Of a tag there is no branch.
    return HookEvent(names, tuple(one for one in branches if not one.startswith("refs/"))[:MAX_BRANCHES], message)


def reason_to_ignore(hook: InboundHook, event: HookEvent) -> str | None:
    """Why nothing is done about the event; None: something is."""
    if not _PINGS.isdisjoint(event.names):
        return "it asks whether we are here, and we are"
    match event.message:
        case {"Type": "SubscriptionConfirmation", "SubscribeURL": str() as url} if _SNS.match(url):
            return f"it asks to be confirmed: open {url[:MAX_SNS_URL_CHARS]}"
        case _:
            pass
    if hook.events and not any(name in hook.events for name in event.names):
        return f"it is {event.name[:100]!r}, and the hook is for {', '.join(hook.events)}"
    if hook.branches:
        if not event.branches:
            return "it is about no branch, and the hook is for some only"
        if not any(is_covered(pattern, branch) for pattern in hook.branches for branch in event.branches):
            return f"it is about {event.branches[0][:100]!r}, and the hook is for {', '.join(hook.branches)}"
        if isinstance(event.message, dict) and event.message.get("deleted") is True:
            return "the branch was deleted"
    for pointer, wanted in hook.only_if.items():
        if wanted not in _texts(event.message, (pointer,)):
            return f"it has not {wanted!r} at {pointer}"
    return None


def is_covered(pattern: str, branch: str) -> bool:
    """Whether a pattern covers a branch; `*` stands for anything, slashes included."""
    return _compiled(pattern).fullmatch(branch) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Each part is found as early as it can be and never looked for again: nothing is tried twice.
    first, *others = (re.escape(part) for part in pattern.split("*"))
    if not others:
        return re.compile(first)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{last}", re.DOTALL)


def _texts(message: Any, pointers: tuple[str, ...]) -> Iterator[str]:
    """The texts at pointers, numbers and truths as JSON writes them; of too many the first ones."""
    for pointer in pointers:
        with suppress(TooManyValues):
            for value in parse_pointer(pointer).values(message):
                match value:
                    case str() if value:
                        yield value
                    case bool():
                        yield "true" if value else "false"
                    case int():
                        yield str(value)
                    case _:
                        continue
