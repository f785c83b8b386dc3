"""The one family of errors. Each message is a sentence that names the thing, the limit and the way out.

Rooms raise these (or subclasses of their own); control turns a kind into an HTTP status, the command line into an exit
status. Expected outcomes (a miss, a conflict on append) are values, never one of these.
"""

from __future__ import annotations


class CdnError(Exception):
    """Root of every error this program raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(CdnError):
    """The caller sent something that can never work. `field` names where; `details` lists every single fault."""

    def __init__(self, message: str, *, field: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.details = details


class Unprocessable(InvalidInput):
    """Well-formed, but contradicts what is stored: a digest that does not match, a deploy that is incomplete."""


class TooLarge(InvalidInput):
    """More than a limit in settings allows."""


class Unauthorized(CdnError):
    """No token, or one that is unknown, revoked or expired."""


class Forbidden(CdnError):
    """The token is good but its scopes do not cover this."""


class NotFound(CdnError):
    """The named thing does not exist (or may not be seen by this caller)."""


class Gone(CdnError):
    """It was there and was taken away on purpose, for good: a blob that was taken down."""


class TooMany(CdnError):
    """More calls than the caller may make in a time. Try again after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Conflict(CdnError):
    """The thing exists already, or changed under the caller."""


class Unavailable(CdnError):
    """Something this program depends on does not answer now: store down, disk full, journal locked. Try again."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
