"""Hooks of a site: what others' messages make happen here, and whom we tell what happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, assert_never

import msgspec
from msgspec import Meta

from cdn.errors import CdnError, InvalidInput
from cdn.http.target import Target, parse_target
from cdn.purge.hook_template import Template, TemplateFault, parse_pointer, parse_template
from cdn.sites.name import PRODUCTION, check_alias
from cdn.sites.origin import HttpOrigin, parse_origin

MAX_NOTE_BYTES = 256
"""What a hook is for, in a list."""

MAX_FILTERS = 50
"""Events, branches and conditions, each: a person wrote them."""

MAX_FILTER_CHARS = 256
"""One event, branch pattern or value; names of branches have at most 255 octets at every vendor."""

MAX_TEMPLATES = 100
"""URLs, prefixes and tags of one hook together; a placeholder makes as many as the message names."""

MAX_URL_CHARS = 2048
"""Where we send: it travels in every record of the hook."""

MIN_TOLERANCE_S, MAX_TOLERANCE_S = 10, 86_400
"""A message's own time may be off by so much: clocks differ, and some senders sign once and retry for hours."""

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


class Direction(Enum):
    """Who calls whom."""

    IN = "in"  # others call us
    OUT = "out"  # we call others


class Scheme(Enum):
    """How a sender shows that a message is its own."""

    GITHUB = "github"  # X-Hub-Signature-256: HMAC-SHA256 of the content, in hex
    GITLAB = "gitlab"  # webhook-signature as in STANDARD, or the secret itself in X-Gitlab-Token
    BITBUCKET = "bitbucket"  # X-Hub-Signature, as GITHUB
    STRIPE = "stripe"  # Stripe-Signature: t=TIME,v1=HMAC-SHA256 of "TIME.content", in hex
    STANDARD = "standard"  # Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature
    TOKEN = "token"  # noqa: S105 - a word: the secret itself, as a bearer token or in a field that the hook names


class OutboundEvent(Enum):
    """What receivers are told of."""

    DEPLOY_LIVE = "deploy.live"
    PURGE_DONE = "purge.done"
    CERTIFICATE_TROUBLE = "certificate.trouble"


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


Templates = Annotated[
    tuple[str, ...],
    Meta(description="Each may have placeholders, {/JSON/POINTER} into the message; * in one stands for each element."),
]


class PurgeAction(_Settings, frozen=True, tag_field="do", tag="purge"):
    """Purge what the templates come to. `soft` makes stale instead of unusable."""

    urls: Templates = ()
    prefixes: Templates = ()
    tags: Templates = ()
    everything: bool = False
    soft: bool = False


class ResyncAction(_Settings, frozen=True, tag_field="do", tag="resync"):
    """Of a site that is answered from a bucket: purge the objects that the message names, or everything where it names
    none. Amazon's notifications are understood, also by way of SNS and EventBridge, and what other stores copied of
    them."""

    soft: bool = False


class ActivateAction(_Settings, frozen=True, tag_field="do", tag="activate"):
    """Answer `on` from an uploaded deploy: that with the id `deploy`, the newest one of the source commit `commit`, or
    what is active on the alias `alias`. One of the three is given; each may be a template."""

    deploy: str = ""
    commit: str = ""
    alias: str = ""
    on: str = PRODUCTION


Action = PurgeAction | ResyncAction | ActivateAction


class InboundHook(_Settings, frozen=True):
    """Messages from others. `events` and `branches` ("release/*") let in only those that are named, `only_if` only
    those in which the value at each JSON pointer is the one given; nothing named lets in all.

    `event_pointer` and `branch_pointer` lead to where a message names them; "": where the vendor does. `field` is where
    a TOKEN is sent, "": in Authorization as a bearer token; with `in_query` it may also come as the query's `token`,
    which logs of servers in between show. `tolerance_s` bounds how far the time of a signed message may be off.
    """

    scheme: Scheme
    action: Action
    note: str = ""
    events: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    only_if: dict[str, str] = {}
    event_pointer: str = ""
    branch_pointer: str = ""
    field: str = ""
    in_query: bool = False
    tolerance_s: int = 300


class OutboundHook(_Settings, frozen=True):
    """Messages of ours to `url`. `events` name which; none: all."""

    url: str
    events: tuple[OutboundEvent, ...] = ()
    note: str = ""

    def wants(self, event: OutboundEvent) -> bool:
        """Whether it is told of these."""
        return not self.events or event in self.events

    @property
    def target(self) -> str:
        """Path and query of the URL, as they are requested."""
        return _split_url(self.url)[1]

    @property
    def endpoint(self) -> HttpOrigin:
        """Whom it is sent to."""
        return _split_url(self.url)[0]


HookSettings = InboundHook | OutboundHook


