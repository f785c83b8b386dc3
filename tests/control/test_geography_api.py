"""The table of places over HTTP: uploads, what name servers fetch, and what is kept of former tables."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator

from cdn.control.geography_table import PIECE_BYTES, PREFIX
from tests.control.control_room import Answer, Api, Control, ControlMaker


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def send(api: Api, content: bytes, *, digest: str | None = None, note: str = "of May") -> Answer:
    params = {"digest": digest_of(content) if digest is None else digest, "note": note}
    return await api.put("/v1/geography", io.BytesIO(content), params=params)


async def kept(control: Control) -> set[str]:
    return {facts.key.removeprefix(PREFIX) async for facts in control.store.scan(PREFIX)}


async def fetched(control: Control, api: Api, digest: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {api.token}"}
    async with control.api.client.get(f"/v1/geography/{digest}", headers=headers) as response:
        return response.status, await response.read()


async def test_a_table_is_stored_recorded_and_fetched_by_name_servers(control: Control) -> None:
    api, table = control.api, bytes(range(256)) * (PIECE_BYTES // 128) + b"end"
    before = (await api.get("/v1/geography")).document
    assert before == {"digest": "", "size_bytes": 0, "note": ""}
    sent = await send(api, table)
    assert sent.status == 200
    assert (sent.document["digest"], sent.document["size_bytes"]) == (digest_of(table), len(table))
    assert sent.document["position"]["sequence"] == (await control.journal.position()).sequence
    (record,) = await control.journal.read(sent.document["position"]["sequence"] - 1, limit=1)
    assert (record.version, record.audience.value) == (2, "dns")
    server = await api.token_for("dns:ns1")
    assert await fetched(control, server, digest_of(table)) == (200, table)
    assert (await fetched(control, server, "0" * 64))[0] == 404
    assert (await fetched(control, server, "x"))[0] == 400
    await control.reopen()
    assert (await control.api.get("/v1/geography")).document["digest"] == digest_of(table)
    reset = await control.api.delete("/v1/geography")
    assert (reset.status, reset.document["digest"]) == (200, "")
    assert (await control.api.get("/v1/geography")).document == before


async def test_only_name_servers_and_admins_fetch_it(control: Control) -> None:
    await send(control.api, b"table")
    await control.api.post("/v1/sites", {"name": "blog"})
    for scope, status in (("dns", 200), ("dns:ns1", 200), ("node", 403), ("admin:blog", 403)):
        assert (await fetched(control, await control.api.token_for(scope), digest_of(b"table")))[0] == status


async def test_the_table_before_stays_and_older_ones_go(control: Control) -> None:
    for content in (b"one", b"two", b"three"):
        assert (await send(control.api, content)).status == 200
    assert await kept(control) == {digest_of(b"two"), digest_of(b"three")}
    await send(control.api, b"three", note="the same")
    assert digest_of(b"three") in await kept(control)
    await control.api.delete("/v1/geography")
    assert await kept(control) == {digest_of(b"three")}


async def test_what_is_damaged_too_long_or_without_a_length_changes_nothing(make_control: ControlMaker) -> None:
    control = await make_control(max_geography_bytes=10)
    api = control.api
    await send(api, b"good")
    before = await control.journal.position()

    async def chunked() -> AsyncIterator[bytes]:
        yield b"x"

    for answer, status in (
        (await send(api, b"damaged", digest=digest_of(b"another")), 422),
        (await send(api, b"x" * 11), 413),
        (await send(api, b"x", digest="x"), 400),
        (await send(api, b"x", note="n" * 1025), 400),
        (await api.put("/v1/geography", chunked(), params={"digest": digest_of(b"x")}), 400),
        (await api.put("/v1/geography", b"x"), 400),
    ):
        assert answer.status == status, answer
    assert await control.journal.position() == before
    assert await kept(control) == {digest_of(b"good")}


async def test_one_upload_at_a_time(control: Control) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await go_on.wait()
        yield b"y"

    headers = {"Authorization": f"Bearer {control.api.token}", "Content-Length": "2"}
    params = {"digest": digest_of(b"xy")}
    first = asyncio.ensure_future(
        control.api.client.put("/v1/geography", data=slow(), headers=headers, params=params).__aenter__()
    )
    await begun.wait()
    while (refused := await send(control.api, b"other")).status == 200:
        await asyncio.sleep(0)  # the first has not come so far yet
    assert refused.status == 503
    go_on.set()
    assert (await first).status == 200
    assert (await control.api.get("/v1/geography")).document["digest"] == digest_of(b"xy")
