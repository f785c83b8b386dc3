"""What a message makes happen, once its hook lets it in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_never
from urllib.parse import quote, unquote_plus

from cdn.http.target import Target, parse_target
from cdn.purge.hook import ActivateAction, InboundHook, PurgeAction, ResyncAction
from cdn.purge.hook_event import HookEvent
from cdn.purge.hook_template import TooManyValues, parse_template
from cdn.purge.request import MAX_SCOPES_PER_PURGE, PurgeRequest
from cdn.sites.origin import BucketOrigin
from cdn.sites.query_policy import DropQuery, QueryPolicy

INDEX = "index.html"
NOT_FOUND_PAGE = "404.html"


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """A purge. `request` is what the native API would take; `is_widened`: the message names more than one purge may."""

    request: PurgeRequest
    is_widened: bool = False


@dataclass(frozen=True, slots=True)
class ActivatePlan:
    """One of `deploy` (an id), `commit` and `alias` says which deploy; it becomes that of the alias `on`."""

    on: str
    deploy: str = ""
    commit: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True)
class NothingToDo:
    """The message is about nothing of this site's."""

    says: str


Plan = PurgePlan | ActivatePlan | NothingToDo


def plan_of(hook: InboundHook, event: HookEvent, bucket: BucketOrigin | None, query: QueryPolicy) -> Plan:
    """What the event comes to. `bucket` is where the site's content comes from, `query` its policy for queries.

    Raises TemplateFault when the message lacks what the hook's templates name.
    """
    action = hook.action
    match action:
        case PurgeAction():
            return _purge(action, event.message)
        case ResyncAction():
            return _resync(action, event.message, bucket, is_exact=isinstance(query, DropQuery))
        case ActivateAction():
            return ActivatePlan(
                on=parse_template(action.on).single(event.message),
                deploy=_single(action.deploy, event.message),
                commit=_single(action.commit, event.message),
                alias=_single(action.alias, event.message),
            )
        case _:
            assert_never(action)


def _single(text: str, message: Any) -> str:
    return parse_template(text).single(message) if text else ""


def _purge(action: PurgeAction, message: Any) -> Plan:
    if action.everything:
        return PurgePlan(PurgeRequest(everything=True, soft=action.soft))
    try:
        left = MAX_SCOPES_PER_PURGE
        filled = []
        for texts, is_path in ((action.urls, True), (action.prefixes, True), (action.tags, False)):
            of_kind: dict[str, None] = {}
            for text in texts:
                of_kind.update(dict.fromkeys(parse_template(text).filled(message, most=left, is_path=is_path)))
                if len(of_kind) > left:
                    raise TooManyValues("the message names more than one purge may")
            left -= len(of_kind)
            filled.append(tuple(of_kind))
    except TooManyValues:
        return PurgePlan(PurgeRequest(everything=True, soft=action.soft), is_widened=True)
    urls, prefixes, tags = filled
    if not urls and not prefixes and not tags:
        return NothingToDo("the message names nothing to purge")
    return PurgePlan(PurgeRequest(urls=urls, prefixes=prefixes, tags=tags, soft=action.soft))


def _resync(action: ResyncAction, message: Any, bucket: BucketOrigin | None, *, is_exact: bool) -> Plan:
    everything = PurgePlan(PurgeRequest(everything=True, soft=action.soft))
    objects = list(objects_of(message))
    if bucket is None or not objects:
        return everything
    ours = [key for name, key in objects if name == bucket.bucket]
    within = f"{bucket.prefix}/" if bucket.prefix else ""
    paths: dict[str, None] = {}
    for key in ours:
        if key.startswith(within):
            paths.update(dict.fromkeys(_paths_of(key[len(within) :])))
    if not paths:
        return NothingToDo(f"it names no object of {bucket}")
    if f"/{NOT_FOUND_PAGE}" in paths or len(paths) > MAX_SCOPES_PER_PURGE:
        return everything  # what is missing is answered with that page, under any path
    if is_exact:
        return PurgePlan(PurgeRequest(urls=tuple(paths), soft=action.soft))
    if "/" in paths:
        return everything  # with every query that it may have
    return PurgePlan(PurgeRequest(prefixes=tuple(paths), soft=action.soft))


def _paths_of(key: str) -> Iterator[str]:
    """The paths that an object answers: with its folder's where it is an index."""
    path = f"/{quote(key, safe='/', errors='replace')}"
    if not isinstance(parse_target(path.encode("ascii")), Target):
        return  # nobody can ask for it
    yield path
    folder, slash, name = path.rpartition("/")
    if name == INDEX:
        yield f"{folder}{slash}"
        if folder:
            yield folder  # from where visitors are sent to the one with the slash


def objects_of(message: Any) -> Iterator[tuple[str, str]]:
    """Bucket and key of each object that a notification names: Amazon's own form, in which keys are encoded as in
    queries, or that of EventBridge, in which they are not."""
    match message:
        case {"Records": list() as records}:
            for record in records:
                match record:
                    case {"s3": {"bucket": {"name": str() as name}, "object": {"key": str() as key}}}:
                        yield name, unquote_plus(key)
                    case _:
                        continue
        case {"detail": {"bucket": {"name": str() as name}, "object": {"key": str() as key}}}:
            yield name, key
        case _:
            return
