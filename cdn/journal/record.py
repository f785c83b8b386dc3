"""Records: the small facts that every node must agree on, in one order (DESIGN sections 1 and 5, I3, I14)."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from cdn.errors import CdnError, InvalidInput, TooLarge
from cdn.fleet.position import Position

RECORD_VERSION = 4
"""The newest version that this program knows. It reads every version up to this one and stops at a newer one; it writes
each record in the oldest version that can say it (`version_of`)."""


MAX_RECORD_BYTES = 1_000_000
"""An encoded record is at most this long: it fits one message of any journal behind the seam (JetStream: 1 MiB)."""


class UnknownRecord(CdnError):
    """A record of a version or kind this program does not understand. Following stops here; nothing is skipped."""


class Audience(Enum):
    """Who may see a record's content; everyone else receives it as `Withheld`, with its sequence."""

    ALL = "all"
    CONTROL = "control"
    DNS = "dns"


EVERY_AUDIENCE = frozenset(Audience)
"""What control itself may read."""

EDGE_AUDIENCES = frozenset({Audience.ALL})
"""What an edge may read."""

DNS_AUDIENCES = frozenset({Audience.ALL, Audience.DNS})
"""What a DNS process may read."""


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class SiteCreated(_Change, frozen=True, tag="site.created"):
    site_id: str
    name: str
    settings: dict[str, Any]


class SiteChanged(_Change, frozen=True, omit_defaults=True, tag="site.changed"):
    """`settings` replace all that there were. `purges`: what was stored under the former ones is unusable, from the
    same sequence on."""

    site_id: str
    settings: dict[str, Any]
    purges: bool = False


class SiteRemoved(_Change, frozen=True, tag="site.removed"):
    """Removes the site, its domains, deploys and aliases, and raises a floor over all it ever stored."""

    site_id: str


class DomainAdded(_Change, frozen=True, tag="domain.added"):
    domain: str
    site_id: str


class DomainRemoved(_Change, frozen=True, tag="domain.removed"):
    domain: str
    site_id: str


class DeployPrepared(_Change, frozen=True, omit_defaults=True, tag="deploy.prepared"):
    """Everything the deploy names is in the object store; nodes load the manifest and say so. `commit` names what it
    was built from. `manifest_version` is the version of the manifest that nodes have to read: 2 where it has rules."""

    site_id: str
    deploy_id: str
    alias: str
    manifest_digest: str
    file_count: int
    size_bytes: int
    author: str
    message: str
    commit: str = ""
    manifest_version: int = 1


class DeployActivated(_Change, frozen=True, tag="deploy.activated"):
    """From this sequence on `alias` is answered from `deploy_id`."""

    site_id: str
    alias: str
    deploy_id: str


class PurgeScope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`kind` is one of url, prefix, tag, everything; `value` is normalised by `cdn.purge.scope`."""

    kind: str
    value: str


class AliasSet(_Change, frozen=True, omit_defaults=True, tag="alias.set"):
    """What is said of an alias beside its deploy, in the place of what was said before. `password`: a hash (see
    `cdn.sites.password`) of what visitors have to give; "": nothing. After the wall time `expires_at` it is answered no
    more. `lock`: why no other deploy may be activated on it; "": one may. `begins_anew`: nothing that was deployed to
    it is reachable under it any more."""

    site_id: str
    alias: str
    password: str = ""
    expires_at: float | None = None
    lock: str = ""
    begins_anew: bool = False


class AliasRemoved(_Change, frozen=True, tag="alias.removed"):
    """Nothing is answered under the alias any more, and nothing of it is reachable. Its deploys stay in the list."""

    site_id: str
    alias: str


class VariantsSet(_Change, frozen=True, tag="variants.set"):
    """Coded forms of files of the manifest are in the store: which ones, `variants_digest` names the list of them (see
    `cdn.sites.variants`). It takes the place of the one before."""

    site_id: str
    manifest_digest: str
    variants_digest: str


class TakenDown(_Change, frozen=True, omit_defaults=True, tag="takedown.set"):
    """The site may not have the content of this digest any more: nodes answer 410 for it, control takes it neither from
    an upload nor in a deploy that is activated. `site_id` "": no site may."""

    digest: str
    site_id: str = ""
    reason: str = ""


class TakedownLifted(_Change, frozen=True, omit_defaults=True, tag="takedown.lifted"):
    """The record of TakenDown for the same digest and site counts no longer."""

    digest: str
    site_id: str = ""


class HookSet(_Change, frozen=True, tag="hook.set"):
    """A hook of a site, in the place of what there was under its id. `direction` is "in" (others call us) or "out" (we
    call others). `settings` are those of `cdn.purge.hook`; `sealed_secret` is what messages are signed with, encrypted
    for control alone, in base64."""

    hook_id: str
    site_id: str
    direction: str
    settings: dict[str, Any]
    sealed_secret: str


class HookRemoved(_Change, frozen=True, tag="hook.removed"):
    hook_id: str
    site_id: str


class Purged(_Change, frozen=True, tag="purged"):
    site_id: str
    scopes: tuple[PurgeScope, ...]
    soft: bool


class TokenCreated(_Change, frozen=True, omit_defaults=True, tag="token.created"):
    """`secret_sha256` is hex; the secret itself is shown once and kept nowhere, but for a token that signs requests:
    `sealed_secret` is what it signs with, encrypted for control alone, in base64."""

    token_id: str
    scopes: tuple[str, ...]
    secret_sha256: str
    expires_at: float | None
    note: str
    sealed_secret: str = ""


class TokenRevoked(_Change, frozen=True, tag="token.revoked"):
    token_id: str


class ZoneRecords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records of one owner and type of an imported zone. `name` is whole, in lower case and without the final dot (""
    is the root); `rdatas` are in wire form, in base64. Type 65401 is ALIAS: its rdata is the name of a site or preview
    in the CDN's own zone."""

    name: str
    type: int
    ttl_s: int
    rdatas: tuple[str, ...]


