"""What redirects cost a request: 10,000 rules beside 100 of the same kinds, CPU of this process, in one run.

Rules as a large site has them: most are single paths that moved, some have placeholders or a splat, some look at the
query, the host or the country. Requests are half for paths that a rule covers and half for others. The same requests
are put to both; and to the large set once more such as are spread over all its rules, which lie further away in memory.
Rounds of the two alternate, so that what else the machine does weighs on both.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from statistics import median
from time import process_time

from bench.table import Fact, Row
from cdn.http.fields import Fields
from cdn.http.target import Target
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_checks import check_redirects
from cdn.sites.rules.redirect_index import RedirectIndex
from cdn.sites.rules.redirects_file import read_redirects

MANY, FEW = 10_000, 100


def line(number: int) -> str:
    """The rule of that number: the same kinds in every hundred."""
    match number % 100:
        case 0 | 1 | 2 | 3:
            return f"/blog-{number}/:year/:month/:slug /posts-{number}/:slug"
        case 4 | 5 | 6 | 7:
            return f"/docs-{number}/* /manual-{number}/:splat 302"
        case 8 | 9:
            return f"/index.php p={number} /article-{number}"
        case 10 | 11:
            return f"https://old-{number}.example.com/* https://example.com/shop-{number}/:splat"
        case 12 | 13:
            return f"/start-{number} /start-{number}/de 302 Country=de"
        case 14 | 15:
            return f"/shop-{number}/:product/reviews /reviews/:product 302"
        case 16 | 17:
            return f"/app-{number}/* /app-{number}/index.html 200"
        case 18 | 19:
            return f"/a-{number} /b-{number} 302 Language=fr"
        case _:
            return f"/old/section-{number % 40}/page-{number} /new/page-{number}"


def url(number: int, random: Random) -> str:
    """One that the rule of that number covers."""
    match number % 100:
        case 0 | 1 | 2 | 3:
            return f"/blog-{number}/2024/05/a-story"
        case 4 | 5 | 6 | 7:
            return f"/docs-{number}/guide/part-{random.randrange(9)}"
        case 8 | 9:
            return f"/index.php?p={number}"
        case 12 | 13:
            return f"/start-{number}"
        case 14 | 15:
            return f"/shop-{number}/shoe/reviews"
        case 16 | 17:
            return f"/app-{number}/settings/profile"
        case 18 | 19:
            return f"/a-{number}"
        case _:
            return f"/old/section-{number % 40}/page-{number}"


def requests_for(count: int, asked: int) -> list[Target]:
    """Every second for one of the first `count` rules, the others for what no rule covers."""
    random = Random(1)
    urls = [url(random.randrange(count), random) for _ in range(asked // 2)]
    urls += [f"/assets/{random.randrange(MANY)}/app-{n}.js" for n in range(asked - len(urls))]
    random.shuffle(urls)
    return [Target(path, query if mark else None, path) for path, mark, query in (one.partition("?") for one in urls)]


ASKING = Asking("example.com", "https", "GET", Fields((("accept-language", "fr, en;q=0.8"),)), lambda: "DE")


def cost_us(index: RedirectIndex, targets: list[Target], *, over_file: bool) -> float:
    """CPU for each request."""
    find, asking = index.find, ASKING
    started = process_time()
    for target in targets:
        find(target, asking, over_file=over_file)
    return (process_time() - started) / len(targets) * 1e6


def index_of(count: int, mode: RulesMode) -> RedirectIndex:
    lines = [text for text in map(line, range(count)) if mode is RulesMode.NETLIFY or is_of_both(text)]
    read = read_redirects("\n".join(lines).encode(), mode)
    faults = [*read.faults, *check_redirects(read.rules, mode, ()).faults]
    if faults:
        raise ValueError(str(faults[0]))
    return RedirectIndex([placed.rule for placed in read.rules], mode)


def run(_: Path, *, rounds: int = 9, asked: int = 20_000) -> list[Row | Fact]:
    """For `python -m bench rules`."""
    results: list[Row | Fact] = []
    for mode in RulesMode:
        few, many = index_of(FEW, mode), index_of(MANY, mode)
        same, spread = requests_for(FEW, asked), requests_for(MANY, asked)
        for what, of_many, over_file, at_most in (
            ("the same requests", same, False, 1.10),
            ("the same requests, the deploy has files there", same, True, 1.10),
            ("requests spread over all of them", spread, False, 1.50),
        ):
            pairs = [
                (cost_us(many, of_many, over_file=over_file), cost_us(few, same, over_file=over_file))
                for _ in range(rounds)
            ]
            ours, peer = (median(pair[side] for pair in pairs) for side in (0, 1))
            name = f"a request beside {MANY} redirects, {mode.value} reading, {what}"
            results.append(Row(name, "us CPU", ours, peer, f"{FEW} redirects", at_most))
    return results


def is_of_both(text: str) -> bool:
    """Whether Cloudflare Pages has such rules: no parameters, no conditions, no hosts."""
    words = text.split()
    return words[0].startswith("/") and "=" not in text


if __name__ == "__main__":
    from bench.table import as_table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--asked", type=int, default=20_000)
    given = parser.parse_args()
    print(as_table(run(Path(), rounds=given.rounds, asked=given.asked)))
