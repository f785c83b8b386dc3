"""`python -m bench [NAME]...`: a table and JSON; all benches without a name."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import (
    access_log,
    certificates,
    coded,
    deploy,
    dns,
    domain_add,
    edge,
    fleet,
    hpack,
    new_edge,
    purge,
    rules,
    steering,
    tls,
)
from bench.edge_plot import draw_plot
from bench.table import Outcome, as_table, as_wide_table, save_json, saved

BENCHES: dict[str, Callable[[Path], Sequence[Outcome]]] = {
    "edge": edge.run,
    "access_log": access_log.run,
    "hpack": hpack.run,
    "purge": purge.run,
    "deploy": deploy.run,
    "new_edge": new_edge.run,
    "fleet": fleet.run,
    "steering": steering.run,
    "dns": dns.run,
    "tls": tls.run,
    "certificates": certificates.run,
    "domain_add": domain_add.run,
    "rules": rules.run,
    "coded": coded.run,
}


def main() -> int:
    """0 when every promise was met, 2 when there is no such bench."""
    names = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"there is no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    results: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        for name in names:
            results += BENCHES[name](Path(folder) / name)
    print(as_table(results))
    print(as_wide_table(results))
    save_json(results, edge.RESULTS)
    if "edge" in names:
        edge.PLOT.write_text(draw_plot(saved(edge.RESULTS)))
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
