"""The description says what the routes are, and what they are is described."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.control.control_room import Api, Control


def _served(control: Control) -> set[tuple[str, str]]:
    application = control.plane.application()
    return {
        (route.method, route.resource.canonical)
        for route in application.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }


async def test_every_route_is_described_and_every_description_is_a_route(control: Control) -> None:
    document = (await control.api.get("/v1/openapi.json", token=None)).document
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == _served(control)


async def test_every_reference_leads_somewhere_and_every_path_parameter_is_declared(api: Api) -> None:
    document = (await api.get("/v1/openapi.json")).document
    text = json.dumps(document)
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]
    operations: set[str] = set()
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["operationId"] not in operations
            operations.add(operation["operationId"])
            declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))


def _fits(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """Whether a value fits a schema, as far as the description uses JSON Schema."""
    if "$ref" in schema:
        return _fits(value, components[schema["$ref"].rsplit("/", 1)[1]], components)
    if "anyOf" in schema:
        return any(_fits(value, one, components) for one in schema["anyOf"])
    match schema.get("type"):
        case "object":
            if not isinstance(value, dict) or any(name not in value for name in schema.get("required", ())):
                return False
            properties = schema.get("properties", {})
            if schema.get("additionalProperties") is False and not value.keys() <= properties.keys():
                return False
            return all(_fits(value[name], properties[name], components) for name in value.keys() & properties.keys())
        case "array":
            return isinstance(value, list) and all(_fits(one, schema["items"], components) for one in value)
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case None:
            return True
        case other:
            raise AssertionError(f"the description uses the type {other}")


async def test_answers_are_what_the_description_says(control: Control) -> None:
    api = control.api
    document = (await api.get("/v1/openapi.json")).document
    components = document["components"]["schemas"]
    await control.following_node()
    await api.post("/v1/sites", {"name": "other"})
    for method, path, described, content in [
        ("post", "/v1/sites", "/v1/sites", {"name": "blog"}),
        ("get", "/v1/sites", "/v1/sites", None),
        ("get", "/v1/sites/blog", "/v1/sites/{name}", None),
        ("post", "/v1/sites/blog/uploads", "/v1/sites/{name}/uploads", {"blobs": {"a" * 64: 3}}),
        ("post", "/v1/sites/blog/domains", "/v1/sites/{name}/domains", {"domain": "www.example.com"}),
        ("get", "/v1/domains", "/v1/domains", None),
        ("post", "/v1/sites/blog/purges", "/v1/sites/{name}/purges", {"everything": True}),
        ("get", "/v1/receipts/1", "/v1/receipts/{sequence}", None),
        ("post", "/v1/tokens", "/v1/tokens", {"scopes": ["read:blog"]}),
        ("get", "/v1/tokens", "/v1/tokens", None),
        ("get", "/v1/status", "/v1/status", None),
        ("get", "/v1/explain?url=http://blog.cdn.localhost/", "/v1/explain", None),
        ("get", "/healthz", "/healthz", None),
        ("get", "/v1/sites/nosuch", "/v1/sites/{name}", None),
        ("delete", "/v1/sites/blog", "/v1/sites/{name}", None),
    ]:
        answer = await api.call(method.upper(), path, content)
        responses = document["paths"][described][method]["responses"]
        (media,) = responses.get(str(answer.status), responses["default"])["content"].values()
        assert _fits(answer.document, media["schema"], components), (method, path, answer)
        if answer.status >= 400:
            assert answer.is_problem
