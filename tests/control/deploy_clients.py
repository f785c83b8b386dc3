"""Netlify's and Cloudflare's deploy clients as they talk to control: the calls of the real ones, one by one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cdn.control.pages_digest import extension_of, pages_digest
from tests.control.control_room import Answer, Api

WAIT_S = 60.0
"""More than any deploy of a test takes on a busy machine."""

FILES = {"index.html": b"<h1>hello</h1>", "assets/app.css": b"body{}", "we ird/a b.txt": b"space", "none": b""}


def sha1_of(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@dataclass
class NetlifyClient:
    api: Api
    site: str = "blog"

    async def begin(self, **body: Any) -> dict[str, Any]:
        answer = await self.api.post(f"/api/v1/sites/{self.site}/deploys", {"draft": False, **body})
        assert answer.status == 200, answer
        document: dict[str, Any] = answer.document
        return document

    async def announce(self, deploy_id: str, files: Mapping[str, bytes], **more: Any) -> Answer:
        digests = {path: sha1_of(content) for path, content in files.items()}
        document = {"files": digests, "async": False, "framework": "unknown", **more}
        return await self.api.call("PUT", f"/api/v1/sites/{self.site}/deploys/{deploy_id}", document)

    async def send(self, deploy_id: str, path: str, content: bytes) -> Answer:
        encoded = quote(quote(path))  # as the client does: once by itself, once by what it calls with
        return await self.api.put(
            f"/api/v1/deploys/{deploy_id}/files/{encoded}",
            io.BytesIO(content),
            fields={"Content-Type": "application/octet-stream"},
        )

    async def show(self, deploy_id: str) -> Answer:
        return await self.api.get(f"/api/v1/sites/{self.site}/deploys/{deploy_id}")

    async def wait(self, deploy_id: str) -> dict[str, Any]:
        """Ask until something has become of it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                answer = await self.show(deploy_id)
                assert answer.status == 200, answer
                if answer.document["state"] in ("ready", "error"):
                    document: dict[str, Any] = answer.document
                    return document
                await asyncio.sleep(0.01)

    async def deploy(self, files: Mapping[str, bytes], **body: Any) -> tuple[dict[str, Any], list[str]]:
        """What became of it, and which digests were asked for."""
        deploy_id = (await self.begin(**body))["id"]
        announced = await self.announce(deploy_id, files)
        assert announced.status == 200, announced
        required: list[str] = announced.document["required"]
        for path, content in files.items():
            if sha1_of(content) in required:
                sent = await self.send(deploy_id, path, content)
                assert sent.status == 200, sent
        return await self.wait(deploy_id), required


@dataclass
class PagesClient:
    api: Api
    project: str = "blog"

    @property
    def path(self) -> str:
        return f"/client/v4/accounts/any/pages/projects/{self.project}"

    async def upload_token(self) -> str:
        answer = await self.api.get(f"{self.path}/upload-token")
        assert answer.status == 200, answer
        token: str = answer.document["result"]["jwt"]
        return token

    async def check_missing(self, token: str, hashes: list[str]) -> Answer:
        return await self.api.post("/client/v4/pages/assets/check-missing", {"hashes": hashes}, token=token)

    async def upload(self, token: str, batch: Any) -> Answer:
        return await self.api.post("/client/v4/pages/assets/upload", batch, token=token)

    async def deployment(self, manifest: Mapping[str, str], **fields: str) -> Answer:
        return await self.form({"manifest": json.dumps(dict(manifest)), **fields})

    async def form(self, fields: Mapping[str, str]) -> Answer:
        content, kind = form_of(fields)
        return await self.api.post(f"{self.path}/deployments", data=content, fields={"Content-Type": kind})

    async def deploy(self, files: Mapping[str, bytes], **fields: str) -> tuple[Answer, list[str]]:
        """The answer, and which digests were missing."""
        token = await self.upload_token()
        manifest = {f"/{path}": pages_digest(content, extension_of(path)) for path, content in files.items()}
        missing = await self.check_missing(token, list(manifest.values()))
        assert missing.status == 200, missing
        wanted: list[str] = missing.document["result"]
        batch = [asset(path, content) for path, content in files.items() if manifest[f"/{path}"] in wanted]
        if batch:
            sent = await self.upload(token, batch)
            assert sent.status == 200, sent
        return await self.deployment(manifest, **fields), wanted


def asset(path: str, content: bytes, **more: Any) -> dict[str, Any]:
    """A file of a batch. Its type is one that says nothing of its name, unless `more` says another."""
    return {
        "key": pages_digest(content, extension_of(path)),
        "value": base64.b64encode(content).decode(),
        "metadata": {"contentType": "text/html" if path.endswith(".html") else "application/x-unknown"},
        "base64": True,
        **more,
    }


def form_of(fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A form as undici writes one."""
    boundary = "----formdata-undici-066890792560"
    parts = []
    for name, value in fields.items():
        file = f'; filename="{name}"\r\nContent-Type: application/octet-stream' if name.startswith("_") else ""
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n')
    return f"{''.join(parts)}--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
