"""Records: their schema, their versions, and what others than their audience see."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.journal.record import (
    EDGE_AUDIENCES,
    EVERY_AUDIENCE,
    RECORD_VERSION,
    Audience,
    Change,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    DomainRemoved,
    Draft,
    Purged,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    TokenCreated,
    TokenRevoked,
    UnknownRecord,
    Withheld,
    decode_record,
    encode_record,
    validate_draft,
)

_KINDS = (
    SiteCreated,
    SiteChanged,
    SiteRemoved,
    DomainAdded,
    DomainRemoved,
    DeployPrepared,
    DeployActivated,
    Purged,
    TokenCreated,
    TokenRevoked,
    Withheld,
)
_SETTINGS = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=5), max_size=3
)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    [
        st.builds(kind, settings=_SETTINGS)
        if "settings" in kind.__struct_fields__
        else st.builds(kind, expires_at=st.none() | _FINITE)
        if "expires_at" in kind.__struct_fields__
        else st.from_type(kind)
        for kind in _KINDS
    ]
)


def _record(change: Change, *, audience: Audience = Audience.ALL, version: int = RECORD_VERSION) -> Record:
    return Record(version, "e", 7, "subject", 1.5, "actor", audience, change)


@given(change=_CHANGES, audience=st.sampled_from(Audience))
def test_every_kind_survives_encoding(change: Change, audience: Audience) -> None:
    try:
        validate_draft(Draft("subject", change, "actor", audience))
    except InvalidInput:
        return  # a lone surrogate, a number beyond JSON
    record = _record(change, audience=audience)
    assert decode_record(encode_record(record)) == record


def test_a_newer_version_an_unknown_kind_and_an_unknown_field_are_not_understood() -> None:
    good = json.loads(encode_record(_record(SiteRemoved("s1"))))
    for wrong, said in (
        (good | {"version": RECORD_VERSION + 1}, "upgrade this node"),
        (good | {"change": {"kind": "site.renamed", "site_id": "s1"}}, "record 7"),
        (good | {"change": {"kind": "site.removed", "site_id": "s1", "more": 1}}, "record 7"),
        (good | {"surprise": 1}, "record 7"),
        (good | {"audience": "martians"}, "record 7"),
        ({"sequence": 7}, "cannot be read"),
    ):
        with pytest.raises(UnknownRecord, match=said):
            decode_record(json.dumps(wrong).encode())
    with pytest.raises(UnknownRecord):
        decode_record(b"{")


def test_a_change_of_settings_that_purges_nothing_is_read_by_earlier_programs() -> None:
    assert b"purges" not in encode_record(_record(SiteChanged("s1", {})))
    assert decode_record(encode_record(_record(SiteChanged("s1", {})))).change == SiteChanged("s1", {}, purges=False)
    assert b'"purges":true' in encode_record(_record(SiteChanged("s1", {}, purges=True)))


def test_who_is_not_in_the_audience_learns_the_sequence_and_nothing_else() -> None:
    record = _record(TokenRevoked("very-secret"), audience=Audience.CONTROL)
    withheld = record.visible_to(EDGE_AUDIENCES)
    assert withheld.position == record.position
    assert withheld.change == Withheld()
    assert b"secret" not in encode_record(withheld)
    assert b"actor" not in encode_record(withheld).replace(b'"actor":""', b"")
    assert b'"subject":"withheld"' in encode_record(withheld)
    assert record.visible_to(EVERY_AUDIENCE) is record
    public = _record(SiteRemoved("s1"))
    assert public.visible_to(EDGE_AUDIENCES) is public
