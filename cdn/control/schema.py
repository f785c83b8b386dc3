"""What the API takes and gives, as types. OpenAPI is made from these."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cdn.control.refusals import Refusal
from cdn.fleet.receipt import NodeOutcome
from cdn.fleet.withdrawal import ShareReason

WallTime = Annotated[float, Meta(description="Seconds since 1970-01-01T00:00:00Z, with fractions.")]
OptionalWallTime = Annotated[float | None, Meta(description="Seconds since 1970-01-01T00:00:00Z, with fractions.")]
Settings = Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/SiteSettings"})]
Scopes = Annotated[
    tuple[str, ...],
    Meta(description="admin, node, or one of read, purge, deploy and admin for one site: deploy:blog."),
]


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


# ---- what it takes


class CreateSite(_Content, frozen=True):
    name: str
    settings: Settings = {}


class ChangeSite(_Content, frozen=True):
    """Settings that are named change; the others stay."""

    settings: Settings


class OpenUpload(_Content, frozen=True):
    """`blobs` maps the SHA-256 (lower-case hex) of each file's content to its size in bytes."""

    blobs: dict[str, int]


class AskUploadUrls(_Content, frozen=True):
    digests: tuple[str, ...]


class CreateDeploy(_Content, frozen=True):
    """`manifest` is the bundle's manifest; `upload` the session that pins its digests."""

    manifest: Annotated[msgspec.Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Manifest"})]
    upload: str | None = None
    alias: str | None = None
    message: str = ""
    author: str | None = None
    commit: Annotated[str, Meta(description="What it was built from, like the id of a commit.")] = ""
    password: Annotated[
        str | UnsetType | None, Meta(description="What visitors of the preview have to give; see setAlias.")
    ] = UNSET
    expires_s: Annotated[
        float | UnsetType | None, Meta(description="Seconds from now after which the preview is over; see setAlias.")
    ] = UNSET

    def __repr__(self) -> str:
        return "CreateDeploy(...)"  # a password is in clear in it


class ActivateDeploy(_Content, frozen=True):
    """`alias`: the one to point at the deploy; the alias it was made for when left out."""

    alias: str | None = None


class Rollback(_Content, frozen=True):
    """`to`: a deploy id; the deploy that was active before when left out."""

    to: str | None = None
    alias: str | None = None


class RollForward(_Content, frozen=True):
    """Undoes a rollback: activates the deploy that was active before it."""

    alias: str | None = None


class CreateToken(_Content, frozen=True):
    """`expires_s` None: until it is revoked. `aws`: requests can be signed with it as AWS clients do."""

    scopes: Scopes
    expires_s: Annotated[float | None, Meta(description="Seconds from now; null: until revoked.")] = None
    note: str = ""
    aws: bool = False


# ---- what it gives


class SiteView(_Content, frozen=True):
    """`active` is the deploy that the site's own host answers from."""

    id: str
    name: str
    created_at: WallTime
    settings: Settings
    host: str
    url: str
    domains: tuple[str, ...]
    active: str | None


class SiteList(_Content, frozen=True):
    sites: tuple[SiteView, ...]


class PositionView(_Content, frozen=True):
    epoch: Annotated[str, Meta(description="The journal's: positions of two epochs cannot be compared.")]
    sequence: Annotated[int, Meta(description="The number of the record within its epoch.")]


class SiteChangedView(SiteView, frozen=True):
    """The site as it is now. `position`: the record of the change, whose receipt can be asked for. `purged`: everything
    that was stored of the site was purged by the same record, as it does not fit the settings any more."""

    position: PositionView
    purged: bool


class NodeReceiptView(_Content, frozen=True):
    node: str
    outcome: Annotated[
        str,
        Meta(
            description="applied: it serves the change. pending: it may still serve what was before. fenced: out of "
            "reach, and it asks the store before it serves. excused: out of reach, and it may serve what was before.",
            extra_json_schema={"enum": [each.value for each in NodeOutcome]},
        ),
    ]
    applied_at: OptionalWallTime
    applied_by: Annotated[
        float | None,
        Meta(
            description="Where it is not known when it applied the change: by when it had, at the latest, in seconds "
            "since 1970-01-01. Control or its replica had not listened in between."
        ),
    ] = None
    state: Annotated[str | None, Meta(description="Of a node that has not applied it: see showStatus.")] = None
    reason: Annotated[str | None, Meta(description="Why it is in that state.")] = None
    since: OptionalWallTime = None


class ReceiptCounts(_Content, frozen=True):
    """How many nodes there are of each outcome."""

    applied: int
    pending: int
    fenced: int
    excused: int


class ReceiptView(_Content, frozen=True):
    """What nodes have done with the record at `position`.

    In a fleet of up to 100 nodes `nodes` lists all of them; in a larger one the first 100 that have not applied it.
    """

    position: PositionView
    recorded_at: WallTime
    complete: Annotated[bool, Meta(description="No node is pending.")]
    nodes: tuple[NodeReceiptView, ...]
    counts: ReceiptCounts
    more_after: Annotated[
        str | None, Meta(description="There are more: ask the record's receipt with this as `after`. null: all.")
    ] = None


class SiteRemovedView(_Content, frozen=True):
    """Tokens and domains that went with the site."""

    receipt: ReceiptView
    domains: tuple[str, ...]
    tokens: tuple[str, ...]


class UploadView(_Content, frozen=True):
    """`missing` are the digests to upload; `direct` says whether the store takes them without control in between."""

    id: str
    expires_at: Annotated[float, Meta(description="When the upload is forgotten, in seconds since 1970-01-01.")]
    missing: tuple[str, ...]
    direct: bool


class UploadUrl(_Content, frozen=True):
    """`fields` have to be sent with the PUT exactly as they are."""

    url: str
    fields: dict[str, str]


class UploadUrls(_Content, frozen=True):
    urls: dict[str, UploadUrl]


class BlobStored(_Content, frozen=True):
    digest: str
    size_bytes: int


class DeployView(_Content, frozen=True):
    id: str
    site: str
    alias: str
    manifest_digest: str
    file_count: int
    size_bytes: int
    author: str
    message: str
    prepared_at: WallTime
    sequence: int
    active_on: Annotated[tuple[str, ...], Meta(description="Aliases that answer from it now.")]
    commit: Annotated[str, Meta(description="What it was built from; empty: nobody said.")] = ""


class DeployList(_Content, frozen=True):
    """Newest first."""

    deploys: tuple[DeployView, ...]


class Unprepared(_Content, frozen=True):
    """A node that had not loaded the manifest when the deploy was activated."""

    node: str
    reason: str


class Uploaded(_Content, frozen=True):
    """What of an archive was new to the site."""

    blobs: int
    size_bytes: int


class DeployActivatedView(_Content, frozen=True):
    """`url` answers from the deploy wherever `receipt` says applied."""

    deploy: DeployView
    alias: str
    url: str
    receipt: ReceiptView
    unprepared: tuple[Unprepared, ...] = ()
    uploaded: Uploaded | None = None
    warnings: Annotated[tuple[str, ...], Meta(description="About the bundle's rules, and what was left out.")] = ()


class NodeForgotten(_Content, frozen=True):
    node: str


class ReceiptOnly(_Content, frozen=True):
    receipt: ReceiptView


class TokenView(_Content, frozen=True):
    id: str
    scopes: Scopes
    created_at: WallTime
    expires_at: Annotated[float | None, Meta(description="Seconds since 1970-01-01; null: never.")]
    note: str
    aws: Annotated[bool, Meta(description="Whether AWS clients can sign with it.")] = False


class AwsKeyView(_Content, frozen=True):
    """What AWS clients sign with: the token's id, and a secret that is shown this once."""

    access_key_id: str
    secret_access_key: str


class TokenCreatedView(_Content, frozen=True):
    """`token` is shown this once and kept nowhere. `aws`: with the same scopes, for clients that sign."""

    id: str
    token: str
    scopes: Scopes
    expires_at: Annotated[float | None, Meta(description="Seconds since 1970-01-01; null: never.")]
    note: str
    aws: AwsKeyView | None = None


class TokenList(_Content, frozen=True):
    tokens: tuple[TokenView, ...]


class DnsStatus(_Content, frozen=True):
    """A name server. `lag` counts the records it has not applied; null: it follows another epoch, or has none yet."""

    name: str
    program: str
    position: PositionView | None
    lag: int | None
    stopped: str | None


class NodeStatus(_Content, frozen=True):
    """`lag` counts the records it has not applied, None when it follows another epoch or was never heard; `lag_s` is
    how long it has been behind. `state` is joining, serving, lagging, detached, draining or gone, for a `reason`, and
    has been since `state_since` (seconds since 1970-01-01).

    `facts` are what the node says of itself: its release, region, weight, where it listens and which addresses DNS
    answers with. `stopped` says why it no longer follows; `counters` are empty for tokens without the scope admin.
    """

    node: str
    program: str
    connected: bool
    state: str
    reason: str
    state_since: float
    position: PositionView | None
    lag: int | None
    lag_s: float
    answered_at: Annotated[float | None, Meta(description="When control last heard it, in seconds since 1970-01-01.")]
    stopped: str | None
    facts: dict[str, Any]
    counters: dict[str, int]
    lease_left_s: Annotated[
        float | None,
        Meta(description="For how long it may still serve without validating, if it is not heard; null: it may not."),
    ] = None
    clock_offset_s: Annotated[
        float | None,
        Meta(description="How far its clock was ahead of control's when it last said; null: it never did."),
    ] = None
    share: Annotated[float, Meta(description="The part of its weight that stands in DNS, from 0 to 1.")] = 0.0
    share_reason: Annotated[
        str, Meta(description="Why.", extra_json_schema={"enum": [each.value for each in ShareReason]})
    ] = ShareReason.OUT.value
    region_part: Annotated[float, Meta(description="What of its region's visitors DNS gives it, from 0 to 1.")] = 0.0
    load: Annotated[float, Meta(description="How busy it is, 1 being all that it can, to a tenth.")] = 0.0


class ArchiveView(_Content, frozen=True):
    """Records up to `archived` are durable in the object store too; `lag` records are not yet, the oldest for `lag_s`.

    `failure` says why, while the store does not take them.
    """

    archived: int
    lag: int
    lag_s: float
    failure: str | None = None


class RefusalView(_Content, frozen=True):
    """Something that control refused. `node` is what the other side called itself, `peer` where it came from."""

    reason: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in Refusal]})]
    node: str
    peer: str
    detail: str
    at: WallTime


