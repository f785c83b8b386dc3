"""DNS cookies: who sends back what was sent to its address is there (RFC 7873, made alike everywhere by RFC 9018)."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from ipaddress import ip_address

from cdn.dns.siphash import KEY_BYTES, siphash24
from cdn.errors import InvalidInput

CLIENT_COOKIE_BYTES = 8
"""The first part, the client's own."""

SERVER_COOKIE_BYTES = 16
"""The second part as it is made here: a version, three octets of nothing, the time, and the hash of it all."""

COOKIE_BYTES = CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES

MIN_SERVER_COOKIE_BYTES, MAX_SERVER_COOKIE_BYTES = 8, 32
"""What a server cookie may be that was made elsewhere (RFC 7873 4.2)."""

MAX_SECRETS = 4
"""One that makes cookies, one before it, one to come, and one more: each costs a hash for every cookie of nobody."""

VALID_S = 3600
"""How old a cookie may be (RFC 9018 4.3)."""

FUTURE_S = 300
"""How far ahead another server's clock may be (RFC 9018 4.3)."""

RENEW_S = 1800
"""A cookie that is older is answered with a new one (RFC 9018 4.3)."""

MADE_FOR_S = 60
"""For so long whoever asks with the same cookie gets the same new one."""

MAX_REMEMBERED = 16_384
"""Cookies that were judged: 6 MiB. Resolvers ask with the same one for half an hour, and a hash takes 15 us."""

_VERSION = 1
_HALF = 1 << 31


@dataclass(frozen=True, slots=True)
class CookieSecrets:
    """The first makes cookies, all of them are believed: when one is replaced, the next stands behind it everywhere
    before it is made the first, and the old one stays for an hour (RFC 9018 5). All servers of a zone share them.

    Raises InvalidInput.
    """

    secrets: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.secrets) <= MAX_SECRETS:
            raise InvalidInput(f"give 1 to {MAX_SECRETS} cookie secrets, the one in use first", field="cookie_secrets")
        if any(len(secret) != KEY_BYTES for secret in self.secrets):
            raise InvalidInput(
                f"a cookie secret has {KEY_BYTES} octets, {2 * KEY_BYTES} digits as `openssl rand -hex {KEY_BYTES}` "
                "writes them",
                field="cookie_secrets",
            )


@dataclass(frozen=True, slots=True)
class JudgedCookie:
    """`is_valid`: whoever sent it received an answer at its address. `is_bad`: it has a server cookie that is not ours,
    or no longer. `cookie` goes back."""

    is_valid: bool
    is_bad: bool
    cookie: bytes
    until_s: float
    """Before then it would be judged the same."""


def is_well_formed(cookie: bytes) -> bool:
    """Whether it may stand in a query (RFC 7873 5.2.2)."""
    server_bytes = len(cookie) - CLIENT_COOKIE_BYTES
    return server_bytes == 0 or MIN_SERVER_COOKIE_BYTES <= server_bytes <= MAX_SERVER_COOKIE_BYTES


class Cookies:
    """Judges and makes cookies."""

    def __init__(self, secrets: CookieSecrets) -> None:
        self._secrets = secrets.secrets
        self._judged: dict[tuple[bytes, str], JudgedCookie] = {}

    def judge(self, cookie: bytes, source: str, wall_s: float) -> JudgedCookie:
        """What to think of a cookie that is well formed, from the address `source`."""
        key = (cookie, source)
        judged = self._judged.get(key)
        if judged is None or not judged.until_s - VALID_S <= wall_s < judged.until_s:
            if len(self._judged) >= MAX_REMEMBERED:
                self._judged.clear()
            judged = self._judged[key] = self._judge(cookie, source, int(wall_s))
        return judged

    def _judge(self, cookie: bytes, source: str, wall_s: int) -> JudgedCookie:
        client, server = cookie[:CLIENT_COOKIE_BYTES], cookie[CLIENT_COOKIE_BYTES:]
        address = ip_address(source).packed
        age_s = self._age_s(client, server, address, wall_s)
        if age_s is not None and age_s <= RENEW_S:
            return JudgedCookie(True, False, cookie, wall_s + RENEW_S - age_s + 1)
        head = client + bytes((_VERSION, 0, 0, 0)) + (wall_s & 0xFFFF_FFFF).to_bytes(4, "big")
        made = head + siphash24(self._secrets[0], head + address)
        return JudgedCookie(age_s is not None, age_s is None and bool(server), made, wall_s + MADE_FOR_S)

    def _age_s(self, client: bytes, server: bytes, address: bytes, wall_s: int) -> int | None:
        """None: it is not ours, or no longer."""
        if len(server) != SERVER_COOKIE_BYTES or server[0] != _VERSION:
            return None
        age_s = (wall_s - int.from_bytes(server[4:8], "big") + _HALF) % (2 * _HALF) - _HALF  # RFC 1982
        if not -FUTURE_S <= age_s <= VALID_S:
            return None
        hashed = client + server[:8] + address
        is_ours = any(compare_digest(siphash24(secret, hashed), server[8:]) for secret in self._secrets)
        return age_s if is_ours else None
