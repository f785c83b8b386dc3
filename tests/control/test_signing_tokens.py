"""Tokens that AWS clients sign with: the secret is shown once, sealed for control, and nowhere in clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.control.signing_secret import make_signing_secret, open_signing_secret, seal_signing_secret
from cdn.control.token_fold import Token
from cdn.errors import Conflict, InvalidInput
from cdn.tls.sealed import KeyRing, SealingKey
from tests.control.control_room import Control, ControlMaker


def _ring(octet: int) -> KeyRing:
    return KeyRing([SealingKey(bytes([octet]) * 32)], "test")


def _token(token_id: str, sealed: str) -> Token:
    return Token(token_id, ("purge:blog",), "", 0.0, None, "", sealed)


def test_what_was_sealed_opens_with_the_same_key_for_the_same_token_alone() -> None:
    secret = make_signing_secret()
    assert len(secret) == 40
    sealed = seal_signing_secret(_ring(1), "a", secret)
    assert secret not in sealed
    assert open_signing_secret(_ring(1), _token("a", sealed)) == secret
    for ring, token in ((_ring(2), _token("a", sealed)), (_ring(1), _token("b", sealed)), (_ring(1), _token("a", "!"))):
        with pytest.raises(InvalidInput):
            open_signing_secret(ring, token)
    with pytest.raises(Conflict):
        seal_signing_secret(None, "a", secret)
    with pytest.raises(Conflict):
        open_signing_secret(None, _token("a", sealed))


async def test_the_secret_is_in_the_answer_once_and_on_no_disk(make_control: ControlMaker, tmp_path: Path) -> None:
    control = await make_control()
    control.control_keys = _ring(1)
    await control.reopen()
    await control.api.post("/v1/sites", {"name": "blog"})
    made = await control.api.post("/v1/tokens", {"scopes": ["purge:blog"], "aws": True})
    assert made.status == 201
    key = made.document["aws"]
    assert key["access_key_id"] == made.document["id"]
    listed = await control.api.get("/v1/tokens")
    assert {token["id"]: token["aws"] for token in listed.document["tokens"]}[made.document["id"]] is True
    assert key["secret_access_key"] not in str(listed.document)
    token = control.plane.services.tokens.get(made.document["id"])
    assert token is not None
    assert token.sealed_secret not in repr(token)
    await control.reopen()
    token = control.plane.services.tokens.get(made.document["id"])
    assert open_signing_secret(_ring(1), token) == key["secret_access_key"]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert key["secret_access_key"].encode() not in path.read_bytes(), path


async def test_without_a_key_no_such_token_is_made(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    refused = await control.api.post("/v1/tokens", {"scopes": ["purge:blog"], "aws": True})
    assert (refused.status, "control_key_file" in refused.document["detail"]) == (409, True)
    plain = await control.api.post("/v1/tokens", {"scopes": ["purge:blog"]})
    assert (plain.status, plain.document["aws"]) == (201, None)
