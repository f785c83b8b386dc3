"""Hashes of passwords: only the right password fits, and no hash makes a node work for long."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest

from cdn.errors import InvalidInput
from cdn.sites import password as module
from cdn.sites.password import check_password_hash, hash_password, verify_password

SALT = b"0123456789abcdef"


def made(text: str, log_cost: int = 4, block_size: int = 1, lanes: int = 1) -> str:
    """A hash of small cost, made without the code under test."""
    digest = hashlib.scrypt(text.encode(), salt=SALT, n=1 << log_cost, r=block_size, p=lanes, dklen=32)
    salt, hashed = (base64.b64encode(octets).decode().rstrip("=") for octets in (SALT, digest))
    return f"scrypt$ln={log_cost},r={block_size},p={lanes}${salt}${hashed}"


def test_a_hash_is_that_of_one_password() -> None:
    hashed = hash_password("sésame", SALT)
    assert hashed.startswith("scrypt$ln=14,r=8,p=5$MDEyMzQ1Njc4OWFiY2RlZg$")
    assert hashed == made("sésame", 14, 8, 5) == check_password_hash(hashed)
    assert verify_password("sésame", hashed)
    assert not verify_password("sesame", hashed)
    assert hash_password("sésame", SALT[::-1]) != hashed


def test_hashes_of_other_cost_and_with_padding_are_read() -> None:
    assert verify_password("x", made("x"))
    assert verify_password("x", made("x", 5, 2, 3) + "=")
    assert not verify_password("y", made("x"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        made("x")[:-1],
        made("x") + "A",
        made("x").replace("scrypt", "bcrypt"),
        made("x").replace("ln=4", "ln=17").replace("r=1", "r=8"),
        made("x").replace("ln=4", "ln=16").replace("r=1", "r=9"),
        made("x").replace("ln=4", "ln=16").replace("r=1", "r=8").replace("p=1", "p=5"),
        made("x").replace("ln=4", "ln=99").replace("r=1", "r=99"),
        made("x").replace("ln=4", "ln=0"),
        made("x").replace(made("x").split("$")[2], "A" * 13),
        made("x").replace("ln=4", "ln=٤"),
    ],
)
def test_what_is_no_hash_fits_nothing_at_once(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidInput) as caught:
        check_password_hash(text)
    assert "$" not in caught.value.message
    assert not verify_password("x", text)
    assert time.perf_counter() - started < 0.05


@pytest.mark.parametrize("length", [0, module.MAX_PASSWORD_BYTES + 1])
def test_passwords_have_bounds(length: int) -> None:
    with pytest.raises(InvalidInput, match=f"this one has {length}"):
        hash_password("x" * length, SALT)
    assert not verify_password("x" * length, made("x" * length or "y"))