class DetachCounts(_Content, frozen=True):
    """How many sites are answered by a node that has lost control from what it knows (`serve`), and how many only with
    what it validates (`validate`)."""

    serve: int
    validate: int


class CertificateAlarm(_Content, frozen=True):
    """A certificate that should have been renewed long ago, or one of its owner's that ends soon. `site` null: the
    CDN's own zone's."""

    name: str
    site: str | None
    issuer: str
    not_after: WallTime


class CertificatesStatus(_Content, frozen=True):
    """Of the sites that the token may read. `ending` are the first of those that end too soon, or have ended."""

    count: int
    ending_count: int
    ending: tuple[CertificateAlarm, ...]
    soonest_end: Annotated[float | None, Meta(description="Seconds since 1970-01-01; null: there are none.")] = None


class Status(_Content, frozen=True):
    """`counters` are control's own; empty for tokens without the scope admin, which see no `archive` and no refusals
    either. `refusals` counts by reason, `refused` are the last ones, newest first.
    """

    program: str
    position: PositionView
    sites: int
    nodes: tuple[NodeStatus, ...]
    counters: dict[str, int]
    archive: ArchiveView | None = None
    node_count: int = 0
    more_after: Annotated[
        str | None, Meta(description="There are more nodes: ask again with this as `after`. null: these are all.")
    ] = None
    states: Annotated[dict[str, int], Meta(description="How many nodes there are in each state.")] = {}
    on_detach: DetachCounts | None = None
    refusals: dict[str, int] = {}
    refused: tuple[RefusalView, ...] = ()
    dns: Annotated[
        tuple[DnsStatus, ...], Meta(description="Name servers that follow this replica of control now.")
    ] = ()
    certificates: CertificatesStatus | None = None


