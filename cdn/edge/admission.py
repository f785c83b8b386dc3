"""Who is let in: by the credentials of a guard of the deploy, or by the password of a preview."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from cdn.edge.password_checks import Checked, PasswordChecks
from cdn.edge.visit import Visit
from cdn.http.basic_credentials import BasicCredentials, basic_credentials
from cdn.http.fields import Fields
from cdn.sites.name import PRODUCTION
from cdn.sites.rules.guard import Guard

AUTHORIZATION: Final = "authorization"


class Refused(Enum):
    """Why somebody is not let in."""

    UNKNOWN = "credentials"  # 401
    TOO_MANY = "too-many-guesses"  # 429


@dataclass(frozen=True, slots=True)
class Turned:
    """Turned away: `realm` is what credentials are wanted for, `wait_s` when to come again after too many guesses."""

    reason: Refused
    realm: str
    wait_s: int = 0


class Admission:
    """Checks credentials; what is behind them is the caller's."""

    def __init__(self, checks: PasswordChecks) -> None:
        self._checks = checks

    async def by_guard(self, visit: Visit, guard: Guard) -> Turned | None:
        """None when the visitor has the credentials of a user of `guard`."""
        given = _given(visit)
        if given is None:
            return Turned(Refused.UNKNOWN, guard.realm)
        hashed = guard.hash_of(given.user)
        others = guard.users[0][1] if guard.users else ""
        return await self._checked(visit, given, guard.realm, hashed or others, is_real=hashed is not None)

    async def to_preview(self, visit: Visit) -> Turned | None:
        """None when the alias has no password, or the visitor gave it; the user's name does not matter."""
        if not visit.state.password:
            return None
        realm = realm_of(visit)
        given = _given(visit)
        if given is None:
            return Turned(Refused.UNKNOWN, realm)
        return await self._checked(visit, given, realm, visit.state.password, is_real=True)

    async def _checked(
        self, visit: Visit, given: BasicCredentials, realm: str, hashed: str, *, is_real: bool
    ) -> Turned | None:
        site_id, address = visit.site.id, visit.visitor.address
        checked = await self._checks.check(given.password, hashed, site_id=site_id, address=address, is_real=is_real)
        match checked:
            case Checked.RIGHT:
                return None
            case Checked.WRONG:
                return Turned(Refused.UNKNOWN, realm)
            case Checked.TOO_MANY:
                return Turned(Refused.TOO_MANY, realm, self._checks.wait_s(site_id, address))


def realm_of(visit: Visit) -> str:
    """What browsers show when they ask for a preview's password."""
    return visit.site.name if visit.alias == PRODUCTION else f"{visit.alias}--{visit.site.name}"


def without_credentials(visit: Visit) -> Visit:
    """The visit without what was said to this CDN alone: no upstream learns a password that was given here."""
    lines = tuple(line for line in visit.request.fields.lines if line[0] != AUTHORIZATION)
    return replace(visit, request=replace(visit.request, fields=Fields(lines)))


def _given(visit: Visit) -> BasicCredentials | None:
    return basic_credentials(visit.request.fields.get(AUTHORIZATION))
