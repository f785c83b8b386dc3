"""The fields and targets between nodes, as strangers might write them."""

from __future__ import annotations

import pytest

from cdn.edge.fetch import BlobChunk
from cdn.edge.peer_answer import fault_response
from cdn.edge.peer_fields import FAULT, PeerFault, read_number, read_position, without_peer_fields
from cdn.edge.peer_paths import ManifestAsked, chunk_path, manifest_path, read_path
from cdn.fleet.position import Position
from cdn.http.target import Target, parse_target
from cdn.sites.manifest import CHUNK_BYTES

DIGEST, OTHER = "ab" * 32, "cd" * 32


def asked(text: str) -> BlobChunk | ManifestAsked | None:
    target = parse_target(text.encode())
    return read_path(target) if isinstance(target, Target) else None


def test_a_position_is_read_as_it_is_written() -> None:
    assert read_position(str(Position("e1", 57))) == Position("e1", 57)


@pytest.mark.parametrize(
    "text", [None, "", ":", "e1", "e1:", ":5", "e1:-5", "e1:+5", "e1:5 ", "e1:\u0665", "e1:" + "9" * 19]
)
def test_what_is_no_position_is_none(text: str | None) -> None:
    assert read_position(text) is None


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("12", 12), ("", None), (None, None), ("-1", None), ("1e3", None)]
)
def test_numbers(text: str | None, number: int | None) -> None:
    assert read_number(text) == number


def test_fields_of_the_protocol_are_taken_out() -> None:
    lines = (("host", "a"), ("cdn-peer-anything", "x"), ("cdn-required-sequence", "e:1"), ("cdn-loop", "b"))
    assert without_peer_fields(lines) == (("host", "a"), ("cdn-loop", "b"))


def test_targets_are_read_as_they_are_written() -> None:
    chunk = BlobChunk("s-1_x", DIGEST, CHUNK_BYTES, CHUNK_BYTES + 7, OTHER, "/a.txt")
    found = asked(chunk_path(chunk))
    assert isinstance(found, BlobChunk)
    assert (found.site_id, found.digest, found.start, found.stop, found.chunk_digest) == (
        "s-1_x",
        DIGEST,
        CHUNK_BYTES,
        CHUNK_BYTES + 7,
        OTHER,
    )
    assert asked(manifest_path("s1", DIGEST)) == ManifestAsked("s1", DIGEST)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1/peer/sites/s1/manifests/abc",
        f"/v1/peer/sites/s1/manifests/{DIGEST}?x=1",
        f"/v1/peer/sites/s1/manifests/{DIGEST.upper()}",
        f"/v1/peer/sites/../manifests/{DIGEST}",
        f"/v1/peer/sites/{'x' * 65}/manifests/{DIGEST}",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}?start=0",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}?start=5&stop=6",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}?start=0&stop=0",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}?start={CHUNK_BYTES}&stop=0",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}?start=0&stop={CHUNK_BYTES + 1}",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/{OTHER}?start=0&stop={'9' * 30}",
        f"/v1/peer/sites/s1/blobs/{DIGEST}/chunks/..%2f..%2fcontrol?start=0&stop=1",
    ],
)
def test_other_targets_ask_for_nothing(target: str) -> None:
    assert asked(target) is None


@pytest.mark.parametrize("fault", PeerFault)
def test_every_fault_is_said_in_a_word_and_kept_by_nobody(fault: PeerFault) -> None:
    response = fault_response(fault)
    fields = dict(response.fields)
    assert response.status >= 400
    assert fields[FAULT] == fault.value
    assert fields["cache-control"] == "no-store"
    assert dict(fault_response(fault, "read-timeout").fields)[FAULT] == f"{fault.value} read-timeout"
