"""What counts as a fingerprint: sure of what tools write, and never of what people name."""

from __future__ import annotations

import random
import string
import time

import pytest

from cdn.sites.fingerprint import has_fingerprint


@pytest.mark.parametrize(
    "path",
    [
        "/app.3f2a9c1b.js",
        "/app-3F2A9C1B.js",
        "/main.3f2a9c1b.chunk.js",
        "/main.3f2a9c1b.js.map",
        "/main.3f2a9c1b.js.LICENSE.txt",
        "/img/logo_5d41402abc4b2a76b9719d911017c592.png",
        "/application-" + "3f2a9c1b" * 8 + ".css",
        "/_next/static/media/47cbc4e2adbc5db9-s.p.woff2",
        "/index-BfX3k_9a.css",
        "/index-B-X3k_9a.js",
        "/_astro/page.BfX3k_9a.css",
        "/_nuxt/entry.BfX3k_9a.css",
        "/_app/immutable/nodes/0.BfX3k_9a.js",
        "/_app/immutable/chunks/BfX3k_9a.js",
        "/chunk-2QH7N3VB.js",
        "/chunk-ABCDZFGH.js",
        "/styles-5INURTSO.css",
        "/media/assets/hero-5KRTC2UX.avif",
        "/assets/index-DiwrgTda.js",
        "/assets/font-CkQHzVjX.woff2",
    ],
)
def test_what_tools_write(path: str) -> None:
    assert has_fingerprint(path)


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/assets/index-3f2a9c1b.html",
        "/assets/page.3f2a9c1b.XHTML",
        "/jquery-migrate.js",
        "/jquery-3.7.1.min.js",
        "/bootstrap-datepicker.js",
        "/report-20240115.pdf",
        "/report-20240115a.pdf",
        "/report-20240115abcd.pdf",
        "/assets/some-JavaScript.js",
        "/assets/img-picture1.jpg",
        "/img-picture1.jpg",
        "/index-DiwrgTda.js",
        "/font-BfX3k_9a.woff2",
        "/BfX3k_9a.js",
        "/assets/logo-DarkMode.svg",
        "/assets/x-LightSky.svg",
        "/assets/x-AddToBag.svg",
        "/assets/x-WhoWeAre.jpg",
        "/assets/x-Strength.jpg",
        "/assets/x-BtnClose.svg",
        "/assets/x-Queueing.svg",
        "/assets/my-iPhone12.png",
        "/assets/doc-FAQs2024.pdf",
        "/assets/doc-DOWNLOAD.pdf",
        "/assets/x-datepick.js",
        "/x-CHAPTER2.js",
        "/assets/DSC00123.jpg",
        "/assets/Calendar.js",
        "/assets/HelpDesk.png",
        "/assets/HomePage.js",
        "/photo-facade01.jpg",
        "/deadbeef.js",
        "/0123456789.js",
        "/3f2a9c1.js",
        "/a" + "3f2a9c1b" * 9 + ".js",
        "/3F2a9c1b5d41402a.txt",
        "/3f2a9c1b-1234-4abc-8def-123456789abc.jpg",
        "/3f2a9c1b",
        "/.env",
        "/.env.3f2a9c1b",
        "/.cache/app.3f2a9c1b.js",
    ],
)
def test_what_people_name(path: str) -> None:
    assert not has_fingerprint(path)


HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"
BASE64 = string.ascii_letters + string.digits + "_-"


@pytest.mark.parametrize(
    ("letters", "path", "share"),
    [
        (HEX, "/app.{}.js", 0.94),
        (HEX, "/assets/logo-{}.png", 0.94),
        (BASE32, "/chunk-{}.js", 0.95),
        (BASE64, "/assets/index-{}.js", 0.88),
        (BASE64, "/index-{}.css", 0.62),
    ],
)
def test_most_of_what_tools_write_is_known(letters: str, path: str, share: float) -> None:
    """The rest happens to look like a word, a number or a date."""
    generator = random.Random(8)
    names = [path.format("".join(generator.choices(letters, k=8))) for _ in range(2000)]
    assert sum(map(has_fingerprint, names)) / len(names) > share


@pytest.mark.parametrize("path", ["/a-12345678." + ".map" * 50_000 + "x", "/a-12345678." + ".LICENSE.txt" * 20_000])
def test_a_name_that_a_visitor_made_up_costs_no_more_than_its_length(path: str) -> None:
    """The square of it would be 10 s and more."""
    began = time.process_time()
    assert not has_fingerprint(path)
    assert time.process_time() - began < 2.0
