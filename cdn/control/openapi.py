"""The OpenAPI description, made from the route table and the types of `schema`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cdn import __version__
from cdn.control.document_schemas import DOCUMENTS
from cdn.control.problem import PROBLEM_TYPE
from cdn.control.route import WAIT, Access, Parameter, Route
from cdn.control.schema import Problem

_REF = "#/components/schemas/{name}"
_ACCESS_WORDS = {
    Access.ANYBODY: "No token needed.",
    Access.ANY_TOKEN: "Any valid token; it sees what its scopes cover.",
    Access.ADMIN: "Needs the scope `admin`.",
    Access.NODE: "Needs the scope `node`.",
    Access.DNS: "Needs the scope `dns`.",
    Access.READ: "Needs `read:SITE`, or any other scope on the site.",
    Access.PURGE: "Needs `purge:SITE` or `admin:SITE`.",
    Access.DEPLOY: "Needs `deploy:SITE` or `admin:SITE`.",
    Access.SITE_ADMIN: "Needs `admin:SITE`.",
}


_BYTES = {"type": "string", "format": "binary"}

_ABOUT = (
    "Publish sites and purge them. Times are seconds since 1970-01-01T00:00:00Z, names that end in _s are durations "
    "in seconds, names that end in _bytes are sizes. A change is durable when it is answered; the answer's `receipt` "
    "says which nodes serve it already."
)


def describe(routes: Sequence[Route], longest_wait_s: float) -> dict[str, Any]:
    """The whole API as an OpenAPI 3.1 document. `longest_wait_s` bounds `?wait=`."""
    kinds = _distinct([Problem, *(kind for route in routes for kind in _kinds_of(route))])
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind, longest_wait_s)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cdn control",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The control plane that this description came from"}],
        "paths": paths,
        "components": {
            "schemas": {**components, **DOCUMENTS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, by_kind: dict[Any, Any], longest_wait_s: float) -> dict[str, Any]:
    parameters = [_path_parameter(name) for name in route.path_names]
    parameters += [_parameter(each, longest_wait_s) for each in route.query]
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": f"{route.detail}\n\n{_ACCESS_WORDS[route.access]}".lstrip(),
        "parameters": parameters,
        "responses": {
            **{str(status): _answer(status, kind, by_kind) for status, kind in route.gives.items()},
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {PROBLEM_TYPE: {"schema": by_kind[Problem]}},
            },
        },
        "security": [] if route.access is Access.ANYBODY else [{"token": []}],
    }
    content: dict[str, Any] = {}
    if route.takes is not None:
        content["application/json"] = {"schema": by_kind[route.takes]}
    if route.takes_bytes is not None:
        content[route.takes_bytes] = {"schema": _BYTES}
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer(status: int, kind: Any, by_kind: dict[Any, Any]) -> dict[str, Any]:
    words = {
        101: "Switches to the WebSocket of followers",
        201: "Created",
        202: "Recorded and durable; some node may still answer from before: ask for the receipt again",
    }
    answer: dict[str, Any] = {"description": words.get(status, "Done")}
    if kind is bytes:
        answer["content"] = {"application/octet-stream": {"schema": _BYTES}}
    elif kind is not None:
        answer["content"] = {"application/json": {"schema": by_kind[kind]}}
    return answer


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(parameter: Parameter, longest_wait_s: float) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "number" if parameter.is_number else "string"}
    if parameter.name == WAIT.name:
        schema |= {"minimum": 0, "maximum": longest_wait_s, "default": 0}
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.summary,
        "schema": schema,
    }


def _kinds_of(route: Route) -> Iterable[Any]:
    yield from (kind for kind in (route.takes, *route.gives.values()) if kind not in (None, bytes))


def _distinct(kinds: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(kinds))
