"""Builds the example site `examples/harbour`: run it again after a change; the same input gives the same bytes.

    python examples/build_harbour.py

It stands in for any static-site generator: pages in folders, a blog, fingerprinted scripts and styles under `assets/`,
pictures, a feed, a manifest and pages for what is not found. Everything in it was made up for this purpose.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from pathlib import Path

from harbour_text import (
    BOATS,
    CLOSINGS,
    GUIDES,
    HAPPENINGS,
    OBSERVATIONS,
    OPENINGS,
    PLACES,
    PRACTICAL,
    SCRIPTS,
    STYLE,
    SUBJECTS,
    TAGS,
)

OUT = Path(__file__).resolve().parent / "harbour"
ORIGIN = "https://www.harbour.example"
POSTS = 150
POSTS_PER_PAGE = 15
FIRST_DAY = date(2023, 1, 9)


@dataclass(frozen=True, slots=True)
class Post:
    """One entry of the log book."""

    slug: str
    title: str
    day: date
    tag: str
    paragraphs: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/blog/{self.slug}/"


@dataclass(frozen=True, slots=True)
class Assets:
    """URLs of what a bundler would have named."""

    style: str
    script: str
    pictures: dict[str, str]


def main() -> None:
    """Writes the whole site anew."""
    shutil.rmtree(OUT, ignore_errors=True)
    assets = write_assets()
    posts = [make_post(number) for number in range(POSTS)]
    posts.reverse()
    write_front(assets, posts)
    write_blog(assets, posts)
    write_boats(assets)
    write_tides(assets)
    write_guides(assets)
    write_extras(posts)
    files = [path for path in OUT.rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {OUT}")


def pick(pool: Sequence[str], *seed: object) -> str:
    """One of the pool, always the same for the same seed."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return pool[int.from_bytes(digest[:4], "big") % len(pool)]


def write(path: str, content: str | bytes) -> None:
    """A file of the site; `path` starts with a slash."""
    file = OUT / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def write_fingerprinted(name: str, suffix: str, content: str) -> str:
    """A file below assets/ whose name changes with its content."""
    mark = hashlib.sha256(content.encode()).hexdigest()[:10]
    path = f"/assets/{name}.{mark}.{suffix}"
    write(path, content)
    return path


def write_assets() -> Assets:
    """Scripts, styles and pictures; the entry script imports the others by their fingerprinted names."""
    chunks = {name: write_fingerprinted(name, "js", text) for name, text in SCRIPTS.items() if name != "index"}
    entry = SCRIPTS["index"]
    for name, path in chunks.items():
        entry = entry.replace(f"./{name}.js", path.replace("/assets/", "./"))
    pictures = {place: write_fingerprinted(place.lower().replace(" ", "-"), "svg", picture(place)) for place in PLACES}
    pictures |= {
        name: write_fingerprinted(f"boat-{name.lower()}", "svg", boat_picture(name, colour))
        for name, _, colour in BOATS
    }
    return Assets(write_fingerprinted("index", "css", STYLE), write_fingerprinted("index", "js", entry), pictures)


