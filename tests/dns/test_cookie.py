"""DNS cookies: the worked examples of RFC 9018 octet by octet, how old one may be, secrets that change."""

from __future__ import annotations

import pytest

from cdn.dns import cookie as subject
from cdn.dns.cookie import MADE_FOR_S, RENEW_S, VALID_S, Cookies, CookieSecrets, is_well_formed
from cdn.dns.siphash import siphash24
from cdn.errors import InvalidInput

OLD, NEW = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf"), bytes.fromhex("445536bcd2513298075a5d379663c962")
CLIENT = bytes.fromhex("2464c4abcf10c957")
ADDRESS = "198.51.100.100"
START = 1_559_731_985


def cookies(*secrets: bytes) -> Cookies:
    return Cookies(CookieSecrets(secrets or (OLD,)))


def test_siphash_as_its_authors_have_it() -> None:
    assert siphash24(bytes(range(16)), bytes(range(15))).hex() == "e545be4961ca29a1"
    assert siphash24(bytes(range(16)), b"").hex() == "310e0edd47db6f72"


@pytest.mark.parametrize(
    ("secret", "client", "address", "at", "made"),
    [
        (OLD, "2464c4abcf10c957", ADDRESS, 1559731985, "010000005cf79f111f8130c3eee29480"),
        (OLD, "2464c4abcf10c957", ADDRESS, 1559734385, "010000005cf7a871d4a564a1442aca77"),
        (OLD, "fc93fc62807ddb86", "203.0.113.203", 1559734700, "010000005cf7a9acf73a7810aca2381e"),
        (NEW, "22681ab97d52c298", "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961, "010000005cf7c609a6bb79d16625507a"),
    ],
)
def test_the_examples_of_rfc_9018(secret: bytes, client: str, address: str, at: int, made: str) -> None:
    judged = cookies(secret).judge(bytes.fromhex(client), address, at)
    assert (judged.is_valid, judged.is_bad, judged.cookie.hex()) == (False, False, client + made)
    again = cookies(secret).judge(judged.cookie, address, at)
    assert (again.is_valid, again.is_bad, again.cookie) == (True, False, judged.cookie)


def test_a_cookie_is_kept_for_half_an_hour_renewed_after_that_and_worth_nothing_after_an_hour() -> None:
    first = cookies().judge(CLIENT, ADDRESS, START).cookie
    for age_s, is_valid, is_same in (
        (0, True, True),
        (-subject.FUTURE_S, True, True),
        (-subject.FUTURE_S - 1, False, False),
        (RENEW_S, True, True),
        (RENEW_S + 1, True, False),
        (VALID_S, True, False),
        (VALID_S + 1, False, False),
    ):
        judged = cookies().judge(first, ADDRESS, START + age_s)
        assert (judged.is_valid, judged.is_bad, judged.cookie == first) == (is_valid, not is_valid, is_same), age_s


def test_what_was_judged_is_judged_again_when_time_has_changed_it() -> None:
    judge = cookies().judge
    first = judge(CLIENT, ADDRESS, START).cookie
    assert judge(CLIENT, ADDRESS, START + MADE_FOR_S - 1).cookie == first
    assert judge(CLIENT, ADDRESS, START + MADE_FOR_S).cookie != first
    assert judge(first, ADDRESS, START + 5).cookie == first
    assert judge(first, ADDRESS, START + RENEW_S).cookie == first
    renewed = judge(first, ADDRESS, START + RENEW_S + 1)
    assert (renewed.is_valid, renewed.cookie == first) == (True, False)
    assert not judge(first, ADDRESS, START + VALID_S + MADE_FOR_S).is_valid
    assert not judge(first, ADDRESS, START - 2 * VALID_S).is_valid, "the clock was set back"


def test_a_cookie_is_for_one_client_and_one_address() -> None:
    first = cookies().judge(CLIENT, ADDRESS, START).cookie
    assert cookies().judge(first, "198.51.100.101", START).is_bad
    assert cookies().judge(b"\0" * 8 + first[8:], ADDRESS, START).is_bad
    for place in range(8, 24):
        changed = bytearray(first)
        changed[place] ^= 1
        assert cookies().judge(bytes(changed), ADDRESS, START).is_bad, place
    assert cookies().judge(first[:-1], ADDRESS, START).is_bad


def test_reserved_octets_that_another_server_set_are_hashed_as_they_came() -> None:
    head = CLIENT + bytes.fromhex("01abcdef") + START.to_bytes(4, "big")
    theirs = head + siphash24(OLD, head + bytes((198, 51, 100, 100)))
    assert cookies().judge(theirs, ADDRESS, START).is_valid


def test_time_wraps_in_2106_and_cookies_do_not_mind() -> None:
    wrap = 1 << 32
    first = cookies().judge(CLIENT, ADDRESS, wrap - 10).cookie
    assert cookies().judge(first, ADDRESS, wrap + 10).is_valid
    assert not cookies().judge(first, ADDRESS, wrap + VALID_S).is_valid


def test_secrets_change_without_anybody_noticing() -> None:
    first = cookies(OLD).judge(CLIENT, ADDRESS, START).cookie
    assert cookies(OLD, NEW).judge(first, ADDRESS, START).is_valid
    by_next = cookies(NEW, OLD).judge(CLIENT, ADDRESS, START).cookie
    assert cookies(OLD, NEW).judge(by_next, ADDRESS, START).is_valid, "a server that changes last believes the first"
    assert cookies(NEW, OLD).judge(first, ADDRESS, START).is_valid
    assert cookies(NEW).judge(first, ADDRESS, START).is_bad


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_REMEMBERED", 10)
    judge = cookies()
    for number in range(25):
        judge.judge(number.to_bytes(8, "big"), ADDRESS, START)
    assert len(judge._judged) <= 10


def test_lengths() -> None:
    assert [length for length in range(60) if is_well_formed(bytes(length))] == [8, *range(16, 41)]


@pytest.mark.parametrize(("secrets", "says"), [((), "1 to 4"), ((OLD,) * 5, "1 to 4"), ((OLD, b"x"), "16 octets")])
def test_secrets_that_are_none(secrets: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        CookieSecrets(secrets)
