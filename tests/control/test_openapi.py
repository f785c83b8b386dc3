"""The description says what the routes are, and what they are is described."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cdn.control.document_schemas import DOCUMENTS
from cdn.errors import InvalidInput
from cdn.sites.settings import SiteSettings, settings_from, settings_to
from tests.control.control_room import Api, Control, manifest_of
from tests.control.zone_seams import PlainKeys, plain_reader

CHALLENGE = "_acme-challenge.blog.cdn.localhost"


OURS = ("/v1/", "/healthz")
"""How paths of our own API begin: those of other vendors' APIs are described by them."""


def _served(control: Control) -> set[tuple[str, str]]:
    application = control.plane.application()
    return {
        (route.method, route.resource.canonical)
        for route in application.router.routes()
        if route.method != "HEAD" and route.resource is not None and route.resource.canonical.startswith(OURS)
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
    control.zone_reader, control.zone_keys = plain_reader, PlainKeys()
    await control.reopen()
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
        ("get", "/v1/zones", "/v1/zones", None),
        ("get", "/v1/zones/cdn.localhost", "/v1/zones/{zone}", None),
        ("put", "/v1/zones/example.org", "/v1/zones/{zone}", None),
        ("get", "/v1/zones/cdn.localhost/signing", "/v1/zones/{zone}/signing", None),
        ("post", "/v1/zones/cdn.localhost/signing", "/v1/zones/{zone}/signing", {"do": "on"}),
        ("post", "/v1/zones/cdn.localhost/signing", "/v1/zones/{zone}/signing", {"do": "jump"}),
        ("post", "/v1/challenges", "/v1/challenges", {"name": CHALLENGE, "value": "x", "expires_s": 60}),
        ("get", "/v1/challenges", "/v1/challenges", None),
        ("get", "/v1/geography", "/v1/geography", None),
        ("delete", "/v1/geography", "/v1/geography", None),
        ("get", "/v1/sites/nosuch", "/v1/sites/{name}", None),
        ("delete", "/v1/sites/blog", "/v1/sites/{name}", None),
    ]:
        answer = await api.call(method.upper(), path, content)
        responses = document["paths"][described][method]["responses"]
        (media,) = responses.get(str(answer.status), responses["default"])["content"].values()
        assert _fits(answer.document, media["schema"], components), (method, path, answer)
        if answer.status >= 400:
            assert answer.is_problem


async def test_it_says_where_the_api_is_and_how_long_one_may_wait(control: Control) -> None:
    document = (await control.api.get("/v1/openapi.json", token=None)).document
    assert [server["url"] for server in document["servers"]] == ["/"]
    waits = [
        parameter
        for item in document["paths"].values()
        for operation in item.values()
        for parameter in operation["parameters"]
        if parameter["name"] == "wait"
    ]
    longest_s = control.plane.services.settings.max_wait_s
    assert waits
    for wait in waits:
        assert wait["schema"] == {"type": "number", "minimum": 0, "maximum": longest_s, "default": 0}
        assert "Seconds" in wait["description"]
    assert (await control.api.get(f"/v1/receipts/1?wait={longest_s + 1}")).status == 400


async def test_whatever_gives_a_receipt_says_what_it_means_that_it_is_not_complete(api: Api) -> None:
    paths = (await api.get("/v1/openapi.json")).document["paths"]
    for path, method in (
        ("/v1/sites/{name}/deploys", "post"),
        ("/v1/sites/{name}/deploys/{deploy_id}/activate", "post"),
        ("/v1/sites/{name}/rollback", "post"),
        ("/v1/sites/{name}/domains", "post"),
        ("/v1/sites/{name}", "delete"),
    ):
        assert "While `receipt.complete` is false" in paths[path][method]["description"]
    purge = paths["/v1/sites/{name}/purges"]["post"]
    assert "202 while some still may" in purge["description"]


async def test_every_time_says_since_when_it_counts(api: Api) -> None:
    schemas = (await api.get("/v1/openapi.json")).document["components"]["schemas"]
    times = [
        (name, field, described.get("description", ""))
        for name, schema in schemas.items()
        for field, described in schema.get("properties", {}).items()
        if field.endswith("_at")
    ]
    assert len(times) >= 8
    for name, field, described in times:
        assert "since 1970-01-01" in described, (name, field)


async def test_settings_are_described_key_by_key(api: Api) -> None:
    schemas = (await api.get("/v1/openapi.json")).document["components"]["schemas"]
    described = schemas["SiteSettings"]
    for name in ("CreateSite", "ChangeSite", "SiteView"):
        assert schemas[name]["properties"]["settings"]["$ref"] == "#/components/schemas/SiteSettings"
    everything = settings_to(SiteSettings())
    assert described["properties"].keys() == everything.keys()
    assert {name: one["default"] for name, one in described["properties"].items()} == everything
    rules = [{"path": "/a/*", "fields": [["x-a", "b"]]}]
    for settings in (everything, {"edge_ttl_s": 3, "keep": ["/a/*"], "header_rules": rules}):
        assert _fits(settings_to(settings_from(settings)), described, schemas)
    assert not _fits({"edge_ttl_s": "3"}, described, schemas)
    assert not _fits({"no_such": 3}, described, schemas)
    manifest = json.loads(manifest_of({"/a": b"a", "/b": bytes(2_000_000)}).to_bytes())
    assert schemas["CreateDeploy"]["properties"]["manifest"]["$ref"] == "#/components/schemas/Manifest"
    assert _fits(manifest, schemas["Manifest"], schemas)


async def test_a_setting_says_of_which_sites_it_is(api: Api) -> None:
    """What is described is what is refused."""
    properties = (await api.get("/v1/openapi.json")).document["components"]["schemas"]["SiteSettings"]["properties"]
    for name, value in settings_to(SiteSettings()).items():
        for origin, said in (("bundle", "with an upstream only"), ("https://a.example", "of bundles only")):
            made = await api.post("/v1/sites", {"name": "x", "settings": {name: value, "origin": origin}})
            is_refused = f"Of sites {said}" in properties[name]["description"]
            assert made.status == (400 if is_refused else 201), (name, origin)
            await api.delete("/v1/sites/x")


@pytest.mark.parametrize("name", sorted(DOCUMENTS["SiteSettings"]["properties"]))
def test_bounds_of_settings_are_the_ones_that_hold(name: str) -> None:
    schema = DOCUMENTS["SiteSettings"]["properties"][name]
    bounds = schema["anyOf"][0] if "anyOf" in schema else schema
    if "maximum" in bounds:
        settings_from({name: bounds["maximum"]})
        with pytest.raises(InvalidInput):
            settings_from({name: bounds["maximum"] + 1})
    if "minimum" in bounds:
        settings_from({name: bounds["minimum"]})
        with pytest.raises(InvalidInput):
            settings_from({name: bounds["minimum"] - 1})
    if "exclusiveMinimum" in bounds:
        with pytest.raises(InvalidInput):
            settings_from({name: bounds["exclusiveMinimum"]})
    if "maxItems" in bounds:
        item = {"keep": "/a", "region": "eu"}.get(name, {"path": "/a", "fields": [["x", "y"]]})
        settings_from({name: [item] * bounds["maxItems"]})
        with pytest.raises(InvalidInput):
            settings_from({name: [item] * (bounds["maxItems"] + 1)})
