"""Twenty browsers as they ask: the fields of each, in its own order, with cookies that differ per client.

User agents, client hints, `Accept` and the order of fields are those of releases of 2025 on their usual systems.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

FieldList = list[tuple[str, str]]


class Kind(Enum):
    """What is asked for: the value of Sec-Fetch-Dest."""

    DOCUMENT = "document"
    STYLE = "style"
    SCRIPT = "script"
    IMAGE = "image"
    FONT = "font"


class Engine(Enum):
    """Who orders the fields."""

    CHROMIUM = 1
    FIREFOX = 2
    SAFARI = 3


@dataclass(frozen=True, slots=True)
class Browser:
    """`hints` are Chromium's sec-ch-ua, mobile and platform; none where a browser of that engine sends none."""

    user_agent: str
    engine: Engine
    language: str
    hints: tuple[str, str, str] | None = None


def _chromium(
    system: str, platform: str, language: str, *, version: int = 142, brand: str = "Google Chrome", tail: str = ""
) -> Browser:
    mobile = "Mobile " if platform == "Android" else ""
    agent = (
        f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 {mobile}Safari/537.36"
    )
    brands = f'"Chromium";v="{version}", "{brand}";v="{version}", "Not_A Brand";v="99"'
    return Browser(agent + tail, Engine.CHROMIUM, language, (brands, "?1" if mobile else "?0", f'"{platform}"'))


def _firefox(system: str, version: int, language: str) -> Browser:
    return Browser(
        f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0", Engine.FIREFOX, language
    )


def _safari(system: str, tail: str, language: str) -> Browser:
    agent = f"Mozilla/5.0 ({system}) AppleWebKit/605.1.15 (KHTML, like Gecko) {tail}"
    return Browser(agent, Engine.SAFARI, language)


WINDOWS = "Windows NT 10.0; Win64; x64"
MAC = "Macintosh; Intel Mac OS X 10_15_7"
ANDROID = "Linux; Android 10; K"
IPHONE = "iPhone; CPU iPhone OS 18_6 like Mac OS X"

