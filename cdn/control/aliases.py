"""What is said of an alias beside its deploy: who may see it, until when, and whether it may change."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
from msgspec import UNSET

from cdn.control.alias_schema import MAX_EXPIRES_S, MAX_LOCK_BYTES, MAX_PASSWORD_BYTES, SetAlias
from cdn.control.services import Services
from cdn.errors import Conflict, InvalidInput, NotFound, Unavailable
from cdn.journal.record import AliasRemoved, AliasSet, Change, Record
from cdn.sites.deploy import AliasState
from cdn.sites.name import PRODUCTION
from cdn.sites.password import hash_password, verify_password
from cdn.sites.site import Site

SALT_OCTETS = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What somebody wants changed, checked, with the password hashed already."""

    asked: SetAlias
    password: str
    expires_at: float | None


class _Unchanged(Exception):
    """The alias is as it shall be."""


class Aliases:
    """Sets and removes aliases. A password is known here while it is hashed, and never written down."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def set(self, site: Site, alias: str, asked: SetAlias, actor: str) -> Record:
        """Say of `alias` what is `asked`, whether there is a deploy on it or not.

        Raises InvalidInput; Conflict for a lock of somebody else's; NotFound when the site is removed meanwhile;
        JournalUnavailable.
        """
        wish = await self._wish_of(site, alias, asked)

        def decide() -> Change:
            self._require_site(site)
            return self._changed(site, alias, self.state(site, alias), wish, actor)

        return await self._record(site, alias, decide, actor, hides=_hides(asked))

    async def make_ready(self, site: Site, alias: str, asked: SetAlias, actor: str) -> None:
        """Before a deploy is prepared for `alias`: what protects it is in force before anything of it is reachable.

        An alias whose time is over begins anew: what was active there never comes back, its password and lock stay. One
        record says both, so that no death in between opens it. Raises as `set`.
        """
        wish = await self._wish_of(site, alias, asked)
        was_over = self.state(site, alias).is_over(self._services.clock())

        def decide() -> Change:
            self._require_site(site)
            present = self.state(site, alias)
            if present.is_over(self._services.clock()):
                anew = replace(present, expires_at=None)
                return msgspec.structs.replace(self._changed(site, alias, anew, wish, actor), begins_anew=True)
            change = self._changed(site, alias, present, wish, actor)
            if _said(present) == (change.password, change.expires_at, change.lock):
                raise _Unchanged
            return change

        if asked.is_empty and not was_over:
            return
        try:
            await self._record(site, alias, decide, actor, hides=was_over or _hides(asked))
        except _Unchanged:
            return

    async def remove(self, site: Site, alias: str, actor: str) -> Record:
        """Answer nothing under `alias` any more; its deploys stay in the list.

        Raises NotFound, Conflict for production and one that is locked, JournalUnavailable.
        """
        if alias == PRODUCTION:
            raise Conflict(
                f"{PRODUCTION!r} is what the site's own host and its domains answer from: roll it back, or remove the "
                f"site (cdn site rm {site.name})."
            )

        def decide() -> Change:
            self._require_site(site)
            if self._services.catalog.alias(site.id, alias) is None:
                raise NotFound(f"The site {site.name!r} has no alias {alias!r}.")
            self.require_unlocked(site, alias)
            return AliasRemoved(site.id, alias)

        return await self._record(site, alias, decide, actor, hides=True)

    async def remove_over(self, site: Site, alias: str, actor: str) -> bool:
        """Remove `alias` if its time is over. Whether it was. Raises JournalUnavailable."""

        def decide() -> Change:
            self._require_site(site)
            if not self.state(site, alias).is_over(self._services.clock()):
                raise _Unchanged
            return AliasRemoved(site.id, alias)

        try:
            await self._record(site, alias, decide, actor, hides=True)
        except _Unchanged:
            return False
        return True

    def state(self, site: Site, alias: str) -> AliasState:
        """What is known of the alias, whether there is one or not."""
        return self._services.catalog.alias(site.id, alias) or AliasState()

    def require_unlocked(self, site: Site, alias: str) -> None:
        """Raises Conflict that says who locked it and how to unlock it."""
        lock = self.state(site, alias).lock
        if lock:
            raise Conflict(
                f"The alias {alias!r} of {site.name!r} is locked ({lock}), so no other deploy may be activated on it: "
                f"unlock it first (cdn alias unlock {alias} --site {site.name})."
            )

    async def _record(self, site: Site, alias: str, decide: Callable[[], Change], actor: str, *, hides: bool) -> Record:
        """`hides`: somebody shall see less than before, so no node may go by a pointer that does not say so. It is
        removed before the record, for a death in between, and after it, for a receipt that wrote it in between."""
        pointers = self._services.pointers
        if hides:
            await pointers.remove(site.id, alias)
        record = await self._services.state.append(_subject(site, alias), decide, actor)
        if hides:
            try:
                await pointers.remove(site.id, alias)
            except Unavailable as exc:
                log.warning("the pointer of alias %s of site %s may be left in the store: %s", alias, site.name, exc)
        return record

    async def _wish_of(self, site: Site, alias: str, asked: SetAlias) -> _Wish:
        _check(alias, asked)
        password = ""
        if isinstance(asked.password, str):
            password = await asyncio.to_thread(_hashed, asked.password, self.state(site, alias).password)
        expires_at = self._services.clock() + asked.expires_s if isinstance(asked.expires_s, float | int) else None
        return _Wish(asked, password, expires_at)

    def _changed(self, site: Site, alias: str, of: AliasState, wish: _Wish, actor: str) -> AliasSet:
        asked, lock = wish.asked, of.lock
        if asked.lock is None:
            lock = ""
        elif asked.lock is not UNSET:
            if lock and not _is_lock_of(lock, actor):
                raise Conflict(
                    f"The alias {alias!r} of {site.name!r} is locked already ({lock}): unlock it first "
                    f"(cdn alias unlock {alias} --site {site.name})."
                )
            lock = f"{actor}: {asked.lock}".removesuffix(": ")
        return AliasSet(
            site.id,
            alias,
            password=of.password if asked.password is UNSET else wish.password,
            expires_at=of.expires_at if asked.expires_s is UNSET else wish.expires_at,
            lock=lock,
        )

    def _require_site(self, site: Site) -> None:
        if self._services.catalog.site(site.id) is None:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")


def _hashed(password: str, present: str) -> str:
    """The hash of a password; the one that is `present` where it is of the same, so that deploys which repeat it change
    nothing."""
    if present and verify_password(password, present):
        return present
    return hash_password(password, secrets.token_bytes(SALT_OCTETS))


def _hides(asked: SetAlias) -> bool:
    return isinstance(asked.password, str) or isinstance(asked.expires_s, float | int)


def _said(of: AliasState) -> tuple[str, float | None, str]:
    return of.password, of.expires_at, of.lock


def _is_lock_of(lock: str, actor: str) -> bool:
    return lock == actor or lock.startswith(f"{actor}: ")


def _subject(site: Site, alias: str) -> str:
    """The same as of activations, so that neither overlooks the other."""
    return f"alias/{site.id}/{alias}"


def _check(alias: str, asked: SetAlias) -> None:
    """Raises InvalidInput; nothing of a password is repeated."""
    if alias == PRODUCTION and (asked.password not in (UNSET, None) or asked.expires_s not in (UNSET, None)):
        field = "password" if asked.password not in (UNSET, None) else "expires_s"
        raise InvalidInput(
            f"{PRODUCTION!r} has neither a password nor an end: those are for previews. To ask visitors of the site "
            "itself for a password, put [[auth]] into the bundle's cdn.toml.",
            field=field,
        )
    if isinstance(asked.password, str):
        octets = len(asked.password.encode("utf-8", "surrogatepass"))
        if not 1 <= octets <= MAX_PASSWORD_BYTES:
            raise InvalidInput(
                f"A password has 1 to {MAX_PASSWORD_BYTES} octets; null takes it away.", field="password"
            )
    if isinstance(asked.expires_s, float | int) and not 0 < asked.expires_s <= MAX_EXPIRES_S:
        raise InvalidInput(f"expires_s is above 0 and at most {MAX_EXPIRES_S:g} seconds from now.", field="expires_s")
    if isinstance(asked.lock, str):
        if len(asked.lock.encode("utf-8", "surrogatepass")) > MAX_LOCK_BYTES:
            raise InvalidInput(f"The reason of a lock has at most {MAX_LOCK_BYTES} octets.", field="lock")
        if not asked.lock.isprintable():
            raise InvalidInput("The reason of a lock is one line of text.", field="lock")
