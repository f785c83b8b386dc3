"""A process's own checks: what they ask, what counts as an answer, and how often in a row."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.health import MAX_CHECKS, Health, HealthChecks
from cdn.dns.settings import CheckScheme, CheckSettings
from cdn.errors import InvalidInput
from tests.dns.jumping_loop import run_jumping

PATIENCE_S = 30.0
SETTINGS = CheckSettings(down_after=3, up_after=2, ok_after=2)
AS_GDNSD = CheckSettings()


def after(results: str, settings: CheckSettings = SETTINGS) -> Health:
    health = Health()
    for result in results:
        health = health.after(result == "+", settings)
    return health


@pytest.mark.parametrize(
    ("results", "is_up"),
    [
        ("", True),
        ("--", True),
        ("---", False),
        ("--+-", False),  # one good check forgives nothing
        ("--++--", True),  # two in a row do
        ("---+", False),
        ("---++", True),
        ("---+-+", False),
        ("---++--", True),
    ],
)
def test_so_many_change_it(results: str, is_up: bool) -> None:
    assert after(results).is_up is is_up


@given(st.text("+-", max_size=60), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_it_changes_only_after_as_many_as_settings_say(results: str, down: int, ok: int, up: int) -> None:
    """Told plainly: look back from each check over all that came since the last change."""
    settings = CheckSettings(down_after=down, ok_after=ok, up_after=up)
    is_up, since = True, 0
    for place in range(1, len(results) + 1):
        seen = results[since:place]
        if is_up:
            unforgiven = seen[seen.rfind("+" * ok) + ok :] if "+" * ok in seen else seen
            is_changed = unforgiven.count("-") >= down
        else:
            is_changed = seen.endswith("+" * up)
        if is_changed:
            is_up, since = not is_up, place
        assert after(results[:place], settings).is_up is is_up


def test_one_that_flaps_changes_once() -> None:
    assert not after("+-" * 10, AS_GDNSD).is_up
    flapping = [after("+-" * 10 + ("+" * 19 + "-") * count, AS_GDNSD).is_up for count in range(5)]
    assert not any(flapping)
    assert after("-" * 10 + "+" * 20, AS_GDNSD).is_up


@pytest.mark.parametrize(
    ("results", "ttl_s"),
    [
        ("", 20),  # ten checks, two seconds apart
        ("-" * 4, 12),
        ("-" * 8, 5),  # four seconds, and the least is five
        ("-" * 10, 25),  # twenty checks to be back: forty seconds, and the most is 25
        ("-" * 10 + "+" * 15, 10),
        ("-" * 4 + "+" * 10, 20),
    ],
)
def test_answers_are_kept_until_they_could_be_others(results: str, ttl_s: int) -> None:
    assert after(results, AS_GDNSD).ttl_s(AS_GDNSD, 5, 25) == ttl_s


@dataclass
class Nodes:
    """Addresses that die, hang and flap on a clock that jumps; `changes` are the moments from which others are down."""

    settings: CheckSettings
    addresses: frozenset[str]
    dead: frozenset[str] = frozenset()
    hanging: frozenset[str] = frozenset()
    flapping: frozenset[str] = frozenset()
    asked: Counter[str] = field(default_factory=Counter)
    changes: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checks = HealthChecks(self.settings, "z", lambda: self.addresses, check=self._check, on_change=self._note)

    async def _check(self, address: str) -> bool:
        self.asked[address] += 1
        if address in self.hanging:
            await asyncio.sleep(self.settings.check_timeout_s)
            return False
        await asyncio.sleep(0.05)
        if address in self.flapping:
            return self.asked[address] % 2 == 0
        return address not in self.dead

    def _note(self) -> None:
        down = self.checks.down
        if down != (self.changes[-1][1] if self.changes else frozenset()):
            self.changes.append((asyncio.get_running_loop().time(), down))

    async def during(self, seconds: float, running: asyncio.Task[None] | None = None) -> asyncio.Task[None]:
        running = running or asyncio.create_task(self.checks.run())
        await asyncio.sleep(seconds)
        return running


@pytest.mark.parametrize("kind", ["dead", "hanging"])
@pytest.mark.parametrize("dies_at", [60.0, 60.7, 61.3, 61.999])
def test_one_that_dies_is_out_in_time_and_back_once(kind: str, dies_at: float) -> None:
    async def story() -> None:
        nodes = Nodes(AS_GDNSD, frozenset({"a", "b", "c"}))
        running = await nodes.during(dies_at)
        setattr(nodes, kind, frozenset({"b"}))
        await nodes.during(100, running)
        [(out_at, down)] = nodes.changes
        assert down == {"b"}
        limit_s = AS_GDNSD.check_interval_s * AS_GDNSD.down_after + 1.0
        assert AS_GDNSD.check_interval_s * (AS_GDNSD.down_after - 1) <= out_at - dies_at <= limit_s
        setattr(nodes, kind, frozenset())
        lives_at = asyncio.get_running_loop().time()
        await nodes.during(100, running)
        [_, (back_at, down)] = nodes.changes
        assert down == frozenset()
        assert back_at - lives_at <= AS_GDNSD.check_interval_s * AS_GDNSD.up_after + 1.0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_jumping(story())


def test_one_that_flaps_for_an_hour_changes_answers_once() -> None:
    async def story() -> None:
        nodes = Nodes(AS_GDNSD, frozenset({"a", "b"}), flapping=frozenset({"a"}))
        running = await nodes.during(3600)
        assert [down for _, down in nodes.changes] == [{"a"}]
        assert nodes.checks.counters["bad"] == pytest.approx(900, abs=2)
        assert set(nodes.asked.values()) <= {1799, 1800, 1801}, "a steady pace"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_jumping(story())


def test_addresses_that_go_are_forgotten_and_those_that_come_are_checked() -> None:
    async def story() -> None:
        nodes = Nodes(AS_GDNSD, frozenset({"a", "b"}), dead=frozenset({"b"}))
        running = await nodes.during(60)
        assert nodes.checks.down == {"b"}
        nodes.addresses = frozenset({"a", "c"})
        await nodes.during(10, running)
        assert nodes.checks.down == frozenset()
        assert nodes.checks.health.keys() == {"a", "c"}
        asked = nodes.asked["b"]
        nodes.addresses = frozenset({"a", "b"})
        await nodes.during(4, running)
        assert nodes.asked["b"] > asked
        assert nodes.checks.down == frozenset(), "it begins anew"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert nodes.asked["a"] > 30
        before = nodes.asked.total()
        await asyncio.sleep(60)
        assert nodes.asked.total() == before, "nobody asks on"

    run_jumping(story())


def test_checks_at_one_time_are_bounded() -> None:
    async def story() -> int:
        under_way = most = 0

        async def check(address: str) -> bool:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(10)
            under_way -= 1
            return True

        addresses = frozenset(map(str, range(MAX_CHECKS * 3)))
        running = asyncio.create_task(HealthChecks(SETTINGS, "z", lambda: addresses, check=check).run())
        await asyncio.sleep(30)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return most

    assert run_jumping(story()) == MAX_CHECKS


def test_a_check_that_fails_itself_ends_the_round() -> None:
    """Whoever runs the checks says so and begins anew."""

    async def check(address: str) -> bool:
        raise RuntimeError("broken")

    async def story() -> None:
        await HealthChecks(SETTINGS, "z", lambda: frozenset({"a"}), check=check).run()

    with pytest.raises(RuntimeError, match="broken"):
        run_jumping(story())


@asynccontextmanager
async def node(answer: bytes | None, asked: list[bytes]) -> AsyncIterator[int]:
    """Answers each request so; None: it hangs."""

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.clear()
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is not None:
                writer.write(answer)
            else:
                await reader.read()
        finally:
            writer.close()
            over.set()

    over.set()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        async with asyncio.timeout(PATIENCE_S):
            await over.wait()


@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 421 Misdirected Request\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"", False),
        (b"H" * 5000, False),
        (None, False),
    ],
)
async def test_any_status_but_a_servers_failure_is_an_answer(answer: bytes | None, is_good: bool) -> None:
    asked: list[bytes] = []
    async with node(answer, asked) as port:
        settings = CheckSettings(check_port=port, check_timeout_s=0.5 if answer is None else PATIENCE_S, down_after=1)
        checks = HealthChecks(settings, "cdn.localhost", frozenset)
        await checks.look_at("127.0.0.1")
        assert (checks.down == frozenset()) is is_good
        assert asked[0].startswith(b"HEAD / HTTP/1.1\r\nHost: cdn.localhost\r\n")


async def test_nobody_there_is_no_answer() -> None:
    async with node(b"", []) as port:
        pass
    settings = CheckSettings(check_port=port, down_after=1)
    checks = HealthChecks(settings, "z", frozenset)
    await checks.look_at("127.0.0.1")
    assert checks.down == {"127.0.0.1"}


async def test_over_tls_whoever_answers_lives(tmp_path: Path) -> None:
    """Its certificate is nobody's."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
        "-subj", "/CN=other.example", "-keyout", key, "-out", certificate, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if request.startswith(b"HEAD /alive HTTP/1.1\r\n") else b"no\r\n")
        await reader.read()
        writer.transport.abort()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        settings = CheckSettings(CheckScheme.HTTPS, port, "/alive", check_timeout_s=PATIENCE_S, down_after=1)
        checks = HealthChecks(settings, "cdn.localhost", frozenset)
        await checks.look_at("127.0.0.1")
        assert checks.down == frozenset()
        async with asyncio.timeout(PATIENCE_S):
            await over.wait()


@pytest.mark.parametrize("path", ["", "alive", "/a b", "/a\r\nHost: x", "/" + "a" * 1024])
def test_what_is_asked_for_is_a_path(path: str) -> None:
    with pytest.raises(InvalidInput, match="is no path"):
        CheckSettings(check_path=path)