class ZoneSet(_Change, frozen=True, tag="zone.set"):
    """The whole zone: what was set under the name before is over."""

    zone: str
    rrsets: tuple[ZoneRecords, ...]


class ZoneRemoved(_Change, frozen=True, tag="zone.removed"):
    zone: str


class SealedZoneKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sealed` is the private key, encrypted with the key that name servers hold, in base64 (`cdn.tls`). `stage` is one
    of published (not signing yet), active, retired (signing no more, still published)."""

    key_id: str
    stage: str
    created_at: float
    sealed: str


class ZoneKeysSet(_Change, frozen=True, tag="zone.keys"):
    """All keys of a zone, imported or the CDN's own; none: it is not signed."""

    zone: str
    keys: tuple[SealedZoneKey, ...]


class ChallengeSet(_Change, frozen=True, tag="challenge.set"):
    """A TXT record at `name` with `value`, beside others there, until the wall time `expires_at` (RFC 8555 8.4)."""

    name: str
    value: str
    expires_at: float


class ChallengeRemoved(_Change, frozen=True, tag="challenge.removed"):
    name: str
    value: str


class GeographySet(_Change, frozen=True, tag="geography.set"):
    """The table of places that name servers go by: `digest` (SHA-256, hex) of what control hands out; "": the one that
    comes with the program."""

    digest: str
    size_bytes: int
    note: str


class DomainClaimed(_Change, frozen=True, omit_defaults=True, tag="domain.claimed"):
    """The site wants to answer `domain`, which may be a wildcard (`*.example.com`). It counts once whoever holds the
    name has put `token` into DNS; several sites may claim one name until then. `redirect_to`: see DomainVerified."""

    domain: str
    site_id: str
    token: str
    redirect_to: str = ""


class ClaimRemoved(_Change, frozen=True, tag="domain.claim_removed"):
    domain: str
    site_id: str


class DomainVerified(_Change, frozen=True, omit_defaults=True, tag="domain.verified"):
    """From this sequence on the site answers `domain`, and every claim on it is over. `redirect_to`: another domain of
    the site, to which visitors of this one are sent; "": they are answered."""

    domain: str
    site_id: str
    redirect_to: str = ""


class CertificateSet(_Change, frozen=True, tag="certificate.set"):
    """The certificate for `name`, in the place of any before: a domain, a wildcard, or the CDN's own zone with
    `site_id` "". `certificate_id` is the SHA-256 of the chain's certificates, in hex; `names` are all that it is for;
    `chain` is in PEM form, the first certificate first. `sealed_keys` are the private key, encrypted for each group of
    nodes that may serve it, in base64, by the group's name (a region; "": nodes of no region). `issuer` says where it
    came from: the directory of an authority, "development" or "upload"."""

    name: str
    certificate_id: str
    site_id: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    issuer: str
    chain: str
    sealed_keys: dict[str, str]


class CertificateRemoved(_Change, frozen=True, tag="certificate.removed"):
    name: str


class AnswerSet(_Change, frozen=True, tag="answer.set"):
    """What nodes answer an authority that looks whether we hold `domain`, until the wall time `expires_at`. `method` is
    "http-01": `value` is the content of /.well-known/acme-challenge/`token` (RFC 8555 8.3); or "tls-alpn-01": `value`
    is the digest that the certificate of the handshake says, in base64url, and `token` "" (RFC 8737)."""

    method: str
    domain: str
    token: str
    value: str
    expires_at: float


class AnswerRemoved(_Change, frozen=True, tag="answer.removed"):
    method: str
    domain: str
    token: str


class Withheld(_Change, frozen=True, tag="withheld"):
    """Stands for a record whose audience does not include the reader."""


Change = (
    SiteCreated
    | SiteChanged
    | SiteRemoved
    | DomainAdded
    | DomainRemoved
    | DeployPrepared
    | DeployActivated
    | Purged
    | TokenCreated
    | TokenRevoked
    | ZoneSet
    | ZoneRemoved
    | ZoneKeysSet
    | ChallengeSet
    | ChallengeRemoved
    | GeographySet
    | DomainClaimed
    | ClaimRemoved
    | DomainVerified
    | CertificateSet
    | CertificateRemoved
    | AnswerSet
    | AnswerRemoved
    | AliasSet
    | AliasRemoved
    | VariantsSet
    | TakenDown
    | TakedownLifted
    | HookSet
    | HookRemoved
    | Withheld
)


SINCE: dict[type, int] = {
    **dict.fromkeys((ZoneSet, ZoneRemoved, ZoneKeysSet, ChallengeSet, ChallengeRemoved, GeographySet), 2),
    **dict.fromkeys((DomainClaimed, ClaimRemoved, DomainVerified, CertificateSet, CertificateRemoved), 3),
    **dict.fromkeys((AnswerSet, AnswerRemoved), 3),
    **dict.fromkeys((AliasSet, AliasRemoved, VariantsSet, TakenDown, TakedownLifted, HookSet, HookRemoved), 4),
}
"""The version with which a kind of change came; kinds that are not named are of version 1."""


def version_of(change: Change) -> int:
    """The oldest version of records that can say this: what every reader has to understand before it is written."""
    match change:
        case DeployPrepared(commit="", manifest_version=1) | TokenCreated(sealed_secret=""):
            return 1
        case DeployPrepared() | TokenCreated():
            return 4  # with fields that came then
        case _:
            return SINCE.get(type(change), 1)


_AUDIENCES: dict[type, Audience] = {
    **dict.fromkeys((TokenCreated, TokenRevoked, DomainClaimed, ClaimRemoved), Audience.CONTROL),
    **dict.fromkeys((HookSet, HookRemoved), Audience.CONTROL),
    **dict.fromkeys((ZoneSet, ZoneRemoved, ZoneKeysSet, ChallengeSet, ChallengeRemoved, GeographySet), Audience.DNS),
}


def audience_of(change: Change) -> Audience:
    """Who may read this kind of change; ALL unless it is a secret or nobody else's business."""
    return _AUDIENCES.get(type(change), Audience.ALL)


class Draft(msgspec.Struct, frozen=True):
    """A record before the journal gave it a place. `subject` is what compare-and-set compares."""

    subject: str
    change: Change
    actor: str
    audience: Audience = Audience.ALL


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the journal. `at` is wall time in seconds when it was appended."""

    version: int
    epoch: str
    sequence: int
    subject: str
    at: float
    actor: str
    audience: Audience
    change: Change

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.sequence)

    def withheld(self) -> Record:
        """What a reader outside the audience receives: the sequence, and nothing that was said."""
        return msgspec.structs.replace(self, subject="withheld", actor="", change=Withheld())

    def visible_to(self, audiences: frozenset[Audience]) -> Record:
        """The record itself, or its withheld form when none of `audiences` may read it."""
        return self if self.audience in audiences else self.withheld()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class _Head(msgspec.Struct):
    version: int
    sequence: int


_head_decoder = msgspec.json.Decoder(_Head)


def encode_record(record: Record) -> bytes:
    """The record as JSON."""
    return _encoder.encode(record)


def decode_record(raw: bytes) -> Record:
    """The record in `raw`.

    Raises UnknownRecord for a newer version, an unknown kind or anything that does not fit the schema.
    """
    try:
        head = _head_decoder.decode(raw)
    except msgspec.MsgspecError as exc:
        raise UnknownRecord(f"a record cannot be read: {exc}") from exc
    if head.version > RECORD_VERSION:
        raise UnknownRecord(
            f"record {head.sequence} has version {head.version}, this program reads up to {RECORD_VERSION}: "
            "upgrade this node"
        )
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError as exc:
        raise UnknownRecord(f"record {head.sequence} does not fit the schema of version {head.version}: {exc}") from exc


def validate_draft(draft: Draft) -> tuple[Draft, int]:
    """The draft exactly as every follower will read it, and about how many bytes its record takes.

    Raises InvalidInput when its content does not fit the schema, TooLarge above MAX_RECORD_BYTES.
    """
    try:
        raw = encode_record(
            Record(version_of(draft.change), "", 0, draft.subject, 0.0, draft.actor, draft.audience, draft.change)
        )
        record = _decoder.decode(raw)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as exc:
        raise InvalidInput(f"the record for {draft.subject!r} does not fit the schema: {exc}") from exc
    if len(raw) > MAX_RECORD_BYTES:
        raise TooLarge(
            f"the record for {draft.subject!r} takes {len(raw)} bytes, the limit is {MAX_RECORD_BYTES}: split it"
        )
    return Draft(record.subject, record.change, record.actor, record.audience), len(raw)
