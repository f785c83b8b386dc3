"""Runs where Cloudflare's and Fastly's clients are installed and nothing of ours is; see `purge_sdk`."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def _cloudflare(url: str, token: str) -> Any:
    module: Any = importlib.import_module("cloudflare")
    return module.Cloudflare(api_token=token, base_url=f"{url}/client/v4", max_retries=0)


def _fastly(url: str, token: str) -> Any:
    module: Any = importlib.import_module("fastly")
    api: Any = importlib.import_module("fastly.api.purge_api")
    configuration = module.Configuration(host=url)
    configuration.api_token = token
    return api.PurgeApi(module.ApiClient(configuration))


def _called(url: str, name: str, token: str, arguments: dict[str, Any]) -> Any:
    vendor, _, method = name.partition(".")
    if vendor == "fastly":
        keys = arguments.pop("surrogate_keys", None)
        if keys is not None:
            arguments["surrogate_key"] = " ".join(keys)
        return getattr(_fastly(url, token), method)(**arguments).to_dict()
    client = _cloudflare(url, token)
    match method:
        case "verify":
            return client.user.tokens.verify().to_dict()
        case "zones":
            return [zone.to_dict() for zone in client.zones.list(**arguments)]
        case "zone":
            return client.zones.get(**arguments).to_dict()
        case _:
            return getattr(client.cache, method)(**arguments).to_dict()


def _outcome(url: str, line: str) -> dict[str, Any]:
    asked = json.loads(line)
    try:
        return {"result": _called(url, asked["call"], asked["token"], asked["arguments"])}
    except Exception as error:
        status = getattr(error, "status_code", None) or getattr(error, "status", 0)
        body = getattr(error, "body", None)
        document = json.loads(body) if isinstance(body, str | bytes) else body
        return {"error": type(error).__name__, "status": status, "document": document}


if __name__ == "__main__":
    for text in sys.stdin:
        print(json.dumps(_outcome(sys.argv[1], text), default=str), flush=True)
