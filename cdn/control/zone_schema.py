"""What the API takes and gives about zones, their keys, challenges and geography."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from cdn.control.schema import PositionView, WallTime
from cdn.tls.zone_signing import SigningAction


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ZoneView(_Content, frozen=True):
    """A zone that name servers answer for. `own`: the CDN's, in which sites have their names; it has no records of its
    own here. `sequence` is that of the record that set an imported zone."""

    zone: str
    own: bool
    records: int
    signed: Annotated[bool, Meta(description="It has keys: answers carry signatures.")]
    sequence: int = 0
    set_at: Annotated[float | None, Meta(description="When it was imported, in seconds since 1970-01-01.")] = None


class ZoneList(_Content, frozen=True):
    """The CDN's own zone first."""

    zones: tuple[ZoneView, ...]


class ZoneContent(ZoneView, frozen=True):
    """`text` is the zone as a zone file, which can be imported again; empty for the CDN's own."""

    text: str = ""


class ZoneImported(ZoneView, frozen=True):
    """Name servers answer from it as soon as they have applied the record at `position`: see `dns` in showStatus.
    `warnings` are about names that lead to no site, or to one that does not know them."""

    replaced: Annotated[bool, Meta(description="There was a zone of this name before.")] = False
    position: PositionView | None = None
    warnings: tuple[str, ...] = ()


class ZoneRemovedView(_Content, frozen=True):
    zone: str
    position: PositionView


class ChangeSigning(_Content, frozen=True):
    """`do`: on makes a first key, off takes all keys away, roll goes the next step towards a new key."""

    do: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in SigningAction]})]


class ZoneKeyView(_Content, frozen=True):
    """`stage`: published (it does not sign yet), active, or retired (it signs no more). `ds` is the record for the zone
    above."""

    id: str
    stage: str
    created_at: WallTime
    key_tag: int
    ds: str


class SigningView(_Content, frozen=True):
    """`next_step` says what has to be done, and when."""

    zone: str
    signed: bool
    keys: tuple[ZoneKeyView, ...]
    next_step: str


class SetChallenge(_Content, frozen=True):
    """A TXT record at `name`, which begins with `_acme-challenge.`, beside others there."""

    name: str
    value: str
    expires_s: Annotated[float, Meta(description="Seconds from now.")]


class ChallengeView(_Content, frozen=True):
    name: str
    value: str
    expires_at: WallTime


class ChallengeList(_Content, frozen=True):
    challenges: tuple[ChallengeView, ...]


class ChallengeSetView(ChallengeView, frozen=True):
    position: PositionView


class ChallengeRemovedView(_Content, frozen=True):
    name: str
    value: str
    position: PositionView


class GeographyView(_Content, frozen=True):
    """The table of places that name servers go by, unless their settings name one. `digest` "": the one that comes with
    the program."""

    digest: str
    size_bytes: int
    note: str


class GeographySetView(GeographyView, frozen=True):
    position: PositionView