def hook_to(settings: HookSettings) -> dict[str, Any]:
    """As it stands in records; what is not given is left out."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    return plain


def hook_from(direction: Direction, settings: Any) -> HookSettings:
    """What a record or a caller says. Raises InvalidInput with every fault in `details`."""
    hook: HookSettings
    try:
        match direction:
            case Direction.IN:
                hook = msgspec.convert(settings, InboundHook)
            case Direction.OUT:
                hook = msgspec.convert(settings, OutboundHook)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"The hook's settings are not as described: {error}.", field="settings") from error
    faults = tuple(faults_of(hook))
    if faults:
        raise InvalidInput(f"The hook cannot be used: {faults[0]}.", field="settings", details=faults)
    return hook


def faults_of(hook: HookSettings) -> Iterator[str]:
    """Everything that is wrong with it, a sentence without its stop each."""
    if len(hook.note.encode("utf-8", "surrogatepass")) > MAX_NOTE_BYTES:
        yield f"note has at most {MAX_NOTE_BYTES} bytes"
    match hook:
        case InboundHook():
            yield from _faults_of_inbound(hook)
        case OutboundHook():
            yield from _faults_of_outbound(hook)
        case _:
            assert_never(hook)


def _faults_of_inbound(hook: InboundHook) -> Iterator[str]:
    for name, texts in (("events", hook.events), ("branches", hook.branches), ("only_if", (*hook.only_if.values(),))):
        if len(texts) > MAX_FILTERS:
            yield f"{name} has {len(texts)} entries, at most {MAX_FILTERS} are compared"
        if any((not text and name != "only_if") or len(text) > MAX_FILTER_CHARS for text in texts):
            yield f"each entry of {name} has 1 to {MAX_FILTER_CHARS} letters"
    pointers = [("only_if", pointer) for pointer in hook.only_if]
    pointers += [("event_pointer", hook.event_pointer)] * bool(hook.event_pointer)
    pointers += [("branch_pointer", hook.branch_pointer)] * bool(hook.branch_pointer)
    for name, pointer in pointers:
        try:
            parse_pointer(pointer)
        except TemplateFault as fault:
            yield f"{name}: {fault.message}"
    yield from _faults_of_token(hook)
    if not MIN_TOLERANCE_S <= hook.tolerance_s <= MAX_TOLERANCE_S:
        yield f"tolerance_s is between {MIN_TOLERANCE_S} and {MAX_TOLERANCE_S}"
    yield from _faults_of_action(hook.action)


def _faults_of_token(hook: InboundHook) -> Iterator[str]:
    if hook.scheme is not Scheme.TOKEN and (hook.field or hook.in_query):
        yield f"field and in_query are of the scheme token, and this is {hook.scheme.value}"
    if hook.field and _FIELD_NAME.fullmatch(hook.field) is None:
        yield f"{hook.field[:100]!r} is no field name"


def _faults_of_action(action: Action) -> Iterator[str]:
    match action:
        case PurgeAction():
            texts = (*action.urls, *action.prefixes, *action.tags)
            if not texts and not action.everything:
                yield "the purge names nothing: give urls, prefixes or tags, or set everything to true"
            if len(texts) > MAX_TEMPLATES:
                yield f"the purge has {len(texts)} templates, at most {MAX_TEMPLATES} are filled in"
            for text in texts[:MAX_TEMPLATES]:
                yield from _faults_of_template(text)
        case ResyncAction():
            pass
        case ActivateAction():
            given = [text for text in (action.deploy, action.commit, action.alias) if text]
            if len(given) != 1:
                yield "an activation names one of deploy, commit and alias"
            for text in (*given, action.on):
                yield from _faults_of_template(text)
            if Template.is_plain(action.on):
                yield from _faults_of_alias(action.on)
        case _:
            assert_never(action)


def _faults_of_alias(text: str) -> Iterator[str]:
    try:
        check_alias(text)
    except InvalidInput as fault:
        yield fault.message


def _faults_of_template(text: str) -> Iterator[str]:
    try:
        parse_template(text)
    except TemplateFault as fault:
        yield fault.message


def _faults_of_outbound(hook: OutboundHook) -> Iterator[str]:
    try:
        _split_url(hook.url)
    except CdnError as fault:
        yield fault.message


def _split_url(url: str) -> tuple[HttpOrigin, str]:
    """The server and the target. Raises InvalidInput; the URL is not repeated, as it may hold a password."""
    scheme, mark, rest = url.partition("://")
    if len(url) > MAX_URL_CHARS or scheme not in ("http", "https") or not mark:
        raise InvalidInput(f"url is an http or https URL of at most {MAX_URL_CHARS} letters")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise InvalidInput("url names a user or a password: messages are signed, so leave them out")
    origin = parse_origin(f"{scheme}://{authority}")
    if not isinstance(origin, HttpOrigin):
        raise InvalidInput("url names no server")
    path = rest[len(authority) :]
    target = parse_target((path if path.startswith("/") else f"/{path}").encode("utf-8", "surrogatepass"))
    if not isinstance(target, Target) or "#" in path:
        raise InvalidInput("url has a path or query that cannot be requested")
    return origin, target.path if target.query is None else f"{target.path}?{target.query}"
