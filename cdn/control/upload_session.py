"""Upload sessions: what a site announced that it will upload, and which of it is there."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cdn.control.kept_upload import new_upload_id
from cdn.control.settings import ControlSettings
from cdn.errors import InvalidInput, NotFound, TooLarge, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class UploadSession:
    """Pins its digests until `expires_at`: what `proven` holds is not looked up again. Times are wall times.

    `is_kept`: it lies in the object store too, where other replicas of control find it.
    """

    id: str
    site_id: str
    blobs: Mapping[str, int]
    expires_at: float
    proven: dict[str, int] = field(default_factory=dict)
    is_kept: bool = False

    def size_of(self, digest: str) -> int:
        """The announced size. Raises NotFound."""
        size_bytes = self.blobs.get(digest)
        if size_bytes is None:
            raise NotFound(f"Upload {self.id} did not announce the digest {digest}.")
        return size_bytes


class UploadSessions:
    """All open sessions of this replica, bounded in number and in digests.

    Those adopted from another replica take as much again at most; the one used longest ago is forgotten first.
    """

    def __init__(self, settings: ControlSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._sessions: dict[str, UploadSession] = {}
        self._digests = 0
        self._adopted: OrderedDict[str, UploadSession] = OrderedDict()
        self._adopted_digests = 0

    def open(self, site_id: str, blobs: Mapping[str, int]) -> UploadSession:
        """A new session.

        Raises InvalidInput listing bad digests and sizes; TooLarge; Unavailable when too many are open.
        """
        limits = self._settings
        self._check(blobs)
        self._expire()
        of_site = self.of_site(site_id)
        if len(of_site) >= limits.max_sessions_per_site:
            raise self._full(f"This site has {len(of_site)} open uploads, the limit", of_site)
        pinned = sum(len(each.blobs) for each in of_site)
        if of_site and pinned + len(blobs) > limits.max_session_digests_per_site:
            raise self._full(f"This site has pinned {pinned} digests, near its limit", of_site)
        if len(self._sessions) >= limits.max_sessions or self._digests + len(blobs) > limits.max_session_digests:
            raise self._full("Too many uploads are open", list(self._sessions.values()))
        expires_at = self._clock() + limits.upload_session_s
        session = UploadSession(new_upload_id(expires_at), site_id, blobs, expires_at)
        self._sessions[session.id] = session
        self._digests += len(blobs)
        return session

    def adopt(self, session: UploadSession) -> UploadSession:
        """Remember a session that another replica opened; the one that is remembered."""
        known = self.find(session.site_id, session.id)
        if known is not None:
            return known
        self._adopted[session.id] = session
        self._adopted_digests += len(session.blobs)
        limits = self._settings
        while len(self._adopted) > 1 and (
            len(self._adopted) > limits.max_sessions or self._adopted_digests > limits.max_session_digests
        ):
            self._leave(next(iter(self._adopted)))
        return session

    def find(self, site_id: str, session_id: str) -> UploadSession | None:
        """The session of this site, None when it is over (or another's)."""
        self._expire()
        session = self._sessions.get(session_id)
        if session is None and session_id in self._adopted:
            self._adopted.move_to_end(session_id)
            session = self._adopted[session_id]
        return session if session is not None and session.site_id == site_id else None

    def of_site(self, site_id: str) -> list[UploadSession]:
        """What this replica opened for the site."""
        return [each for each in self._sessions.values() if each.site_id == site_id]

    def open_of_site(self, site_id: str) -> list[UploadSession]:
        """Those of the site that are not over, adopted ones too."""
        self._expire()
        return [each for each in (*self._sessions.values(), *self._adopted.values()) if each.site_id == site_id]

    def close(self, session_id: str) -> None:
        """The session's deploy is recorded: its pins are no longer needed."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._digests -= len(session.blobs)
        self._leave(session_id)

    def forget(self, site_id: str, digest: str) -> None:
        """The object is gone: no session of the site counts it as proven any more."""
        for session in (*self._sessions.values(), *self._adopted.values()):
            if session.site_id == site_id:
                session.proven.pop(digest, None)

    def close_site(self, site_id: str) -> None:
        """The site is gone."""
        for session in [*self._sessions.values(), *self._adopted.values()]:
            if session.site_id == site_id:
                self.close(session.id)

    def _leave(self, session_id: str) -> None:
        session = self._adopted.pop(session_id, None)
        if session is not None:
            self._adopted_digests -= len(session.blobs)

    def _check(self, blobs: Mapping[str, int]) -> None:
        bundle = self._settings.bundle
        if len(blobs) > bundle.max_files:
            raise TooLarge(f"A bundle has at most {bundle.max_files} files, not {len(blobs)}.", field="blobs")
        faults = [f"{digest}: not a SHA-256 in lower-case hex" for digest in blobs if not _DIGEST.fullmatch(digest)]
        faults += [
            f"{digest}: {size_bytes} is not a size from 0 to {bundle.max_file_bytes} bytes"
            for digest, size_bytes in blobs.items()
            if not 0 <= size_bytes <= bundle.max_file_bytes
        ]
        if faults:
            raise InvalidInput(
                f"{len(faults)} of the announced blobs are not a digest with a size.",
                field="blobs",
                details=tuple(faults),
            )
        total_bytes = sum(blobs.values())
        if total_bytes > bundle.max_total_bytes:
            raise TooLarge(f"A bundle has at most {bundle.max_total_bytes} bytes, not {total_bytes}.", field="blobs")

    def _expire(self) -> None:
        now = self._clock()
        for session in [*self._sessions.values(), *self._adopted.values()]:
            if session.expires_at <= now:
                self.close(session.id)

    def _full(self, sentence: str, sessions: list[UploadSession]) -> Unavailable:
        first = min((each.expires_at for each in sessions), default=self._clock() + 1)
        wait_s = max(1, round(first - self._clock()))
        return Unavailable(f"{sentence}: finish one, or wait {wait_s} s until one expires.", retry_after_s=wait_s)
