"""Settings of a node that cannot hold are refused where they are made."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdn.edge.settings import EdgeSettings
from cdn.errors import InvalidInput
from cdn.sites.manifest import CHUNK_BYTES


def settings(max_in_memory_bytes: int) -> EdgeSettings:
    return EdgeSettings("n1", Path("data"), "cdn.localhost", "http://c", "t", max_in_memory_bytes=max_in_memory_bytes)


def test_what_is_held_whole_is_one_chunk() -> None:
    assert settings(CHUNK_BYTES).max_in_memory_bytes == CHUNK_BYTES
    for size_bytes in (CHUNK_BYTES + 1, -1):
        with pytest.raises(InvalidInput, match=str(CHUNK_BYTES)):
            settings(size_bytes)


def test_the_proxy_protocol_is_for_proxies_that_are_named() -> None:
    proxies = (ip_network("10.0.0.0/8"),)
    edge = EdgeSettings("n1", Path("data"), "cdn.localhost", "http://c", "t", trusted_proxies=proxies)
    assert replace(edge, proxy_protocol=True).proxy_protocol
    with pytest.raises(InvalidInput, match="trusted_proxies"):
        replace(edge, proxy_protocol=True, trusted_proxies=())


def test_a_region_is_named_like_those_of_sites() -> None:
    edge = EdgeSettings("n1", Path("data"), "cdn.localhost", "http://c", "t", region="eu-west-1")
    with pytest.raises(InvalidInput, match="cannot name a region"):
        replace(edge, region="EU west")
