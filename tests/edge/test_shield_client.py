"""Shields as one node sees them: what is asked, what is believed, and who is left alone when it fails."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from cdn.edge import shield as shield_module
from cdn.edge.clocks import machine_clocks
from cdn.edge.fetch import BlobChunk
from cdn.edge.peer_fields import ANSWERS, FAULT, PeerFault
from cdn.edge.shield import READY_PATH, Shield, ShieldBypassed, Shields
from cdn.edge.shield_blobs import ShieldBlobs
from cdn.edge.shield_settings import ShieldSettings
from cdn.fleet.position import Position
from cdn.http.response_head import ResponseHead
from cdn.origin.upstream import UpstreamBroken, UpstreamRequest, UpstreamResponse

HERE = Position("e1", 7)
LONG_S = 30.0
TOKEN = "cdn_abc_" + "0" * 64


@dataclass(slots=True)
class ScriptedShield:
    """Answers each request as the test says, byte by byte. Heads are kept as they came."""

    heads: list[str] = field(default_factory=list)
    answers: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] = b""
    ready: bytes = b""
    url: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> ScriptedShield:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                answers = self.ready if f" {READY_PATH} " in head and self.ready else self.answers
                if isinstance(answers, bytes):
                    writer.write(answers)
                else:
                    await answers(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


def said(content: bytes = b"", *lines: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", *lines, f"content-length: {len(content)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


OK = said(b"yes", f"{ANSWERS}: 1", "x-custom: kept")


@pytest.fixture
async def far() -> AsyncIterator[ScriptedShield]:
    far = await ScriptedShield(answers=OK, ready=said(b"", f"{FAULT}: behind", status="503 Later")).start()
    yield far
    await far.aclose()


MakeShields = Callable[..., Shields]


@pytest.fixture
async def make() -> AsyncIterator[MakeShields]:
    made: list[Shields] = []

    def make(*urls: str, patience_s: float = LONG_S, own_url: str = "") -> Shields:
        settings = ShieldSettings(urls, patience_s=patience_s)
        shields = Shields(
            settings,
            node_id="n1",
            token=TOKEN,
            position=lambda: HERE,
            clocks=machine_clocks(),
            own_url=own_url,
        )
        made.append(shields)
        return shields

    yield make
    for shields in made:
        await shields.aclose()


def chosen(shields: Shields, key: str = "key") -> Shield:
    shield = shields.choose(key)
    assert shield is not None
    return shield


async def ask(
    shields: Shields,
    *lines: tuple[str, str],
    site_id: str = "s1",
    on_interim: Callable[[ResponseHead], None] = lambda head: None,
) -> UpstreamResponse:
    request = UpstreamRequest("GET", "/a", (("host", "site.example"), *lines))
    return await shields.ask(
        chosen(shields), request, site_id=site_id, required=HERE, read_s=LONG_S, on_interim=on_interim
    )


async def read(response: UpstreamResponse) -> bytes:
    try:
        return b"".join([part async for part in response.content])
    finally:
        await response.content.aclose()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def test_it_is_told_what_is_required_and_by_whom(make: MakeShields, far: ScriptedShield) -> None:
    shields = make(far.url)
    response = await ask(shields, ("cdn-peer-node", "forged"), ("x-asked", "yes"))
    assert await read(response) == b"yes"
    assert response.head.fields.get("x-custom") == "kept"
    assert ANSWERS not in response.head.fields
    head = far.heads[0].lower()
    assert "cdn-required-sequence: e1:7\r\n" in head
    assert "cdn-peer-node: n1\r\n" in head
    assert "forged" not in head
    assert "x-asked: yes" in head
    assert "0" * 64 not in head
    assert chosen(shields).requests == 0


@pytest.mark.parametrize("fault", PeerFault)
async def test_what_a_shield_refuses_goes_past_it(make: MakeShields, far: ScriptedShield, fault: PeerFault) -> None:
    far.answers = said(b"no", f"{FAULT}: {fault.value}", status="503 No")
    shields = make(far.url)
    with pytest.raises(ShieldBypassed) as bypassed:
        await ask(shields)
    assert (bypassed.value.detail, bypassed.value.fault) == (f"shield-{fault.value}", fault)
    concerns_all = fault in {
        PeerFault.UNAUTHORISED,
        PeerFault.LOOP,
        PeerFault.VERSION,
        PeerFault.BEHIND,
        PeerFault.DRAINING,
    }
    assert (shields.choose("key") is None) == concerns_all
    assert shields.is_down == concerns_all
    assert shields.counted()["shields_suspended"] == concerns_all


@pytest.mark.parametrize(
    ("answers", "detail", "is_suspended"),
    [
        (said(b"page", status="200 OK"), "shield-refused", True),
        (said(b"page", status="404 Not Found"), "shield-refused", True),
        (said(b"full", status="503 Service Unavailable"), "shield-busy", False),
        (said(b"long", status="431 Request Header Fields Too Large"), "shield-refused", False),
        (b"nonsense\r\n\r\n", "shield-malformed-head", False),
    ],
)
async def test_what_answers_there_may_be_no_shield(
    make: MakeShields, far: ScriptedShield, answers: bytes, detail: str, is_suspended: bool
) -> None:
    far.answers = answers
    shields = make(far.url)
    with pytest.raises(ShieldBypassed, match=detail):
        await ask(shields)
    assert shields.is_down == is_suspended


async def test_one_that_closes_without_a_word_is_left_alone(make: MakeShields, far: ScriptedShield) -> None:
    async def close(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    far.answers = close
    shields = make(far.url)
    with pytest.raises(ShieldBypassed, match="shield-closed-early"):
        await ask(shields)
    assert shields.is_down


async def test_one_that_is_silent_is_left_alone_and_found_again(make: MakeShields, far: ScriptedShield) -> None:
    async def nothing(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LONG_S)

    far.answers, far.ready = nothing, b""
    shields = make(far.url, patience_s=0.05)
    with pytest.raises(ShieldBypassed, match="shield-silent"):
        await ask(shields)
    assert shields.choose("key") is None
    far.answers = OK
    await until(lambda: shields.choose("key") is not None)
    assert READY_PATH in far.heads[-1]
    assert await read(await ask(make(far.url))) == b"yes"


async def test_one_that_says_that_it_works_is_waited_for(make: MakeShields, far: ScriptedShield) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        for _ in range(8):
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.25)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        writer.write(OK)

    far.answers = slowly
    heard: list[int] = []
    response = await ask(make(far.url, patience_s=1.5), on_interim=lambda head: heard.append(head.status))
    assert await read(response) == b"yes"
    assert heard == [103]


async def test_a_site_has_its_share_of_a_shield(
    make: MakeShields, far: ScriptedShield, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shield_module, "MAX_REQUESTS_OF_SITE", 2)
    monkeypatch.setattr(shield_module, "MAX_REQUESTS", 3)
    shields = make(far.url)
    first, second = await ask(shields), await ask(shields)
    with pytest.raises(ShieldBypassed, match="shield-busy"):
        await ask(shields)
    third = await ask(shields, site_id="s2")
    with pytest.raises(ShieldBypassed, match="shield-busy"):
        await ask(shields, site_id="s3")
    for response in (first, second, third):
        await read(response)
        await response.content.aclose()
    assert (chosen(shields).requests, dict(chosen(shields).sites)) == (0, {})
    assert not shields.is_down


async def test_content_that_breaks_off_is_broken(make: MakeShields, far: ScriptedShield) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"content-length: 3", b"content-length: 9"))
        await writer.drain()
        writer.close()

    far.answers = half
    shields = make(far.url)
    response = await ask(shields)
    with pytest.raises(UpstreamBroken):
        await read(response)
    assert chosen(shields).requests == 0


async def test_when_one_fails_its_keys_go_to_the_others(make: MakeShields, far: ScriptedShield) -> None:
    others = [await ScriptedShield(answers=OK).start() for _ in range(2)]
    shields = make(far.url, *(other.url for other in others))
    keys = {chosen(shields, f"key {number}").url: f"key {number}" for number in range(200)}
    key, kept = keys[far.url], keys[others[0].url]
    shields.suspend(chosen(shields, key), "this test says so")
    assert chosen(shields, key).url in {other.url for other in others}
    assert chosen(shields, kept).url == others[0].url
    assert not shields.is_down
    for other in others:
        await other.aclose()


async def test_a_shield_among_them_asks_itself_for_its_own(make: MakeShields, far: ScriptedShield) -> None:
    shields = make(far.url, "http://127.0.0.1:1", own_url="http://127.0.0.1:1/")
    asked = {None if (shield := shields.choose(f"key {number}")) is None else shield.url for number in range(200)}
    assert asked == {None, far.url}
    shields.suspend(next(s for n in range(200) if (s := shields.choose(f"key {n}")) is not None), "this test says so")
    assert not shields.is_down, "this node is one itself"


CONTENT = b"chunk"
WANTED = BlobChunk("s1", "ab" * 32, 0, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "/a.txt")


def blobs(shields: Shields, *, may_ask: bool = True) -> ShieldBlobs:
    return ShieldBlobs(shields, position=lambda: HERE, may_ask=lambda site_id: may_ask)


async def test_a_chunk_is_believed_when_it_has_its_digest(make: MakeShields, far: ScriptedShield) -> None:
    far.answers = said(CONTENT, f"{ANSWERS}: 1")
    near = blobs(make(far.url))
    assert await near.chunk(WANTED, 5) == CONTENT
    assert "cdn-peer-floor: 5\r\n" in far.heads[0].lower()
    assert near.damaged == 0


@pytest.mark.parametrize("content", [b"chunx", b"chun", b"chunk and more", b""])
async def test_a_lying_shield_is_harmless_and_counted(make: MakeShields, far: ScriptedShield, content: bytes) -> None:
    far.answers = said(content, f"{ANSWERS}: 1")
    near = blobs(make(far.url))
    assert await near.chunk(WANTED, 0) is None
    assert await near.manifest("s1", WANTED.chunk_digest) is None
    assert near.damaged == 2


async def test_a_manifest_is_believed_when_it_has_its_digest(make: MakeShields, far: ScriptedShield) -> None:
    far.answers = said(CONTENT, f"{ANSWERS}: 1")
    assert await blobs(make(far.url)).manifest("s1", WANTED.chunk_digest) == CONTENT


async def test_a_site_that_may_not_go_there_never_does(make: MakeShields, far: ScriptedShield) -> None:
    near = blobs(make(far.url), may_ask=False)
    assert await near.chunk(WANTED, 0) is None
    assert await near.manifest("s1", WANTED.digest) is None
    assert not far.heads


async def test_content_that_is_not_whole_is_asked_of_the_store(make: MakeShields, far: ScriptedShield) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(said(CONTENT, f"{ANSWERS}: 1")[:-2])
        await writer.drain()
        writer.close()

    far.answers = half
    shields = make(far.url)
    assert await blobs(shields).chunk(WANTED, 0) is None
    assert shields.bypassed == {"shield-closed-early": 1}
