"""What a node shows another: only the holder of its token can make it, and it is good for nothing else."""

from __future__ import annotations

import hashlib

import pytest

from cdn.fleet.peers import MAX_SHOWN_LENGTH, PeerRoll, peer_token, proof_of, shown_by

SECRET = "5e" * 32
SECRET_SHA256 = hashlib.sha256(SECRET.encode()).hexdigest()
TOKEN = f"cdn_abc123_{SECRET}"


def roll(*, expires_at: float | None = None) -> PeerRoll:
    return PeerRoll([peer_token("abc123", "edge-1", SECRET_SHA256, expires_at)])


def test_what_a_token_shows_is_known_again() -> None:
    holder = roll().holder(shown_by(TOKEN), now=0.0)
    assert holder is not None
    assert (holder.token_id, holder.node_id) == ("abc123", "edge-1")
    assert len(roll()) == 1


def test_nothing_that_is_shown_or_told_is_the_token_or_its_digest() -> None:
    shown = shown_by(TOKEN)
    told = peer_token("abc123", "edge-1", SECRET_SHA256, None)
    assert SECRET not in shown
    assert SECRET_SHA256 not in shown
    assert proof_of(SECRET_SHA256) not in told.proof_sha256
    assert told.proof_sha256 != SECRET_SHA256


@pytest.mark.parametrize(
    "shown",
    [
        "",
        ".",
        "abc123",
        "abc123.",
        f"abc123.{SECRET}",
        f"abc123.{SECRET_SHA256}",
        f"abc124.{proof_of(SECRET_SHA256)}",
        f"abc123.{proof_of('00' * 32)}",
        f"abc123.{peer_token('abc123', '', SECRET_SHA256, None).proof_sha256}",
        TOKEN,
        shown_by(TOKEN) + "x" * MAX_SHOWN_LENGTH,
        shown_by("no token"),
        "abc123.\udcff",
    ],
)
def test_everything_else_is_nobodys(shown: str) -> None:
    assert roll().holder(shown, now=0.0) is None


def test_a_token_that_is_not_told_any_more_lets_nobody_in() -> None:
    assert PeerRoll().holder(shown_by(TOKEN), now=0.0) is None


def test_an_expired_one_neither() -> None:
    expiring = roll(expires_at=100.0)
    assert expiring.holder(shown_by(TOKEN), now=99.9) is not None
    assert expiring.holder(shown_by(TOKEN), now=100.0) is None


def test_two_tokens_of_one_node_work_side_by_side_while_they_are_exchanged() -> None:
    other = hashlib.sha256(b"other").hexdigest()
    both = PeerRoll([peer_token("abc123", "e", SECRET_SHA256, None), peer_token("def456", "e", other, None)])
    assert both.holder(shown_by(TOKEN), now=0.0) is not None
    assert both.holder(shown_by("cdn_def456_other"), now=0.0) is not None
