"""Errors as problem+json (RFC 9457)."""

from __future__ import annotations

import logging
import re
import secrets

import msgspec
from aiohttp import web

from cdn.control.schema import Problem
from cdn.errors import (
    CdnError,
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
    Unprocessable,
)

log = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"
MAX_DETAILS = 1000
"""Faults listed in one answer; the sentence carries the count, the rest repeats the pattern."""

_encoder = msgspec.json.Encoder()

# The most particular kinds first: Unprocessable and TooLarge are InvalidInput too.
_KINDS: tuple[tuple[type[CdnError], int, str, str], ...] = (
    (TooLarge, 413, "too-large", "Content too large"),
    (Unprocessable, 422, "unprocessable", "Cannot be carried out"),
    (InvalidInput, 400, "invalid-input", "Invalid input"),
    (Unauthorized, 401, "unauthorized", "Token or signature missing or not valid"),
    (Forbidden, 403, "forbidden", "Not covered by the token's scopes"),
    (NotFound, 404, "not-found", "Not found"),
    (Gone, 410, "gone", "Taken down"),
    (TooMany, 429, "too-many", "Too many calls"),
    (Conflict, 409, "conflict", "Conflict"),
    (Unavailable, 503, "unavailable", "Not available now"),
)

_TITLES = {
    400: ("invalid-input", "Invalid input"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    413: ("too-large", "Content too large"),
}


def problem_of(error: BaseException) -> tuple[Problem, dict[str, str]]:
    """The problem that says what `error` says, and the fields to send beside it.

    Whatever is not a CdnError becomes a 500 with an id under which it is logged; nothing of it is told to the caller.
    """
    for kind, status, name, title in _KINDS:
        if isinstance(error, kind):
            return _known(error, status, name, title)
    instance = secrets.token_hex(8)
    log.error("unexpected error %s", instance, exc_info=error)
    problem = Problem(
        type=_type("internal"),
        title="Internal error",
        status=500,
        detail=f"This is a fault of the program, logged under {instance}.",
        instance=f"urn:cdn:fault:{instance}",
    )
    return problem, {}


def _known(error: CdnError, status: int, name: str, title: str) -> tuple[Problem, dict[str, str]]:
    field: str | None = None
    details: tuple[str, ...] = ()
    fields: dict[str, str] = {}
    if isinstance(error, InvalidInput):
        field, details = error.field, error.details[:MAX_DETAILS]
    if isinstance(error, Unavailable | TooMany):
        fields["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        fields["WWW-Authenticate"] = 'Bearer realm="cdn"'
    problem = Problem(type=_type(name), title=title, status=status, detail=error.message, field=field, details=details)
    return problem, fields


def problem_response(error: BaseException) -> web.Response:
    """The answer for `error`."""
    problem, fields = problem_of(error)
    return _response(problem, fields)


def router_problem(error: web.HTTPException, method: str, path: str) -> web.Response:
    """The answer for what aiohttp's router or reader refused by itself."""
    name, title = _TITLES.get(error.status, ("http", error.reason))
    detail = {
        404: f"There is nothing at {path}.",
        405: f"{method} is not a method of {path}.",
    }.get(error.status, error.reason)
    fields = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _response(Problem(type=_type(name), title=title, status=error.status, detail=detail), fields)


def _response(problem: Problem, fields: dict[str, str]) -> web.Response:
    return web.Response(
        status=problem.status,
        body=_encoder.encode(problem),
        headers={"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", **fields},
    )


def _type(name: str) -> str:
    return f"urn:cdn:problem:{name}"


def faults_beside(problem: Problem) -> tuple[str, ...]:
    """The details, without a first one that the sentence quotes: where all of it is shown as one text."""
    is_first_said = bool(problem.details) and problem.details[0] in problem.detail
    return problem.details[1:] if is_first_said else problem.details


_AT = re.compile(r" - at `(?:key in )?\$?\.?([^`]*)`$")
_NAMED = re.compile(r"(?:unknown|missing required) field `([^`]*)`")


def invalid_json(error: Exception) -> InvalidInput:
    """What msgspec says about a request's content, with the field it is about."""
    if isinstance(error, UnicodeDecodeError):
        return InvalidInput("The request's content is not as described: its text is not UTF-8.")
    text = str(error)
    at, named = _AT.search(text), _NAMED.search(text)
    path = at.group(1) if at else ""
    if named:
        path = f"{path}.{named.group(1)}" if path else named.group(1)
    sentence = text[: at.start()] if at else text
    return InvalidInput(f"The request's content is not as described: {sentence}.", field=path or None)