def page(assets: Assets, title: str, content: str, *, path: str, summary: str = "") -> str:
    """A whole HTML page around its content."""
    summary = summary or "Skerry Harbour: berths, ferries, tides and the log book of the harbour office."
    links = (("/", "Harbour"), ("/visit/", "Visit"), ("/boats/", "Boats"), ("/tides/", "Tides"), ("/guide/", "Guide"))
    menu = "".join(
        f'<a href="{href}">{name}</a>' for href, name in (*links, ("/blog/", "Log book"), ("/about", "About"))
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · Skerry Harbour</title>
<meta name="description" content="{escape(summary)}">
<link rel="canonical" href="{ORIGIN}{path}">
<link rel="icon" href="/favicon.svg" type="image/svg+xml">
<link rel="manifest" href="/site.webmanifest">
<link rel="alternate" href="/feed.xml" type="application/atom+xml" title="Log book">
<link rel="stylesheet" href="{assets.style}">
<script type="module" src="{assets.script}"></script>
</head>
<body>
<header><a class="name" href="/">Skerry Harbour</a><nav>{menu}</nav></header>
<main>
{content}
</main>
<footer><p>Harbour office, North Quay. VHF channel 12, every day from seven to seven.</p></footer>
</body>
</html>
"""


def make_post(number: int) -> Post:
    """The log book's entry of one week."""
    day = FIRST_DAY + timedelta(days=9 * number + number % 4)
    subject, place = pick(SUBJECTS, "subject", number), pick(PLACES, "place", number)
    title = f"{subject} at {place}"
    slug = f"{day.isoformat()}-{title.lower().replace(' ', '-').replace(',', '')}"
    middle = [
        " ".join(pick(pool, number, index, step) for step, pool in enumerate((OBSERVATIONS, HAPPENINGS, PRACTICAL)))
        for index in range(2 + number % 4)
    ]
    paragraphs = (f"{pick(OPENINGS, 'open', number)} {title}.", *middle, pick(CLOSINGS, "close", number))
    return Post(slug, title, day, pick(TAGS, "tag", number), paragraphs)


def write_front(assets: Assets, posts: list[Post]) -> None:
    news = "".join(
        f'<li><a href="{post.path}">{escape(post.title)}</a> <time>{post.day}</time></li>' for post in posts[:6]
    )
    hero = f'<img src="{assets.pictures["North Quay"]}" width="960" height="320" alt="North Quay at first light">'
    content = f"""{hero}
<h1>Skerry Harbour</h1>
<p>Forty berths, two ferries and one very old crane, on the lee side of the island.</p>
<section data-tide></section>
<h2>From the log book</h2>
<ul class="posts">{news}</ul>"""
    write("/index.html", page(assets, "Welcome", content, path="/"))
    about = "<h1>About the harbour</h1>" + "".join(f"<p>{escape(text)}</p>" for text in OBSERVATIONS[:6])
    write("/about.html", page(assets, "About", about, path="/about"))
    write(
        "/404.html", page(assets, "Not found", "<h1>Nothing is moored here</h1><p>Try the menu above.</p>", path="/404")
    )
    visit = "<h1>Visit</h1>" + "".join(f"<p>{escape(text)}</p>" for text in PRACTICAL[:5])
    visit += (
        '<ul><li><a href="/visit/getting-here">Getting here</a></li><li><a href="/visit/tickets">Tickets</a></li></ul>'
    )
    write("/visit/index.html", page(assets, "Visit", visit, path="/visit/"))
    for name, title in (("getting-here", "Getting here"), ("tickets", "Tickets"), ("accessibility", "Accessibility")):
        text = "".join(f"<p>{escape(pick(PRACTICAL, name, n))}</p>" for n in range(4))
        write(f"/visit/{name}.html", page(assets, title, f"<h1>{title}</h1>{text}", path=f"/visit/{name}"))


def write_blog(assets: Assets, posts: list[Post]) -> None:
    for index, post in enumerate(posts):
        newer = f'<a rel="next" href="{posts[index - 1].path}">newer</a>' if index else ""
        older = f'<a rel="prev" href="{posts[index + 1].path}">older</a>' if index + 1 < len(posts) else ""
        text = "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in post.paragraphs)
        dated = f'<time datetime="{post.day}">{post.day:%d %B %Y}</time>'
        content = f"""<article>
<h1>{escape(post.title)}</h1>
<p class="meta">{dated} in <a href="/blog/tags/{post.tag}/">{post.tag}</a></p>
{text}</article>
<nav class="around">{newer} {older}</nav>"""
        write(f"{post.path}index.html", page(assets, post.title, content, path=post.path, summary=post.paragraphs[0]))
    for number in range(0, len(posts), POSTS_PER_PAGE):
        here = number // POSTS_PER_PAGE + 1
        path = "/blog/" if here == 1 else f"/blog/page/{here}/"
        write_listing(assets, f"Log book, page {here}", path, posts[number : number + POSTS_PER_PAGE])
    for tag in TAGS:
        write_listing(assets, f"Log book: {tag}", f"/blog/tags/{tag}/", [post for post in posts if post.tag == tag])


def write_listing(assets: Assets, title: str, path: str, posts: list[Post]) -> None:
    items = "".join(
        f'<li><a href="{post.path}">{escape(post.title)}</a> <time>{post.day}</time></li>\n' for post in posts
    )
    content = f"<h1>{escape(title)}</h1>\n<ul class=posts>\n{items}</ul>"
    write(f"{path}index.html", page(assets, title, content, path=path))


def write_boats(assets: Assets) -> None:
    items = ""
    for name, kind, _ in BOATS:
        path = f"/boats/{name.lower()}/"
        items += (
            f'<li><a href="{path}"><img src="{assets.pictures[name]}" width="240" height="120" alt="">{name}</a></li>\n'
        )
        text = "".join(f"<p>{escape(pick(HAPPENINGS, name, n))}</p>" for n in range(3))
        content = f'<h1>{name}</h1><p class="meta">{kind}</p><img src="{assets.pictures[name]}" alt="{name}">{text}'
        write(f"{path}index.html", page(assets, name, content, path=path))
    write("/boats/index.html", page(assets, "Boats", f'<h1>Boats</h1><ul class="grid">\n{items}</ul>', path="/boats/"))


def write_tides(assets: Assets) -> None:
    months = [date(2026, month, 1) for month in range(1, 13)]
    items = "".join(f'<li><a href="/tides/{month:%Y-%m}">{month:%B}</a></li>' for month in months)
    write("/tides/index.html", page(assets, "Tides", f"<h1>Tides of 2026</h1><ul>{items}</ul>", path="/tides/"))
    for month in months:
        rows, table = "", []
        for offset in range(31):
            day = month + timedelta(days=offset)
            if day.month != month.month:
                break
            minutes = (day.toordinal() * 50) % 745
            high, low = (
                f"{minutes // 60:02}:{minutes % 60:02}",
                f"{(minutes + 372) // 60 % 24:02}:{(minutes + 372) % 60:02}",
            )
            rows += f"<tr><td>{day:%d}</td><td>{high}</td><td>{low}</td></tr>"
            table.append({"day": day.isoformat(), "high": high, "low": low})
        head = "<tr><th>Day</th><th>High water</th><th>Low water</th></tr>"
        content = f"<h1>Tides, {month:%B %Y}</h1><table>{head}{rows}</table><p>Not for navigation.</p>"
        write(f"/tides/{month:%Y-%m}.html", page(assets, f"Tides {month:%B}", content, path=f"/tides/{month:%Y-%m}"))
        write(f"/data/tides/{month:%Y-%m}.json", json.dumps({"station": "North Quay", "tides": table}, indent=1))


def write_guides(assets: Assets) -> None:
    items = ""
    for section, chapters in GUIDES.items():
        inner = ""
        for chapter in chapters:
            slug = chapter.lower().replace(" ", "-")
            path = f"/guide/{section.lower()}/{slug}/"
            text = "".join(
                f"<p>{escape(pick(PRACTICAL, chapter, n))} {escape(pick(OBSERVATIONS, chapter, n))}</p>"
                for n in range(3)
            )
            write(f"{path}index.html", page(assets, chapter, f"<h1>{chapter}</h1>{text}", path=path))
            inner += f'<li><a href="{path}">{chapter}</a></li>'
        path = f"/guide/{section.lower()}/"
        write(f"{path}index.html", page(assets, section, f"<h1>{section}</h1><ul>{inner}</ul>", path=path))
        items += f'<li><a href="{path}">{section}</a><ul>{inner}</ul></li>'
    write("/guide/index.html", page(assets, "Guide", f"<h1>Guide</h1><ul>{items}</ul>", path="/guide/"))
    lost = '<h1>This chapter is not written</h1><p>All chapters are in <a href="/guide/">the guide</a>.</p>'
    write("/guide/404.html", page(assets, "Not in the guide", lost, path="/guide/404"))


def write_extras(posts: list[Post]) -> None:
    write("/robots.txt", f"User-agent: *\nAllow: /\nSitemap: {ORIGIN}/sitemap.xml\n")
    icons = [{"src": f"/icons/{size}.png", "sizes": f"{size}x{size}", "type": "image/png"} for size in (64, 192)]
    manifest = {"name": "Skerry Harbour", "short_name": "Harbour", "start_url": "/", "display": "minimal-ui"}
    write("/site.webmanifest", json.dumps({**manifest, "theme_color": "#0b3a53", "icons": icons}, indent=2))
    for size in (64, 192):
        write(f"/icons/{size}.png", icon(size))
    write("/favicon.svg", boat_picture("Skerry", "#0b3a53"))
    pages = sorted(path for path in OUT.rglob("*.html") if path.name != "404.html")
    urls = "".join(f"<url><loc>{ORIGIN}{public_path(file)}</loc></url>\n" for file in pages)
    write(
        "/sitemap.xml",
        f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n',
    )
    entries = "".join(
        f"<entry><title>{escape(post.title)}</title><id>{ORIGIN}{post.path}</id><updated>{post.day}T06:00:00Z</updated>"
        f"<summary>{escape(post.paragraphs[0])}</summary></entry>\n"
        for post in posts[:20]
    )
    feed = (
        f'<feed xmlns="http://www.w3.org/2005/Atom"><title>Skerry Harbour</title><id>{ORIGIN}/</id>\n{entries}</feed>\n'
    )
    write("/feed.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{feed}')
    index = [{"title": post.title, "path": post.path, "tag": post.tag} for post in posts]
    write("/data/search.json", json.dumps(index, indent=0))
    write("/.well-known/security.txt", "Contact: mailto:office@harbour.example\nExpires: 2030-01-01T00:00:00Z\n")


def public_path(file: Path) -> str:
    path = "/" + file.relative_to(OUT).as_posix()
    return path.removesuffix("index.html") if path.endswith("/index.html") else path.removesuffix(".html")


def picture(place: str) -> str:
    """Hills, water and a light, different for every place."""
    seed = hashlib.sha256(place.encode()).digest()
    ridge = " ".join(f"{x * 80},{150 - seed[x] % 90}" for x in range(13))
    swell = " ".join(["80 0"] * 12)
    waves = "".join(
        f'<path d="M0 {210 + 18 * row} q 40 {8 + seed[row] % 8} 80 0 t {swell}" '
        f'fill="none" stroke="#fff" stroke-opacity=".{2 + row}" stroke-width="2"/>\n'
        for row in range(6)
    )
    sky, sea = (
        f"hsl({200 + seed[20] % 30} 60% {70 + seed[21] % 15}%)",
        f"hsl({195 + seed[22] % 20} 65% {26 + seed[23] % 12}%)",
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 320" role="img">
<title>{place}</title>
<rect width="960" height="320" fill="{sky}"/>
<circle cx="{120 + seed[24] * 3}" cy="70" r="34" fill="#fff6d8"/>
<polygon points="0,200 {ridge} 960,200" fill="#4d6a5f"/>
<rect y="195" width="960" height="125" fill="{sea}"/>
{waves}</svg>
"""


def boat_picture(name: str, colour: str) -> str:
    seed = hashlib.sha256(name.encode()).digest()
    mast = 20 + seed[0] % 30
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 120" role="img">
<title>{name}</title>
<path d="M30 80 h180 l-26 28 h-126 z" fill="{colour}"/>
<path d="M{110 + seed[1] % 20} {mast} v56" stroke="#333" stroke-width="4"/>
<path d="M{114 + seed[1] % 20} {mast + 4} l{40 + seed[2] % 30} 46 h-{40 + seed[2] % 30} z" fill="#f4efe2"/>
<path d="M0 108 q 20 6 40 0 t 40 0 40 0 40 0 40 0 40 0" fill="none" stroke="#0b3a53" stroke-width="3"/>
</svg>
"""


def icon(size: int) -> bytes:
    """A PNG: a light hull on dark water."""
    rows = bytearray()
    for y in range(size):
        rows.append(0)
        for x in range(size):
            is_hull = size * 0.55 < y < size * 0.75 and abs(x - size / 2) < size * 0.4 - (y - size * 0.55)
            rows += b"\xf4\xef\xe2" if is_hull else b"\x0b\x3a\x53"

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + chunk(b"IEND", b"")
    )


if __name__ == "__main__":
    main()
