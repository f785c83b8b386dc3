"""How far a domain is, as callers are told."""

from __future__ import annotations

from datetime import UTC, datetime

from cdn.control.certificate_records import UPLOAD
from cdn.control.domain_documents import DomainDocument
from cdn.control.domain_office import DomainStanding, Step, StepSeen
from cdn.journal.certificate_fold import CertificateFacts
from cdn.sites import onboarding
from cdn.sites.onboarding import Onboarding, Rules

BROUGHT_IS_OVER = (
    "The certificate that its owner brought is over, and none is ordered in its place: bring another (cdn domain "
    "certificate set), or have them got automatically again (cdn domain certificate rm)."
)


def is_kept_brought(document: DomainDocument, facts: CertificateFacts | None) -> bool:
    """Whether the domain has what its owner brought, and wants no other: it is not replaced once it is over either."""
    return facts is not None and facts.issuer == UPLOAD and not document.ordering.is_released


def standing_of(
    document: DomainDocument, state: Onboarding, facts: CertificateFacts | None, rules: Rules, now: float
) -> DomainStanding:
    """By its document, its way, and the certificate that it has, at the wall time `now`."""
    is_over = facts is not None and facts.not_after <= now and is_kept_brought(document, facts)
    return DomainStanding(
        document.domain,
        document.site_id,
        onboarding.stage_of(state, rules),
        (*document.steps, _certificate_step(state, facts, now)),
        BROUGHT_IS_OVER if is_over else onboarding.fault_of(state, rules),
        "" if is_over else onboarding.waits_for(state, rules),
        state.order_failures or state.denials,
        state.looked_at,
        state.next_try_at,
    )


def _certificate_step(state: Onboarding, facts: CertificateFacts | None, now: float) -> StepSeen:
    if facts is None:
        says = state.order_says or "There is no certificate yet."
        return StepSeen(Step.CERTIFICATE, False if state.order_says else None, says)
    until = datetime.fromtimestamp(facts.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    whence = "brought by its owner" if facts.issuer == UPLOAD else f"signed by way of {facts.issuer}"
    if facts.not_after <= now:
        return StepSeen(Step.CERTIFICATE, False, f"The certificate, {whence}, was good until {until}.")
    return StepSeen(Step.CERTIFICATE, True, f"The certificate, {whence}, is good until {until}.")
