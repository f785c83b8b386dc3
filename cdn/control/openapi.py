"""The OpenAPI description, made from the route table and the types of `schema`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cdn import __version__
from cdn.control.problem import PROBLEM_TYPE
from cdn.control.route import Access, Parameter, Route
from cdn.control.schema import Problem

_REF = "#/components/schemas/{name}"
_ACCESS_WORDS = {
    Access.ANYBODY: "No token needed.",
    Access.ANY_TOKEN: "Any valid token; it sees what its scopes cover.",
    Access.ADMIN: "Needs the scope `admin`.",
    Access.NODE: "Needs the scope `node`.",
    Access.READ: "Needs `read:SITE`, or any other scope on the site.",
    Access.PURGE: "Needs `purge:SITE` or `admin:SITE`.",
    Access.DEPLOY: "Needs `deploy:SITE` or `admin:SITE`.",
    Access.SITE_ADMIN: "Needs `admin:SITE`.",
}


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole API as an OpenAPI 3.1 document."""
    kinds = _distinct([Problem, *(kind for route in routes for kind in _kinds_of(route))])
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cdn control", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, by_kind: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": _ACCESS_WORDS[route.access],
        "parameters": [_path_parameter(name) for name in route.path_names] + [_parameter(each) for each in route.query],
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
    if route.takes_bytes:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer(status: int, kind: Any, by_kind: dict[Any, Any]) -> dict[str, Any]:
    words = {101: "Switches to the WebSocket of followers", 201: "Created", 202: "Recorded; not complete yet"}
    answer: dict[str, Any] = {"description": words.get(status, "Done")}
    if kind is not None:
        answer["content"] = {"application/json": {"schema": by_kind[kind]}}
    return answer


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.summary,
        "schema": {"type": "number" if parameter.is_number else "string"},
    }


def _kinds_of(route: Route) -> Iterable[Any]:
    yield from (kind for kind in (route.takes, *route.gives.values()) if kind is not None)


def _distinct(kinds: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(kinds))
