from __future__ import annotations

import pytest

from cdn.publish.notice import MAX_NAMED, warnings_about


def test_a_usual_bundle_needs_no_warning() -> None:
    assert warnings_about({"/index.html", "/a.b/c.css", "/.well-known/acme-challenge/x"}) == ()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/.env", "/.env"),
        ("/a/.htpasswd", "/a/.htpasswd"),
        ("/.github/workflows/ci.yml", "/.github/"),
        ("/.well-known/.secret", "/.well-known/.secret"),
        ("/.well-knowns", "/.well-knowns"),
    ],
)
def test_hidden_files_are_named_at_their_first_hidden_part(path: str, name: str) -> None:
    assert warnings_about({"/index.html": None, path: None}) == (f"hidden files become public: {name}",)


def test_a_hidden_folder_is_named_once_and_only_some_are_named() -> None:
    paths = ["/index.html", "/.git-old/a", "/.git-old/b", *(f"/.n{number}" for number in range(MAX_NAMED))]
    assert warnings_about(paths) == ("hidden files become public: /.git-old/, /.n0, /.n1, /.n2, /.n3 and 1 more",)


def test_no_start_page_is_said_with_the_folder_that_was_probably_meant() -> None:
    sentence = "there is no index.html at the top, so / answers 404"
    assert warnings_about(["/a.txt"]) == (sentence,)
    assert warnings_about(["/a/index.html", "/b/index.html"]) == (sentence,)
    assert warnings_about(["/dist/index.html", "/dist/x/index.html"]) == (
        f"{sentence}; is 'dist' in it the folder to deploy?",
    )
