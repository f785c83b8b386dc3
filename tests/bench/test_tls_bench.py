"""The bench of handshakes counts what it says: full ones, each with the domain's own certificate."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from bench.tls_certificates import domain_of, write_certificates, zipf
from bench.worker_process import running


def test_visits_are_the_same_every_time_and_the_first_domain_has_the_most() -> None:
    visits = Counter(zipf(100, 20_000, seed=1))
    assert visits == Counter(zipf(100, 20_000, seed=1))
    assert visits.most_common(1)[0][0] == domain_of(0)
    assert 1.7 < visits[domain_of(0)] / visits[domain_of(1)] < 2.3


def test_handshakes_are_counted_and_another_certificate_is_seen(tmp_path: Path) -> None:
    folder = write_certificates(tmp_path / "certificates", 3)
    with (
        running("bench.tls_server", {"folder": str(folder)}) as server,
        running("bench.tls_load", {"folder": str(folder), "domains": 3}) as load,
    ):
        question = {"port": server.first["port"], "count": 12, "seed": 1}
        assert load.ask({**question, "own": True}) == {"handshakes": 12, "failures": []}
        assert load.ask({"port": server.first["port"], "hold": 4, "seed": 2}) == {"held": 4}
    for suffix in (".pem", ".key"):
        for number in (1, 2):
            shutil.copy(folder / f"{domain_of(0)}{suffix}", folder / f"{domain_of(number)}{suffix}")
    with (
        running("bench.tls_server", {"folder": str(folder)}) as server,
        running("bench.tls_load", {"folder": str(folder), "domains": 3}) as load,
    ):
        question = {"port": server.first["port"], "count": 12, "seed": 1}
        assert load.ask({**question, "own": True})["handshakes"] < 12
        assert load.ask({**question, "own": False})["handshakes"] == 12
