"""The way out of a refusal, in the words of the command line: which command shows what there is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cdn.cli.config import config_path
from cdn.errors import CdnError, NotFound, Unauthorized
from cdn.publish.endpoint import ControlUnreachable, NotControl

_SITE = re.compile(r"There is no site '")
_DEPLOYS = (
    re.compile(r"The site '([^']+)' has no deploy '"),
    re.compile(r"Nothing is active on the alias '[^']*' of '([^']+)'"),
    re.compile(r"There is no older deploy on the alias '[^']*' of '([^']+)'"),
)
_ELSEWHERE = (
    (re.compile(r"There is no token '"), "see them: cdn token list"),
    (re.compile(r"There is no node '"), "see them: cdn status"),
    (re.compile(r"no site of yours has the domain"), "see them: cdn domain list"),
)


def hint_for(error: CdnError, environ: Mapping[str, str]) -> str | None:
    """What to look at or to do next, None when the error's own sentence says it."""
    match error:
        case ControlUnreachable():
            return f"is `cdn up` running? {_control_is(environ)}"
        case NotControl():
            return _control_is(environ)
        case Unauthorized():
            return _token_is(environ)
        case NotFound() if _SITE.match(error.message):
            return "see them: cdn site list"
    for pattern in _DEPLOYS:
        if found := pattern.match(error.message):
            return f"see what there is: cdn deploys --site {found[1]}"
    return next((hint for pattern, hint in _ELSEWHERE if pattern.match(error.message)), None)


def _control_is(environ: Mapping[str, str]) -> str:
    if url := environ.get("CDN_CONTROL_URL"):
        return f"CDN_CONTROL_URL is {url}"
    if environ.get("CDN_TOKEN") and not config_path(environ).exists():
        return "CDN_CONTROL_URL is not set"
    return f"its address is from {config_path(environ)}, where `cdn up` writes it"


def _token_is(environ: Mapping[str, str]) -> str:
    if environ.get("CDN_TOKEN"):
        return "the token is from CDN_TOKEN"
    return f"the token is from {config_path(environ)}, where `cdn up` writes it: start `cdn up` again, or set CDN_TOKEN"
