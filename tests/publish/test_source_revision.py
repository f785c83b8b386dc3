"""What a bundle was built from, as systems of continuous integration and git say it; nothing of it can fail."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cdn.publish.source_revision import MAX_TEXT_LETTERS, SourceRevision, revision_of_environment, source_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Kim",
    "GIT_COMMITTER_EMAIL": "kim@example.com",
    "GIT_CONFIG_NOSYSTEM": "1",
    "HOME": "/nonexistent",
}
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"GITHUB_SHA": COMMIT, "GITHUB_ACTOR": "ann"}, SourceRevision(COMMIT, "", "ann")),
        (
            {"CI_COMMIT_SHA": COMMIT, "CI_COMMIT_MESSAGE": "Fix it\n\nbody\n", "CI_COMMIT_AUTHOR": "Ann <a@b.example>"},
            SourceRevision(COMMIT, "Fix it", "Ann"),
        ),
        ({"BITBUCKET_COMMIT": COMMIT}, SourceRevision(COMMIT)),
        ({"CIRCLE_SHA1": COMMIT, "CIRCLE_USERNAME": "ann"}, SourceRevision(COMMIT, "", "ann")),
        ({"GIT_COMMIT": COMMIT}, SourceRevision(COMMIT)),
        ({"COMMIT_REF": COMMIT[:7]}, SourceRevision(COMMIT[:7])),
        ({"COMMIT_REF": "main"}, SourceRevision()),
        ({"GITHUB_SHA": "", "GIT_COMMIT": COMMIT}, SourceRevision(COMMIT)),
        ({"CI_COMMIT_SHA": COMMIT, "CI_COMMIT_MESSAGE": "x" * 5000}, SourceRevision(COMMIT, "x" * MAX_TEXT_LETTERS)),
        ({}, SourceRevision()),
    ],
)
def test_what_systems_say(environ: dict[str, str], expected: SourceRevision) -> None:
    assert revision_of_environment(environ) == expected


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "dist").mkdir()
    (folder / "dist" / "index.html").write_text("hello")
    environ = PLAIN | IDENTITY
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Begin \u00fc\n\nand more"]):
        subprocess.run(["git", *words], cwd=folder, env=environ, check=True)
    return folder


def head(folder: Path) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, env=PLAIN, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_git_says_it_of_a_folder_within_and_of_an_archive_beside(repository: Path) -> None:
    archive = repository / "site.zip"
    archive.write_bytes(b"")
    for source in (repository, repository / "dist", archive):
        assert source_revision(source, PLAIN) == SourceRevision(head(repository), "Begin \u00fc", "Ann Author")


def test_git_says_what_the_system_leaves_out(repository: Path) -> None:
    found = source_revision(repository, PLAIN | {"GITHUB_SHA": head(repository), "GITHUB_ACTOR": "octo"})
    assert found == SourceRevision(head(repository), "Begin \u00fc", "octo")
    abbreviated = source_revision(repository, PLAIN | {"COMMIT_REF": head(repository)[:8].upper()})
    assert abbreviated.message == "Begin \u00fc"


def test_a_folder_of_another_repository_says_nothing_about_what_was_built(repository: Path) -> None:
    assert source_revision(repository, PLAIN | {"GITHUB_SHA": COMMIT}) == SourceRevision(COMMIT)


def test_nothing_fails(tmp_path: Path, repository: Path) -> None:
    outside = PLAIN | {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    (tmp_path / "bare").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=empty, env=PLAIN | IDENTITY, check=True)
    assert source_revision(tmp_path / "bare", outside) == SourceRevision()
    assert source_revision(empty, outside) == SourceRevision(), "no commit yet"
    assert source_revision(tmp_path / "absent" / "site.zip", outside) == SourceRevision()
    assert source_revision(repository, {"PATH": str(tmp_path)}) == SourceRevision(), "no git"


def test_a_git_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.publish.source_revision.GIT_TIMEOUT_S", 0.05)
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    assert source_revision(tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}) == SourceRevision()