class FleetNodeView(_Content, frozen=True):
    """A node as DNS shall see it: what `withdrawal` goes by, and what comes of it."""

    node: str
    region: str
    addresses: Annotated[tuple[str, ...], Meta(description="What DNS answers with.")]
    weight: int
    state: str
    reason: str
    lag_s: float
    share: Annotated[float, Meta(description="The part of its weight that stands in DNS, from 0 to 1.")]
    share_reason: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in ShareReason]})]
    region_part: Annotated[float, Meta(description="What of its region's visitors DNS gives it, from 0 to 1.")]
    location: Annotated[
        tuple[float, float] | None,
        Meta(description="Latitude and longitude in degrees, as the node says them; null: where its addresses are."),
    ] = None
    bias: Annotated[int, Meta(description="How many hundredths nearer it counts than it is, -99 to 99.")] = 0
    load: Annotated[float, Meta(description="How busy it is, 1 being all that it can.")] = 0.0


class FleetView(_Content, frozen=True):
    """`number` rises with every change: give it as `beyond` to wait for the next one. While `frozen` the journal is not
    heard and nothing that was known of lag changes."""

    number: int
    seen_at: WallTime
    frozen: bool
    nodes: tuple[FleetNodeView, ...]


class NodeExplanation(_Content, frozen=True):
    """One of `result` and `failure` is set."""

    node: str
    result: Any = None
    failure: str | None = None


class Explanation(_Content, frozen=True):
    """Why a URL is answered as it is, as control and each node see it. `site` None: no site has this host."""

    url: str
    host: str
    target: str
    site: str | None
    alias: str | None
    deploy: str | None
    origin: Annotated[str | None, Meta(description="Where the site's content comes from: bundle, or its upstream.")]
    position: PositionView
    nodes: tuple[NodeExplanation, ...]


class NameExplanation(_Content, frozen=True):
    """Why a name is answered as it is for a client: what each name server says that follows the control that was asked.

    `site` None: no site has this name; it may be another one of an imported zone. Of a name server `result` names for
    each type the answer, where the client is, and the filters: who was left after each, and why the others went.
    """

    name: str
    source: str
    site: str | None
    position: PositionView
    servers: tuple[NodeExplanation, ...]


class Health(_Content, frozen=True):
    status: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `field` names what was wrong in the request, `details` lists every single fault."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str | None = None
    field: str | None = None
    details: tuple[str, ...] = ()
