"""Rules are judged before anything is uploaded, as control would judge them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.errors import InvalidInput
from cdn.origin.bundle.admission import SourceFile
from cdn.publish.deploy import check
from cdn.publish.local_rules import check_rules
from cdn.publish.progress import Silence
from tests.publish.test_publish import Publisher, publisher_over, write_files


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[Publisher]:
    async for publisher in publisher_over(tmp_path / "control", None):
        yield publisher


async def test_a_bundle_with_faulty_rules_is_refused_before_a_byte_is_sent(
    publisher: Publisher, tmp_path: Path
) -> None:
    folder = write_files(
        tmp_path / "site",
        {"index.html": b"x", "_headers": b"/*\n  X-Good: 1\n  no colon\n", "cdn.toml": b"spa = true\nspaa = 1\n"},
    )
    with pytest.raises(InvalidInput) as caught:
        await publisher(folder)
    assert caught.value.details == (
        '_headers:3: no colon: a field is written "Name: value", and taken away with "! Name"',
        "cdn.toml:2: spaa: there is no such key; there are redirects, headers, caching, spa, clean_urls, error_pages, "
        "auth, cors, security, countries, retention",
    )
    assert (await publisher.client.deploys("blog"))["deploys"] == []
    digests = {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": 0}
    assert len((await publisher.client.open_upload("blog", digests)).missing) == 1


async def test_control_finds_the_same_as_the_uploader_does(publisher: Publisher, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "site", {"index.html": b"x", "_headers": b"/*\n  Date: now\n  X-A: 1\n"})
    warning = '_headers:2: Date: now: "date" is set by the server: this line does nothing'
    assert await check(publisher.client, folder, "blog", Silence()) == (warning,)
    published = await publisher(folder)
    assert (published.warnings, published.answer["warnings"]) == ((warning,), [warning])


async def test_the_mode_of_the_site_counts(publisher: Publisher, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "site", {"index.html": b"x", "_headers": b"https://a.example/*\n  X-A: 1\n"})
    with pytest.raises(InvalidInput, match="1 fault, nothing was uploaded"):
        await check(publisher.client, folder, "blog", Silence())
    await publisher.client.change_site("blog", {"rules_mode": "cloudflare"})
    assert await check(publisher.client, folder, "blog", Silence()) == ()


async def test_programs_of_pages_are_warned_of(publisher: Publisher, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "site", {"index.html": b"x", "functions/a.js": b"x"})
    assert await check(publisher.client, folder, "blog", Silence()) == ()
    await publisher.client.change_site("blog", {"rules_mode": "cloudflare"})
    said = await check(publisher.client, folder, "blog", Silence())
    assert said == ("functions/: programs are not run here: it is neither run nor answered",)
    assert (await publisher(folder)).answer["warnings"] == list(said)


async def test_a_control_without_rules_is_not_asked_about_them(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def site(name: str) -> dict[str, object]:
        return {"name": name, "settings": {}}

    monkeypatch.setattr(publisher.client, "site", site)
    folder = write_files(tmp_path / "site", {"index.html": b"x", "_headers": b"nonsense"})
    assert await check(publisher.client, folder, "blog", Silence()) == ()


async def test_a_folder_of_that_name_holds_no_rules(publisher: Publisher, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "site", {"index.html": b"x", "_headers/inner": b"no rule"})
    assert await check(publisher.client, folder, "blog", Silence()) == ()


async def test_a_rule_file_that_cannot_be_read_is_named(publisher: Publisher, tmp_path: Path) -> None:
    gone = SourceFile("/_headers", str(tmp_path / "gone" / "_headers"), 3)
    with pytest.raises(InvalidInput, match=r"_headers cannot be read: No such file"):
        await check_rules(publisher.client, "blog", [gone])
