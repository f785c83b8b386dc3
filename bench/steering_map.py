"""The map of the steering bench: where visitors are, how far from their node, and where the nodes are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape

from bench.steering_world import City, World

STEP_DEGREES = 1.5
"""The side of a square of the map."""

SCALE = 4
"""Points per degree."""

TOP, BOTTOM = 78.0, -58.0
"""Nobody lives beyond."""

LIMITS_MS = ((20.0, "#1a7f4b"), (50.0, "#7fc97f"), (100.0, "#f0a830"), (float("inf"), "#c0392b"))
"""The colours of squares by the mean of their visitors."""


def draw_map(world: World, ms_of: Mapping[int, float], places: Sequence[City]) -> str:
    """An SVG document."""
    squares: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for visitor in world.visitors:
        latitude, longitude = world.spots[visitor.spot]
        squares[int((longitude + 180) // STEP_DEGREES), int((TOP - latitude) // STEP_DEGREES)].append(
            ms_of[visitor.spot]
        )
    side, width, height = STEP_DEGREES * SCALE, 360 * SCALE, round((TOP - BOTTOM) * SCALE)
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for (column, row), times in sorted(squares.items()):
        mean_ms = sum(times) / len(times)
        colour = next(colour for limit, colour in LIMITS_MS if mean_ms <= limit)
        paths[colour].append(f"M{column * side:g} {row * side:g}h{side:g}v{side:g}h-{side:g}z")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 30}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height + 30}" fill="#f7f9fb"/>',
        *(f'<path fill="{colour}" d="{"".join(parts)}"/>' for colour, parts in sorted(paths.items())),
        *(
            f'<circle cx="{(city.longitude + 180) * SCALE:.0f}" cy="{(TOP - city.latitude) * SCALE:.0f}" r="3.2" '
            f'fill="#fff" stroke="#123" stroke-width="1.4"><title>{escape(city.name)}</title></circle>'
            for city in places
        ),
    ]
    for number, (limit, colour) in enumerate(LIMITS_MS):
        text = f"up to {limit:g} ms" if limit < float("inf") else "more"
        lines.append(f'<rect x="{20 + 150 * number}" y="{height + 8}" width="14" height="14" fill="{colour}"/>')
        lines.append(f'<text x="{40 + 150 * number}" y="{height + 20}" font-size="14">{text}</text>')
    lines.append(f'<text x="640" y="{height + 20}" font-size="14">circles: nodes; squares: visitors, mean of a square;')
    lines.append("IP Geolocation by DB-IP, cities by GeoNames</text></svg>")
    return "\n".join(lines) + "\n"
