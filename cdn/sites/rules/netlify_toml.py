"""The file `netlify.toml`: its redirects and fields; what builds and runs there is for somebody else."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.sites.rules.header_tables import read_header_tables
from cdn.sites.rules.headers_file import HeadersRead
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_tables import read_redirect_tables
from cdn.sites.rules.redirects_file import RedirectsRead
from cdn.sites.rules.toml_file import TomlFile, read_toml

FILE = "netlify.toml"

_SAID = {
    "build": "nothing is built here: deploy the folder that was published there",
    "context": "there are no deploy contexts here: what stands in them does nothing",
    "dev": "it is for the development server, and does nothing here",
    "edge_functions": "functions are not run here",
    "functions": "functions are not run here",
    "images": "images are not transformed here",
    "plugins": "plugins are not run here",
    "template": "it is for new sites, and does nothing here",
}
"""What is warned of tables that do nothing."""


@dataclass(frozen=True, slots=True)
class NetlifyTomlRead:
    """What counts here; the rest is warned of in `file.findings`."""

    redirects: RedirectsRead
    headers: HeadersRead
    file: TomlFile


def read_netlify_toml(content: bytes, mode: RulesMode) -> NetlifyTomlRead:
    """Never raises: what is wrong is a fault in `file.findings`, or in those of redirects and headers."""
    file = read_toml(content, FILE)
    for name in file.values:
        if name not in ("redirects", "headers"):
            file.warn((name,), _SAID.get(name, "it does nothing here"))
    return NetlifyTomlRead(
        redirects=read_redirect_tables(file.values.get("redirects", []), FILE, mode, file.table_lines("redirects")),
        headers=read_header_tables(file.values.get("headers", []), FILE, file.table_lines("headers")),
        file=file,
    )
