"""Vendors that send to hooks, as their documentation says they do."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import Any

from cdn.purge.hook_signature import standard_signature
from tests.control.control_room import Answer, Api


def github_fields(secret: str, content: bytes, event: str = "push", delivery: str = "") -> dict[str, str]:
    signature = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or secrets.token_hex(16),
        "X-Hub-Signature-256": f"sha256={signature}",
        "Content-Type": "application/json",
    }


def stripe_fields(secret: str, content: bytes, at: int) -> dict[str, str]:
    signature = hmac.new(secret.encode(), b"%d.%b" % (at, content), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={signature},v0=ignored", "Content-Type": "application/json"}


def standard_fields(secret: str, content: bytes, at: int, name: str) -> dict[str, str]:
    return {
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": standard_signature(secret, name, at, content),
        "Content-Type": "application/json",
    }


def push(branch: str = "main", **more: Any) -> bytes:
    """A push event, as short as the tests need it."""
    return json.dumps({"ref": f"refs/heads/{branch}", "pushed": secrets.token_hex(8), **more}).encode()


async def post_hook(api: Api, path: str, content: bytes, fields: dict[str, str], **more: Any) -> Answer:
    """As anybody may, without a token."""
    return await api.call("POST", path, data=content, token=None, fields=fields, **more)
