"""Where the command line finds control: the environment first, then the file that `cdn up` wrote."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdn.errors import CdnError, InvalidInput
from cdn.publish.endpoint import Endpoint

DEFAULT_CONTROL_URL = "http://127.0.0.1:8700"


class NotConfigured(CdnError):
    """Nothing says where control is."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the user's config file holds."""

    control_url: str
    token: str


def config_path(environ: Mapping[str, str]) -> Path:
    """The user's config file: `$XDG_CONFIG_HOME/cdn/config.json`, or below `~/.config`."""
    base = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".config"
    return folder / "cdn" / "config.json"


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Where the command keeps what only saves time: `$XDG_CACHE_HOME/cdn`, or `~/.cache/cdn`."""
    base = environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".cache"
    return folder / "cdn"


def read_config(path: Path) -> Config | None:
    """The config, None when there is no file. Raises InvalidInput when it cannot be read as one."""
    try:
        document = json.loads(path.read_bytes())
        return Config(control_url=str(document["control_url"]), token=str(document["token"]))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read ({exc.strerror}): make it readable or set CDN_TOKEN") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise InvalidInput(f"{path} is not a config file of cdn: start `cdn up` again or remove it") from exc


def write_config(path: Path, config: Config) -> None:
    """Writes the config whole or not at all, readable by its owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = json.dumps({"control_url": config.control_url, "token": config.token}, indent=2) + "\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def endpoint_from(environ: Mapping[str, str]) -> Endpoint:
    """The control plane to call. CDN_CONTROL_URL and CDN_TOKEN go before the config file.

    The file's token is sent only to the control plane it is for: another CDN_CONTROL_URL needs its own CDN_TOKEN.
    Raises NotConfigured, InvalidInput.
    """
    url, token = environ.get("CDN_CONTROL_URL") or None, environ.get("CDN_TOKEN") or None
    if url is not None and token is not None:
        return Endpoint(url, token)
    config = read_config(config_path(environ))
    if config is not None:
        if url is None:
            return Endpoint(config.control_url, token or config.token)
        if url.rstrip("/") == config.control_url.rstrip("/"):
            return Endpoint(url, config.token)
    if url is not None:
        raise NotConfigured(f"there is no token for {url}: set CDN_TOKEN")
    if token is not None:
        return Endpoint(DEFAULT_CONTROL_URL, token)
    raise NotConfigured("no control plane is known: start one with `cdn up`, or set CDN_CONTROL_URL and CDN_TOKEN")
