"""Names of zones as callers give them: what is taken is what the journal will have, so that it is found again."""

from __future__ import annotations

import pytest

from cdn.control.zone_names import normalise_name
from cdn.dns.zone_file import read_zone_file
from cdn.errors import InvalidInput

_FILE = "@ 60 SOA ns.example.net. admin.example.net. 1 2 3 4 5\n@ 60 NS ns.example.net.\n"


@pytest.mark.parametrize("letter", [chr(code) for code in range(0x20, 0x7F)])
def test_a_name_that_is_taken_is_the_name_of_its_record(letter: str) -> None:
    given = f"a{letter}b.example"
    try:
        name = normalise_name(given, field="zone")
    except InvalidInput:
        assert not letter.isalnum()
        assert letter not in "-_/."
    else:
        assert read_zone_file(_FILE, file="zone", cdn_zone="cdn.localhost", name=name).zone == name
