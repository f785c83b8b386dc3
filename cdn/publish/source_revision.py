"""What a bundle was built from: as continuous integration says it in the environment, else as git does.

Nothing of it is needed for a deploy, so nothing here fails.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GIT_TIMEOUT_S = 2.0
"""Reading one commit takes a hundredth; a folder on a dead network drive takes for ever."""

MAX_TEXT_LETTERS = 200
"""Of a subject or a name: what a list can show."""

_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")


@dataclass(frozen=True, slots=True)
class SourceRevision:
    """Empty where nobody says. `message` is the first line of the commit's."""

    commit: str = ""
    message: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class _Variables:
    """Names of environment variables of one system."""

    commit: str
    message: str = ""
    author: str = ""


_SYSTEMS = (
    _Variables("GITHUB_SHA", author="GITHUB_ACTOR"),  # GitHub Actions, Gitea, Forgejo
    _Variables("CI_COMMIT_SHA", "CI_COMMIT_MESSAGE", "CI_COMMIT_AUTHOR"),  # GitLab, Woodpecker
    _Variables("BITBUCKET_COMMIT"),
    _Variables("CIRCLE_SHA1", author="CIRCLE_USERNAME"),
    _Variables("TRAVIS_COMMIT", "TRAVIS_COMMIT_MESSAGE"),
    _Variables("BUILDKITE_COMMIT", "BUILDKITE_MESSAGE", "BUILDKITE_BUILD_AUTHOR"),
    _Variables("BUILD_SOURCEVERSION", "BUILD_SOURCEVERSIONMESSAGE", "BUILD_REQUESTEDFOR"),  # Azure Pipelines
    _Variables("CF_PAGES_COMMIT_SHA"),
    _Variables("COMMIT_REF"),  # Netlify
    _Variables("GIT_COMMIT"),  # Jenkins
)


def source_revision(source: Path, environ: Mapping[str, str]) -> SourceRevision:
    """What the folder or archive `source` was built from. Runs git, for GIT_TIMEOUT_S at most: not on an event loop."""
    said = revision_of_environment(environ)
    found = _revision_of_git(source if source.is_dir() else source.parent, environ)
    if said.commit and found.commit and not _is_same(said.commit, found.commit):
        return said  # the folder lies in another repository than the one that was built
    return SourceRevision(said.commit or found.commit, said.message or found.message, said.author or found.author)


def revision_of_environment(environ: Mapping[str, str]) -> SourceRevision:
    """What the system says that this runs on; nothing when there is none."""
    for names in _SYSTEMS:
        commit = environ.get(names.commit, "").strip()
        if _COMMIT.fullmatch(commit):
            author = _first_line(environ.get(names.author, "")).partition(" <")[0]
            return SourceRevision(commit, _first_line(environ.get(names.message, "")), author)
    return SourceRevision()


def _revision_of_git(folder: Path, environ: Mapping[str, str]) -> SourceRevision:
    command = ["git", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false"]
    try:
        done = subprocess.run(
            [*command, "log", "-1", "--no-color", "--format=%H%x00%s%x00%an"],
            cwd=folder,
            env={**environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return SourceRevision()
    parts = os.fsdecode(done.stdout).encode("utf-8", "replace").decode().split("\0")
    if done.returncode or len(parts) != 3 or not _COMMIT.fullmatch(parts[0]):
        return SourceRevision()
    return SourceRevision(parts[0], _first_line(parts[1]), _first_line(parts[2]))


def _is_same(one: str, other: str) -> bool:
    shorter, longer = sorted((one.lower(), other.lower()), key=len)
    return longer.startswith(shorter)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip()[:MAX_TEXT_LETTERS] if lines else ""
