"""Paths under which nobody expects a page: what is missing there must not be answered with one."""

from __future__ import annotations

from cdn.sites.content_type import DEFAULT_CONTENT_TYPE, content_type_of, is_page
from cdn.sites.fingerprint import is_hidden

_BUILT = ("/assets/", "/static/", "/_")
"""What build tools fill at the root of a bundle (`/_next/`, `/_astro/`, `/_nuxt/`)."""

_OTHER_SUFFIXES = frozenset(
    {"asp", "aspx", "bak", "bin", "br", "cfg", "cgi", "conf", "dll", "dmg", "env", "exe", "ini", "iso", "jsp", "jsx"}
    | {"less", "lock", "old", "php", "phtml", "py", "rb", "sass", "scss", "sh", "sql", "toml", "tsx", "vue", "yaml"}
    | {"yml", "zst"}
)
"""Suffixes of files, beside those that have a content type."""


def is_asset_path(path: str) -> bool:
    """Whether the decoded `path` names a file that is no page (`/logo.png`, `/app.3f2a9c1b.js`), is hidden (`/.env`),
    or lies in a folder that build tools fill. A browser that got a page for a missing script would try to run it.

    `/users/jane.doe` and `/v1.2` are addresses of an application.
    """
    if is_hidden(path) or path.startswith(_BUILT):
        return True
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    if dot and suffix.lower() in _OTHER_SUFFIXES:
        return True
    return content_type_of(path) != DEFAULT_CONTENT_TYPE and not is_page(path)
