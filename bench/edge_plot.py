"""The plot of hits: CPU per request of every server as a ratio to nginx, and what was promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

COLOURS = {"cdn": "#1a7f4b", "pull": "#1a7f4b", "nginx": "#8a97a5", "varnish": "#d08770", "aiohttp": "#b48ead"}
LABELS = {"cdn": "cdn", "pull": "cdn", "nginx": "nginx", "varnish": "Varnish", "aiohttp": "aiohttp.web"}
LEFT, WIDTH, BAR, GAP = 400, 1000, 11, 12
MOST = 3.0
"""Ratios beyond are cut, and said."""


def draw_plot(documents: Iterable[Mapping[str, Any]]) -> str:
    """An SVG document of the comparisons among saved results."""
    comparisons = [one for one in documents if "servers" in one]
    lines: list[str] = []
    y = 62
    for one in comparisons:
        y = _draw_comparison(lines, one, y) + GAP
    height = y + 12
    scale = [
        f'<path d="M{_x(step / 2):g} 48V{height - 8}" stroke="{"#445" if step == 2 else "#dde3ea"}"/>'
        f'<text x="{_x(step / 2):g}" y="42" font-size="12" text-anchor="middle">{step / 2:g}</text>'
        for step in range(int(MOST * 2) + 1)
    ]
    legend = [
        f'<rect x="{LEFT + 130 * place}" y="10" width="12" height="12" fill="{COLOURS[name]}"/>'
        f'<text x="{LEFT + 16 + 130 * place}" y="20" font-size="13">{LABELS[name]}</text>'
        for place, name in enumerate(("cdn", "varnish", "aiohttp"))
    ]
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    title = '<text x="12" y="20" font-size="14" font-weight="bold">CPU per request, nginx = 1; less is better</text>'
    note = '<text x="12" y="42" font-size="12">black: the bare epoll loop; red: at most so much was promised</text>'
    background = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    return "\n".join([begin, background, title, note, *legend, *scale, *lines, "</svg>"]) + "\n"


def _x(ratio: float) -> float:
    return LEFT + (WIDTH - LEFT - 70) * min(ratio, MOST) / MOST


def _draw_comparison(lines: list[str], one: Mapping[str, Any], y: int) -> int:
    """Its bars from `y` on; where they end."""
    servers = {name: told["cpu_us"] for name, told in one["servers"].items()}
    begin, nginx = y, servers["nginx"]
    for name in (name for name in servers if name in COLOURS and name != "nginx"):
        ratio = servers[name] / nginx
        said = f"{ratio:.2f}"
        lines.append(
            f'<rect x="{LEFT}" y="{y}" width="{_x(ratio) - LEFT:.1f}" height="{BAR}" fill="{COLOURS[name]}">'
            f"<title>{LABELS[name]}: {servers[name]:.1f} us, nginx {nginx:.1f} us</title></rect>"
            f'<text x="{_x(ratio) + 5:.1f}" y="{y + BAR - 1}" font-size="11">{said}</text>'
        )
        y += BAR + 1
    middle = (begin + y) / 2
    lines.append(
        f'<text x="{LEFT - 8}" y="{middle + 3:g}" font-size="12" text-anchor="end">{escape(one["name"])}</text>'
    )
    if "floor" in servers:
        lines.append(
            f'<path d="M{_x(servers["floor"] / nginx):.1f} {begin - 2}V{y + 1}" stroke="#000" stroke-width="2"/>'
        )
    if one["at_most"] is not None:
        lines.append(f'<path d="M{_x(one["at_most"]):.1f} {begin - 2}V{y + 1}" stroke="#c0392b" stroke-width="2.5"/>')
    return y
