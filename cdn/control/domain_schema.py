"""What the API takes and gives about domains and certificates."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from cdn.control.domain_office import Step
from cdn.control.domain_records import Purpose
from cdn.control.schema import ReceiptView, WallTime
from cdn.sites.onboarding import Stage

OptionalTime = Annotated[float | None, Meta(description="Seconds since 1970-01-01T00:00:00Z; null: none.")]


class Redirect(Enum):
    """Which of a name and its `www.` visitors end up at."""

    APEX = "apex"  # www.example.com sends them to example.com
    WWW = "www"  # example.com sends them to www.example.com
    NONE = "none"  # both are answered


class CertificateState(Enum):
    """What a certificate is worth now."""

    VALID = "valid"
    ENDING = "ending"  # it should have been renewed long ago
    OVER = "over"
    EARLY = "early"  # its time has not begun


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class AddDomain(_Content, frozen=True):
    """`with_twin`: `www.` too, or the name without it. `redirect`: which of the two visitors end up at; left out, it
    stays as it is. `verified`: nothing has to be shown in DNS; needs the scope `admin`."""

    domain: Annotated[str, Meta(description="A name, or a wildcard like *.example.com.")]
    with_twin: bool = False
    redirect: Redirect | None = None
    verified: bool = False


class SetCertificate(_Content, frozen=True):
    """Both in PEM form. `certificate` is the chain, the domain's own first; `key` has no passphrase."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "SetCertificate(...)"  # keys are in no log, whatever is logged


class RecordView(_Content, frozen=True):
    """A DNS record to set, names without final dots. `instead`: in the place of the one before it of this purpose."""

    purpose: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in Purpose]})]
    type: str
    name: str
    value: str
    note: str = ""
    instead: bool = False


class ServerAnswerView(_Content, frozen=True):
    server: str
    answer: str


class StepView(_Content, frozen=True):
    """`right`: null when nobody could say, or it was not looked at yet. `servers`: what each of them answered."""

    step: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in Step]})]
    right: bool | None
    says: str
    servers: tuple[ServerAnswerView, ...] = ()


class CertificateView(_Content, frozen=True):
    """`issuer`: the authority's directory, "development", or "upload" for one that its owner brought. `site` null: the
    CDN's own zone's. `state`: ending means that it should have been renewed long ago."""

    id: Annotated[str, Meta(description="The SHA-256 of the certificate with those above it in its chain, in hex.")]
    name: str
    site: str | None
    names: tuple[str, ...]
    not_before: WallTime
    not_after: WallTime
    issuer: str
    state: Annotated[str, Meta(extra_json_schema={"enum": [each.value for each in CertificateState]})]


class CertificateList(_Content, frozen=True):
    """The one that ends first is the first."""

    certificates: tuple[CertificateView, ...]


class CertificateSetView(_Content, frozen=True):
    certificate: CertificateView


class CertificateReleased(_Content, frozen=True):
    """The certificate that was brought is served until another has come."""

    domain: str
    certificate: CertificateView | None


class DomainView(_Content, frozen=True):
    """`verified`: it is answered from the site. `redirect_to`: where its visitors are sent; "": they are answered."""

    domain: str
    site: str
    stage: Annotated[
        str,
        Meta(
            description="added: whose it is has to be shown in DNS. verified: it is answered over HTTP. issuing: a "
            "certificate is being got. live: it is answered over HTTPS.",
            extra_json_schema={"enum": [each.value for each in Stage]},
        ),
    ]
    verified: bool
    redirect_to: str = ""
    certificate: CertificateView | None = None


class DomainList(_Content, frozen=True):
    domains: tuple[DomainView, ...]


class DomainDetail(DomainView, frozen=True):
    """`fault`: why it goes no further; null: nothing is wrong. `waits_for`: what is under way; "": nothing is.
    `failures`: tries that failed one after the other. `next_try_at` null: nothing is tried by itself."""

    records: Annotated[tuple[RecordView, ...], Meta(description="What DNS has to say.")] = ()
    steps: tuple[StepView, ...] = ()
    fault: str | None = None
    waits_for: str = ""
    failures: int = 0
    checked_at: OptionalTime = None
    next_try_at: OptionalTime = None
    twin: Annotated[str | None, Meta(description="The name with or without www. that goes with it, if any.")] = None


class DomainAddedView(DomainDetail, frozen=True):
    """`receipt` null: the site had the domain, or the claim on it, already. `others`: the twin that was added too."""

    receipt: ReceiptView | None = None
    others: tuple[DomainDetail, ...] = ()


class DomainRemovedView(_Content, frozen=True):
    domain: str
    receipt: ReceiptView
