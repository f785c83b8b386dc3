"""Passwords: each checked once, off the loop, for as many as ask; who guesses waits."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

import pytest

from cdn.edge import password_checks as module
from cdn.edge.password_checks import MAX_GUESSES, Checked, PasswordChecks, network_of


class Verifier:
    """Says that a password is right when it is what was hashed; can be held up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.threads: set[int] = set()
        self.niceness = 0

    def __call__(self, password: str, hashed: str) -> bool:
        self.asked.append(password)
        self.threads.add(threading.get_ident())
        self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert self.may_answer.wait(10)
        return password == hashed


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
async def checks(verifier: Verifier, clock: Time) -> AsyncIterator[PasswordChecks]:
    made = PasswordChecks(clock, verifier)
    yield made
    verifier.may_answer.set()
    await made.aclose()


async def check(
    checks: PasswordChecks, password: str, hashed: str = "right", site: str = "s1", address: str = "192.0.2.1"
) -> Checked:
    return await checks.check(password, hashed, site_id=site, address=address)


async def test_what_was_checked_is_known(checks: PasswordChecks, verifier: Verifier) -> None:
    for _ in range(3):
        assert await check(checks, "right") is Checked.RIGHT
        assert await check(checks, "wrong") is Checked.WRONG
        assert await check(checks, "right", "another") is Checked.WRONG
    assert sorted(verifier.asked) == ["right", "right", "wrong"]
    assert threading.get_ident() not in verifier.threads
    assert verifier.niceness == max(10, os.getpriority(os.PRIO_PROCESS, 0))
    assert checks.counted == {Checked.RIGHT: 3, Checked.WRONG: 6, Checked.TOO_MANY: 0}


async def test_who_asks_together_waits_for_one_check(checks: PasswordChecks, verifier: Verifier) -> None:
    verifier.may_answer.clear()
    waiting = [asyncio.create_task(check(checks, "right")) for _ in range(20)]
    wrong = [asyncio.create_task(check(checks, "wrong")) for _ in range(5)]
    while len(verifier.asked) < 2:
        await asyncio.sleep(0)
    verifier.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {Checked.RIGHT}
    assert set(await asyncio.gather(*wrong)) == {Checked.WRONG}
    assert sorted(verifier.asked) == ["right", "wrong"]


async def test_nobody_is_told_whether_a_user_exists(checks: PasswordChecks, verifier: Verifier) -> None:
    asked = checks.check("right", "right", site_id="s1", address="192.0.2.1", is_real=False)
    assert await asked is Checked.WRONG
    assert verifier.asked == ["right"]
    assert await check(checks, "right") is Checked.RIGHT


async def test_who_guesses_waits_and_others_do_not(checks: PasswordChecks, verifier: Verifier, clock: Time) -> None:
    assert await check(checks, "right") is Checked.RIGHT
    for number in range(MAX_GUESSES):
        assert await check(checks, f"guess {number}") is Checked.WRONG
    assert await check(checks, "guess more") is Checked.TOO_MANY
    assert "guess more" not in verifier.asked
    assert await check(checks, "right") is Checked.RIGHT, "known already"
    assert await check(checks, "guess more", address="192.0.2.2") is Checked.WRONG
    assert await check(checks, "guess more", site="s2", hashed="other") is Checked.WRONG
    assert checks.wait_s("s1", "192.0.2.1") == 61
    clock.now += 59.5
    assert await check(checks, "guess most") is Checked.TOO_MANY
    assert checks.wait_s("s1", "192.0.2.1") == 1
    clock.now += 1
    assert await check(checks, "guess most") is Checked.WRONG
    assert checks.wait_s("s1", "198.51.100.1") == 1


async def test_a_network_guesses_as_one(checks: PasswordChecks) -> None:
    for number in range(MAX_GUESSES):
        assert await check(checks, f"guess {number}", address=f"2001:db8::{number:x}") is Checked.WRONG
    assert await check(checks, "guess", address="2001:db8::ffff:1") is Checked.TOO_MANY
    assert await check(checks, "guess", address="2001:db8:0:1::1") is Checked.WRONG


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("unix:", ""),
    ],
)
def test_whose_guesses_count_together(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_checks_that_wait_are_bounded_and_each_site_has_its_share(
    checks: PasswordChecks, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    monkeypatch.setattr(module, "MAX_WAITING_PER_SITE", 3)
    verifier.may_answer.clear()
    waiting = [
        asyncio.create_task(check(checks, f"{site} {number}", address=f"192.0.2.{number}", site=site))
        for site in ("s1", "s2")
        for number in range(4)
    ]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 3:
        more, _ = await asyncio.wait(set(waiting) - done, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {task.result() for task in done} == {Checked.TOO_MANY}
    verifier.may_answer.set()
    found = await asyncio.gather(*waiting)
    assert found == [Checked.WRONG] * 3 + [Checked.TOO_MANY] + [Checked.WRONG] * 2 + [Checked.TOO_MANY] * 2
    assert await check(checks, "right") is Checked.RIGHT
    assert checks._under_way == {}


async def test_who_asks_and_goes_away_has_asked(
    checks: PasswordChecks, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_PER_SITE", MAX_GUESSES)
    verifier.may_answer.clear()
    gone = [asyncio.create_task(check(checks, f"guess {number}")) for number in range(MAX_GUESSES)]
    while len(checks._under_way) < MAX_GUESSES:
        await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    assert await check(checks, "another", address="192.0.2.2") is Checked.TOO_MANY, "those are still looked at"
    verifier.may_answer.set()
    await checks._checking.aclose()
    assert await check(checks, "another") is Checked.TOO_MANY, "these were guesses"
    assert await check(checks, "another", address="192.0.2.2") is Checked.WRONG


async def test_what_is_remembered_is_bounded(checks: PasswordChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GUESSERS", 2)
    checks._bounds = {True: 2, False: 2}
    for number in range(4):
        assert await check(checks, f"p{number}", f"p{number}") is Checked.RIGHT
        assert await check(checks, f"q{number}", address=f"192.0.2.{number}") is Checked.WRONG
    assert [len(known) for known in checks._known.values()] == [2, 2]
    assert len(checks._guesses) == 2


async def test_no_password_stays_in_memory(checks: PasswordChecks) -> None:
    await check(checks, "an apple a day")
    await check(checks, "right")
    assert "apple" not in repr(vars(checks))