BROWSERS = (
    _chromium(WINDOWS, "Windows", "en-US,en;q=0.9"),
    _chromium(WINDOWS, "Windows", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", version=141),
    _chromium(MAC, "macOS", "en-GB,en;q=0.9,fr;q=0.8"),
    _chromium("X11; Linux x86_64", "Linux", "en-GB,en;q=0.9,de;q=0.8"),
    _chromium("X11; CrOS x86_64 14541.0.0", "Chrome OS", "en-US,en;q=0.9", version=140),
    _chromium(ANDROID, "Android", "pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7"),
    _chromium(ANDROID, "Android", "hi-IN,hi;q=0.9,en-IN;q=0.8", version=139),
    _chromium(ANDROID, "Android", "ko-KR,ko;q=0.9", version=136, brand="Samsung Internet"),
    _chromium(WINDOWS, "Windows", "en-US,en;q=0.9", brand="Microsoft Edge", tail=" Edg/142.0.0.0"),
    _chromium(MAC, "macOS", "es-ES,es;q=0.9", version=141, brand="Microsoft Edge", tail=" Edg/141.0.0.0"),
    _chromium(WINDOWS, "Windows", "pl-PL,pl;q=0.9,en;q=0.8", version=140, brand="Opera", tail=" OPR/124.0.0.0"),
    _chromium(WINDOWS, "Windows", "en-US,en;q=0.8", brand="Brave"),
    _firefox("Windows NT 10.0; Win64; x64", 145, "en-US,en;q=0.5"),
    _firefox("Macintosh; Intel Mac OS X 10.15", 144, "fr,fr-FR;q=0.8,en-US;q=0.5,en;q=0.3"),
    _firefox("X11; Ubuntu; Linux x86_64", 140, "it-IT,it;q=0.8,en-US;q=0.5,en;q=0.3"),
    _firefox("Android 15; Mobile", 145, "nl,en-US;q=0.7,en;q=0.3"),
    _safari(MAC, "Version/18.6 Safari/605.1.15", "en-GB,en;q=0.9"),
    _safari(IPHONE, "Version/18.6 Mobile/15E148 Safari/604.1", "en-US,en;q=0.9"),
    _safari(IPHONE, "CriOS/142.0.7444.77 Mobile/15E148 Safari/604.1", "ja-JP,ja;q=0.9"),
    _safari(IPHONE, "Mobile/15E148 [FBAN/FBIOS;FBAV/536.0.0.42.70;FBBV/807124553;FBDV/iPhone15,2]", "sv-SE,sv;q=0.9"),
)

_ACCEPT = {
    Engine.CHROMIUM: {
        Kind.DOCUMENT: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
        "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
        Kind.STYLE: "text/css,*/*;q=0.1",
        Kind.IMAGE: "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    },
    Engine.FIREFOX: {
        Kind.DOCUMENT: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        Kind.STYLE: "text/css,*/*;q=0.1",
        Kind.IMAGE: "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
        Kind.FONT: "application/font-woff2;q=1.0,application/font-woff;q=0.9,*/*;q=0.8",
    },
    Engine.SAFARI: {
        Kind.DOCUMENT: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        Kind.STYLE: "text/css,*/*;q=0.1",
        Kind.IMAGE: "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,"
        "image/*;q=0.5",
    },
}

_PRIORITY = {
    Kind.DOCUMENT: "u=0, i",
    Kind.STYLE: "u=0",
    Kind.SCRIPT: "u=1",
    Kind.IMAGE: "u=4, i",
    Kind.FONT: "u=0",
}
"""RFC 9218, as Chromium gives them; the others' differ little."""


def cookies_of(client: random.Random) -> list[str]:
    """The cookies of one client: what measures visits, a session, a choice about cookies."""
    return [
        f"_ga=GA1.1.{client.randrange(10**9, 2 * 10**9)}.{client.randrange(1_730_000_000, 1_763_000_000)}",
        f"session={client.randbytes(16).hex()}",
        "consent=all",
    ]


def fields_of(browser: Browser, kind: Kind, *, page: str, cookies: list[str]) -> FieldList:
    """The fields of a request of HTTP/2 without pseudo-fields; `page` is the URL of the page that needs it.

    A document was typed in, everything else is what a page of the same site is made of.
    """
    is_page = kind is Kind.DOCUMENT
    mode = "navigate" if is_page else "cors" if kind is Kind.FONT else "no-cors"
    accept = ("accept", _ACCEPT[browser.engine].get(kind, "*/*"))
    agent = ("user-agent", browser.user_agent)
    language = ("accept-language", browser.language)
    coding = ("accept-encoding", "gzip, deflate, br" if browser.engine is Engine.SAFARI else "gzip, deflate, br, zstd")
    site = ("sec-fetch-site", "none" if is_page else "same-origin")
    fetch_mode, target = ("sec-fetch-mode", mode), ("sec-fetch-dest", kind.value)
    upgrade = [("upgrade-insecure-requests", "1")] if is_page else []
    user = [("sec-fetch-user", "?1")] if is_page else []
    referer = [] if is_page else [("referer", page)]
    cookie = [("cookie", "; ".join(cookies))] if cookies else []
    priority = ("priority", _PRIORITY[kind])
    match browser.engine:
        case Engine.CHROMIUM:
            assert browser.hints is not None
            brands, mobile, platform = browser.hints
            hints = [("sec-ch-ua", brands), ("sec-ch-ua-mobile", mobile), ("sec-ch-ua-platform", platform)]
            head = [*hints, *upgrade, agent, accept, site, fetch_mode, *user, target, *referer]
            return [*head, coding, language, *cookie, priority]
        case Engine.FIREFOX:
            head = [agent, accept, language, coding, *referer, *cookie, *upgrade]
            return [*head, target, fetch_mode, site, *user, priority, ("te", "trailers")]
        case Engine.SAFARI:
            head = [accept, site, *cookie, target, language, fetch_mode]
            return [*head, agent, *referer, coding, priority]


def clients(count: int, seed: int) -> Iterator[tuple[Browser, list[str]]]:
    """`count` clients: the browsers in turn, each client with cookies of its own."""
    source = random.Random(seed)
    for number in range(count):
        yield BROWSERS[number % len(BROWSERS)], cookies_of(source)
